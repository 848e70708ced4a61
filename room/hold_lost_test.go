package room_test

import (
	"slices"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A reply that was held back, and whose time is over in a batch that is lost, goes out a second later: its client does not wait
// until the hold on the channel ends.
func TestStockHeldReplyInALostBatch(t *testing.T) {
	h, p := open(t, func(o *room.Options) { o.ActionTimeout = time.Minute })
	alice, carol := h.Join("shop", "r", "alice"), h.Join("shop", "r", "carol", published)
	mustSucceed(t, alice.Do("items", "sql", poison))
	act(alice, "hung", "hang", object{})
	within(t, p.entered, "the hook to begin")
	act(carol, "held", "add", object{"id": "1"})
	p.block <- struct{}{}
	expectOwn(t, "while it is held", carol, "")

	act(alice, "hung again", "hang", object{})
	within(t, p.entered, "the hook to begin")
	h.Clock.Advance(5 * time.Second)
	act(alice, "poison", "sql", "INSERT INTO private VALUES (1)")
	p.block <- struct{}{}
	expectOwn(t, "when the batch was lost", carol, "")
	h.Advance(time.Second)
	expectOwn(t, "a second later", carol, "success")
	h.Advance(time.Minute)
	expectOwn(t, "when the hold has ended", carol, "update 1 ghost")
}

// expectOwn is expect without what the room's code sends by itself.
func expectOwn(t *testing.T, what string, c *roomtest.Client, want string) {
	t.Helper()
	events := slices.DeleteFunc(c.Received(), func(e roomtest.Event) bool { return e.Kind == "message" })
	if got := kinds(events); got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}
