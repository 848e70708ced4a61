package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
)

// Nothing is wrong: the image opens, and every room has what was acknowledged.
func TestCrashImage(t *testing.T) {
	im := crashed(t)
	h := im.opened()
	for _, name := range []string{asleep, current, behind} {
		mustHave(t, h, name, 10)
	}
	h.Reopen()
	for _, name := range []string{asleep, current, behind} {
		mustHave(t, h, name, 11)
	}
}

// A bit that has flipped in the log of a run that crashed is put right, and CURRENT is made again from the
// segments: the node starts, and no room lacks anything.
func TestFlippedBitOfTheLog(t *testing.T) {
	for name, damage := range map[string]func(im image){
		"in the middle": func(im image) { flip(im.t, im.segments()[1], middle) },
		"at the end":    func(im image) { flip(im.t, im.segments()[1], func(b []byte) int { return written(b) - 20 }) },
		"of the header": func(im image) { flip(im.t, im.segments()[1], func([]byte) int { return 40 }) },
		"of CURRENT": func(im image) {
			flip(im.t, filepath.Join(im.dir, logDir, "CURRENT"), func([]byte) int { return 50 })
		},
		"CURRENT is missing": func(im image) { remove(im.t, filepath.Join(im.dir, logDir, "CURRENT")) },
	} {
		t.Run(name, func(t *testing.T) {
			im := crashed(t)
			damage(im)
			h := im.opened()
			for _, name := range []string{asleep, current, behind} {
				mustHave(t, h, name, 10)
			}
			h.Reopen()
			for _, name := range []string{asleep, current, behind} {
				mustHave(t, h, name, 11)
			}
		})
	}
}

// Damage that cannot be put right, in the segment of a run that crashed, costs the rooms that had something there, and
// no node.
func TestDamagedEntryOfTheLog(t *testing.T) {
	im := crashed(t)
	smash(t, im.segments()[1], entryOf(behind))
	h := im.opened()
	mustHave(t, h, asleep, 10)
	mustHave(t, h, current, 10)
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMismatch)
	mustHave(t, h, asleep, 11)
	h.Reopen()
	mustHave(t, h, current, 11)
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMismatch)
}

// What the host must not guess, it does not: where the newest segment is gone nothing is opened, nothing is touched,
// and the operator is told which file it is. Behind a log that was moved away the rooms that were closed well go on, and
// the others say what they lack.
func TestLogWithoutItsNewestSegmentIsRefused(t *testing.T) {
	im := crashed(t)
	remove(im.t, im.segments()[1])
	mustSay(t, im.refused(), storage.ErrLogMissing, ".log", filepath.Join(im.dir, logDir), "move the directory away")
	if err := os.Rename(filepath.Join(im.dir, logDir), filepath.Join(im.dir, "_log.damaged")); err != nil {
		t.Fatal(err)
	}
	im.mustGoOnWithoutLog()
}

// mustGoOnWithoutLog checks the way out of a log that is lost.
func (im image) mustGoOnWithoutLog() {
	t := im.t
	t.Helper()
	h := im.opened()
	mustHave(t, h, asleep, 10)
	for _, name := range []string{current, behind} {
		mustSay(t, im.mustRefuse(h, name), storage.ErrLogMissing, "restore a backup")
	}
	mustHave(t, h, "new", 0)
	h.Reopen()
	mustHave(t, h, asleep, 11)
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMissing)
}

func TestLogDirectoryIsGone(t *testing.T) {
	im := crashed(t)
	if err := os.RemoveAll(filepath.Join(im.dir, logDir)); err != nil {
		t.Fatal(err)
	}
	im.mustGoOnWithoutLog()
}

// A backup brings a room back that lacks the log; what the file holds can be had by a copy.
func TestRestoreOverARoomThatLacksTheLog(t *testing.T) {
	im := crashed(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	h := im.opened()
	mustHave(t, h, current, 10)
	if err := h.Backup(t.Context(), room.Key{Namespace: todo.Namespace, Room: current}, backup); err != nil {
		t.Fatal(err)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	im = crashed(t)
	if err := os.RemoveAll(filepath.Join(im.dir, logDir)); err != nil {
		t.Fatal(err)
	}
	h = im.opened()
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMissing)
	kept, err := h.Restore(t.Context(), room.Key{Namespace: todo.Namespace, Room: behind}, backup)
	if err != nil || kept == "" {
		t.Fatalf("%q, %v", kept, err)
	}
	mustHave(t, h, behind, 11)
}

// A segment that is done is read only for the rooms that need it: they alone are refused
// when it is damaged.
func TestDamageInAnOldSegment(t *testing.T) {
	im := crashed(t)
	crash := im.segments()[1]
	h := im.opened() // seals it
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	smash(t, crash, entryOf(behind))
	h = im.opened()
	mustHave(t, h, asleep, 10)
	mustHave(t, h, current, 10)
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMismatch, "were damaged", "restore a backup")
	mustHave(t, h, asleep, 11)
	h.Reopen()
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMismatch, "were damaged")
}

// A segment that is done and gone stops only the rooms that need it. The one here has what the crash has left of a room
// that nobody has called for since; two others were used and closed. A room that has no file may be another that it has:
// nobody can say that it is new.
func TestMissingSegment(t *testing.T) {
	im := crashed(t)
	crash := im.segments()[1]
	h := im.opened() // seals it
	for _, name := range []string{asleep, current} {
		if e := create(h.Join(todo.Namespace, name, "bob"), "11", "one more"); e.Kind != "success" {
			t.Fatalf("%s: %s", name, e.Data)
		}
	}
	if err := h.Shutdown(t.Context()); err != nil { // before anybody looks after the third
		t.Fatal(err)
	}
	remove(t, crash)
	h = im.opened()
	mustHave(t, h, asleep, 11)
	mustHave(t, h, current, 11)
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMissing, filepath.Base(crash))
	mustSay(t, im.mustRefuse(h, "new"), storage.ErrLogMissing, filepath.Base(crash))
	h.Reopen()
	mustHave(t, h, asleep, 12)
	mustSay(t, im.mustRefuse(h, behind), storage.ErrLogMissing, filepath.Base(crash))
}

// What is missing can be given up: then the rooms that needed it go on with what they have, and new ones begin.
func TestAbandonedLog(t *testing.T) {
	im := crashed(t)
	crash := im.segments()[1]
	if err := im.opened().Shutdown(t.Context()); err != nil { // seals it
		t.Fatal(err)
	}
	remove(t, crash)
	h := im.opened()
	refused := im.mustRefuse(h, "new")
	mustSay(t, refused, storage.ErrLogMissing, filepath.Base(crash), "den log -abandon")
	if text := refused.Error(); strings.Count(text, filepath.Base(crash)) != 1 {
		t.Errorf("the cause is said more than once: %s", text)
	}
	if lost := h.LostLog(); len(lost) != 1 || lost[0] != filepath.Base(crash) {
		t.Errorf("lost are %v", lost)
	}
	if given, err := h.AbandonLog(); err != nil || len(given) != 1 || given[0] != filepath.Base(crash) {
		t.Errorf("given up %v, %v", given, err)
	}
	for round := range 2 {
		h.Reopen()
		if lost := h.LostLog(); len(lost) != 0 {
			t.Errorf("still lost: %v", lost)
		}
		for _, name := range []string{asleep, current, behind, "new"} {
			if e := create(h.Join(todo.Namespace, name, "bob"), fmt.Sprint("more ", round), "one more"); e.Kind != "success" {
				t.Fatalf("%s: %s", name, e.Data)
			}
		}
	}
}

// One that holds nothing but history stops nobody.
func TestMissingSegmentOfHistory(t *testing.T) {
	im := crashed(t)
	remove(t, im.segments()[0])
	h := im.opened()
	for _, name := range []string{asleep, current, behind} {
		mustHave(t, h, name, 10)
	}
}

// A file that is not where the log is, in either direction, is refused, and its neighbours
// are not.
func TestFilesThatDoNotFitTheLog(t *testing.T) {
	t.Run("newer than the log", func(t *testing.T) {
		im := crashed(t)
		im.takeLog(im.early)
		h := im.opened()
		for _, name := range []string{asleep, current} {
			mustSay(t, im.mustRefuse(h, name), storage.ErrLogMismatch, "the log has lost something")
		}
		mustHave(t, h, behind, 5)
		mustHave(t, h, "new", 0)
	})
	t.Run("older than its start", func(t *testing.T) {
		noHistory := func(o *room.Options) { o.TimeTravel = -1 }
		im := crashed(t, noHistory)
		for _, name := range []string{asleep, current} {
			im.take(im.first, name, name)
		}
		h := im.opened(noHistory)
		for _, name := range []string{asleep, current} {
			mustSay(t, im.mustRefuse(h, name), storage.ErrLogMismatch, "the file is too old")
		}
		mustHave(t, h, behind, 10)
	})
	t.Run("older, but not than the log", func(t *testing.T) {
		im := crashed(t)
		for _, name := range []string{asleep, current, behind} {
			im.take(im.first, name, name)
		}
		h := im.opened()
		for _, name := range []string{asleep, current, behind} {
			mustHave(t, h, name, 10)
		}
	})
	t.Run("swapped", func(t *testing.T) {
		im := crashed(t)
		spare := t.TempDir()
		copyTree(t, im.dir, spare)
		im.take(spare, current, behind)
		im.take(spare, behind, current)
		h := im.opened()
		for _, name := range []string{current, behind} {
			mustSay(t, im.mustRefuse(h, name), storage.ErrWrongRoom, current, behind)
		}
		mustHave(t, h, asleep, 10)
	})
	t.Run("of another data directory", func(t *testing.T) {
		im, other := crashed(t), crashed(t)
		im.take(other.dir, asleep, asleep)
		im.take(other.dir, current, current)
		h := im.opened()
		mustHave(t, h, asleep, 10) // it needs no log
		mustSay(t, im.mustRefuse(h, current), storage.ErrLogMissing)
		mustHave(t, h, behind, 10)
	})
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// A crash does not make the log grow for ever: when every room has what it needs, and was
// closed, the crash's segments go.
func TestLogShrinksBehindACrash(t *testing.T) {
	noHistory := func(o *room.Options) { o.TimeTravel = -1 }
	im := crashed(t, noHistory)
	h := im.opened(noHistory)
	for _, name := range []string{asleep, current, behind} {
		mustHave(t, h, name, 10)
	}
	h.Reopen()
	h.Reopen()
	if got := im.segments(); len(got) != 1 {
		t.Errorf("there are %d segments, with nothing that a room needs: %v", len(got), got)
	}
}

// Rooms that nobody calls for take what they lack all the same, after a while.
func TestRoomsThatNobodyCallsForRecover(t *testing.T) {
	noHistory := func(o *room.Options) { o.TimeTravel = -1 }
	im := crashed(t, noHistory)
	remove(t, path(t, im.dir, asleep))
	h := im.opened(noHistory)
	h.Advance(time.Minute)
	if h.Awake() != 0 {
		t.Errorf("%d rooms were woken", h.Awake())
	}
	h.Reopen()
	if got := im.segments(); len(got) != 1 {
		t.Errorf("there are %d segments, with nothing that a room needs: %v", len(got), got)
	}
	mustHave(t, h, current, 10)
	mustHave(t, h, behind, 10)
	mustHave(t, h, asleep, 0)
}
