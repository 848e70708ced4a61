package hibernate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage"
)

// rows is the index as it is on the disk.
func (b *belfry) rows() string {
	b.t.Helper()
	var all []string
	must(b.t, b.each("SELECT room, due FROM _den_due ORDER BY room", func(r *storage.Rows) {
		all = append(all, fmt.Sprintf("%s:%d", r.Bytes(0), (r.Int(1)-b.now.UnixMilli())/1000))
	}))
	return strings.Join(all, " ")
}

func (b *belfry) wantRows(want string) {
	b.t.Helper()
	if got := b.rows(); got != want {
		b.t.Errorf("the index has %q, want %q", got, want)
	}
}

// What Lower was told is on the disk when it returns, and never later than what the room's file may have: a Set that comes
// after it raises the row within a minute, and until then nothing does.
func TestAlarmIndexIsALowerBound(t *testing.T) {
	b := newBelfry(t)
	must(t, b.Lower("n/a", b.in(10*time.Second)))
	must(t, b.Lower("n/b", b.in(10*time.Second)))
	b.wantRows("n/a:10 n/b:10")
	if _, some := b.Next("n/a"); some {
		t.Error("what may come counts as an alarm")
	}
	b.Set("n/a", b.in(20*time.Second))
	b.tick() // the timer may fire for another reason
	b.wantRows("n/a:10 n/b:10")
	must(t, b.Lower("n/b", b.in(5*time.Second)))
	b.wantRows("n/a:20 n/b:5")               // with what is written anyway
	must(t, b.Lower("n/b", b.in(time.Hour))) // no news: the row is lower
	must(t, b.Lower("n/b", b.in(5*time.Second)))
	must(t, b.Flush())
	b.wantRows("n/a:20 n/b:5")
	b.Set("n/a", b.in(30*time.Second))
	b.Set("n/b", time.Time{})
	must(t, b.Lower("n/a", b.in(25*time.Second))) // the row says 20, which is enough
	must(t, b.Flush())
	b.wantRows("n/a:20") // somebody may still commit an alarm at 25
	b.Set("n/a", b.in(30*time.Second))
	b.wantRows("n/a:20")
	b.wantTimer(30 * time.Second)
	b.die()
	b.wantRows("n/a:20")
	if due, _ := b.Next("n/a"); !due.Equal(b.in(20 * time.Second)) {
		t.Errorf("the next is at %v", due)
	}
	b.advance(20 * time.Second)
	b.wantCalled("n/a")
	b.end("n/a", b.in(10*time.Hour), nil)
	b.wantTimer(time.Minute)
	b.advance(39 * time.Second)
	b.wantRows("n/a:-39")
	b.advance(21 * time.Second)
	b.wantRows("n/a:35940")
	if b.late() {
		t.Error("there is still something to write")
	}
	opens := b.opens
	must(t, b.Flush())
	must(t, b.Close())
	b.o.Exists = true
	b.open()
	b.wantRows("n/a:35940")
	b.Set("n/a", time.Time{})
	must(t, b.Close())
	b.open()
	b.wantRows("")
	if b.opens != opens+2 || len(b.rooms) != 0 {
		t.Errorf("%d openings, %d rooms", b.opens-opens, len(b.rooms))
	}
}

// A clock that has had nothing to write makes no file.
func TestAlarmIndexIsMadeWhenNeeded(t *testing.T) {
	b := newBelfry(t)
	b.Set("n/a", b.now)
	b.end("n/a", b.in(time.Second), nil)
	b.Cover("n")
	must(t, b.Close())
	if b.opens != 0 {
		t.Error("there is a file")
	}
	b.open()
	b.Remind(Reminder{"n/a", b.now})
	must(t, b.Close())
	if b.opens != 1 {
		t.Error("a reminder is lost")
	}
}

// If the machine's clock is set back, what is to be written does not wait until it has caught up.
func TestAlarmIndexWhenTheClockIsSetBack(t *testing.T) {
	b := newBelfry(t)
	must(t, b.Lower("n/a", b.in(time.Second)))
	b.now = b.in(-time.Hour)
	b.Set("n/a", b.in(2*time.Hour))
	b.advance(time.Minute)
	b.wantRows("n/a:7140")
	if b.log.Len() > 0 {
		t.Errorf("the operator is told: %s", &b.log)
	}
}

// The operator is told of an index that cannot be written, and it is tried again after a minute.
func TestAlarmIndexIsWrittenLater(t *testing.T) {
	b := newBelfry(t)
	b.Remind(Reminder{"n/a", b.in(time.Hour)})
	b.openErr = errOpen
	b.advance(time.Minute)
	if !strings.Contains(b.log.String(), errOpen.Error()) || len(b.reminders) != 1 {
		t.Errorf("%d reminders are kept, the log has %q", len(b.reminders), &b.log)
	}
	b.openErr = nil
	b.advance(time.Minute)
	if found, err := b.Reminders(Reminder{}, 10); err != nil || len(found) != 1 {
		t.Errorf("reminders %v (%v)", found, err)
	}
}

// Of a thousand rows and more each transaction brings a thousand up to date, so that none takes long; Flush does all.
func TestAlarmIndexRaisesInParts(t *testing.T) {
	b := newBelfry(t)
	const rooms = 2*maxRaises + 10
	for i := range rooms {
		g := b.gather()
		room := b.add(fmt.Sprint("n/", i))
		g.lowered = append(g.lowered, lowered{room, b.now.UnixMilli()})
	}
	must(t, b.Write())
	for i := range rooms {
		b.Set(fmt.Sprint("n/", i), b.in(time.Hour))
	}
	raised := func() int { return strings.Count(b.rows(), ":3600") }
	if len(b.dirty) != rooms || raised() != 0 {
		t.Fatalf("%d rows are to be raised, %d were", len(b.dirty), raised())
	}
	must(t, b.Write())
	if len(b.dirty) != rooms-maxRaises || raised() != maxRaises {
		t.Errorf("%d rows are to be raised, %d were", len(b.dirty), raised())
	}
	must(t, b.Flush())
	if b.dirty != nil || raised() != rooms {
		t.Errorf("%d rows are to be raised, %d were", len(b.dirty), raised())
	}
}

// A write that failed is told to who asked for it; nothing of it is lost, and the file is opened again for the next one.
func TestAlarmIndexWriteFails(t *testing.T) {
	b := newBelfry(t)
	b.openErr = errOpen
	if err := b.Lower("n/a", b.in(time.Second)); !errors.Is(err, errOpen) {
		t.Errorf("the file cannot be opened: %v", err)
	}
	b.Cover("n")
	b.Remind(Reminder{"n/a", b.in(time.Hour)})
	if err := b.Flush(); !errors.Is(err, errOpen) {
		t.Errorf("the file cannot be opened: %v", err)
	}
	b.openErr = nil
	must(t, b.Lower("n/a", b.in(time.Second)))
	b.wantRows("n/a:1")
	must(t, b.Lower("n/b", b.in(time.Second)))

	b.Set("n/a", time.Time{})
	b.Set("n/b", b.in(time.Minute))
	b.file.Fence() // what is written now fails
	if err := b.Uncover("m"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the file is closed: %v", err)
	}
	if len(b.dirty) == 0 {
		t.Error("a row that may still be there is not removed again")
	}
	opens := b.opens
	must(t, b.Lower("n/b", b.in(2*time.Second)))
	must(t, b.Flush())
	if b.opens != opens+1 {
		t.Errorf("opened %d times", b.opens-opens)
	}
	b.wantRows("n/b:2")
	if !b.Covers("n") || b.Covers("m") {
		t.Error("what the index covers is forgotten")
	}
	b.die()
	b.wantRows("n/b:2")
	if !b.Covers("n") || b.Covers("m") {
		t.Error("what the index covers is lost")
	}
	if found, err := b.Reminders(Reminder{}, 10); err != nil || len(found) != 1 {
		t.Errorf("reminders %v (%v)", found, err)
	}
	must(t, b.Uncover("n"))
	b.die()
	if b.Covers("n") {
		t.Error("it is covered again")
	}
}

// There is no clock where there is an index that cannot be opened or read, and the file is let go.
func TestAlarmIndexIsNotRead(t *testing.T) {
	b := newBelfry(t)
	must(t, b.Lower("n/a", b.in(time.Second)))
	_, err := b.file.Internal().Exec("ALTER TABLE _den_due_state RENAME COLUMN value TO other")
	must(t, err)
	must(t, b.Close())
	b.o.Exists, b.openErr = true, errOpen
	if a, err := NewAlarmClock(b.o); a != nil || !errors.Is(err, errOpen) {
		t.Errorf("the file cannot be opened: %v, %v", a, err)
	}
	b.openErr = nil
	if a, err := NewAlarmClock(b.o); a != nil || err == nil || errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a table has no such column: %v, %v", a, err)
	}
	if _, err := b.file.Exec("SELECT 1"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the file is still in use: %v", err)
	}
}

// A panic on the way to the index is told as damage, and the file is let go: what follows opens it again.
func TestAlarmIndexPanics(t *testing.T) {
	b := newBelfry(t)
	must(t, b.Lower("n/a", b.in(time.Second)))
	before := b.file
	b.writer.Lock()
	err := b.safely(func() error { panic("the disk's own fault") })
	b.writer.Unlock()
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "the disk's own fault") {
		t.Errorf("error %v", err)
	}
	if _, err := before.Exec("SELECT 1"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the file is still in use: %v", err)
	}
	must(t, b.Lower("n/a", b.now))
	b.wantRows("n/a:0")
}

// A process that dies before it has called for all that it had missed is careful in the next: it calls for one room after another, and
// each is to count a try. When all were called for, or cannot be, that is over.
func TestAlarmClockIsCarefulAfterDeaths(t *testing.T) {
	b := newBelfry(t)
	for _, room := range []string{"n/a", "n/b", "late/c"} {
		must(t, b.Lower(room, b.in(time.Second)))
	}
	must(t, b.Lower("n/future", b.in(time.Hour)))
	b.die()
	if b.starts != 0 || b.missed != 0 {
		t.Errorf("%d starts, %d missed", b.starts, b.missed)
	}
	b.now = b.in(time.Second)
	b.unknown["late"] = true
	b.die()
	b.wantCalled("n/a n/b")
	b.die()
	b.wantCalled("n/a!")
	b.end("n/a", time.Time{}, errCall)
	b.wantCalled("n/b!")
	b.end("n/b", time.Time{}, nil)
	b.die()
	b.wantCalled("n/a!")
	b.end("n/a", b.in(time.Second), nil)
	b.end("n/b", time.Time{}, nil) // its row was still there
	if !b.careful() {
		t.Error("a room was missed and not called for")
	}
	b.advance(2 * time.Minute) // the operator is told that a namespace is missing
	if b.careful() || b.missed != 0 || b.starts != 0 {
		t.Errorf("careful, %d are missed, start %d", b.missed, b.starts)
	}
	must(t, b.Flush())
	b.end("n/a", time.Time{}, nil)
	b.die()
	if b.starts != 1 {
		t.Errorf("start %d in a row", b.starts)
	}
	must(t, b.Close()) // an end in order is none of them
	b.calls = nil
	b.open()
	if b.starts != 1 {
		t.Errorf("start %d in a row", b.starts)
	}
}

// Reminders are on the disk within a minute, each of a time once, and are read in the order of their times and rooms.
func TestReminders(t *testing.T) {
	b := newBelfry(t)
	read := func(after Reminder, limit int) string {
		t.Helper()
		found, err := b.Reminders(after, limit)
		must(t, err)
		var all []string
		for _, r := range found {
			all = append(all, fmt.Sprintf("%s:%d", r.Room, r.Due.Unix()-1_000_000))
		}
		return strings.Join(all, " ")
	}
	at := func(room string, second int64) Reminder { return Reminder{room, time.Unix(1_000_000+second, 0)} }
	if got := read(Reminder{}, 10); got != "" || b.opens != 0 {
		t.Errorf("before there are any: %q", got)
	}
	for _, r := range []Reminder{at("n/b", 2), at("n/a", 2), at("n/a", 1), at("n/a", 2), at("n/c", 3)} {
		b.Remind(r)
	}
	b.wantTimer(time.Minute)
	b.advance(time.Minute)
	for limit, want := range map[int]string{10: "n/a:1 n/a:2 n/b:2 n/c:3", 2: "n/a:1 n/a:2", 0: ""} {
		if got := read(Reminder{}, limit); got != want {
			t.Errorf("at most %d: %q, want %q", limit, got, want)
		}
	}
	if got := read(at("n/a", 2), 10); got != "n/b:2 n/c:3" {
		t.Errorf("after one of them: %q", got)
	}
	b.Remind(at("n/d", 4))
	must(t, b.Reminded([]Reminder{at("n/a", 2), at("n/c", 3)}))
	if got := read(Reminder{}, 10); got != "n/a:1 n/b:2 n/d:4" {
		t.Errorf("after two were seen to: %q", got)
	}
	b.die()
	if got := read(Reminder{}, 10); got != "n/a:1 n/b:2 n/d:4" {
		t.Errorf("in the next process: %q", got)
	}
	b.Remind(at("n/e", 5))
	must(t, b.Close())
	b.open()
	if got := read(at("n/b", 2), 10); got != "n/d:4 n/e:5" {
		t.Errorf("after Close: %q", got)
	}
}
