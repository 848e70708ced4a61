package sim

import (
	"context"

	"github.com/denrooms/den/room"
)

// compact begins to have a room's file written again without its free pages. It may not come about: the room is called
// for, or the disk fails. What the room holds, and what it held, is the same whatever comes of it.
func (w *world) compact(key room.Key) {
	if w.host == nil || w.dead() {
		return
	}
	host := w.host
	w.background(func() error {
		done, err := host.Compact(context.Background(), key)
		w.tracef("%s is compacted: %+v: %v", key.Room, done, err)
		return err
	})
	w.wait()
}
