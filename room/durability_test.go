package room_test

import (
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A directory can go from one durability to another after a good end, and back, with all
// that was acknowledged.
func TestDurabilityChanges(t *testing.T) {
	dir := t.TempDir()
	want := 0
	for _, d := range []room.Durability{room.Durable, room.DurableFiles, room.Durable, room.Relaxed, room.Unsynced, room.DurableFiles, room.Durable} {
		h := roomtest.New(t, registerNotes, func(o *room.Options) { o.Dir, o.Durability = dir, d })
		c := h.Join("notes", "r", "a")
		if e := c.Do("notes", "add", string(rune('a'+want))); e.Kind != "success" {
			t.Fatalf("durability %d: %s", d, e.Data)
		}
		want++
		if rows := c.Sync("notes"); len(rows) != want {
			t.Errorf("durability %d: %d rows, want %d", d, len(rows), want)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
