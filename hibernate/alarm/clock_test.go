package alarm

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

// A testClock is an alarm clock with its own time. Everything happens in the test's goroutine: the timer fires in advance, and
// a call stays in calls until the test ends it.
type testClock struct {
	*Clock
	t       *testing.T
	o       Options
	now     time.Time
	fires   time.Time // when the timer does; zero if it is stopped
	tick    func()
	unknown map[string]bool // namespaces
	refuse  map[string]bool // rooms that Send returns an error for
	calls   []Call          // under way
	opens   int
	openErr error
	file    *storage.DB // as it was opened last
	log     bytes.Buffer
}

// Stop and Reset make a testClock the clock's Timer.
func (c *testClock) Stop() bool {
	was := !c.fires.IsZero()
	c.fires = time.Time{}
	return was
}

func (c *testClock) Reset(d time.Duration) bool {
	was := c.Stop()
	c.fires = c.now.Add(d)
	return was
}

func newTestClock(t *testing.T) *testClock {
	t.Helper()
	c := &testClock{t: t, now: time.UnixMilli(1_000_000_000), unknown: make(map[string]bool), refuse: make(map[string]bool)}
	file := storage.Options{Path: filepath.Join(t.TempDir(), "index.db"), Namespace: "_alarms", Room: "index", Synchronous: storage.Off}
	c.o = Options{
		Now: func() time.Time { return c.now },
		AfterFunc: func(d time.Duration, f func()) Timer {
			c.tick = f
			c.Reset(d)
			return c
		},
		Known: func(namespace string) bool { return !c.unknown[namespace] },
		Send: func(call Call) error {
			if c.refuse[call.Room] {
				return errCall
			}
			c.calls = append(c.calls, call)
			return nil
		},
		Open: func() (*storage.DB, error) {
			c.opens++
			if c.openErr != nil {
				return nil, c.openErr
			}
			db, err := storage.Open(file)
			c.file = db
			return db, err
		},
		Logger: slog.New(slog.NewTextHandler(&c.log, nil)),
	}
	c.open()
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// over returns a context that has ended.
func over() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errCall)
	return ctx
}

func (c *testClock) open() {
	c.t.Helper()
	var err error
	c.Clock, err = Open(c.o)
	must(c.t, err)
	must(c.t, c.Start())
}

// die ends the process without closing the clock, and starts the next one.
func (c *testClock) die() {
	c.t.Helper()
	if c.file != nil {
		c.file.Fence()
	}
	c.Stop()
	c.calls, c.o.Exists = nil, c.file != nil
	c.open()
}

func (c *testClock) in(d time.Duration) time.Time { return c.now.Add(d) }

// advance moves the time, and lets the timer fire.
func (c *testClock) advance(d time.Duration) {
	end := c.now.Add(d)
	for !c.fires.IsZero() && !c.fires.After(end) {
		c.now = c.fires
		c.Stop()
		c.tick()
	}
	c.now = end
}

// called returns the rooms that are being called, with a ! after those that are to count a try first.
func (c *testClock) called() string {
	var all []string
	for _, call := range c.calls {
		if call.CountFirst {
			all = append(all, call.Room+"!")
		} else {
			all = append(all, call.Room)
		}
	}
	return strings.Join(all, " ")
}

func (c *testClock) wantCalled(want string) {
	c.t.Helper()
	if got := c.called(); got != want {
		c.t.Errorf("called %q, want %q", got, want)
	}
}

// end ends the call of a room. Without an error the room has another next alarm then.
func (c *testClock) end(room string, next time.Time, err error) {
	c.t.Helper()
	at := slices.IndexFunc(c.calls, func(call Call) bool { return call.Room == room })
	if at < 0 {
		c.t.Fatalf("%s is not called", room)
	}
	done := c.calls[at].Done
	c.calls = slices.Delete(c.calls, at, at+1)
	if err == nil {
		c.Set(room, next)
	}
	done(err)
}

func (c *testClock) wantTimer(want time.Duration) {
	c.t.Helper()
	if c.fires.IsZero() || c.fires.Sub(c.now) != want {
		c.t.Errorf("the timer fires %v from now (%v), want %v", c.fires.Sub(c.now), c.fires.IsZero(), want)
	}
}

// Rooms are called at their times and not before, the earliest first, and those of one time in the order of their names. The
// timer is set to the next, but to a minute at most.
func TestClockCallsInTime(t *testing.T) {
	c := newTestClock(t)
	if !c.fires.IsZero() {
		t.Error("the timer of a clock without alarms runs")
	}
	c.Set("n/later", c.in(90*time.Second))
	c.wantTimer(time.Minute)
	c.Set("n/c", c.in(2*time.Second))
	c.wantTimer(2 * time.Second)
	c.Set("n/b", c.in(2*time.Second))
	c.Set("n/a", c.in(time.Second))
	c.Set("n/moved", c.in(time.Second))
	c.Set("n/moved", c.in(100*time.Second))
	c.Set("n/gone", c.in(time.Second))
	c.Set("n/gone", time.Time{})
	c.Set("n/never", time.Time{})
	c.wantTimer(time.Second)
	if got := fmt.Sprint(c.Rooms()); got != "[n/a n/b n/c n/later n/moved]" {
		t.Errorf("with alarms are %s", got)
	}
	if due, some := c.Next("n/a"); !some || !due.Equal(c.in(time.Second)) {
		t.Errorf("the next of n/a is at %v, %v", due, some)
	}
	for _, room := range []string{"n/gone", "n/never", "n/other"} {
		if due, some := c.Next(room); some || !due.IsZero() {
			t.Errorf("the next of %s is at %v, %v", room, due, some)
		}
	}
	c.advance(999 * time.Millisecond)
	c.wantCalled("")
	c.advance(time.Millisecond)
	c.wantCalled("n/a")
	c.end("n/a", time.Time{}, nil)
	c.advance(time.Second)
	c.wantCalled("n/b n/c")
	c.end("n/c", c.in(time.Second), nil)
	c.end("n/b", time.Time{}, nil)
	c.advance(time.Second)
	c.wantCalled("n/c")
	c.end("n/c", time.Time{}, nil)
	c.advance(87 * time.Second)
	c.wantCalled("n/later")
	c.end("n/later", time.Time{}, nil)
	c.advance(10 * time.Second)
	c.wantCalled("n/moved")
	c.end("n/moved", time.Time{}, nil)
	if len(c.rooms) != 0 || len(c.queue) != 0 || !c.fires.IsZero() {
		t.Errorf("%d rooms and %d places are left, and the timer fires at %v", len(c.rooms), len(c.queue), c.fires)
	}
	c.Set("n/now", c.now)
	c.wantCalled("n/now") // at once, without the timer
	c.end("n/now", time.Time{}, nil)
}

// A timer that is late is set again, to fire at once, whatever else is set meanwhile.
func TestClockTimerIsLate(t *testing.T) {
	c := newTestClock(t)
	c.Set("n/a", c.in(time.Second))
	c.now = c.in(2 * time.Second)
	c.Set("n/b", c.in(time.Hour))
	c.wantTimer(0)
	c.advance(0)
	c.wantCalled("n/a")
	c.end("n/a", time.Time{}, nil)
}

// A room that runs its alarms is not called again meanwhile, whatever it sets. What it has set counts afterwards.
func TestClockSetDuringCall(t *testing.T) {
	c := newTestClock(t)
	c.Set("n/a", c.now)
	c.Set("n/a", c.now.Add(-time.Second))
	c.Set("n/a", c.in(time.Second))
	c.advance(2 * time.Second)
	c.wantCalled("n/a")
	if len(c.queue) != 0 {
		t.Errorf("%d places of the queue are taken", len(c.queue))
	}
	c.end("n/a", c.in(time.Second), nil)
	c.wantCalled("")
	c.advance(time.Second)
	c.wantCalled("n/a")
	c.Set("n/a", time.Time{})
	if len(c.rooms) != 1 {
		t.Error("a room is forgotten while it is called for")
	}
	c.end("n/a", time.Time{}, nil)
	if len(c.rooms) != 0 {
		t.Error("a room without alarms is remembered")
	}
}

// MaxCalls rooms run alarms at once. The next one begins when one has ended, although the timer does not fire meanwhile.
func TestClockMaxCalls(t *testing.T) {
	c := newTestClock(t)
	c.o.MaxCalls = 2
	c.die()
	for i := range 5 {
		c.Set(fmt.Sprint("n/", i), c.in(time.Second))
	}
	c.advance(time.Second)
	c.wantCalled("n/0 n/1")
	c.wantTimer(59 * time.Second) // the check that was planned when the alarms were set: there is nothing to do before a call ends
	c.end("n/1", time.Time{}, nil)
	c.wantCalled("n/0 n/2")
	c.refuse["n/3"] = true
	c.end("n/0", time.Time{}, nil) // the place of one whose call is refused is free at once
	c.wantCalled("n/2 n/4")
	c.refuse["n/3"] = false
	c.end("n/2", time.Time{}, nil)
	c.end("n/4", time.Time{}, nil)
	c.wantTimer(time.Second)
	c.advance(time.Second)
	c.wantCalled("n/3!")
	c.end("n/3", time.Time{}, nil)

	c.o.MaxCalls = -1
	c.die()
	c.Set("n/waits", c.in(-time.Second))
	c.advance(time.Hour)
	c.wantCalled("")
	must(t, c.WaitIdle(over())) // nothing will come of it
	c.o.MaxCalls = 0
	c.die()
	for i := range 20 {
		c.Set(fmt.Sprint("n/", i), c.now)
	}
	if len(c.calls) != DefaultMaxCalls {
		t.Errorf("%d are called at once", len(c.calls))
	}
	for len(c.calls) > 0 {
		c.end(c.calls[0].Room, time.Time{}, nil)
	}
}

// A room whose call fails is called again after 1, 2, 4 and so on up to 60 seconds, and is to count a try first. It is
// failing until a call succeeds. An alarm that is later than the pause comes at its own time.
func TestClockFailures(t *testing.T) {
	c := newTestClock(t)
	c.Set("n/b", c.now)
	c.Set("n/a", c.now)
	c.wantCalled("n/b n/a")
	if c.Failing() != nil {
		t.Errorf("%v fail", c.Failing())
	}
	c.end("n/a", time.Time{}, errCall)
	c.end("n/b", time.Time{}, errCall)
	for i, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		if got := fmt.Sprint(c.Failing()); got != "[n/a n/b]" || c.failing != 2 {
			t.Errorf("%s fail, %d", got, c.failing)
		}
		c.wantTimer(pause * time.Second)
		c.advance(pause*time.Second - time.Millisecond)
		c.wantCalled("")
		c.advance(time.Millisecond)
		c.wantCalled("n/a! n/b!")
		if i < 8 {
			c.end("n/a", time.Time{}, errCall)
			c.end("n/b", time.Time{}, errCall)
		}
	}
	c.end("n/a", c.in(time.Second), nil)
	c.end("n/b", time.Time{}, nil)
	if c.Failing() != nil || c.failing != 0 {
		t.Errorf("%v fail, %d", c.Failing(), c.failing)
	}
	c.advance(time.Second)
	c.wantCalled("n/a")
	c.Set("n/a", c.in(10*time.Second))
	c.end("n/a", time.Time{}, errCall)
	c.wantTimer(10 * time.Second)
	c.Set("n/a", time.Time{}) // it was woken otherwise, and has no alarm any more
	if len(c.rooms) != 0 || c.failing != 0 {
		t.Errorf("%d rooms are left, %d fail", len(c.rooms), c.failing)
	}

	// After a hundred failures the pause is still a minute, and it is known that it fails.
	c.Set("n/hopeless", c.now)
	for range 300 {
		c.end("n/hopeless", time.Time{}, errCall)
		c.advance(time.Minute)
		c.wantCalled("n/hopeless!")
	}
	c.end("n/hopeless", time.Time{}, nil)
	if len(c.rooms) != 0 || c.failing != 0 {
		t.Errorf("%d rooms are left, %d fail", len(c.rooms), c.failing)
	}
}

// Rooms of a namespace that is not known wait until it is. The operator is told of them, once, a minute after the start.
func TestClockHoldsUnknownNamespaces(t *testing.T) {
	c := newTestClock(t)
	c.unknown["late"], c.unknown["other"] = true, true
	c.Set("late/a", c.in(time.Second))
	c.Set("late/b", c.in(2*time.Second))
	c.Set("other/c", c.in(time.Second))
	c.Set("n/d", c.in(time.Second))
	c.advance(time.Second)
	c.wantCalled("n/d")
	c.end("n/d", time.Time{}, nil)
	c.advance(time.Second)
	c.Set("late/a", c.in(-time.Minute)) // as long as it is held there is no place for it
	if len(c.queue) != 0 || len(c.held["late"]) != 2 || len(c.held["other"]) != 1 {
		t.Errorf("%d places of the queue are taken, %v are held", len(c.queue), c.held)
	}
	c.advance(57 * time.Second)
	if strings.Contains(c.log.String(), "not registered") {
		t.Errorf("too early: %s", &c.log)
	}
	c.advance(3 * time.Minute)
	if lines := strings.Count(c.log.String(), "not registered"); lines != 2 || !strings.Contains(c.log.String(), "namespace=late rooms=2") {
		t.Errorf("%d lines: %s", lines, &c.log)
	}
	c.wantCalled("")
	c.unknown["late"] = false
	c.Release("late")
	c.wantCalled("late/a late/b")
	c.end("late/a", c.in(time.Second), nil)
	c.end("late/b", time.Time{}, nil)
	c.advance(time.Second)
	c.wantCalled("late/a")
	c.end("late/a", time.Time{}, nil)
	c.unknown["other"] = false
	c.Release("other")
	c.end("other/c", time.Time{}, nil)
	if len(c.rooms)+len(c.held) != 0 {
		t.Errorf("%d rooms are left, %d namespaces are held", len(c.rooms), len(c.held))
	}
}

// WaitIdle waits for the rooms that are called for, calls for those that are due, and ends with its context.
func TestWaitIdle(t *testing.T) { synctest.Test(t, testWaitIdle) }

func testWaitIdle(t *testing.T) {
	c := newTestClock(t)
	must(t, c.WaitIdle(over()))
	c.Set("n/a", c.in(time.Second))
	must(t, c.WaitIdle(over()))
	c.now = c.in(time.Second) // the timer is late
	if err := c.WaitIdle(over()); !errors.Is(err, errCall) {
		t.Errorf("while a room is due: %v", err)
	}
	c.wantCalled("n/a")
	if err := c.WaitIdle(over()); !errors.Is(err, errCall) {
		t.Errorf("while a room runs its alarms: %v", err)
	}
	waited := make(chan error, 2)
	for range cap(waited) {
		go func() { waited <- c.WaitIdle(t.Context()) }()
	}
	synctest.Wait()
	if len(waited) != 0 {
		t.Error("settled while a room runs its alarms")
	}
	c.end("n/a", time.Time{}, nil)
	for range cap(waited) {
		must(t, <-waited)
	}
	if c.finished != nil {
		t.Error("somebody seems to wait")
	}
}

// After Stop no room is called for, and what was set is kept; after Close nothing is.
func TestClockStops(t *testing.T) {
	c := newTestClock(t)
	c.Set("n/a", c.in(time.Second))
	c.Stop()
	c.advance(time.Minute)
	c.Set("n/b", c.now)
	c.wantCalled("")
	must(t, c.Lower("n/b", c.now))
	if got := fmt.Sprint(c.Rooms()); got != "[n/a n/b]" {
		t.Errorf("with alarms are %s", got)
	}
	must(t, c.Close())
	must(t, c.Close())
	c.Set("n/c", c.now)
	c.AddReminder(Reminder{"n/c", c.now})
	if err := c.Lower("n/c", c.now); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := c.Sync(); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, some := c.Next("n/c"); some || len(c.reminders) != 0 || !c.fires.IsZero() {
		t.Error("something is kept after Close")
	}
	must(t, c.WaitIdle(over()))
}

// A clock that is told of new times again and again brings its index up to date all the same.
func TestClockFlushesWhileTimesChange(t *testing.T) {
	c := newTestClock(t)
	must(t, c.Lower("n/a", c.in(time.Hour)))
	c.AddReminder(Reminder{"n/a", c.in(24 * time.Hour)})
	for range 6 {
		c.Set("n/a", c.in(2*time.Hour)) // put off, so that no bound is lowered
		c.advance(10 * time.Second)
	}
	if found, err := c.Reminders(Reminder{}, 10); err != nil || len(found) != 1 {
		t.Errorf("after a minute the index has reminders %v (%v)", found, err)
	}
}
