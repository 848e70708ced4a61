package room_test

import (
	"os"
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

// A directory that a crash left does not go on without its commit log, in which alone its newest transactions are. With the
// log it does, and after a good end without.
func TestDurabilityAfterACrash(t *testing.T) {
	dir, crashed := t.TempDir(), t.TempDir()
	with := func(dir string, d room.Durability) roomtest.Option {
		return func(o *room.Options) { o.Dir, o.Durability = dir, d }
	}
	h := roomtest.New(t, registerNotes, with(dir, room.Durable))
	mustSucceed(t, h.Join("notes", "r", "a").Do("notes", "add", "x"))
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	without, err := room.Open(room.Options{Dir: crashed, Durability: room.DurableFiles})
	if err == nil {
		t.Error("it goes on without what is in the log")
		_ = without.Shutdown(t.Context())
	}
	for _, d := range []room.Durability{room.Durable, room.DurableFiles} {
		again := roomtest.New(t, registerNotes, with(crashed, d))
		if rows := again.Join("notes", "r", "a").Sync("notes"); len(rows) != 1 {
			t.Errorf("durability %d: %d rows, want 1", d, len(rows))
		}
		if err := again.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
