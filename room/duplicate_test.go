package room_test

import (
	"sync/atomic"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A probed link counts how often it is asked whether its client is there.
type probed struct {
	room.Link
	n *atomic.Int32
}

func (p probed) Probe() { p.n.Add(1) }

// TestDuplicateIsProbed has a connection id come back while it is there: its older connections are probed, and no
// other user's.
func TestDuplicateIsProbed(t *testing.T) {
	h, _ := open(t)
	var older, younger, stranger atomic.Int32
	counting := func(n *atomic.Int32) func(*room.ConnectRequest) {
		return func(r *room.ConnectRequest) { r.Link = probed{r.Link, n} }
	}
	h.Join("shop", "r", "bob", counting(&stranger), roomtest.As(room.Identity{Subject: "eve"}))
	h.Join("shop", "r", "bob", counting(&older))
	h.Join("shop", "r", "alice")
	h.Join("shop", "r", "")
	h.Join("shop", "r2", "bob")
	if older.Load() != 0 || stranger.Load() != 0 {
		t.Errorf("probed: %d and %d times", older.Load(), stranger.Load())
	}
	h.Join("shop", "r", "bob", counting(&younger))
	if older.Load() != 1 || stranger.Load() != 0 || younger.Load() != 0 {
		t.Errorf("probed: the older one %d times, another user's %d, the younger one %d", older.Load(), stranger.Load(), younger.Load())
	}
}
