package room_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
)

// A room's earlier states can be had by seq: across its lives, a fault and a new process.
// A seq that the room has not come to is refused.
func TestStateAtSeq(t *testing.T) {
	h, _ := open(t)
	add := func(from, to int) {
		t.Helper()
		alice := h.Join("shop", "r", "alice")
		for i := from; i <= to; i++ {
			mustSucceed(t, alice.Do("items", "add", object{"id": fmt.Sprint(i), "name": "x"}))
		}
	}
	add(1, 3)
	h.CrashRoom("shop", "r")
	add(4, 5)
	h.SleepRoom("shop", "r")
	h.Reopen()
	add(6, 7)
	dir := t.TempDir()
	for seq, want := range map[room.Seq]string{1: "1", 3: "1 2 3", 4: "1 2 3 4", 5: "1 2 3 4 5", 7: "1 2 3 4 5 6 7"} {
		path := filepath.Join(dir, fmt.Sprint(seq))
		if err := h.StateAt(t.Context(), shopKey, room.Point{Seq: seq}, path); err != nil {
			t.Errorf("at %d: %v", seq, err)
			continue
		}
		to := room.Key{Namespace: "shop", Room: fmt.Sprint("at ", seq)}
		if _, err := h.Restore(t.Context(), to, path); err != nil {
			t.Fatal(err)
		}
		if got := ids(h.Join("shop", to.Room, "bob").Sync("items")); got != want {
			t.Errorf("at %d: %s, want %s", seq, got, want)
		}
	}
	path := filepath.Join(dir, "ahead")
	err := h.StateAt(t.Context(), shopKey, room.Point{Seq: 1 << 40}, path)
	if reach, is := errors.AsType[*storage.HistoryError](err); !is || !errors.Is(err, storage.ErrNotYet) || reach.Newest.Seq != 7 {
		t.Errorf("ahead of the room: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ahead of the room there is a file: %v", err)
	}
}

// The state that a restore left can be had after more actions; what was before it cannot, and the error says what can.
func TestStateAtAfterARestore(t *testing.T) {
	h, _ := open(t)
	add := func(id string) {
		t.Helper()
		h.Advance(time.Minute)
		mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": id, "name": "x"}))
	}
	add("1")
	backup := filepath.Join(t.TempDir(), "backup")
	if err := h.Backup(t.Context(), shopKey, backup); err != nil {
		t.Fatal(err)
	}
	add("2")
	h.Advance(time.Minute)
	if _, err := h.Restore(t.Context(), shopKey, backup); err != nil {
		t.Fatal(err)
	}
	restored := h.Clock.Now()
	add("3")
	add("4")
	path := filepath.Join(t.TempDir(), "restored")
	if err := h.StateAt(t.Context(), shopKey, room.Point{Time: restored}, path); err != nil {
		t.Fatal(err)
	}
	to := room.Key{Namespace: "shop", Room: "as it was"}
	if _, err := h.Restore(t.Context(), to, path); err != nil {
		t.Fatal(err)
	}
	if got := ids(h.Join("shop", to.Room, "bob").Sync("items")); got != "1" {
		t.Errorf("the restored state has %q", got)
	}
	err := h.StateAt(t.Context(), shopKey, room.Point{Time: restored.Add(-time.Second)}, path+" before")
	reach, is := errors.AsType[*storage.HistoryError](err)
	if !is || !errors.Is(err, storage.ErrNoHistory) || !reach.Oldest.Time.Equal(restored) || reach.Newest.Seq != reach.Oldest.Seq+2 {
		t.Fatalf("before the restore: %v", err)
	}
	for _, want := range []string{"shop/r: ", reach.Oldest.String(), reach.Newest.String(), reach.Asked.String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	if err := h.StateAt(t.Context(), shopKey, reach.Oldest, path+" oldest"); err != nil {
		t.Errorf("the oldest state of which it was said that it is there: %v", err)
	}
}

// How far back it goes is Options.TimeTravel; a room without a log has no earlier states.
func TestStateAtWithoutHistory(t *testing.T) {
	for name, opt := range map[string]roomtest.Option{
		"off":     func(o *room.Options) { o.TimeTravel = -1 },
		"no log":  func(o *room.Options) { o.Durability = room.DurableFiles },
		"an hour": func(o *room.Options) { o.TimeTravel = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := open(t, opt)
			alice := h.Join("shop", "r", "alice")
			mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
			mustSucceed(t, alice.Do("items", "add", object{"id": "2", "name": "x"}))
			h.Reopen() // what is released can go
			h.Advance(2 * time.Hour)
			h.Reopen()
			mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "3", "name": "x"}))
			path := filepath.Join(t.TempDir(), "state")
			if err := h.StateAt(t.Context(), shopKey, room.Point{Seq: 1}, path); !errors.Is(err, storage.ErrNoHistory) {
				t.Errorf("an earlier state: %v", err)
			}
			if err := h.StateAt(t.Context(), shopKey, room.Point{Seq: 3}, path); err != nil {
				t.Errorf("now: %v", err)
			}
		})
	}
}
