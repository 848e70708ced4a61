package commitlog

// Damage of every kind, everywhere in a small log: the node opens, rooms that are not concerned
// have all that they had, those that are say so, and nothing is missing silently.

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// specimen is a log with rooms of several kinds, and what is where in its files.
type specimen struct {
	disk    *faultdisk.Disk
	o       Options
	rooms   map[string]uint64 // the newest number of each
	records []specimenRecord
	certain int64 // in the newest segment, if it was not sealed: what lies before it was durable
}

type specimenRecord struct {
	segment  uint64
	from, to int64
	room     string // "" for an index
}

// prepare makes a log. how is "clean", "crashed", or "again": it crashed, was opened and closed,
// and crashed again.
func prepare(t testing.TB, how string) *specimen {
	t.Helper()
	s := &specimen{disk: faultdisk.New(3), rooms: map[string]uint64{"early": 3, "a": 24, "b": 24, "rare": 4, "late": 3}}
	s.o = testOptions(s.disk, newClock())
	s.o.History, s.o.SegmentBytes, s.o.IndexBytes = time.Hour, segment.Start+3<<10, 1<<10
	l := mustOpen(t, s.o)
	next := func(name string) {
		r := mustRoom(t, l, name)
		appendUpTo(t, r, r.Last()+1, r.Last()+1)
		r.Close()
	}
	restart := func() {
		s.disk.Kill()
		if err := s.disk.Restart(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, s.o)
	}
	for n := range 24 {
		if n < 3 {
			next("early")
		}
		next("a")
		if n%6 == 1 {
			next("rare")
		}
		next("b")
		if how == "again" && n == 8 {
			restart()
		}
		if how == "again" && n == 16 {
			mustClose(t, l)
			l = mustOpen(t, s.o)
		}
		if n > 20 {
			next("late")
		}
	}
	if how == "clean" {
		mustClose(t, l)
	} else {
		s.disk.Kill()
		if err := s.disk.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	s.catalogue(t)
	if len(segmentFiles(t, s.o.FS, s.o.Dir)) < 3 {
		t.Fatal("too few segments")
	}
	return s
}

// catalogue notes where the records are.
func (s *specimen) catalogue(t testing.TB) {
	names := map[segment.Key]string{}
	for name := range s.rooms {
		names[segment.Identify("party", name, "e1").Key] = name
	}
	for _, file := range segmentFiles(t, s.o.FS, s.o.Dir) {
		b, err := s.disk.Read("log/" + file)
		if err != nil {
			t.Fatal(err)
		}
		number, _ := segment.ParseName(file)
		salt, err := segment.CheckHeader(b, [16]byte(b[16:32]), number)
		if err != nil {
			t.Fatal(err)
		}
		s.certain = 0
		for at := segment.Start; ; {
			r, ok := segment.ParseRecord(b[at:], salt)
			if !ok {
				break
			}
			room := names[r.Key]
			if r.Flags&segment.FlagIndex != 0 {
				room = ""
			}
			s.records = append(s.records, specimenRecord{number, int64(at), int64(at + r.Size()), room})
			s.certain = max(s.certain, int64(r.Synced))
			at += r.Size()
		}
	}
}

// hit says what damage from one offset to another in a file means for a room: owner, that an
// entry of it is there; unsure, that there is the header of any record, and none of the room after
// it; lastWrite, that it may look like a write that was cut short.
func (s *specimen) hit(file, room string, from, to int64) (owner, unsure, lastWrite bool) {
	number, ok := segment.ParseName(file)
	if !ok {
		return false, false, false
	}
	newest := s.records[len(s.records)-1].segment
	lastWrite = number == newest && to > s.certain
	header := false
	for _, r := range s.records {
		touched := r.segment == number && r.from < to && r.to > from
		switch {
		case touched && r.room == room:
			owner = true
		case r.room == room && (r.segment > number || r.segment == number && r.from >= to):
			return owner, false, lastWrite
		}
		header = header || touched && r.from+recordHeader > from
	}
	// A beginning that is gone takes the whole file with it.
	unsure = header || from < segment.Start+recordHeader
	return owner, unsure, lastWrite
}

// damage is what a test does to a file.
type damage struct {
	file     string // without the directory
	from, to int64
}

func (d damage) String() string { return fmt.Sprintf("%s from %d to %d", d.file, d.from, d.to) }

// verdicts opens the damaged log, twice, and looks at each room. It returns how many were refused.
func (s *specimen) verdicts(t *testing.T, disk *faultdisk.Disk, how string, d damage) (refused int) {
	t.Helper()
	o := s.o
	o.FS = disk.FS("")
	rooms := map[string]uint64{}
	for again := range 2 {
		l, err := Open(o)
		if err != nil {
			t.Fatalf("%s, %v: open: %v", how, d, err)
		}
		for name, last := range s.rooms {
			owner, unsure, lastWrite := s.hit(d.file, name, d.from, d.to)
			r, err := l.Room("party", name, "e1")
			if err != nil {
				t.Fatalf("%s, %v: %v", how, d, err)
			}
			got, err := replayed(t, r, 0)
			switch {
			case errors.Is(err, ErrCorrupt) && owner, errors.Is(err, ErrLost) && (unsure || owner):
				refused++
			case err != nil:
				t.Fatalf("%s, %v: %s: %v (owner %v, unsure %v)", how, d, name, err, owner, unsure)
			case again > 0 && rooms[name] > 0 && uint64(len(got)) != rooms[name],
				again == 0 && uint64(len(got)) < last && !lastWrite, uint64(len(got)) > last+1:
				t.Fatalf("%s, %v: %s has %d entries of %d, silently", how, d, name, len(got), last)
			default:
				rooms[name] = uint64(len(got))
			}
			if err == nil && again == 0 { // it goes on
				rooms[name]++
				appendUpTo(t, r, rooms[name], rooms[name])
			}
			r.Close()
		}
		if err := l.Close(); err != nil {
			t.Fatalf("%s, %v: close: %v", how, d, err)
		}
	}
	return refused
}

var specimens = []string{"clean", "crashed", "again"}

// stride makes a sweep sparse where there is little time. With -seeds of a thousand and more there is.
func stride(full int64) int64 {
	switch {
	case *seedsFlag >= 1000:
		return full
	case testing.Short() || raceEnabled:
		return full * 23
	}
	return full * 7
}

// TestFlippedBits: one bit is flipped, in CURRENT or in a segment, after its end too. Nothing
// is refused, nothing is missing.
func TestFlippedBits(t *testing.T) {
	for _, how := range specimens {
		s, flips := prepare(t, how), 0
		for _, path := range s.disk.Files() {
			size, err := s.disk.Size(path)
			if err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < size; at += stride(5) {
				disk := s.disk.Clone(uint64(at))
				if err := disk.Corrupt(path, at, []byte{1 << (at / 5 % 8)}); err != nil {
					t.Fatal(err)
				}
				flips++
				if n := s.verdicts(t, disk, how, damage{path[len("log/"):], at, at + 1}); n > 0 {
					t.Fatalf("%s: %s at %d: %d rooms are refused", how, path, at, n)
				}
			}
		}
		t.Logf("%s: %d flips", how, flips)
	}
}

// TestFlippedBitsWithoutCurrent: a flip in a segment, and CURRENT is gone.
func TestFlippedBitsWithoutCurrent(t *testing.T) {
	for _, how := range specimens {
		s := prepare(t, how)
		if err := s.disk.Remove("log/" + currentName); err != nil {
			t.Fatal(err)
		}
		for _, path := range s.disk.Files() {
			size, err := s.disk.Size(path)
			if err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < size; at += stride(13) {
				disk := s.disk.Clone(uint64(at))
				if err := disk.Corrupt(path, at, []byte{1 << (at / 13 % 8)}); err != nil {
					t.Fatal(err)
				}
				if n := s.verdicts(t, disk, how, damage{path[len("log/"):], at, at + 1}); n > 0 {
					t.Fatalf("%s: %s at %d: %d rooms are refused", how, path, at, n)
				}
			}
		}
	}
}

// TestLostSectors: 512 bytes are zeros, or garbage. Only the rooms of which an entry was there are
// refused, and those that cannot show that none of theirs was.
func TestLostSectors(t *testing.T) {
	for _, how := range specimens {
		s, tries, refused := prepare(t, how), 0, 0
		for _, path := range s.disk.Files() {
			b, err := s.disk.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			for at := 0; at < len(b); at += sector {
				for fill := range 2 {
					damaged := slices.Clone(b)
					for i := at; i < min(at+sector, len(b)); i++ {
						damaged[i] = byte(fill * (i*7 + 1))
					}
					disk := s.disk.Clone(uint64(at))
					disk.Write(path, damaged)
					tries++
					refused += s.verdicts(t, disk, how, damage{path[len("log/"):], int64(at), int64(at + sector)})
				}
			}
		}
		t.Logf("%s: %d sectors, %d times a room was refused", how, tries, refused)
		if refused == 0 {
			t.Errorf("%s: damage costs nothing", how)
		}
	}
}

// TestCutFiles: a file is shorter than it was. CURRENT is not missed; a segment's end is by those
// that had something there.
func TestCutFiles(t *testing.T) {
	for _, how := range specimens {
		s := prepare(t, how)
		files := s.disk.Files()
		for i, path := range files {
			if how != "clean" && i == len(files)-2 { // that was written: its end may be cut by a crash
				continue
			}
			b, err := s.disk.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			for size := int64(0); size < int64(len(b)); size += stride(37) {
				disk := s.disk.Clone(uint64(size))
				disk.Write(path, b[:size])
				s.verdicts(t, disk, how, damage{path[len("log/"):], size, int64(len(b))})
			}
		}
	}
}
