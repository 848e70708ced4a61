package room_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A courier is a client that numbers its actions, as PROTOCOL.md says how one is written:
// each appends its number to a row of the client's own.
type courier struct {
	t       *testing.T
	id      string
	c       *roomtest.Client
	made    uint64            // the highest number that it has given
	acked   uint64            // the highest that was answered
	replies map[uint64]string // as they came first
	refused map[uint64]bool   // those that fail for good
}

func (k *courier) send(n uint64) {
	action := object{"type": "sql", "payload": fmt.Sprintf(`UPDATE items SET name = name || '%d ' WHERE id = '%s'`, n, k.id)}
	if k.refused[n] { // it writes, and is refused after that
		action["payload"] = fmt.Sprintf(`UPDATE items SET name = name || 'bad ' WHERE id = '%s'; INSERT INTO items SELECT * FROM items`, k.id)
	}
	k.c.SendJSON(object{"id": fmt.Sprint(k.id, n), "channel": "items", "rpc": true, "client": k.id, "mutation": n, "action": action})
}

func (k *courier) resend() {
	for n := k.acked + 1; n <= k.made; n++ {
		k.send(n)
	}
}

// take reads the first n of what has come, or all for -1; the others are lost.
func (k *courier) take(n int) {
	k.t.Helper()
	for i, e := range k.c.Received() {
		if i == n {
			return
		}
		var number uint64
		if _, err := fmt.Sscan(strings.TrimPrefix(e.ID, k.id), &number); err != nil {
			continue // an update, or a reply to something else
		}
		switch {
		case e.Code == "mutation_gap":
			if e.Next > k.made || e.Next <= k.acked {
				k.t.Fatalf("%s has %d, and got %s", k.id, k.acked, e.Data)
			}
		case e.Code == "room_unavailable" || e.Code == "aborted" || e.Code == "storage_unavailable":
		case (e.Code == "conflict") != k.refused[number] || e.Code != "" && e.Code != "conflict":
			k.t.Fatalf("%s got %s", k.id, e.Data)
		default:
			if before := k.replies[number]; before != "" && before != string(e.Data) {
				k.t.Errorf("%d was answered with %s, and before with %s", number, e.Data, before)
			}
			k.replies[number] = string(e.Data)
			if number == k.acked+1 {
				k.acked = number
			}
		}
	}
}

// Numbered actions are applied once each and in order, whatever becomes of connections,
// replies and the room; those that fail for good are answered alike each time.
func TestInvariantExactlyOnceNumbered(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			h, p := open(t)
			setup := h.Join("shop", "r", "setup")
			mustSucceed(t, setup.Do("items", "sql", `INSERT INTO items VALUES ('a', '', 1, 1, NULL), ('b', '', 1, 1, NULL);
				CREATE TRIGGER poison AFTER INSERT ON private BEGIN SELECT RAISE(ROLLBACK, 'no'); END`))
			couriers := []*courier{{t: t, id: "a"}, {t: t, id: "b"}}
			for _, k := range couriers {
				k.replies, k.refused = make(map[uint64]string), make(map[uint64]bool)
				k.c = h.Join("shop", "r", k.id)
			}
			for step := range 120 {
				h.Advance(time.Millisecond)
				k := couriers[r.IntN(len(couriers))]
				switch n := r.IntN(20); {
				case n < 10:
					for range 1 + r.IntN(4) {
						k.made++
						k.refused[k.made] = r.IntN(5) == 0
						k.send(k.made)
					}
				case n < 13:
					k.take(-1)
				case n < 15:
					k.resend()
				case n < 17: // the replies that were not read are lost
					k.take(r.IntN(3))
					k.c.Leave()
					k.c = h.Join("shop", "r", fmt.Sprint(k.id, r.IntN(3)))
					k.resend()
				case n == 17:
					h.CrashRoom("shop", "r")
				case n == 18:
					h.Reopen()
					for _, k := range couriers {
						k.c = h.Join("shop", "r", k.id)
					}
				case n == 19: // a batch that is lost takes couriers' actions along
					k.c.SendJSON(object{"id": fmt.Sprint("hang", step), "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{}}})
					within(t, p.entered, "the hook to begin")
					k.resend()
					k.c.SendJSON(object{"id": fmt.Sprint("poison", step), "channel": "items", "rpc": true, "action": object{"type": "sql", "payload": `INSERT INTO private VALUES (1)`}})
					k.resend()
					p.block <- struct{}{}
					h.Settle(t.Context(), room.Key{Namespace: "shop", Room: "r"})
				}
			}
			for _, k := range couriers {
				for tries := 0; k.acked < k.made && tries < 10; tries++ {
					k.resend()
					k.take(-1)
				}
				k.check(h)
			}
		})
	}
}

func (k *courier) check(h *roomtest.Host) {
	k.t.Helper()
	want := ""
	for n := range k.made {
		if !k.refused[n+1] {
			want += fmt.Sprint(n+1, " ")
		}
	}
	for _, r := range h.Join("shop", "r", "").Sync("items") {
		if r.ID() == k.id && r[1] != want {
			k.t.Errorf("%s: %s was applied, want %s", k.id, r[1], want)
		}
	}
	if k.acked != k.made {
		k.t.Errorf("%s: %d of %d were answered", k.id, k.acked, k.made)
	}
}

// What is said of each number that is not the next.
func TestInvariantExactlyOnceOutOfTurn(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.ReplyMemory = 3000 })
	alice := h.Join("shop", "r", "alice")
	mustRefuse(t, alice.DoNumbered("c", 2, "items", "add", object{"id": "2"}), "unknown_client")
	first := mustSucceed(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "1"}))
	if e := mustRefuse(t, alice.DoNumbered("c", 3, "items", "add", object{"id": "3"}), "mutation_gap"); e.Next != 2 {
		t.Errorf("the gap: %s", e.Data)
	}
	if e := mustRefuse(t, alice.DoNumbered("c", 1<<53-1, "items", "add", object{"id": "3"}), "mutation_gap"); e.Next != 2 {
		t.Errorf("the highest number: %s", e.Data)
	}
	mustRefuse(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "other"}), "duplicate_id")
	mustRefuse(t, alice.DoNumbered("c", 1, "marks", "add", object{"id": "1"}), "duplicate_id")
	mallory := h.Join("shop", "r", "alice", roomtest.As(room.Identity{Subject: "mallory"}))
	mustRefuse(t, mallory.DoNumbered("c", 2, "items", "add", object{"id": "2"}), "unknown_client")
	for _, death := range []func(){func() {}, func() { h.SleepRoom("shop", "r") }, func() { h.CrashRoom("shop", "r") }} {
		death()
		again := h.Join("shop", "r", "elsewhere").DoNumbered("c", 1, "items", "add", object{"id": "1"})
		if string(again.Data) != string(first.Data) {
			t.Errorf("again: %s, first %s", again.Data, first.Data)
		}
	}
	for n := range uint64(60) {
		mustSucceed(t, alice.DoNumbered("c", n+2, "items", "put", object{"id": "1", "name": "x"}))
	}
	mustRefuse(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "1"}), "already_applied")
	if got := ids(alice.Sync("items")); got != "1" {
		t.Errorf("the room holds %s", got)
	}
}

// An action that is refused for good has had its number; one that may pass has not.
func TestInvariantExactlyOnceRefused(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	n := uint64(0)
	final := func(code, channel, action string, payload any) {
		t.Helper()
		n++
		first := mustRefuse(t, alice.DoNumbered("c", n, channel, action, payload), code)
		h.CrashRoom("shop", "r")
		if again := alice.DoNumbered("c", n, channel, action, payload); string(again.Data) != string(first.Data) {
			t.Errorf("%s: again %s, first %s", code, again.Data, first.Data)
		}
	}
	final("bad_payload", "items", "add", 7)
	final("unknown_action", "items", "no such", nil)
	final("unknown_channel", "private", "add", object{"id": "1"})
	final("not_found", "items", "remove", object{"id": "1"})
	final("action_failed", "items", "unmarshalable", object{"id": "1"})
	final("no", "items", "attach", object{"id": "fail", "name": "x"})
	n++
	mustSucceed(t, alice.DoNumbered("c", n, "items", "sql", `CREATE TRIGGER poison AFTER INSERT ON private BEGIN SELECT RAISE(ROLLBACK, 'no'); END`))
	final("conflict", "items", "sql", `INSERT INTO private VALUES (1)`) // it takes its batch along, each time
	mustSucceed(t, alice.DoNumbered("c", n+1, "items", "sql", `DROP TRIGGER poison`))
	if got := ids(alice.Sync("items")); got != "" {
		t.Errorf("the room holds %s", got)
	}
}

// An action that changed nothing has had its number all the same, also over a crash.
func TestInvariantExactlyOnceWithoutAChange(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.DoNumbered("c", 1, "items", "calls", nil))
	h.CrashRoom("shop", "r")
	if e := mustRefuse(t, alice.DoNumbered("c", 3, "items", "calls", nil), "mutation_gap"); e.Next != 2 {
		t.Errorf("got %s", e.Data)
	}
}

// An id of a client without numbers is good for a retry over restarts and crashes, too.
func TestInvariantExactlyOnceByID(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	first := mustSucceed(t, alice.DoAs("x", "items", "add", object{"id": "1", "name": "x"}))
	mustRefuse(t, alice.DoAs("y", "items", "remove", object{"id": "2"}), "not_found")
	mustSucceed(t, alice.DoAs("z", "items", "add", object{"id": "2", "name": "x"}))
	h.Reopen()
	alice = h.Join("shop", "r", "alice")
	if again := alice.DoAs("x", "items", "add", object{"id": "1", "name": "x"}); string(again.Data) != string(first.Data) {
		t.Errorf("again: %s, first %s", again.Data, first.Data)
	}
	mustRefuse(t, alice.DoAs("x", "items", "add", object{"id": "2", "name": "x"}), "duplicate_id")
	mustSucceed(t, alice.DoAs("y", "items", "remove", object{"id": "2"})) // the refusal was not kept
	h.Advance(8 * 24 * time.Hour)
	for range 3 { // the writes that remove what is too old
		mustSucceed(t, alice.Do("items", "put", object{"id": "1", "name": "y"}))
	}
	mustRefuse(t, alice.DoAs("x", "items", "add", object{"id": "1", "name": "x"}), "conflict") // applied again
}

// Clients that were not seen for the retention are forgotten, and no others.
func TestInvariantBoundedClients(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.ClientRetention = 24 * time.Hour })
	alice := h.Join("shop", "r", "alice")
	for n := range uint64(5) {
		mustSucceed(t, alice.DoNumbered("stays", n+1, "items", "calls", nil))
		if n == 0 {
			mustSucceed(t, alice.DoNumbered("gone", 1, "items", "calls", nil))
		}
		h.Advance(10 * time.Hour)
	}
	h.SleepRoom("shop", "r")
	mustSucceed(t, alice.DoNumbered("stays", 6, "items", "calls", nil))
	mustRefuse(t, alice.DoNumbered("gone", 2, "items", "calls", nil), "unknown_client")
}

// Numbers and client ids that are none are refused by the byte at which they stand.
func TestMutationsThatAreNone(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	long, _ := json.Marshal(strings.Repeat("c", 1<<20))
	for _, fields := range []string{
		`"client":"c"`, `"mutation":1`, `"client":"c","mutation":0`, `"client":"c","mutation":-1`, `"client":"c","mutation":1.5`, `"client":"c","mutation":1e3`,
		`"client":"c","mutation":"1"`, `"client":"c","mutation":9007199254740992`, `"client":"c","mutation":18446744073709551617`, `"client":"c","mutation":null`,
		`"client":"","mutation":1`, `"client":7,"mutation":1`, `"client":null,"mutation":1`, `"client":` + string(long) + `,"mutation":1`,
	} {
		if err := alice.Send([]byte(`{"id":"x","channel":"items","rpc":true,` + fields + `,"action":{"type":"add","payload":{"id":"1"}}}`)); err != nil {
			t.Fatal(err)
		}
		if e := alice.Next(); e.Kind != "error" || e.ID != "x" || e.Code != "bad_message" || len(e.Data) > 300 {
			t.Errorf("%.60s: %.300s", fields, e.Data)
		}
	}
	if got := ids(alice.Sync("items")); got != "" {
		t.Errorf("the room holds %s", got)
	}
}

// Of a reply that is longer than all that is kept the outcome is given again, and the client is
// told to fetch the rows; its action is not applied again.
func TestInvariantBoundedReply(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.ReplyMemory = 3000 })
	alice := h.Join("shop", "r", "alice")
	long := strings.Repeat("x", 5000)
	mustSucceed(t, alice.DoAs("x", "items", "add", object{"id": "1", "name": long}))
	mustSucceed(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "2", "name": long}))
	h.CrashRoom("shop", "r")
	alice.Received()
	byID := mustSucceed(t, alice.DoAs("x", "items", "add", object{"id": "1", "name": long}))
	numbered := mustSucceed(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "2", "name": long}))
	for _, e := range []roomtest.Event{byID, numbered} {
		if !e.Resync || len(e.Rows) != 0 || e.Cursor == "" {
			t.Errorf("again it was answered with %.300s", e.Data)
		}
	}
	if rows := alice.Received(); len(rows) != 1 || ids(rows[0].Rows) != "1 2" { // of the action without a number, whose client may know no resync
		t.Errorf("besides came %s", describe(rows))
	}
	mustSucceed(t, alice.DoNumbered("c", 2, "items", "add", object{"id": "3", "name": "short"}))
	if e := mustSucceed(t, alice.DoNumbered("c", 3, "items", "find", object{"id": "2"})); e.Value == nil {
		t.Errorf("the first time it was answered with %.300s", e.Data)
	}
	if e := mustSucceed(t, alice.DoNumbered("c", 3, "items", "find", object{"id": "2"})); e.Value != nil || !e.Resync {
		t.Errorf("a value that is too long: %.300s", e.Data)
	}
}

// A client that does not wait has its answers in the order of its actions, refusals among them, also where they share a
// commit.
func TestMutationAnswersInOrder(t *testing.T) {
	h, p := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "1"}))
	alice.Received()
	done := make(chan roomtest.Event)
	go func() { done <- bob.Do("items", "hang", nil) }()
	<-p.entered
	var want []string
	for i, number := range []int{3, 4, 2, 3, 4} {
		id := fmt.Sprint("n", i)
		data, err := json.Marshal(object{"id": id, "channel": "items", "rpc": true, "client": "c", "mutation": number,
			"action": object{"type": "put", "payload": object{"id": fmt.Sprint(number)}}})
		if err == nil {
			err = alice.Send(data)
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, []string{"error " + id, "error " + id, "success " + id, "success " + id, "success " + id}[i])
	}
	close(p.block)
	<-done
	alice.Sync("items") // it is answered after them
	var got []string
	for _, e := range alice.Received() {
		if e.ID != "" {
			got = append(got, e.Kind+" "+e.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
