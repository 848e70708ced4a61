package room_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// TestUnaskedEndsWithACursor has a client that takes cursors come back under an id whose first sync was lost. The room begins to send it
// everything unasked, in pieces, and ends that when the client asks with its cursor: no delete-all comes behind the answer.
func TestUnaskedEndsWithACursor(t *testing.T) {
	h, p := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 4096 })
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	for i := range 40 {
		mustSucceed(t, alice.Do("items", "add", object{"id": fmt.Sprint(i), "name": strings.Repeat("x", 500)}))
	}
	bob.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	cursor := ""
	for cursor == "" {
		if e := bob.Next(); e.Kind == "sync" {
			cursor = e.Cursor
		}
	}
	bob.Leave()
	lost := h.Join("shop", "r", "bob", published) // its sync is lost
	lost.Leave()

	act(alice, "busy", "hang", object{})
	within(t, p.entered, "the hook to begin")
	before, back := h.Host.MemoryUsed(), make(chan *roomtest.Client, 1)
	go func() {
		c, _ := h.TryJoin("shop", "r", "bob", published)
		back <- c
	}()
	queued(t, h, before)
	close(p.block)
	bob = within(t, back, "the client to be let in")
	if bob == nil {
		t.Fatal("it was refused")
	}
	bob.SendJSON(object{"channel": "items", "sync": true, "cursor": cursor})
	for answered := ""; answered == ""; {
		if e := bob.Next(); e.Kind == "sync" {
			answered = e.Cursor
		}
	}
	for range 20 {
		mustSucceed(t, bob.Do("items", "calls", nil)) // the room has turns enough to go on
	}
	for _, e := range bob.Received() {
		if e.Kind == "delete-all" || e.Kind == "update" && !strings.Contains(string(e.Data), "ghost") {
			t.Errorf("behind the answer to its cursor it gets %.200s", e.Data)
		}
	}
}
