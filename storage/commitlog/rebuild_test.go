package commitlog

// CURRENT is gone or damaged.

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// told is a log's Logger, and what it was told.
func told() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// TestDamagedCurrent: however CURRENT is damaged, all is there, and the operator is told once.
func TestDamagedCurrent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	garbage := make([]byte, 2*currentPage+300)
	for i := range garbage {
		garbage[i] = byte(rng.Uint32())
	}
	for _, how := range specimens {
		s := prepare(t, how)
		whole, err := s.disk.Read("log/" + currentName)
		if err != nil {
			t.Fatal(err)
		}
		half := len(whole) / currentPage * currentPage / 2
		half = max(half, currentPage)
		cases := map[string][]byte{
			"empty": {}, "one byte": whole[:1], "the first copy cut": whole[:100], "garbage": garbage, "zeros": make([]byte, len(whole)),
			"the second copy cut": whole[:len(whole)-1], "only the first": whole[:half], "only the second": whole[half:],
			"the copies in one": append(bytes.Clone(whole[half:]), whole[:half]...),
		}
		for range 40 { // a bit of each copy
			b := bytes.Clone(whole)
			b[rng.IntN(100)] ^= 1 << rng.IntN(8)
			b[half+rng.IntN(100)] ^= 1 << rng.IntN(8)
			cases[fmt.Sprint("both, ", len(cases))] = b
		}
		for what, b := range cases {
			s.disk.Write("log/"+currentName, b)
			disk := s.disk.Clone(1)
			logger, text := told()
			s.o.Logger = logger
			if n := s.verdicts(t, disk, how+", "+what, damage{file: currentName, to: 1}); n > 0 {
				t.Errorf("%s, %s: %d rooms are refused", how, what, n)
			}
			if n := strings.Count(text.String(), "file=log/"+currentName); n != 1 || !strings.Contains(text.String(), "level=ERROR") {
				t.Errorf("%s, %s: the operator is told %d times: %s", how, what, n, text)
			}
		}
	}
}

// TestRebuildKeepsWhatItIs: a log whose CURRENT is gone has its ID, a newer generation than any
// before, all rooms to recover, and what it knew of Relaxed generations.
func TestRebuildKeepsWhatItIs(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	o.History = time.Hour
	l := mustOpen(t, o)
	id := l.ID()
	appendUpTo(t, mustRoom(t, l, "a"), 1, 40)
	mustClose(t, l)
	o.Relaxed = true
	l = mustOpen(t, o)
	appendUpTo(t, mustRoom(t, l, "b"), 1, 30)
	mustClose(t, l)
	o.Relaxed = false
	for range 3 {
		l = mustOpen(t, o)
		mustClose(t, l)
	}
	if err := d.Remove("log/" + currentName); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	if l.ID() != id || l.Generation() != 6 || l.Crashed() != 5 || l.RelaxedCrash() != 2 {
		t.Errorf("ID %s for %s, generation %d, crashed %d, relaxed %d", l.ID(), id, l.Generation(), l.Crashed(), l.RelaxedCrash())
	}
	if got := unrecovered(l); got != "a b" {
		t.Errorf("to recover: %s", got)
	}
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	wantReplay(t, a, 0, 40)
	wantBackward(t, b, 1, 30)
	a.Release(40)
	b.Release(30)
	if l.Crashed() != 0 {
		t.Errorf("crashed: %d", l.Crashed())
	}
	mustClose(t, l)
}

// TestLastFileStays: when all was released, at a good end, one file says what log it was.
func TestLastFileStays(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	l := mustOpen(t, o)
	id, a := l.ID(), mustRoom(t, l, "a")
	appendUpTo(t, a, 1, 40)
	a.Release(40)
	mustClose(t, l)
	if err := d.Remove("log/" + currentName); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	if l.ID() != id || l.Generation() != 2 {
		t.Errorf("ID %s for %s, generation %d", l.ID(), id, l.Generation())
	}
	mustClose(t, l)
	if got := segmentFiles(t, o.FS, o.Dir); len(got) != 2 {
		t.Errorf("files: %v", got)
	}
}

// TestFilesOfAnotherLog: an operator has copied them into the directory. They are not taken for this
// log's, nor deleted, with CURRENT and without.
func TestFilesOfAnotherLog(t *testing.T) {
	other := faultdisk.New(2)
	o := testOptions(other, newClock())
	o.Random = seeded(99)
	l := mustOpen(t, o)
	appendUpTo(t, mustRoom(t, l, "a"), 1, 90)
	mustClose(t, l)
	foreign := segmentFiles(t, o.FS, o.Dir)
	for _, how := range specimens {
		for _, without := range []string{"", currentName} {
			s := prepare(t, how)
			ours := segmentFiles(t, s.o.FS, s.o.Dir)
			want := map[string]int{}
			for _, name := range foreign[len(ours):] { // the names that are free
				b, err := other.Read("log/" + name)
				if err != nil {
					t.Fatal(err)
				}
				s.disk.Write("log/"+name, b)
				want[string(b)]++
			}
			if without != "" {
				if err := s.disk.Remove("log/" + without); err != nil {
					t.Fatal(err)
				}
			}
			if n := s.verdicts(t, s.disk, how+", without "+without, damage{file: currentName}); n > 0 {
				t.Errorf("%s, without %q: %d rooms are refused", how, without, n)
			}
			for _, path := range s.disk.Files() {
				b, _ := s.disk.Read(path)
				want[string(b)]--
			}
			for _, n := range want {
				if n > 0 {
					t.Errorf("%s, without %q: a file of another log is gone: %v", how, without, s.disk.Files())
				}
			}
		}
	}
}

// TestRebuildWithoutASegment: one in the middle is missing, or its header is beyond repair. It is as
// with CURRENT: rooms that may have had entries there say so. When it is back it is read.
func TestRebuildWithoutASegment(t *testing.T) {
	for _, what := range []string{"missing", "header"} {
		s := prepare(t, "clean")
		path := "log/" + segment.Name(2)
		whole, err := s.disk.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.disk.Remove("log/" + currentName); err != nil {
			t.Fatal(err)
		}
		if what == "missing" {
			err = s.disk.Remove(path)
		} else {
			b := bytes.Clone(whole)
			clear(b[:segment.Start+20])
			s.disk.Write(path, b)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			l := mustOpen(t, s.o)
			for name, last := range s.rooms {
				r := mustRoom(t, l, name)
				got, err := replayed(t, r, 0)
				switch name {
				case "late", "rare": // whose entries follow each other around it
					if err != nil || uint64(len(got)) != last {
						t.Errorf("%s: %s: %v, %v", what, name, got, err)
					}
				default: // early has nothing after it, the others had something in it
					wantError(t, what+": "+name, err, ErrLost)
				}
				r.Close()
			}
			if l.Crashed() == 0 {
				t.Error("taken for recovered")
			}
			mustClose(t, l)
		}
		if what == "missing" {
			s.disk.Write(path, whole)
			if n := s.verdicts(t, s.disk, "it is back", damage{file: currentName}); n > 0 {
				t.Errorf("it is back, and %d rooms are refused", n)
			}
		}
	}
}

// TestRebuildOfANewerLog: a newer Den's files are refused and left alone, without its CURRENT too;
// and a directory whose files do not say what log they are of.
func TestRebuildOfANewerLog(t *testing.T) {
	s := prepare(t, "clean")
	files := segmentFiles(t, s.o.FS, s.o.Dir)
	for _, name := range files {
		b, err := s.disk.Read("log/" + name)
		if err != nil {
			t.Fatal(err)
		}
		b[8]++
		copy(b[segmentHeader-4:], le32(segment.Sum(0, b[:segmentHeader-4])))
		s.disk.Write("log/"+name, b)
	}
	if err := s.disk.Remove("log/" + currentName); err != nil {
		t.Fatal(err)
	}
	before := contents(t, s.disk)
	_, err := Open(s.o)
	wantError(t, "a newer Den's", err, ErrNewer)
	if contents(t, s.disk) != before {
		t.Error("it was touched")
	}
	for _, name := range files {
		s.disk.Write("log/"+name, bytes.Repeat([]byte{7}, 3000))
	}
	before = contents(t, s.disk)
	_, err = Open(s.o)
	wantError(t, "no log's", err, ErrCorrupt)
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(fmt.Sprint(err), currentName) || contents(t, s.disk) != before {
		t.Errorf("%v, or it was touched", err)
	}
}

func le32(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

func contents(t *testing.T, d *faultdisk.Disk) string {
	t.Helper()
	var all strings.Builder
	for _, path := range d.Files() {
		b, err := d.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(path)
		all.Write(b)
	}
	return all.String()
}

// TestOldCurrent: somebody has put back a CURRENT of before. What came since is not deleted, as what
// it does not name.
func TestOldCurrent(t *testing.T) {
	for _, how := range []string{"clean", "crashed"} {
		d := faultdisk.New(1)
		o := testOptions(d, newClock())
		o.History = time.Hour
		l := mustOpen(t, o)
		a := mustRoom(t, l, "a")
		appendUpTo(t, a, 1, 30)
		old, err := d.Read("log/" + currentName)
		if err != nil {
			t.Fatal(err)
		}
		appendUpTo(t, a, 31, 90)
		if how == "clean" {
			mustClose(t, l)
		} else {
			d.Kill()
			_ = d.Restart()
		}
		d.Write("log/"+currentName, old)
		l = mustOpen(t, o)
		wantReplay(t, mustRoom(t, l, "a"), 0, 90)
		mustClose(t, l)
	}
}

// TestNewDirectory: the directory's own name is durable before the log has anything in it, though
// making it was tried before.
func TestNewDirectory(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	o.Dir = "above/log"
	d.Fail(faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: "above"})
	_, err := Open(o)
	wantError(t, "the directory above", err, ErrIO)
	for _, path := range d.Files() {
		t.Errorf("there is %s already", path)
	}
	mustClose(t, mustOpen(t, o))
}

// TestRebuildOnAFailingDisk: CURRENT is gone, and the disk fails while the segments are read, once or for good. The log is not
// opened, or it has all that a disk without faults gives; when the disk is well again it has that in any case.
func TestRebuildOnAFailingDisk(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		disk, o := withoutCurrent(t, damaged)
		fromAll := func(disk *faultdisk.Disk) (l *Log, has string, err error) {
			o.FS = disk.FS("")
			if l, err = Open(o); err != nil {
				return nil, "", err
			}
			r := mustRoom(t, l, "a")
			first, last, err := r.Range()
			replay := r.Replay(first-1, func(Entry) error { return nil })
			return l, fmt.Sprint(first, last, err, replay, l.Lost()), nil
		}
		l, want, err := fromAll(disk.Clone(0))
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		opened, refused := 0, 0
		for _, op := range []faultdisk.Op{faultdisk.OpStat, faultdisk.OpList, faultdisk.OpOpen, faultdisk.OpRead} {
			for after := range 16 {
				if raceEnabled && after%3 == 2 {
					continue
				}
				d := disk.Clone(uint64(after))
				d.Fail(faultdisk.Fault{Op: op, After: after, Times: 1 + after%2*1000})
				l, err := Open(o.on(d))
				d.Heal()
				if err == nil {
					opened++
					mustClose(t, l)
				} else if refused++; !errors.Is(err, ErrIO) {
					t.Errorf("%v fails after %d: %v", op, after, err)
				}
				l, has, err := fromAll(d)
				if err != nil || has != want {
					t.Errorf("%v has failed after %d: the room has %s, %v; want %s", op, after, has, err, want)
				}
				mustClose(t, l)
			}
		}
		if opened < 5 || refused < 5 {
			t.Errorf("opened %d times, refused %d times", opened, refused)
		}
	}
}

// on is the options for another disk.
func (o Options) on(d *faultdisk.Disk) Options {
	o.FS = d.FS("")
	return o
}

// withoutCurrent makes a log of two segments whose CURRENT is gone. Behind the records of the second are more zeros than are read at
// once; damaged is whether the header of the last record of the first is, which is longer than what is read at once.
func withoutCurrent(t *testing.T, damaged bool) (*faultdisk.Disk, Options) {
	t.Helper()
	disk := faultdisk.New(1)
	o := testOptions(disk, newClock())
	o.SegmentBytes = 1 << 20
	l := mustOpen(t, o)
	a := mustRoom(t, l, "a")
	var last int64
	for n := uint64(1); n <= 6; n++ {
		if err := a.Append(Entry{Number: n, Payload: make([]byte, 300<<10)}); err != nil {
			t.Fatal(err)
		}
		if n == 4 {
			last = int64(a.lastAt)
		}
	}
	if s := l.Stats(); s.Segments != 2 {
		t.Fatalf("%+v", s)
	}
	err := disk.Remove("log/" + currentName)
	if damaged && err == nil {
		err = disk.Corrupt("log/"+segment.Name(1), last+10, []byte{0x11, 0x22})
	}
	disk.Kill()
	if err = errors.Join(err, disk.Restart()); err != nil {
		t.Fatal(err)
	}
	return disk, o
}
