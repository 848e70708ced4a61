package hibernate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/storage"
)

var (
	errCall = errors.New("the room did not get through")
	errOpen = errors.New("the index cannot be opened")
)

// A belfry is an alarm clock with a time of the test's own. Everything happens in the test's goroutine: the timer fires in
// advance, and a call stays in calls until the test ends it.
type belfry struct {
	*AlarmClock
	t       *testing.T
	o       ClockOptions
	now     time.Time
	fires   time.Time // when the timer does; zero: it is stopped
	tick    func()
	unknown map[string]bool // namespaces
	refuse  map[string]bool // rooms that Ring gives an error for
	calls   []Call          // under way
	opens   int
	openErr error
	file    *storage.DB // as it was opened last
	log     bytes.Buffer
}

// Stop, with Reset, makes a belfry the clock's Timer.
func (b *belfry) Stop() bool {
	was := !b.fires.IsZero()
	b.fires = time.Time{}
	return was
}

func (b *belfry) Reset(d time.Duration) bool {
	was := b.Stop()
	b.fires = b.now.Add(d)
	return was
}

func newBelfry(t *testing.T) *belfry {
	t.Helper()
	b := &belfry{t: t, now: time.UnixMilli(1_000_000_000), unknown: make(map[string]bool), refuse: make(map[string]bool)}
	file := storage.Options{Path: filepath.Join(t.TempDir(), "index.db"), Namespace: "_alarms", Room: "index", Synchronous: storage.Off}
	b.o = ClockOptions{
		Now: func() time.Time { return b.now },
		AfterFunc: func(d time.Duration, f func()) Timer {
			b.tick = f
			b.Reset(d)
			return b
		},
		Known: func(namespace string) bool { return !b.unknown[namespace] },
		Ring: func(call Call) error {
			if b.refuse[call.Room] {
				return errCall
			}
			b.calls = append(b.calls, call)
			return nil
		},
		Open: func() (*storage.DB, error) {
			b.opens++
			if b.openErr != nil {
				return nil, b.openErr
			}
			db, err := storage.Open(file)
			b.file = db
			return db, err
		},
		Logger: slog.New(slog.NewTextHandler(&b.log, nil)),
	}
	b.open()
	t.Cleanup(func() { must(t, b.Close()) })
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// over is a context that has ended.
func over() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errCall)
	return ctx
}

func (b *belfry) open() {
	b.t.Helper()
	var err error
	b.AlarmClock, err = NewAlarmClock(b.o)
	must(b.t, err)
	must(b.t, b.Start())
}

// die ends the process, and begins the next one.
func (b *belfry) die() {
	b.t.Helper()
	if b.file != nil {
		b.file.Fence()
	}
	b.Stop()
	b.calls, b.o.Exists = nil, b.file != nil
	b.open()
}

func (b *belfry) in(d time.Duration) time.Time { return b.now.Add(d) }

// advance lets time pass, and the timer fire.
func (b *belfry) advance(d time.Duration) {
	end := b.now.Add(d)
	for !b.fires.IsZero() && !b.fires.After(end) {
		b.now = b.fires
		b.Stop()
		b.tick()
	}
	b.now = end
}

// called is the rooms that are called for, with a ! where it is to be careful.
func (b *belfry) called() string {
	var all []string
	for _, call := range b.calls {
		if call.Careful {
			all = append(all, call.Room+"!")
		} else {
			all = append(all, call.Room)
		}
	}
	return strings.Join(all, " ")
}

func (b *belfry) wantCalled(want string) {
	b.t.Helper()
	if got := b.called(); got != want {
		b.t.Errorf("called for %q, want %q", got, want)
	}
}

// end ends the call of a room, whose next alarm is then another.
func (b *belfry) end(room string, next time.Time, err error) {
	b.t.Helper()
	at := slices.IndexFunc(b.calls, func(c Call) bool { return c.Room == room })
	if at < 0 {
		b.t.Fatalf("%s is not called for", room)
	}
	done := b.calls[at].Done
	b.calls = slices.Delete(b.calls, at, at+1)
	if err == nil {
		b.Set(room, next)
	}
	done(err)
}

func (b *belfry) wantTimer(want time.Duration) {
	b.t.Helper()
	if b.fires.IsZero() || b.fires.Sub(b.now) != want {
		b.t.Errorf("the timer fires %v from now (%v), want %v", b.fires.Sub(b.now), b.fires.IsZero(), want)
	}
}

// Rooms are called for at their times and not before, the earliest first and of one time in the order of their names; the
// timer is set to the next, but for a minute at most.
func TestAlarmClockCallsInTime(t *testing.T) {
	b := newBelfry(t)
	if !b.fires.IsZero() {
		t.Error("the timer of a clock without alarms runs")
	}
	b.Set("n/later", b.in(90*time.Second))
	b.wantTimer(time.Minute)
	b.Set("n/c", b.in(2*time.Second))
	b.wantTimer(2 * time.Second)
	b.Set("n/b", b.in(2*time.Second))
	b.Set("n/a", b.in(time.Second))
	b.Set("n/moved", b.in(time.Second))
	b.Set("n/moved", b.in(100*time.Second))
	b.Set("n/gone", b.in(time.Second))
	b.Set("n/gone", time.Time{})
	b.Set("n/never", time.Time{})
	b.wantTimer(time.Second)
	if got := fmt.Sprint(b.Rooms()); got != "[n/a n/b n/c n/later n/moved]" {
		t.Errorf("with alarms are %s", got)
	}
	if due, some := b.Next("n/a"); !some || !due.Equal(b.in(time.Second)) {
		t.Errorf("the next of n/a is at %v, %v", due, some)
	}
	for _, room := range []string{"n/gone", "n/never", "n/other"} {
		if due, some := b.Next(room); some || !due.IsZero() {
			t.Errorf("the next of %s is at %v, %v", room, due, some)
		}
	}
	b.advance(999 * time.Millisecond)
	b.wantCalled("")
	b.advance(time.Millisecond)
	b.wantCalled("n/a")
	b.end("n/a", time.Time{}, nil)
	b.advance(time.Second)
	b.wantCalled("n/b n/c")
	b.end("n/c", b.in(time.Second), nil)
	b.end("n/b", time.Time{}, nil)
	b.advance(time.Second)
	b.wantCalled("n/c")
	b.end("n/c", time.Time{}, nil)
	b.advance(87 * time.Second)
	b.wantCalled("n/later")
	b.end("n/later", time.Time{}, nil)
	b.advance(10 * time.Second)
	b.wantCalled("n/moved")
	b.end("n/moved", time.Time{}, nil)
	if len(b.rooms) != 0 || len(b.queue) != 0 || !b.fires.IsZero() {
		t.Errorf("%d rooms and %d places are left, and the timer fires at %v", len(b.rooms), len(b.queue), b.fires)
	}
	b.Set("n/now", b.now)
	b.wantCalled("n/now") // at once, without the timer
	b.end("n/now", time.Time{}, nil)
}

// A timer that is late is set again, to fire at once, whatever else is set meanwhile.
func TestAlarmClockTimerIsLate(t *testing.T) {
	b := newBelfry(t)
	b.Set("n/a", b.in(time.Second))
	b.now = b.in(2 * time.Second)
	b.Set("n/b", b.in(time.Hour))
	b.wantTimer(0)
	b.advance(0)
	b.wantCalled("n/a")
	b.end("n/a", time.Time{}, nil)
}

// A room that runs its alarms is not called for again meanwhile, whatever it sets; what it has set counts after that.
func TestAlarmClockSetDuringCall(t *testing.T) {
	b := newBelfry(t)
	b.Set("n/a", b.now)
	b.Set("n/a", b.now.Add(-time.Second))
	b.Set("n/a", b.in(time.Second))
	b.advance(2 * time.Second)
	b.wantCalled("n/a")
	if len(b.queue) != 0 {
		t.Errorf("%d places of the queue are taken", len(b.queue))
	}
	b.end("n/a", b.in(time.Second), nil)
	b.wantCalled("")
	b.advance(time.Second)
	b.wantCalled("n/a")
	b.Set("n/a", time.Time{})
	if len(b.rooms) != 1 {
		t.Error("a room is forgotten while it is called for")
	}
	b.end("n/a", time.Time{}, nil)
	if len(b.rooms) != 0 {
		t.Error("a room without alarms is remembered")
	}
}

// As many rooms run alarms at once as may, and the next begins when one has ended, though the timer does not run meanwhile.
func TestAlarmClockAtOnce(t *testing.T) {
	b := newBelfry(t)
	b.o.AtOnce = 2
	b.die()
	for i := range 5 {
		b.Set(fmt.Sprint("n/", i), b.in(time.Second))
	}
	b.advance(time.Second)
	b.wantCalled("n/0 n/1")
	b.wantTimer(time.Minute) // there is nothing to do before one has ended
	b.end("n/1", time.Time{}, nil)
	b.wantCalled("n/0 n/2")
	b.refuse["n/3"] = true
	b.end("n/0", time.Time{}, nil) // the place of one whose call is refused is free at once
	b.wantCalled("n/2 n/4")
	b.refuse["n/3"] = false
	b.end("n/2", time.Time{}, nil)
	b.end("n/4", time.Time{}, nil)
	b.wantTimer(time.Second)
	b.advance(time.Second)
	b.wantCalled("n/3!")
	b.end("n/3", time.Time{}, nil)

	b.o.AtOnce = -1
	b.die()
	b.Set("n/waits", b.in(-time.Second))
	b.advance(time.Hour)
	b.wantCalled("")
	must(t, b.Settled(over())) // nothing will come of it
	b.o.AtOnce = 0
	b.die()
	for i := range 20 {
		b.Set(fmt.Sprint("n/", i), b.now)
	}
	if len(b.calls) != DefaultAtOnce {
		t.Errorf("%d are called for at once", len(b.calls))
	}
	for len(b.calls) > 0 {
		b.end(b.calls[0].Room, time.Time{}, nil)
	}
}

// A room that does not get through is called again after 1, 2, 4 and so on up to 60 seconds, and is to be careful then; it is
// among those that fail until it gets through. An alarm that is later than the pause comes at its own time.
func TestAlarmClockFailures(t *testing.T) {
	b := newBelfry(t)
	b.Set("n/b", b.now)
	b.Set("n/a", b.now)
	b.wantCalled("n/b n/a")
	if b.Failing() != nil {
		t.Errorf("%v fail", b.Failing())
	}
	b.end("n/a", time.Time{}, errCall)
	b.end("n/b", time.Time{}, errCall)
	for i, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		if got := fmt.Sprint(b.Failing()); got != "[n/a n/b]" || b.failing != 2 {
			t.Errorf("%s fail, %d", got, b.failing)
		}
		b.wantTimer(pause * time.Second)
		b.advance(pause*time.Second - time.Millisecond)
		b.wantCalled("")
		b.advance(time.Millisecond)
		b.wantCalled("n/a! n/b!")
		if i < 8 {
			b.end("n/a", time.Time{}, errCall)
			b.end("n/b", time.Time{}, errCall)
		}
	}
	b.end("n/a", b.in(time.Second), nil)
	b.end("n/b", time.Time{}, nil)
	if b.Failing() != nil || b.failing != 0 {
		t.Errorf("%v fail, %d", b.Failing(), b.failing)
	}
	b.advance(time.Second)
	b.wantCalled("n/a")
	b.Set("n/a", b.in(10*time.Second))
	b.end("n/a", time.Time{}, errCall)
	b.wantTimer(10 * time.Second)
	b.Set("n/a", time.Time{}) // it was woken otherwise, and has no alarm any more
	if len(b.rooms) != 0 || b.failing != 0 {
		t.Errorf("%d rooms are left, %d fail", len(b.rooms), b.failing)
	}

	// After a hundred failures the pause is still a minute, and it is known that it fails.
	b.Set("n/hopeless", b.now)
	for range 300 {
		b.end("n/hopeless", time.Time{}, errCall)
		b.advance(time.Minute)
		b.wantCalled("n/hopeless!")
	}
	b.end("n/hopeless", time.Time{}, nil)
	if len(b.rooms) != 0 || b.failing != 0 {
		t.Errorf("%d rooms are left, %d fail", len(b.rooms), b.failing)
	}
}

// Rooms of a namespace that is not known wait until it is. The operator is told of them, once, a minute after the start.
func TestAlarmClockHoldsUnknownNamespaces(t *testing.T) {
	b := newBelfry(t)
	b.unknown["late"], b.unknown["other"] = true, true
	b.Set("late/a", b.in(time.Second))
	b.Set("late/b", b.in(2*time.Second))
	b.Set("other/c", b.in(time.Second))
	b.Set("n/d", b.in(time.Second))
	b.advance(time.Second)
	b.wantCalled("n/d")
	b.end("n/d", time.Time{}, nil)
	b.advance(time.Second)
	b.Set("late/a", b.in(-time.Minute)) // as long as it is held there is no place for it
	if len(b.queue) != 0 || len(b.held["late"]) != 2 || len(b.held["other"]) != 1 {
		t.Errorf("%d places of the queue are taken, %v are held", len(b.queue), b.held)
	}
	b.advance(57 * time.Second)
	if strings.Contains(b.log.String(), "not registered") {
		t.Errorf("too early: %s", &b.log)
	}
	b.advance(3 * time.Minute)
	if lines := strings.Count(b.log.String(), "not registered"); lines != 2 || !strings.Contains(b.log.String(), "namespace=late rooms=2") {
		t.Errorf("%d lines: %s", lines, &b.log)
	}
	b.wantCalled("")
	b.unknown["late"] = false
	b.Release("late")
	b.wantCalled("late/a late/b")
	b.end("late/a", b.in(time.Second), nil)
	b.end("late/b", time.Time{}, nil)
	b.advance(time.Second)
	b.wantCalled("late/a")
	b.end("late/a", time.Time{}, nil)
	b.unknown["other"] = false
	b.Release("other")
	b.end("other/c", time.Time{}, nil)
	if len(b.rooms)+len(b.held) != 0 {
		t.Errorf("%d rooms are left, %d namespaces are held", len(b.rooms), len(b.held))
	}
}

// Settled waits for the rooms that are called for, calls for those that are due, and ends with its context.
func TestAlarmClockSettled(t *testing.T) { synctest.Test(t, testAlarmClockSettled) }

func testAlarmClockSettled(t *testing.T) {
	b := newBelfry(t)
	must(t, b.Settled(over()))
	b.Set("n/a", b.in(time.Second))
	must(t, b.Settled(over()))
	b.now = b.in(time.Second) // the timer is late
	if err := b.Settled(over()); !errors.Is(err, errCall) {
		t.Errorf("while a room is due: %v", err)
	}
	b.wantCalled("n/a")
	if err := b.Settled(over()); !errors.Is(err, errCall) {
		t.Errorf("while a room runs its alarms: %v", err)
	}
	waited := make(chan error, 2)
	for range cap(waited) {
		go func() { waited <- b.Settled(t.Context()) }()
	}
	synctest.Wait()
	if len(waited) != 0 {
		t.Error("settled while a room runs its alarms")
	}
	b.end("n/a", time.Time{}, nil)
	for range cap(waited) {
		must(t, <-waited)
	}
	if b.settled != nil {
		t.Error("somebody seems to wait")
	}
}

// After Stop no room is called for, and what was set is kept; after Close nothing is.
func TestAlarmClockStops(t *testing.T) {
	b := newBelfry(t)
	b.Set("n/a", b.in(time.Second))
	b.Stop()
	b.advance(time.Minute)
	b.Set("n/b", b.now)
	b.wantCalled("")
	must(t, b.Lower("n/b", b.now))
	if got := fmt.Sprint(b.Rooms()); got != "[n/a n/b]" {
		t.Errorf("with alarms are %s", got)
	}
	must(t, b.Close())
	must(t, b.Close())
	b.Set("n/c", b.now)
	b.Remind(Reminder{"n/c", b.now})
	if err := b.Lower("n/c", b.now); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := b.Write(); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, some := b.Next("n/c"); some || len(b.reminders) != 0 || !b.fires.IsZero() {
		t.Error("something is kept after Close")
	}
	must(t, b.Settled(over()))
}
