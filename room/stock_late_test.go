package room_test

import (
	"testing"
	"time"

	"github.com/denrooms/den/room"
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
	expectOwn(t, "late", bob, "update ghost; success; success 1; success; update 1")
}
