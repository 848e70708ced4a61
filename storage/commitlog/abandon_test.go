package commitlog

// What is damaged for good does not keep the log for ever.

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// crashedRooms is a log that crashed with some rooms in one segment; at is where "victim" has its only
// entry.
func crashedRooms(t *testing.T) (d *faultdisk.Disk, o Options, at int64) {
	t.Helper()
	d = faultdisk.New(1)
	o = testOptions(d, newClock())
	o.SegmentBytes = 64 << 10
	l := mustOpen(t, o)
	for i := range 6 {
		appendUpTo(t, mustRoom(t, l, fmt.Sprint("room", i)), 1, 2)
	}
	victim := mustRoom(t, l, "victim")
	appendUpTo(t, victim, 1, 1)
	at = int64(victim.lastAt)
	for i := range 3 { // which prove that they lack nothing
		r := l.rooms[segment.Identify("party", fmt.Sprint("room", i), "e1").Key]
		appendUpTo(t, r, 3, 4)
	}
	d.Kill()
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	return d, o, at
}

// recoverRooms opens and releases rooms.
func recoverRooms(t *testing.T, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		r := mustRoom(t, l, fmt.Sprint("room", i))
		wantReplay(t, r, 0, r.Last())
		r.Release(r.Last())
		r.Close()
	}
}

// TestRoomWithoutAName: the names in a room's first record are damaged beyond repair. When all
// others are recovered the log goes on without its segment, and the room is still refused, until
// somebody has it who has all.
func TestRoomWithoutAName(t *testing.T) {
	d, o, at := crashedRooms(t)
	if err := d.Corrupt("log/"+segment.Name(1), at+recordHeader+2, []byte{0x11, 0x22}); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, o)
	recoverRooms(t, l, 0, 6)
	if s := l.Stats(); l.Crashed() != 0 || s.Segments != 1 {
		t.Errorf("crashed: %d, %+v", l.Crashed(), s)
	}
	for range 2 {
		victim := mustRoom(t, l, "victim")
		_, _, err := victim.Range()
		wantError(t, "range", err, ErrCorrupt)
		_, err = replayed(t, victim, 0)
		wantError(t, "replay", err, ErrCorrupt)
		victim.Close()
		mustClose(t, l)
		l = mustOpen(t, o)
	}
	victim := mustRoom(t, l, "victim")
	victim.Release(1)
	wantRange(t, victim, 0, 0)
	victim.Close()
	mustClose(t, l)
	l = mustOpen(t, o)
	wantRange(t, mustRoom(t, l, "victim"), 0, 0)
	mustClose(t, l)
}

// TestAbandon: the header of a record is damaged beyond repair, so that nobody knows whose it was.
// Rooms that cannot show that it was not theirs are refused, and the log keeps all, until the operator
// gives it up.
func TestAbandon(t *testing.T) {
	for _, what := range []string{"hole", "missing"} {
		d, o, _ := crashedRooms(t)
		l := mustOpen(t, o)
		if what == "missing" {
			mustClose(t, l)
			if err := d.Remove("log/" + segment.Name(1)); err != nil {
				t.Fatal(err)
			}
		} else {
			d.Kill()
			_ = d.Restart()
			var at int64
			d, o, at = crashedRooms(t)
			if err := d.Corrupt("log/"+segment.Name(1), at+10, []byte{0x11, 0x22}); err != nil {
				t.Fatal(err)
			}
		}
		l = mustOpen(t, o)
		proven := 0
		if what == "hole" {
			proven = 3
			recoverRooms(t, l, 0, proven)
		}
		for range 2 {
			for i := proven; i < 8; i++ { // 6 and 7 are new
				r := mustRoom(t, l, fmt.Sprint("room", i))
				_, _, err := r.Range()
				wantError(t, what+": "+r.id.Room, err, ErrLost)
				r.Close()
			}
			if epoch, from, to, err := l.Candidates("party", "new"); err == nil || epoch != "" || from != 0 || to != 0 {
				t.Errorf("a room that is not known may be begun: %q, %d, %d, %v", epoch, from, to, err)
			}
			if l.Crashed() == 0 {
				t.Fatalf("%s: taken for recovered", what)
			}
			mustClose(t, l)
			if _, harmful, _ := verified(t, o, d); len(harmful) == 0 {
				t.Errorf("%s: Verify finds nothing", what)
			}
			l = mustOpen(t, o)
		}
		waiting := mustRoom(t, l, "room7")
		if got := l.Lost(); fmt.Sprint(got) != "["+segment.Name(1)+"]" || l.Abandoned("party", "room7", "e1") {
			t.Errorf("%s: lost are %v, or given up already", what, got)
		}
		files, err := l.Abandon()
		if err != nil || fmt.Sprint(files) != "["+segment.Name(1)+"]" {
			t.Errorf("%s: %v, %v", what, files, err)
		}
		wantRange(t, waiting, 0, 0)
		given := l.Abandoned("party", "room7", "e1") // of the missing file nothing is left to be told
		if got := l.Lost(); len(got) > 0 || given != (what == "hole") || l.Abandoned("party", "room8", "e1") || l.Abandoned("party", "room7", "e2") {
			t.Errorf("%s: lost are %v, given up %v", what, got, given)
		}
		appendUpTo(t, waiting, 1, 1) // what is newer than the file says that the room needs it no more
		if l.Abandoned("party", "room7", "e1") {
			t.Errorf("%s: a room with newer entries may still lack some", what)
		}
		waiting.Release(1)
		waiting.Close()
		for range 2 {
			if _, _, _, err := l.Candidates("party", "new"); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			r := mustRoom(t, l, "room5")
			if last := r.Last(); what == "hole" && last != 2 || what == "missing" && last != 0 {
				t.Errorf("%s: %d", what, last)
			}
			r.Close()
			mustClose(t, l)
			if _, harmful, _ := verified(t, o, d); len(harmful) > 0 {
				t.Errorf("%s: what was given up is still wrong: %v", what, harmful)
			}
			l = mustOpen(t, o)
		}
		recoverRooms(t, l, 0, 6)
		if s := l.Stats(); l.Crashed() != 0 || s.Segments != 1 {
			t.Errorf("%s: crashed %d, %+v", what, l.Crashed(), s)
		}
		if files, err := l.Abandon(); err != nil || len(files) > 0 {
			t.Errorf("%s: again: %v, %v", what, files, err)
		}
		mustClose(t, l)
	}
}
