package room_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
)

// A room's earlier states can be had by seq: across its lives, a fault and a new process.
// Seqs that are not there yet mean now; where there is no history the error says so.
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
	for seq, want := range map[room.Seq]string{1: "1", 3: "1 2 3", 4: "1 2 3 4", 5: "1 2 3 4 5", 7: "1 2 3 4 5 6 7", 1 << 40: "1 2 3 4 5 6 7"} {
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
