package alarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/storage"
)

// A fakeTimer is due when its world's time has reached at.
type fakeTimer struct {
	w   *world
	at  time.Time
	set bool
	f   func()
}

func (t *fakeTimer) Stop() bool {
	was := t.set
	t.set = false
	return was
}

func (t *fakeTimer) Reset(d time.Duration) bool {
	was := t.set
	t.at, t.set = t.w.now.Add(d), true
	return was
}

// A world is a clock with the time, the rooms and the file of a test. All runs in the test's own goroutine.
type world struct {
	t     *testing.T
	now   time.Time
	timer *fakeTimer
	o     Options
	c     *Clock
	known map[string]bool
	calls []Call           // in the order in which they were sent
	opens int              // of the file
	fail  map[string]error // of Send, by room
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.UnixMilli(1_000_000_000), known: map[string]bool{"n": true}, fail: map[string]error{}}
	path := filepath.Join(t.TempDir(), "index.db")
	w.o = Options{
		Now: func() time.Time { return w.now },
		AfterFunc: func(d time.Duration, f func()) Timer {
			w.timer = &fakeTimer{w: w, at: w.now.Add(d), set: true, f: f}
			return w.timer
		},
		Known: func(namespace string) bool { return w.known[namespace] },
		Send: func(call Call) error {
			if err := w.fail[call.Room]; err != nil {
				return err
			}
			w.calls = append(w.calls, call)
			return nil
		},
		Open: func() (*storage.DB, error) {
			w.opens++
			return storage.Open(storage.Options{Path: path, Namespace: "_alarms", Room: "index"})
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	w.open()
	t.Cleanup(func() { w.close() })
	return w
}

// open opens the clock and starts it.
func (w *world) open() {
	w.t.Helper()
	w.timer = nil
	c, err := Open(w.o)
	if err == nil {
		w.c = c
		err = c.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.t.Helper()
	if err := w.c.Close(); err != nil {
		w.t.Error(err)
	}
}

// crash ends the process of the clock: nothing is written any more.
func (w *world) crash() {
	w.t.Helper()
	w.c.Stop()
	if err := w.c.closeIndex(nil); err != nil {
		w.t.Fatal(err)
	}
	w.c.mu.Lock()
	w.c.closed = true
	w.c.mu.Unlock()
	w.calls = nil
	w.o.Exists = w.opens > 0
	w.open()
}

// reopen closes the clock and opens it again.
func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.calls = nil
	w.o.Exists = w.opens > 0
	w.open()
}

// advance moves the time, and runs the timer whenever it is due.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for w.timer != nil && w.timer.set && !w.timer.at.After(end) {
		w.now = w.timer.at
		w.timer.set = false
		w.timer.f()
	}
	w.now = end
}

// in returns a time that is d from now.
func (w *world) in(d time.Duration) time.Time { return w.now.Add(d) }

// alarm sets a room's alarm as a room does it.
func (w *world) alarm(room string, at time.Time) {
	w.t.Helper()
	if err := w.c.Lower(room, at); err != nil {
		w.t.Fatal(err)
	}
	w.c.Set(room, at)
}

// called returns the rooms that were called since the last time, with a "!" where the try is to be counted first.
func (w *world) called() string {
	var names []string
	for _, call := range w.calls {
		name := strings.TrimPrefix(call.Room, "n/")
		if call.CountFirst {
			name += "!"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// answer ends all calls: with err, or the rooms have no more alarms. It returns what was called.
func (w *world) answer(err error) string {
	calls, names := w.calls, w.called()
	w.calls = nil
	for _, call := range calls {
		if err == nil {
			w.c.Set(call.Room, time.Time{})
		}
		call.Done(err)
	}
	return names
}

func (w *world) expect(got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("called %q, want %q", got, want)
	}
}

// Rooms are called at their times, those with the same time by name, and a room that changes its time at the new one.
func TestClockCallsRoomsInOrder(t *testing.T) {
	w := newWorld(t)
	w.alarm("n/c", w.in(2*time.Second))
	w.alarm("n/b", w.in(time.Second))
	w.alarm("n/a", w.in(time.Second))
	w.alarm("n/d", w.in(time.Second))
	w.c.Set("n/d", w.in(time.Hour))
	if got := w.c.Rooms(); !slices.Equal(got, []string{"n/a", "n/b", "n/c", "n/d"}) {
		t.Errorf("rooms %q", got)
	}
	w.advance(999 * time.Millisecond)
	w.expect(w.called(), "")
	w.advance(time.Millisecond)
	w.expect(w.answer(nil), "a b")
	w.advance(time.Minute)
	w.expect(w.answer(nil), "c")
	if at, some := w.c.Next("n/d"); !some || !at.Equal(time.UnixMilli(1_000_000_000).Add(time.Hour)) {
		t.Errorf("next %v, %v", at, some)
	}
	if _, some := w.c.Next("n/a"); some {
		t.Error("a room whose alarm has run has one")
	}
	w.advance(time.Hour)
	w.expect(w.answer(nil), "d")
}

// No more rooms than MaxCalls run at the same time; a negative number calls none.
func TestClockLimitsCalls(t *testing.T) {
	w := newWorld(t)
	w.o.MaxCalls = 2
	w.reopen()
	for _, room := range []string{"n/a", "n/b", "n/c"} {
		w.alarm(room, w.in(time.Second))
	}
	w.advance(time.Second)
	w.expect(w.called(), "a b")
	first := w.calls[0]
	w.c.Set(first.Room, time.Time{})
	first.Done(nil)
	w.expect(w.called(), "a b c")
	w.o.MaxCalls = -1
	w.reopen()
	w.alarm("n/e", w.in(0))
	w.advance(time.Hour)
	w.expect(w.called(), "")
	if err := w.c.WaitIdle(t.Context()); err != nil {
		t.Errorf("a clock that calls nobody is waited for: %v", err)
	}
}

// A room whose call fails is called again after 1, 2, 4 … seconds, at most a minute, and counts its tries.
func TestClockCallsAgainAfterFailure(t *testing.T) {
	w := newWorld(t)
	w.alarm("n/r", w.in(0))
	w.expect(w.answer(errors.New("hung")), "r")
	if got := w.c.Failing(); !slices.Equal(got, []string{"n/r"}) {
		t.Errorf("failing %q", got)
	}
	for _, seconds := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		w.advance(seconds*time.Second - time.Millisecond)
		w.expect(w.called(), "")
		w.advance(time.Millisecond)
		w.expect(w.answer(errors.New("hung")), "r!")
	}
	w.advance(time.Minute)
	w.expect(w.answer(nil), "r!")
	if got := w.c.Failing(); got != nil {
		t.Errorf("failing %q", got)
	}
	w.fail["n/r"] = errors.New("full")
	w.alarm("n/r", w.in(0)) // the call is not even sent
	w.expect(w.called(), "")
	delete(w.fail, "n/r")
	w.advance(time.Second)
	w.expect(w.called(), "r!")
}

// Rooms of a namespace that is not known are held until Release, and do not take the place of others.
func TestClockHoldsUnknownNamespaces(t *testing.T) {
	w := newWorld(t)
	w.o.MaxCalls = 1
	w.reopen()
	w.alarm("other/r", w.in(time.Second))
	w.alarm("n/r", w.in(2*time.Second))
	w.advance(2 * time.Second)
	w.expect(w.answer(nil), "r")
	w.known["other"] = true
	w.c.Release("other")
	w.expect(w.answer(nil), "other/r")
}

// Whenever the process ends, the index has a bound that is not later than the room's next alarm.
func TestIndexHasLowerBounds(t *testing.T) {
	w := newWorld(t)
	next := func(room string) time.Duration {
		at, some := w.c.Next(room)
		if !some {
			return -1
		}
		return at.Sub(time.UnixMilli(1_000_000_000))
	}
	if err := w.c.Lower("n/begun", w.in(time.Minute)); err != nil { // and then the process dies
		t.Fatal(err)
	}
	w.alarm("n/later", w.in(time.Hour))
	w.c.Set("n/later", w.in(2*time.Hour))
	w.alarm("n/sooner", w.in(time.Hour))
	w.alarm("n/sooner", w.in(30*time.Minute))
	w.alarm("n/gone", w.in(time.Hour))
	w.c.Set("n/gone", time.Time{})
	w.crash()
	for room, want := range map[string]time.Duration{"n/begun": time.Minute, "n/later": 2 * time.Hour, "n/sooner": 30 * time.Minute} {
		if got := next(room); got < 0 || got > want {
			t.Errorf("after a crash the next alarm of %s is after %v, want at most %v", room, got, want)
		}
	}
	w.c.Set("n/begun", time.Time{})
	w.c.Set("n/later", w.in(2*time.Hour))
	w.c.Set("n/gone", time.Time{})
	w.reopen() // and then all is exact
	for room, want := range map[string]time.Duration{"n/begun": -1, "n/later": 2 * time.Hour, "n/sooner": 30 * time.Minute, "n/gone": -1} {
		if got := next(room); got != want {
			t.Errorf("after a close the next alarm of %s is after %v, want %v", room, got, want)
		}
	}
}

// A clock that has nothing to write makes no file.
func TestIndexIsMadeWhenNeeded(t *testing.T) {
	w := newWorld(t)
	w.c.MarkComplete("n")
	w.c.Set("n/r", time.Time{})
	w.advance(time.Hour)
	w.close()
	if w.opens > 0 {
		t.Errorf("the file was opened %d times", w.opens)
	}
}

// A process that dies before it has called all rooms with missed alarms makes its successor careful.
func TestClockAfterCrashesCallsOneRoomAtATime(t *testing.T) {
	w := newWorld(t)
	w.alarm("n/a", w.in(time.Minute))
	w.alarm("n/b", w.in(time.Minute))
	w.c.Stop()
	w.now = w.in(time.Hour)
	w.crash()
	w.expect(w.called(), "a b")
	w.crash()
	w.expect(w.answer(nil), "a!")
	w.expect(w.answer(nil), "b!")
	w.alarm("n/c", w.in(0))
	w.expect(w.answer(nil), "c") // all that was missed is called
	w.reopen()
	w.alarm("n/d", w.in(0))
	w.c.Stop()
	w.crash()
	w.expect(w.called(), "d") // and the count of starts is 0 again
}

func TestIndexKeepsMarks(t *testing.T) {
	w := newWorld(t)
	w.alarm("n/r", w.in(time.Hour))
	w.c.MarkComplete("n")
	w.c.MarkComplete("lost")
	if !w.c.Complete("n") || w.c.Complete("other") {
		t.Error("the mark is not that of its namespace")
	}
	if err := w.c.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := w.c.MarkIncomplete("lost"); err != nil {
		t.Fatal(err)
	}
	w.crash()
	if !w.c.Complete("n") || w.c.Complete("lost") {
		t.Errorf("after a crash: %v, %v", w.c.Complete("n"), w.c.Complete("lost"))
	}
}

// Reminders come back by time and room, in parts, over a restart, until they are removed.
func TestReminders(t *testing.T) {
	w := newWorld(t)
	if got, err := w.c.Reminders(Reminder{}, 10); len(got) > 0 || err != nil {
		t.Errorf("reminders %v, %v", got, err)
	}
	b, a, early := Reminder{"n/b", w.in(time.Hour)}, Reminder{"n/a", w.in(time.Hour)}, Reminder{"n/b", w.in(time.Minute)}
	for _, r := range []Reminder{b, a, early, a} {
		w.c.AddReminder(r)
	}
	w.reopen()
	first, err := w.c.Reminders(Reminder{}, 2)
	if err != nil || len(first) != 2 || first[0].Room != "n/b" || !first[0].Due.Equal(early.Due) || first[1].Room != "n/a" {
		t.Fatalf("reminders %v, %v", first, err)
	}
	rest, err := w.c.Reminders(first[1], 2)
	if err != nil || len(rest) != 1 || rest[0].Room != "n/b" || !rest[0].Due.Equal(b.Due) {
		t.Errorf("reminders %v, %v", rest, err)
	}
	if err := w.c.RemoveReminders(first); err != nil {
		t.Fatal(err)
	}
	w.crash()
	if got, err := w.c.Reminders(Reminder{}, 10); err != nil || len(got) != 1 || got[0].Room != "n/b" {
		t.Errorf("reminders %v, %v", got, err)
	}
}

// An index that cannot be written fails who needs it, and works again as soon as the disk does.
func TestIndexThatCannotBeOpened(t *testing.T) {
	w := newWorld(t)
	open, broken := w.c.o.Open, errors.New("disk full")
	w.c.o.Open = func() (*storage.DB, error) { return nil, broken }
	if err := w.c.Lower("n/r", w.in(time.Hour)); !errors.Is(err, broken) {
		t.Errorf("Lower: %v", err)
	}
	w.c.AddReminder(Reminder{"n/r", w.in(time.Hour)})
	w.c.MarkComplete("n")
	if err := w.c.Sync(); !errors.Is(err, broken) {
		t.Errorf("Sync: %v", err)
	}
	w.c.o.Open = open
	w.alarm("n/r", w.in(time.Hour))
	w.crash()
	if _, some := w.c.Next("n/r"); !some || !w.c.Complete("n") {
		t.Error("what failed was not written with the next group")
	}
	if got, err := w.c.Reminders(Reminder{}, 10); err != nil || len(got) != 1 {
		t.Errorf("reminders %v, %v", got, err)
	}
	w.close()
	if err := w.c.Lower("n/r", w.in(0)); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Lower after Close: %v", err)
	}
}

func TestWaitIdle(t *testing.T) {
	w := newWorld(t)
	if err := w.c.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.alarm("n/r", w.in(0))
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := w.c.WaitIdle(ctx); !errors.Is(err, cause) {
		t.Errorf("while a room runs: %v", err)
	}
	w.expect(w.answer(errors.New("hung")), "r") // it is called later
	if err := w.c.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Many rooms lower their bounds at once, and share transactions: each bound is durable when its Lower returns.
func TestLowerFromManyGoroutines(t *testing.T) {
	w := newWorld(t)
	const rooms, rounds = 8, 20
	at := func(room, round int) time.Time { return w.in(time.Hour + time.Duration(room-round)*time.Second) }
	var all sync.WaitGroup
	for room := range rooms {
		all.Go(func() {
			name := fmt.Sprint("n/", room)
			for round := range rounds {
				if err := w.c.Lower(name, at(room, round)); err != nil {
					t.Error(err)
				}
				w.c.Set(name, at(room, round))
			}
		})
	}
	all.Wait()
	w.crash()
	for room := range rooms {
		if next, some := w.c.Next(fmt.Sprint("n/", room)); !some || !next.Equal(at(room, rounds-1)) {
			t.Errorf("room %d has its next alarm at %v, want %v", room, next, at(room, rounds-1))
		}
	}
}

// A panic in the work on the index is an error of who asked for it, and the index is opened again.
func TestIndexThatPanics(t *testing.T) {
	w := newWorld(t)
	open := w.c.o.Open
	w.c.o.Open = func() (*storage.DB, error) { panic("damaged") }
	if err := w.c.Lower("n/r", w.in(time.Hour)); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("Lower: %v", err)
	}
	w.c.o.Open = open
	w.alarm("n/r", w.in(time.Hour))
	w.crash()
	if _, some := w.c.Next("n/r"); !some {
		t.Error("the index was not written")
	}
}

// After a minute the operator is told once of each namespace whose rooms wait for it.
func TestClockWarnsOfUnknownNamespaces(t *testing.T) {
	w := newWorld(t)
	var log strings.Builder
	w.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.reopen()
	w.alarm("other/a", w.in(time.Second))
	w.alarm("other/b", w.in(time.Second))
	w.advance(50 * time.Second)
	if log.Len() > 0 {
		t.Errorf("within the minute: %s", &log)
	}
	w.advance(time.Hour)
	if got := log.String(); strings.Count(got, "namespace=other rooms=2") != 1 || strings.Count(got, "\n") != 1 {
		t.Errorf("after it: %s", got)
	}
}

// A clock that is told of new times again and again brings its index up to date all the same.
func TestClockFlushesWhileTimesChange(t *testing.T) {
	w := newWorld(t)
	w.alarm("n/r", w.in(time.Hour))
	w.c.AddReminder(Reminder{"n/r", w.in(24 * time.Hour)})
	w.c.Set("n/r", w.in(2*time.Hour))
	for range 20 {
		w.advance(10 * time.Second)
		w.c.Set("n/r", w.in(2*time.Hour)) // put off, so that no bound is lowered
	}
	if got, err := w.c.Reminders(Reminder{}, 10); err != nil || len(got) != 1 {
		t.Errorf("after more than three minutes the index has reminders %v, %v", got, err)
	}
}
