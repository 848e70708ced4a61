package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// TestMissingFiles: without a file of the log rooms give all that they have, or say that it is
// missing. What was being written when the process ended is not to be missed by the whole node.
func TestMissingFiles(t *testing.T) {
	for _, how := range []string{"", "crashed"} {
		d := build(t, how)
		if files := d.Files(); len(files) < 4 {
			t.Fatal(files)
		}
		for i, name := range d.Files() {
			c := d.Clone(1)
			if err := c.Remove(name); err != nil {
				t.Fatal(err)
			}
			last := len(d.Files()) - 1
			if how != "" && i == last-1 { // what was written
				_, err := Open(testOptions(c, newClock()))
				wantError(t, "without "+name, err, ErrLost)
				if !strings.Contains(fmt.Sprint(err), filepath.Base(name)) {
					t.Errorf("the error does not name %s: %v", name, err)
				}
			} else if seen := outcome(t, c, "without "+name); seen == (i == last) { // CURRENT
				t.Errorf("without %s: %v", name, seen)
			}
		}
		c := d.Clone(1)
		files := d.Files()
		b, err := d.Read(files[2])
		if err != nil {
			t.Fatal(err)
		}
		c.Write(files[1], b)
		if !outcome(t, c, "swapped segments") {
			t.Error("swapped segments: not seen")
		}
	}
}

// threeAges is a log that was closed well: "before", "across" and "after" have entries in
// segments before number, in it or on both sides of it, and after it. What "pinned" has there
// was not released.
func threeAges(t *testing.T) (d *faultdisk.Disk, o Options, number uint64) {
	t.Helper()
	d = faultdisk.New(1)
	o = testOptions(d, newClock())
	o.History = time.Hour
	l := mustOpen(t, o)
	before, across, pinned, after := mustRoom(t, l, "before"), mustRoom(t, l, "across"), mustRoom(t, l, "pinned"), mustRoom(t, l, "after")
	rotate := func(fill string) {
		r := mustRoom(t, l, fill)
		for n, next := uint64(1), l.active.Number+1; l.active.Number < next; n++ {
			appendUpTo(t, r, n, n)
			r.Release(n)
		}
		r.Close()
	}
	appendUpTo(t, before, 1, 3)
	appendUpTo(t, across, 1, 3)
	rotate("fill1")
	number = l.active.Number
	appendUpTo(t, across, 4, 6)
	appendUpTo(t, pinned, 1, 3)
	rotate("fill2")
	appendUpTo(t, across, 7, 9)
	appendUpTo(t, after, 1, 3)
	for r, last := range map[*Room]uint64{before: 3, across: 9, after: 3} {
		r.Release(last)
	}
	mustClose(t, l)
	return d, o, number
}

// mustBeLost says that an error names the segment that is missing.
func mustBeLost(t *testing.T, what string, err error, number uint64) {
	t.Helper()
	if !errors.Is(err, ErrLost) || !strings.Contains(fmt.Sprint(err), segment.Name(number)) {
		t.Errorf("%s: got %v, want that %s is missing", what, err, segment.Name(number))
	}
}

// TestMissingSegment: a segment that is gone stops the rooms that need what was in it, and no
// others; in the next generation too.
func TestMissingSegment(t *testing.T) {
	d, o, number := threeAges(t)
	if err := d.Remove("log/" + segment.Name(number)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l := mustOpen(t, o)
		if s := l.Stats(); s.Lost != 1 {
			t.Errorf("%+v", s)
		}
		pinned := mustRoom(t, l, "pinned")
		_, _, err := pinned.Range()
		mustBeLost(t, "range", err, number)
		_, err = replayed(t, pinned, 0)
		mustBeLost(t, "replay", err, number)
		mustBeLost(t, "backward", pinned.Backward(func(Entry) (bool, error) { return true, nil }), number)
		pinned.Close()

		after := mustRoom(t, l, "after")
		wantReplay(t, after, 0, 3)
		wantBackward(t, after, 1, 3)
		after.Close()

		across := mustRoom(t, l, "across")
		wantRange(t, across, 7, 9)
		wantReplay(t, across, 6, 9)
		_, err = replayed(t, across, 3)
		mustBeLost(t, "replay over it", err, number)
		next := uint64(9)
		mustBeLost(t, "backward over it", across.Backward(func(e Entry) (bool, error) { next--; return true, nil }), number)
		if next != 6 {
			t.Errorf("backward ended at %d", next)
		}
		across.Close()

		before := mustRoom(t, l, "before") // its file has all: there is nothing here that it needs
		wantRange(t, before, 0, 0)
		before.Close()
		mustClose(t, l)
	}
	l := mustOpen(t, o)
	defer mustClose(t, l)
	before := mustRoom(t, l, "before")
	appendUpTo(t, before, 4, 5)
	wantRange(t, before, 4, 5)
	wantReplay(t, before, 3, 5)
	_, err := replayed(t, before, 0) // nobody knows that these follow those in the first segment
	wantError(t, "replay over it", err, ErrGap)
	pinned := mustRoom(t, l, "pinned")
	pinned.Release(3) // its file was replaced
	pinned.Close()
	if s := l.Stats(); s.Pinned != 0 {
		t.Errorf("%+v", s)
	}
}

// TestRangeOfOneEntry: a room whose log has lost all but its newest entry has the range of that entry, whatever its number.
func TestRangeOfOneEntry(t *testing.T) {
	for _, newest := range []uint64{1, 2, 7} {
		d := faultdisk.New(1)
		o := testOptions(d, newClock())
		o.History = time.Hour
		l := mustOpen(t, o)
		a, fill := mustRoom(t, l, "a"), mustRoom(t, l, "fill")
		appendUpTo(t, a, 1, newest-1)
		a.Release(newest - 1)
		number := l.active.Number
		for n := uint64(1); l.active.Number == number; n++ {
			appendUpTo(t, fill, n, n)
			fill.Release(n)
		}
		appendUpTo(t, a, newest, newest)
		mustClose(t, l)
		if err := d.Remove("log/" + segment.Name(number)); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, o)
		wantRange(t, mustRoom(t, l, "a"), newest, newest)
		mustClose(t, l)
	}
}

// TestMissingSegmentOfACrash: nobody can say which rooms had entries in it, but for those that
// have newer ones.
func TestMissingSegmentOfACrash(t *testing.T) {
	d := build(t, "crashed")
	o := testOptions(d, newClock())
	l := mustOpen(t, o)
	number := l.active.Number - 1 // that was written, and is sealed now
	a := mustRoom(t, l, "a")
	wantReplay(t, a, 0, 40)
	appendUpTo(t, a, 41, 42)
	a.Close()
	mustClose(t, l)
	if err := d.Remove("log/" + segment.Name(number)); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	defer mustClose(t, l)
	if l.Crashed() != 1 {
		t.Errorf("crashed: %d", l.Crashed())
	}
	a = mustRoom(t, l, "a")
	wantReplay(t, a, 40, 42)
	_, err := replayed(t, a, 30)
	mustBeLost(t, "replay", err, number)
	for _, name := range []string{"b", "new"} {
		r := mustRoom(t, l, name)
		_, _, err := r.Range()
		mustBeLost(t, name, err, number)
		appendUpTo(t, r, 50, 51) // its file says that it needs nothing
		wantReplay(t, r, 49, 51)
		r.Release(51)
	}
	a.Release(42)
	for range l.Unrecovered {
	}
	if l.Crashed() != 1 {
		t.Error("taken for recovered, while nobody knows which rooms need what is missing")
	}
}

// TestMissingSegmentGivenUp: a room that has entries on both sides of a segment that is gone has nothing
// wrong with it when an operator has given the segment up.
func TestMissingSegmentGivenUp(t *testing.T) {
	d, o, number := threeAges(t)
	if err := d.Remove("log/" + segment.Name(number)); err != nil {
		t.Fatal(err)
	}
	if _, harmful, _ := verified(t, o, d); len(harmful) < 2 {
		t.Errorf("before: %v", harmful)
	}
	l := mustOpen(t, o)
	if files, err := l.Abandon(); err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	mustClose(t, l)
	if all, harmful, _ := verified(t, o, d); len(harmful) > 0 || len(all) < 2 {
		t.Errorf("after: %v, of it harmful %v", all, harmful)
	}
}

// TestNewLogOnAFailingDisk: a log that cannot be made is not half made: the error says so, and the next try makes it.
func TestNewLogOnAFailingDisk(t *testing.T) {
	refused := 0
	for _, op := range []faultdisk.Op{
		faultdisk.OpList, faultdisk.OpStat, faultdisk.OpOpen, faultdisk.OpWrite, faultdisk.OpSync, faultdisk.OpSyncDir, faultdisk.OpRename, faultdisk.OpMkdir,
	} {
		for after := range 8 {
			d := faultdisk.New(1)
			d.Fail(faultdisk.Fault{Op: op, After: after})
			l, err := Open(testOptions(d, newClock()))
			if err == nil {
				err = l.Close()
			} else {
				refused++
			}
			if err != nil && !errors.Is(err, ErrIO) {
				t.Errorf("%v fails after %d: %v", op, after, err)
			}
			d.Heal()
			l = mustOpen(t, testOptions(d, newClock()))
			appendUpTo(t, mustRoom(t, l, "a"), 1, 3)
			d.Crash()
			if err := d.Restart(); err != nil {
				t.Fatal(err)
			}
			l = mustOpen(t, testOptions(d, newClock()))
			wantReplay(t, mustRoom(t, l, "a"), 0, 3)
			mustClose(t, l)
		}
	}
	if refused < 12 {
		t.Errorf("refused %d times", refused)
	}
	o := testOptions(faultdisk.New(1), newClock())
	o.Random = strings.NewReader("fifteen bytes..")
	if _, err := Open(o); err == nil {
		t.Error("a log has an ID that was not made")
	}
}

// TestForeignSegments: a segment of another log gets out of the way under a name that nothing has, each time, and stays whole.
func TestForeignSegments(t *testing.T) {
	other := faultdisk.New(2)
	o := testOptions(other, newClock())
	o.Random = seeded(2)
	for range 8 {
		mustClose(t, mustOpen(t, o))
	}
	l := mustOpen(t, o)
	appendUpTo(t, mustRoom(t, l, "a"), 1, 3)
	name := "log/" + segment.Name(l.active.Number) // further than the log comes that it gets into
	foreign, err := other.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	d := faultdisk.New(1)
	mustClose(t, mustOpen(t, testOptions(d, newClock())))
	for n := range 3 {
		d.Write(name, foreign)
		if n == 2 {
			d.Fail(faultdisk.Fault{Op: faultdisk.OpRename, Suffix: ".log"})
		}
		mustClose(t, mustOpen(t, testOptions(d, newClock())))
		kept := 0
		for _, name := range d.Files() {
			if b, err := d.Read(name); err == nil && string(b) == string(foreign) {
				kept++
			}
		}
		if kept != n+1 {
			t.Errorf("of %d files of another log %d are left: %v", n+1, kept, d.Files())
		}
	}
}
