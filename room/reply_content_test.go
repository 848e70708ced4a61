package room_test

import (
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

func (k *keeper) Say(c *room.Context, in keeperNote) (string, error) {
	return "said " + in.Text, k.Notes.Upsert(c, in)
}

func (k *keeper) Stored(c *room.Context, text string) (n int, err error) {
	err = c.QueryRow(`SELECT count(*) FROM _den_replies WHERE n > 0 AND instr(replies, ?) > 0`, []any{[]byte(text)}, &n)
	return n, err
}

// After a day the room keeps of a reply that there was one, and how it ended: also in its file. Nothing is applied again.
func TestStoredRepliesLoseTheirContent(t *testing.T) {
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("keep", func() room.Handler { return new(keeper) }, room.Action("put", (*keeper).Put),
			room.Call("say", (*keeper).Say), room.Call("stored", (*keeper).Stored))
	})
	send := func(c *roomtest.Client, n int) roomtest.Event {
		t.Helper()
		action, payload := "say", object{"ID": "1", "Text": secret}
		if n == 2 {
			payload = object{"ID": 7} // is refused
		}
		c.SendJSON(object{"id": string(rune('a' + n)), "channel": "notes", "rpc": true, "client": "k", "mutation": n, "action": object{"type": action, "payload": payload}})
		for _, e := range c.Received() {
			if e.Kind == "success" || e.Kind == "error" {
				return e
			}
		}
		t.Fatal("no reply")
		return roomtest.Event{}
	}
	alice := h.Join("keep", "r", "alice")
	first, refused := send(alice, 1), send(alice, 2)
	plain := mustSucceed(t, alice.DoAs("x", "notes", "say", object{"ID": "1", "Text": secret}))
	stored := func() string {
		return string(mustSucceed(t, h.Join("keep", "r", "looker").Do("notes", "stored", secret)).Value)
	}
	h.Advance(23 * time.Hour)
	stored() // maintenance
	if got := stored(); got == "0" {
		t.Error("within the day there is no content any more")
	}
	if again := send(alice, 1); string(again.Data) != string(first.Data) {
		t.Errorf("within the day: %s, first %s", again.Data, first.Data)
	}
	h.SleepRoom("keep", "r")
	h.Advance(2 * time.Hour)
	check := func(when string) {
		t.Helper()
		again := send(alice, 1)
		if again.Kind != "success" || again.Cursor != first.Cursor || len(again.Rows) != 0 || again.Value != nil || !strings.Contains(string(again.Data), `"result":[],"resync":true`) {
			t.Errorf("%s: %s, first %s", when, again.Data, first.Data)
		}
		if again := send(alice, 2); string(again.Data) != string(refused.Data) {
			t.Errorf("%s: the refusal is %s, it was %s", when, again.Data, refused.Data)
		}
		if again := alice.DoAs("x", "notes", "say", object{"ID": "1", "Text": secret}); again.Cursor != plain.Cursor || strings.Contains(string(again.Data), secret) {
			t.Errorf("%s: %s, first %s", when, again.Data, plain.Data)
		}
	}
	check("before the maintenance")
	if got := stored(); got != "0" {
		t.Errorf("after a day %s rows of replies have content", got)
	}
	check("after the maintenance")
	h.CrashRoom("keep", "r")
	check("after a crash")
}
