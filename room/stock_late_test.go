package room_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A late reply without rows is followed by nothing: there are none that the published client could have dropped.
func TestStockLateReplyWithoutRows(t *testing.T) {
	h, p := open(t, func(o *room.Options) { o.ActionTimeout = time.Minute })
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	ask(bob, nil)
	expect(t, "at first", bob, "sync 1")
	act(alice, "hung", "hang", object{})
	within(t, p.entered, "the hook to begin")
	act(bob, "none", "sql", "DELETE FROM items WHERE id = 'nothing'")
	act(bob, "row", "sql", "UPDATE items SET name = 'new' WHERE id = '1'")
	act(bob, "call", "calls", object{})
	h.Clock.Advance(6 * time.Second)
	close(p.block)
	expectOwn(t, "late", bob, "update ghost; success; success 1; success")
	h.Advance(time.Second)
	expectOwn(t, "a second later", bob, "update 1")
}

// The rows that follow a reply a second later follow it also where the room's life ends meanwhile. A client that goes meanwhile gets
// them when it is back, although it has received the reply: it may have dropped it.
func TestStockRepeatOutlivesTheLife(t *testing.T) {
	for name, meanwhile := range map[string]func(*roomtest.Host, *roomtest.Client) *roomtest.Client{
		"asleep":  func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client { h.SleepRoom("shop", "r"); return c },
		"crashed": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client { h.CrashRoom("shop", "r"); return c },
		"gone":    again,
		"gone, and slept since": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
			c.Leave()
			h.SleepRoom("shop", "r")
			return h.Join("shop", "r", c.ID(), published)
		},
		"the process too": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
			h.Reopen()
			return h.Join("shop", "r", c.ID(), published)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := open(t)
			bob := h.Join("shop", "r", "bob", published)
			ask(bob, nil)
			act(bob, "a", "add", object{"id": "1"})
			expect(t, "at first", bob, "sync; success 1")
			bob.Confirm()
			bob = again(h, bob)
			act(bob, "b", "add", object{"id": "2"})
			act(bob, "c", "add", object{"id": "3"})
			expect(t, "the replies", bob, "success 2; success 3")
			bob.Confirm()
			bob = meanwhile(h, bob)
			h.Advance(time.Second)
			expect(t, "a second later", bob, "update 2 3")
			bob.Confirm()
			h.Advance(time.Second)
			expect(t, "another second later", again(h, bob), "")
		})
	}
}

// After a restore only the rows of the reply come again, as before it, not the whole channel: also to a client that is still held on
// another channel.
func TestStockRepeatAfterARestore(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	bob := h.Join("shop", "r", "bob", published)
	ask(bob, nil)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	expect(t, "at first", bob, "sync; update 1")
	bob.Confirm()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := h.Backup(t.Context(), shopKey, backup); err != nil {
		t.Fatal(err)
	}
	bob = again(h, bob)
	mustSucceed(t, alice.Do("items", "sql", "INSERT INTO marks VALUES (1, 'a', 1, 1, NULL)"))
	if _, err := h.Restore(t.Context(), shopKey, backup); err != nil {
		t.Fatal(err)
	}
	bob.Received()
	for _, id := range []string{"2", "3"} {
		act(bob, "add"+id, "add", object{"id": id})
		expect(t, "the reply", bob, "success "+id)
		h.Advance(time.Second)
		expect(t, "a second later", bob, "update "+id)
	}
}
