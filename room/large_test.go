package room_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/denrooms/den/room"
)

// An action that writes more than Options.MaxActionBytes is refused for good: by its code the client does not send
// it again, its number is used up, and nothing of it remains. Others of its batch are not refused for it.
func TestActionThatWritesTooMuch(t *testing.T) {
	var said logRecords
	h, p := open(t, func(o *room.Options) { o.MaxActionBytes, o.Logger = 1<<20, slog.New(slog.NewJSONHandler(&said, nil)) })
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.DoNumbered("phone", 1, "items", "sql", "CREATE TABLE big (x)"))
	const large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO big SELECT randomblob(4000) FROM n"

	alice.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{}}})
	within(t, p.entered, "the hook to begin") // the next ones queue up, and share a batch
	bob.SendJSON(object{"id": "before", "channel": "items", "rpc": true, "action": object{"type": "add", "payload": object{"id": "before"}}})
	alice.SendJSON(object{"id": "large", "channel": "items", "rpc": true, "client": "phone", "mutation": 2, "action": object{"type": "sql", "payload": large}})
	bob.SendJSON(object{"id": "behind", "channel": "items", "rpc": true, "action": object{"type": "add", "payload": object{"id": "behind"}}})
	close(p.block)
	answers := make(map[string]string)
	for _, e := range append(alice.Received(), bob.Received()...) {
		if e.ID != "" {
			answers[e.ID] = e.Kind + " " + e.Code
		}
	}
	if answers["large"] != "error too_large" {
		t.Errorf("it was answered with %q", answers["large"])
	}
	for _, id := range []string{"before", "behind"} {
		if answers[id] != "success " && answers[id] != "error aborted" { // to be sent again
			t.Errorf("the action %s was answered with %q", id, answers[id])
		}
	}
	mustSucceed(t, alice.DoNumbered("phone", 3, "items", "sql", "INSERT INTO items SELECT count(*), '', 1, 1, NULL FROM big"))
	found := false
	for _, row := range alice.Sync("items") {
		found = found || row.ID() == "0"
	}
	if !found {
		t.Error("something of it remained")
	}
	for n := range uint64(5) {
		mustRefuse(t, alice.DoNumbered("phone", 4+n, "items", "sql", large), "too_large")
	}
	if records := said.of(t, "r"); len(records) != 0 {
		t.Errorf("a client has filled the log: %v", records)
	}
}

// Where the client's own action before it shared the batch, that one is lost too: nothing is final then, and both are
// answered when they are sent again.
func TestActionThatWritesTooMuchBehindAnother(t *testing.T) {
	h, p := open(t, func(o *room.Options) { o.MaxActionBytes = 1 << 20 })
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", "CREATE TABLE big (x)"))
	const large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO big SELECT randomblob(4000) FROM n"
	alice.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{}}})
	within(t, p.entered, "the hook to begin")
	send := func(n int, action any) {
		alice.SendJSON(object{"id": fmt.Sprint("phone-", n), "channel": "items", "rpc": true, "client": "phone", "mutation": n, "action": action})
	}
	send(1, object{"type": "add", "payload": object{"id": "first"}})
	send(2, object{"type": "sql", "payload": large})
	close(p.block)
	codes := make(map[string]string)
	for _, e := range alice.Received() {
		codes[e.ID] = e.Code
	}
	if codes["phone-1"] != "aborted" || codes["phone-2"] != "aborted" {
		t.Errorf("they were answered with %v", codes)
	}
	mustSucceed(t, alice.DoNumbered("phone", 1, "items", "add", object{"id": "first"}))
	mustRefuse(t, alice.DoNumbered("phone", 2, "items", "sql", large), "too_large")
	mustRefuse(t, alice.DoNumbered("phone", 2, "items", "sql", large), "too_large") // as it was answered before
	mustSucceed(t, alice.DoNumbered("phone", 3, "items", "add", object{"id": "third"}))
	if got := ids(alice.Sync("items")); got != "first ghost third" {
		t.Errorf("the room holds %s", got)
	}
}
