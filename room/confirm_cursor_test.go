package room_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
)

// TestUnaskedEndsWithACursor has a client that takes cursors come back under an id whose first sync was lost. The room begins to send it
// everything unasked, in pieces, and ends that when the client asks with its cursor: no delete-all comes after the answer.
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

	bob = backInBusyRoom(t, h, p, alice, func() {})
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
		if e.Channel != "items" {
			continue // it has not asked for the room's other channels, so it is sent them
		}
		if e.Kind == "delete-all" || e.Kind == "update" && !strings.Contains(string(e.Data), "ghost") {
			t.Errorf("after the answer to its cursor it gets %.200s", e.Data)
		}
	}
}
