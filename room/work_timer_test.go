package room_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A timekeeper is a clock that knows which of its timers of one length are still to come.
type timekeeper struct {
	*roomtest.Clock
	length time.Duration
	mu     sync.Mutex
	set    map[room.Timer]bool
}

type keptTimer struct {
	room.Timer
	keeper *timekeeper
}

func (k *timekeeper) AfterFunc(d time.Duration, f func()) room.Timer {
	inner := k.Clock.AfterFunc(d, f)
	if d != k.length {
		return inner
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	timer := &keptTimer{inner, k}
	k.set[timer] = true
	return timer
}

func (t *keptTimer) Stop() bool {
	t.keeper.mu.Lock()
	defer t.keeper.mu.Unlock()
	delete(t.keeper.set, t)
	return t.Timer.Stop()
}

func (k *timekeeper) pending() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.set)
}

// Work that has ended leaves no timer: a room whose work takes milliseconds would else have thousands of them until the time of
// each is over.
func TestWorkStopsItsTimer(t *testing.T) {
	keeper := &timekeeper{Clock: roomtest.NewClock(), length: 12345 * time.Second, set: make(map[room.Timer]bool)}
	begun, release := make(chan struct{}), make(chan struct{})
	h, out := openOffice(t, func(context.Context) error {
		begun <- struct{}{}
		<-release
		return nil
	}, func(o *room.Options) { o.Clock, o.WorkTimeout = keeper, keeper.length })
	alice := h.Join("office", "r", "alice")
	for range 3 {
		mustSucceed(t, alice.Do("items", "delegate", object{"id": "w"}))
		<-begun
	}
	if n := keeper.pending(); n != 3 {
		t.Fatalf("%d timers run for 3 pieces of work", n)
	}
	close(release)
	for range 3 {
		if err := out.came(t); err != nil {
			t.Error(err)
		}
	}
	if n := keeper.pending(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}
