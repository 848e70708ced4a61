package room_test

import (
	"fmt"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// Canvas is a room whose clients see each other's cursors.
type Canvas struct{ room.Base }

func ExamplePresence() {
	t := new(example) // in a test: the *testing.T
	defer t.end()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("canvas", func() room.Handler { return new(Canvas) }, room.Presence())
	})
	ann, bob := h.Join("canvas", "blue", "ann"), h.Join("canvas", "blue", "bob")
	h.SleepRoom("canvas", "blue")
	ann.Presence(map[string]int{"x": 1, "y": 2}) // {"presence":{"x":1,"y":2}} on the wire
	bob.Presence("looking")                      // who reconnects under the same connection id has the same ID
	for _, e := range ann.Received() {
		for _, peer := range e.Peers {
			fmt.Println("ann sees", len(peer.ID), string(peer.Data))
		}
	}
	fmt.Println(h.Awake(), "rooms awake")

	// Output:
	// ann sees 16 {"x":1,"y":2}
	// ann sees 16 "looking"
	// 0 rooms awake
}
