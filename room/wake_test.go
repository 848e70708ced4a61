package room_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/faultdisk"
)

// syncsAndWrites are how often the disk was written to and synced.
func syncsAndWrites(d *faultdisk.Disk) (syncs, writes int) {
	s := d.Stats()
	return s.Ops[faultdisk.OpSync] + s.Ops[faultdisk.OpSyncDir], s.Ops[faultdisk.OpWrite]
}

// A room that wakes, is read and sleeps again writes nothing and waits for no sync of the
// disk; its first action waits for one.
func TestWakeWritesNothing(t *testing.T) {
	disk, with := onDisk(t, 1)
	h := roomtest.New(t, registerNotes, with)
	a := h.Join("notes", "r", "a")
	a.Do("notes", "add", "one")
	a.Do("notes", "add", "two")
	h.SleepRoom("notes", "r")
	if rows := a.Sync("notes"); len(rows) != 2 { // this life notes what it found
		t.Fatalf("%d rows, want 2", len(rows))
	}
	a.Do("notes", "add", "three")
	h.SleepRoom("notes", "r")

	syncs, writes := syncsAndWrites(disk)
	if err := h.Settle(context.Background(), room.Key{Namespace: "notes", Room: "r"}); err != nil {
		t.Fatal(err)
	}
	h.SleepRoom("notes", "r")
	if s, w := syncsAndWrites(disk); s != syncs || w != writes {
		t.Errorf("a wake that changes nothing had %d syncs and %d writes", s-syncs, w-writes)
	}

	if err := h.Settle(context.Background(), room.Key{Namespace: "notes", Room: "r"}); err != nil {
		t.Fatal(err)
	}
	a.Do("notes", "add", "four")
	if s, _ := syncsAndWrites(disk); s != syncs+1 {
		t.Errorf("the first action behind a wake had %d syncs, want 1", s-syncs)
	}
}

// A new room whose kind has had one before costs two syncs for its file, and one for its
// first action.
func TestNewRoomSyncs(t *testing.T) {
	disk, with := onDisk(t, 1)
	h := roomtest.New(t, registerNotes, with)
	mustSucceed(t, h.Join("notes", "r1", "a").Do("notes", "add", "one"))
	for _, name := range []string{"r2", "r3"} { // the directory may be new, too
		syncs, _ := syncsAndWrites(disk)
		a := h.Join("notes", name, "a")
		mustSucceed(t, a.Do("notes", "add", "one"))
		if s, _ := syncsAndWrites(disk); s > syncs+4 {
			t.Errorf("a new room had %d syncs, want 3, and 1 for a new directory", s-syncs)
		}
		if rows := a.Sync("notes"); len(rows) != 1 {
			t.Errorf("%d rows, want 1", len(rows))
		}
	}
}

// Upkeep is done once an hour, not with each wake.
func TestUpkeepOverSleeps(t *testing.T) {
	h := roomtest.New(t, registerNotes, func(o *room.Options) { o.ClientRetention = time.Minute })
	a := h.Join("notes", "r", "a")
	known := func() string { return string(a.Do("notes", "clients", nil).Value) }
	known() // the first turn's maintenance
	a.SendJSON(object{"id": "1", "channel": "notes", "rpc": true, "client": "c", "mutation": 1, "action": object{"type": "add", "payload": "one"}})
	h.SleepRoom("notes", "r")
	h.Advance(30 * time.Minute)
	known()
	if got := known(); got != "1" {
		t.Errorf("half an hour after the last maintenance: %s clients, want 1", got)
	}
	h.SleepRoom("notes", "r")
	h.Advance(31 * time.Minute)
	known()
	if got := known(); got != "0" {
		t.Errorf("an hour after the last maintenance: %s clients, want 0", got)
	}
}

// The earliest state of a room that began as a copy of another one is that of an empty room.
func TestStateAtTheBeginningOfACopiedRoom(t *testing.T) {
	h := roomtest.New(t, registerNotes)
	h.Join("notes", "first", "a").Do("notes", "add", "one")
	before := h.Clock.Now()
	h.Advance(time.Minute)
	h.Join("notes", "second", "a").Do("notes", "add", "one")
	for name, want := range map[string]int{"first": 1, "second": 0} {
		path := filepath.Join(t.TempDir(), name)
		key := room.Key{Namespace: "notes", Room: name}
		if err := h.StateAt(t.Context(), key, room.Point{Time: before}, path); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := h.Restore(t.Context(), key, path); err != nil {
			t.Fatal(err)
		}
		if rows := h.Join("notes", name, "b").Sync("notes"); len(rows) != want {
			t.Errorf("%s: %d rows, want %d", name, len(rows), want)
		}
	}
}
