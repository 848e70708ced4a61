package alarm

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/storage"
)

// rows is the index as it is on the disk.
func (c *testClock) rows() string {
	c.t.Helper()
	var all []string
	must(c.t, c.db.Internal().Each("SELECT room, due FROM _den_due ORDER BY room", func(r *storage.Rows) {
		all = append(all, fmt.Sprintf("%s:%d", r.Bytes(0), (r.Int(1)-c.now.UnixMilli())/1000))
	}))
	return strings.Join(all, " ")
}

func (c *testClock) wantRows(want string) {
	c.t.Helper()
	if got := c.rows(); got != want {
		c.t.Errorf("the index has %q, want %q", got, want)
	}
}

// A bound is on the disk when Lower returns, and is never later than what the room's file may have. A later Set raises the row
// within a minute, and nothing raises it before.
func TestIndexIsALowerBound(t *testing.T) {
	c := newTestClock(t)
	must(t, c.Lower("n/a", c.in(10*time.Second)))
	must(t, c.Lower("n/b", c.in(10*time.Second)))
	c.wantRows("n/a:10 n/b:10")
	if _, some := c.Next("n/a"); some {
		t.Error("what may come counts as an alarm")
	}
	c.Set("n/a", c.in(20*time.Second))
	c.tick() // the timer may fire for another reason
	c.wantRows("n/a:10 n/b:10")
	must(t, c.Lower("n/b", c.in(5*time.Second)))
	c.wantRows("n/a:20 n/b:5")               // with what is written anyway
	must(t, c.Lower("n/b", c.in(time.Hour))) // no news: the row is lower
	must(t, c.Lower("n/b", c.in(5*time.Second)))
	must(t, c.flush())
	c.wantRows("n/a:20 n/b:5")
	c.Set("n/a", c.in(30*time.Second))
	c.Set("n/b", time.Time{})
	must(t, c.Lower("n/a", c.in(25*time.Second))) // the row says 20, which is enough
	must(t, c.flush())
	c.wantRows("n/a:20") // somebody may still commit an alarm at 25
	c.Set("n/a", c.in(30*time.Second))
	c.wantRows("n/a:20")
	c.wantTimer(30 * time.Second)
	c.die()
	c.wantRows("n/a:20")
	if due, _ := c.Next("n/a"); !due.Equal(c.in(20 * time.Second)) {
		t.Errorf("the next is at %v", due)
	}
	c.advance(20 * time.Second)
	c.wantCalled("n/a")
	c.end("n/a", c.in(10*time.Hour), nil)
	c.wantTimer(time.Minute)
	c.advance(39 * time.Second)
	c.wantRows("n/a:-39")
	c.advance(21 * time.Second)
	c.wantRows("n/a:35940")
	if c.behind() {
		t.Error("there is still something to write")
	}
	opens := c.opens
	must(t, c.flush())
	must(t, c.Close())
	c.o.Exists = true
	c.open()
	c.wantRows("n/a:35940")
	c.Set("n/a", time.Time{})
	must(t, c.Close())
	c.open()
	c.wantRows("")
	if c.opens != opens+2 || len(c.rooms) != 0 {
		t.Errorf("%d openings, %d rooms", c.opens-opens, len(c.rooms))
	}
}

// A clock that has had nothing to write makes no file.
func TestIndexIsMadeWhenNeeded(t *testing.T) {
	c := newTestClock(t)
	c.Set("n/a", c.now)
	c.end("n/a", c.in(time.Second), nil)
	c.MarkComplete("n")
	must(t, c.Close())
	if c.opens != 0 {
		t.Error("there is a file")
	}
	c.open()
	c.AddReminder(Reminder{"n/a", c.now})
	must(t, c.Close())
	if c.opens != 1 {
		t.Error("a reminder is lost")
	}
}

// If the machine's clock is set back, what is to be written does not wait until it has caught up.
func TestIndexWhenTheClockIsSetBack(t *testing.T) {
	c := newTestClock(t)
	must(t, c.Lower("n/a", c.in(time.Second)))
	c.now = c.in(-time.Hour)
	c.Set("n/a", c.in(2*time.Hour))
	c.advance(time.Minute)
	c.wantRows("n/a:7140")
	if c.log.Len() > 0 {
		t.Errorf("the operator is told: %s", &c.log)
	}
}

// The operator is told of an index that cannot be written. It is tried again after a minute.
func TestIndexIsWrittenLater(t *testing.T) {
	c := newTestClock(t)
	c.AddReminder(Reminder{"n/a", c.in(time.Hour)})
	c.openErr = errOpen
	c.advance(time.Minute)
	if !strings.Contains(c.log.String(), errOpen.Error()) || len(c.reminders) != 1 {
		t.Errorf("%d reminders are kept, the log has %q", len(c.reminders), &c.log)
	}
	c.openErr = nil
	c.advance(time.Minute)
	if found, err := c.Reminders(Reminder{}, 10); err != nil || len(found) != 1 {
		t.Errorf("reminders %v (%v)", found, err)
	}
}

// A transaction raises a thousand bounds at most, so that none takes long. flush raises all.
func TestIndexRaisesInParts(t *testing.T) {
	c := newTestClock(t)
	const rooms = 2*maxRaises + 10
	for i := range rooms {
		g := c.nextGroup()
		room := c.add(fmt.Sprint("n/", i))
		g.lowered = append(g.lowered, bound{room, c.now.UnixMilli()})
	}
	must(t, c.Sync())
	for i := range rooms {
		c.Set(fmt.Sprint("n/", i), c.in(time.Hour))
	}
	raised := func() int { return strings.Count(c.rows(), ":3600") }
	if len(c.dirty) != rooms || raised() != 0 {
		t.Fatalf("%d rows are to be raised, %d were", len(c.dirty), raised())
	}
	must(t, c.Sync())
	if len(c.dirty) != rooms-maxRaises || raised() != maxRaises {
		t.Errorf("%d rows are to be raised, %d were", len(c.dirty), raised())
	}
	must(t, c.flush())
	if c.dirty != nil || raised() != rooms {
		t.Errorf("%d rows are to be raised, %d were", len(c.dirty), raised())
	}
}

// A write that fails returns its error to its callers. Nothing of it is lost, and the next one opens the file again.
func TestIndexWriteFails(t *testing.T) {
	c := newTestClock(t)
	c.openErr = errOpen
	if err := c.Lower("n/a", c.in(time.Second)); !errors.Is(err, errOpen) {
		t.Errorf("the file cannot be opened: %v", err)
	}
	c.MarkComplete("n")
	c.AddReminder(Reminder{"n/a", c.in(time.Hour)})
	if err := c.flush(); !errors.Is(err, errOpen) {
		t.Errorf("the file cannot be opened: %v", err)
	}
	c.openErr = nil
	must(t, c.Lower("n/a", c.in(time.Second)))
	c.wantRows("n/a:1")
	must(t, c.Lower("n/b", c.in(time.Second)))

	c.Set("n/a", time.Time{})
	c.Set("n/b", c.in(time.Minute))
	c.file.Fence() // what is written now fails
	if err := c.MarkIncomplete("m"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the file is closed: %v", err)
	}
	if len(c.dirty) == 0 {
		t.Error("a row that may still be there is not removed again")
	}
	opens := c.opens
	must(t, c.Lower("n/b", c.in(2*time.Second)))
	must(t, c.flush())
	if c.opens != opens+1 {
		t.Errorf("opened %d times", c.opens-opens)
	}
	c.wantRows("n/b:2")
	if !c.Complete("n") || c.Complete("m") {
		t.Error("which namespaces are complete is forgotten")
	}
	c.die()
	c.wantRows("n/b:2")
	if !c.Complete("n") || c.Complete("m") {
		t.Error("which namespaces are complete is lost")
	}
	if found, err := c.Reminders(Reminder{}, 10); err != nil || len(found) != 1 {
		t.Errorf("reminders %v (%v)", found, err)
	}
	must(t, c.MarkIncomplete("n"))
	c.die()
	if c.Complete("n") {
		t.Error("it is complete again")
	}
}

// Open fails if the index cannot be opened or read, and closes the file.
func TestIndexIsNotRead(t *testing.T) {
	c := newTestClock(t)
	must(t, c.Lower("n/a", c.in(time.Second)))
	_, err := c.file.Internal().Exec("ALTER TABLE _den_due_state RENAME COLUMN value TO other")
	must(t, err)
	must(t, c.Close())
	c.o.Exists, c.openErr = true, errOpen
	if a, err := Open(c.o); a != nil || !errors.Is(err, errOpen) {
		t.Errorf("the file cannot be opened: %v, %v", a, err)
	}
	c.openErr = nil
	if a, err := Open(c.o); a != nil || err == nil || errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a table has no such column: %v, %v", a, err)
	}
	if _, err := c.file.Exec("SELECT 1"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the file is still in use: %v", err)
	}
}

// A panic in the work on the index is an error that says it is corrupt, and the file is closed as it is. The next write opens it.
func TestIndexPanics(t *testing.T) {
	c := newTestClock(t)
	must(t, c.Lower("n/a", c.in(time.Second)))
	before := c.file
	c.indexMu.Lock()
	err := c.recoverPanics(func() error { panic("the disk's own fault") })
	c.indexMu.Unlock()
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "the disk's own fault") {
		t.Errorf("error %v", err)
	}
	if _, err := before.Exec("SELECT 1"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the file is still in use: %v", err)
	}
	must(t, c.Lower("n/a", c.now))
	c.wantRows("n/a:0")
}

// If a process dies before it has called all rooms whose alarms it had missed, the next one calls one room at a time, and
// each is to count a try first. This ends when all were called, or cannot be.
func TestClockCallsOneRoomAtATimeAfterCrashes(t *testing.T) {
	c := newTestClock(t)
	for _, room := range []string{"n/a", "n/b", "late/c"} {
		must(t, c.Lower(room, c.in(time.Second)))
	}
	must(t, c.Lower("n/future", c.in(time.Hour)))
	c.die()
	if c.starts != 0 || c.missed != 0 {
		t.Errorf("%d starts, %d missed", c.starts, c.missed)
	}
	c.now = c.in(time.Second)
	c.unknown["late"] = true
	c.die()
	c.wantCalled("n/a n/b")
	c.die()
	c.wantCalled("n/a!")
	c.end("n/a", time.Time{}, errCall)
	c.wantCalled("n/b!")
	c.end("n/b", time.Time{}, nil)
	c.die()
	c.wantCalled("n/a!")
	c.end("n/a", c.in(time.Second), nil)
	c.end("n/b", time.Time{}, nil) // its row was still there
	if !c.afterCrashes() {
		t.Error("a room was missed and not called")
	}
	c.advance(2 * time.Minute) // the operator is told that a namespace is missing
	if c.afterCrashes() || c.missed != 0 || c.starts != 0 {
		t.Errorf("afterCrashes, %d are missed, start %d", c.missed, c.starts)
	}
	must(t, c.flush())
	c.end("n/a", time.Time{}, nil)
	c.die()
	if c.starts != 1 {
		t.Errorf("start %d in a row", c.starts)
	}
	must(t, c.Close()) // an end in order is none of them
	c.calls = nil
	c.open()
	if c.starts != 1 {
		t.Errorf("start %d in a row", c.starts)
	}
}

// Reminders are on the disk within a minute, equal ones once, and are read in the order of their times and rooms.
func TestReminders(t *testing.T) {
	c := newTestClock(t)
	read := func(after Reminder, limit int) string {
		t.Helper()
		found, err := c.Reminders(after, limit)
		must(t, err)
		var all []string
		for _, r := range found {
			all = append(all, fmt.Sprintf("%s:%d", r.Room, r.Due.Unix()-1_000_000))
		}
		return strings.Join(all, " ")
	}
	at := func(room string, second int64) Reminder { return Reminder{room, time.Unix(1_000_000+second, 0)} }
	if got := read(Reminder{}, 10); got != "" || c.opens != 0 {
		t.Errorf("before there are any: %q", got)
	}
	for _, r := range []Reminder{at("n/b", 2), at("n/a", 2), at("n/a", 1), at("n/a", 2), at("n/c", 3)} {
		c.AddReminder(r)
	}
	c.wantTimer(time.Minute)
	c.advance(time.Minute)
	for limit, want := range map[int]string{10: "n/a:1 n/a:2 n/b:2 n/c:3", 2: "n/a:1 n/a:2", 0: ""} {
		if got := read(Reminder{}, limit); got != want {
			t.Errorf("at most %d: %q, want %q", limit, got, want)
		}
	}
	if got := read(at("n/a", 2), 10); got != "n/b:2 n/c:3" {
		t.Errorf("after one of them: %q", got)
	}
	c.AddReminder(at("n/d", 4))
	must(t, c.RemoveReminders([]Reminder{at("n/a", 2), at("n/c", 3)}))
	if got := read(Reminder{}, 10); got != "n/a:1 n/b:2 n/d:4" {
		t.Errorf("after two were seen to: %q", got)
	}
	c.die()
	if got := read(Reminder{}, 10); got != "n/a:1 n/b:2 n/d:4" {
		t.Errorf("in the next process: %q", got)
	}
	c.AddReminder(at("n/e", 5))
	must(t, c.Close())
	c.open()
	if got := read(at("n/b", 2), 10); got != "n/d:4 n/e:5" {
		t.Errorf("after Close: %q", got)
	}
}

// Many rooms lower their bounds at once, and share transactions. Each bound is durable when its Lower returns.
func TestLowerFromManyGoroutines(t *testing.T) {
	c := newTestClock(t)
	const rooms, rounds = 8, 20
	at := func(room, round int) time.Time { return c.in(time.Hour + time.Duration(room-round)*time.Second) }
	var all sync.WaitGroup
	for room := range rooms {
		all.Go(func() {
			name := fmt.Sprint("n/", room)
			for round := range rounds {
				if err := c.Lower(name, at(room, round)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	c.die()
	for room := range rooms {
		if next, some := c.Next(fmt.Sprint("n/", room)); !some || !next.Equal(at(room, rounds-1)) {
			t.Errorf("the bound of room %d is %v, want %v", room, next, at(room, rounds-1))
		}
	}
}
