package room

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/storage"
)

// A slowDisk is a file system on which a look at a room's file takes a second of the test's clock, once slow is set.
type slowDisk struct {
	storage.FS
	clock *handClock
	slow  atomic.Bool
	looks atomic.Int32
}

func (s *slowDisk) Size(path string) (int64, error) {
	if s.slow.Load() && strings.Contains(path, "absent") {
		s.looks.Add(1)
		s.clock.mu.Lock()
		s.clock.now = s.clock.now.Add(time.Second)
		s.clock.mu.Unlock()
	}
	return s.FS.Size(path)
}

// More reminders than a group are worked off in several ones, and the work takes one part in remindPart of the time: a host
// whose disk is slow is not busy with nothing else.
func TestRemindersInGroups(t *testing.T) {
	clock := &handClock{now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), due: make(map[*handTimer]time.Time)}
	disk := &slowDisk{FS: storage.HostFS(), clock: clock}
	h, err := Open(Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Clock: clock, FS: disk, Durability: DurableFiles})
	if err == nil {
		err = h.Register("held", func() Handler { return new(heldRoom) })
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for i := range remindGroup + 1 {
		h.reminding.at(Key{Namespace: "held", Room: fmt.Sprint("absent", i)}, clock.Now())
	}
	if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	disk.slow.Store(true)
	clock.advance(time.Hour)
	took := time.Duration(disk.looks.Load()) * time.Second
	if took < remindGroup*time.Second {
		t.Fatalf("the first group took %v", took)
	}
	before := disk.looks.Load()
	clock.advance((remindPart-1)*took - time.Second)
	if disk.looks.Load() != before {
		t.Error("the second group comes too early")
	}
	clock.advance(time.Second)
	if disk.looks.Load() == before {
		t.Error("the second group does not come in time")
	}
}
