package commitlog

// Verify compares everything that the files of a log say with everything else that they say.

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// Problem is something that is wrong with the files of a log.
type Problem struct {
	// File is a name in the log's directory.
	File string
	// Offset is where in the file, in bytes.
	Offset int64
	// Namespace, Room and Epoch say whose entry is concerned. "" means no room's, or that it is not known.
	Namespace, Room, Epoch string
	// What is wrong, for an operator.
	What string
	// Harmless means that no room lacks an entry because of it: it is repaired, or not needed, or was given up by Abandon.
	Harmless bool
}

// Verified counts what Verify has read.
type Verified struct {
	Segments int   // files
	Bytes    int64 // in their records
	Rooms    int   // in each of their epochs
	Entries  int
}

// Verify reads the whole log in a directory that no process has open, and calls report for each problem. It changes nothing. It
// compares CURRENT with the files, checks the headers, checksums and chains of all records and the chain of each room, and compares
// the indexes with the records. The end of an active segment that a crash has cut short is no problem. Verify uses only FS and Dir
// of the Options. The errors, after which not everything was read, are ErrNewer, ErrOlder, ErrIO and ErrMisuse.
func Verify(o Options, report func(Problem)) (Verified, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Verified{}, err
	}
	v := &verifier{dir: &directory{fs: o.FS, path: o.Dir, logger: o.Logger}, report: report, rooms: make(map[segment.Key]*verifiedRoom)}
	_, numbers, err := v.dir.list()
	if err != nil {
		return Verified{}, err
	}
	if err := v.readCurrent(numbers); err != nil {
		return v.Verified, err
	}
	for _, s := range v.segments {
		if err := v.segment(s); err != nil {
			return v.Verified, err
		}
	}
	v.pins()
	v.Rooms = len(v.rooms)
	return v.Verified, nil
}

type verifier struct {
	Verified
	dir           *directory
	id            [16]byte // of the log
	report        func(Problem)
	current       *current // nil: it is damaged
	segments      []*logSegment
	rooms         map[segment.Key]*verifiedRoom
	unknownDamage bool // something is lost, or there is a hole
}

// verifiedRoom is how far the chain of a room was followed.
type verifiedRoom struct {
	id      segment.Identity // its names are "" if they cannot be read
	last    uint64           // number of the newest entry
	crc     uint32
	segment uint64 // that has it
	at      uint32
	root    uint32 // offset of the newest record with names there
	damaged bool   // the entry is damaged: what follows cannot be compared with it
}

func (v *verifier) problem(s *logSegment, at int64, r *verifiedRoom, what string, args ...any) {
	p := Problem{File: segment.Name(s.Number), Offset: at, What: fmt.Sprintf(what, args...)}
	if r != nil {
		p.Namespace, p.Room, p.Epoch = r.id.Namespace, r.id.Room, r.id.Epoch
	}
	v.report(p)
}

// abandoned reports whether a segment in a range was abandoned.
func (v *verifier) abandoned(from, to uint64) bool {
	return slices.ContainsFunc(v.segments, func(s *logSegment) bool { return s.abandoned.Load() && s.Number >= from && s.Number <= to })
}

// reportMissing reports something that is missing between two segments. If one of them was abandoned, an operator
// knows, and it is harmless.
func (v *verifier) reportMissing(p Problem, from, to uint64) {
	if v.abandoned(from, to) {
		p.Harmless, p.What = true, p.What+", which was given up"
	}
	v.report(p)
}

func (v *verifier) harmless(s *logSegment, at int64, what string, args ...any) {
	v.report(Problem{File: segment.Name(s.Number), Offset: at, Harmless: true, What: fmt.Sprintf(what, args...)})
}

// readCurrent finds out which segments there should be.
func (v *verifier) readCurrent(numbers []uint64) error {
	c, b, err := v.dir.readCurrent()
	switch {
	case err != nil && !errors.Is(err, ErrCorrupt):
		return err
	case c == nil && len(numbers) == 0:
		return nil
	case c == nil:
		v.report(Problem{File: currentName, Harmless: true, What: cmp.Or(err, errNoCurrent).Error() + "; it will be made again from the segments"})
		return v.withoutCurrent(numbers, b)
	}
	if _, damaged, _ := parseCurrent(b); damaged {
		v.report(Problem{File: currentName, Harmless: true, What: "one of its two copies is damaged"})
	}
	v.current, v.id, v.segments = c, c.id, c.segments
	if c.active != 0 {
		v.segments = append(slices.Clone(c.segments), &logSegment{File: segment.File{Number: c.active}, generation: c.generation})
	}
	for _, n := range numbers {
		if n < c.first || n >= c.next() {
			if h, err := v.dir.readHeader(n); err == nil && h.ID != c.id {
				v.report(Problem{File: segment.Name(n), Harmless: true, What: "it belongs to another log"})
			}
		}
	}
	return nil
}

// withoutCurrent takes the segments in the directory.
func (v *verifier) withoutCurrent(numbers []uint64, b []byte) error {
	m, err := v.dir.readHeaders(numbers, b)
	if errors.Is(err, ErrCorrupt) {
		v.report(Problem{File: currentName, What: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	v.id = m.id
	for _, h := range m.foreign {
		v.report(Problem{File: segment.Name(h.Number), Harmless: true, What: "it belongs to another log"})
	}
	for _, n := range m.numbers {
		v.segments = append(v.segments, &logSegment{File: segment.File{Number: n}, generation: m.headers[n].Generation})
	}
	return nil
}

func (v *verifier) segment(s *logSegment) error {
	name := segment.Name(s.Number)
	size, err := v.dir.size(s.Number)
	if errors.Is(err, fs.ErrNotExist) {
		v.unknownDamage = true
		v.reportMissing(Problem{File: name, What: "it is missing"}, s.Number, s.Number)
		return nil
	}
	if err != nil {
		return err
	}
	f, err := v.dir.open(s.Number, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	v.Segments++
	done := s.tail != 0
	if !done {
		s.Size = size
	}
	salt, ok, err := v.header(s, f, done)
	if err != nil {
		return err
	}
	if !ok || !done && size < segment.Start {
		v.unknownDamage = true
		v.reportMissing(Problem{File: name, What: "its beginning is damaged, and nothing of it can be read"}, s.Number, s.Number)
		return nil
	}
	if done && size < s.Size {
		v.problem(s, size, nil, "it is shorter than it was: %d bytes of %d", size, s.Size)
	}
	s.Salt = salt
	return v.records(s, f, min(size, cmp.Or(s.tail, size)))
}

// header checks a segment's header, and finds the salt elsewhere if it is damaged.
func (v *verifier) header(s *logSegment, f io.ReaderAt, done bool) (salt uint32, ok bool, err error) {
	b, err := segment.ReadPreamble(f, s.Number, 0)
	if err != nil {
		return 0, false, err
	}
	salt, err = segment.CheckHeader(b, v.id, s.Number)
	switch {
	case err == nil && done && salt != s.Salt:
		v.problem(s, 0, nil, "it is not the segment that %s means", currentName)
		return s.Salt, true, nil
	case err == nil:
		return salt, true, nil
	case !errors.Is(err, ErrCorrupt):
		return 0, false, err
	}
	salt, _, ok, err = segment.FindSalt(f, v.id, s.Number, b)
	if done {
		salt, ok = s.Salt, true
	}
	if ok {
		v.harmless(s, 0, "its header is damaged")
	}
	return salt, ok, err
}

// records reads all records of a segment, and compares its indexes with them.
func (v *verifier) records(s *logSegment, f vfs.File, limit int64) error {
	names := s.Reader(f)
	scan, err := s.Scan(f, cmp.Or(s.tail, segment.Start), limit, func(at int64, r *segment.Record, damaged bool) { v.record(s, names, at, r, damaged) })
	if err == nil {
		err = scan.DropIndexHoles(s.indexHints()...)
	}
	if err != nil {
		return failure("reading "+segment.Name(s.Number), err)
	}
	v.Bytes += scan.End - segment.Start
	for _, at := range scan.FlippedBits() {
		v.harmless(s, at, "a bit has flipped, and can be repaired")
	}
	for _, h := range scan.Holes {
		v.unknownDamage = true
		what := fmt.Sprintf("what lies up to %d is damaged, and it is not known whose it was", h.To)
		v.reportMissing(Problem{File: segment.Name(s.Number), Offset: h.From, What: what}, s.Number, s.Number)
	}
	if s.tail != 0 {
		v.indexes(s, scan)
	}
	return nil
}

// record follows a room's chain by one entry.
func (v *verifier) record(s *logSegment, names *segment.Reader, at int64, r *segment.Record, damaged bool) {
	if r.Flags&segment.FlagIndex != 0 {
		if damaged {
			v.harmless(s, at, "an index is damaged")
		}
		return
	}
	v.Entries++
	room := v.rooms[r.Key]
	first := room == nil
	if first {
		room = new(verifiedRoom)
		v.rooms[r.Key] = room
	}
	if r.Flags&segment.FlagNames != 0 && !damaged {
		who, err := names.Names(at, r)
		if err != nil {
			v.problem(s, at, room, "the names of a room cannot be read: %v", err)
		} else {
			room.id = who
		}
	}
	here := !first && room.segment == s.Number
	follows := !first && r.Flags&segment.FlagStarts == 0
	switch {
	case damaged:
		v.problem(s, at, room, "entry %d is damaged", r.Number)
	case (r.Flags&segment.FlagNames != 0) == (r.Root != 0), !here && r.Flags&segment.FlagNames == 0, r.Root != 0 && r.Root != room.root:
		v.problem(s, at, room, "entry %d does not lead to the room's names", r.Number)
	case here && r.Flags&segment.FlagNames == 0 && r.Previous != room.at, (!here || r.Flags&segment.FlagStarts != 0) && r.Previous != 0:
		v.problem(s, at, room, "entry %d does not lead to the one before it", r.Number)
	case follows && r.Number > room.last+1:
		p := Problem{File: segment.Name(s.Number), Offset: at, Namespace: room.id.Namespace, Room: room.id.Room, Epoch: room.id.Epoch}
		p.What = fmt.Sprintf("entry %d follows %d, and what is between them is missing", r.Number, room.last)
		v.reportMissing(p, room.segment, s.Number)
	case follows && r.Number != room.last+1:
		v.problem(s, at, room, "entry %d follows %d", r.Number, room.last)
	case follows && !room.damaged && r.RoomChain != room.crc:
		v.problem(s, at, room, "entry %d does not follow the entry %d that there is", r.Number, room.last)
	case !first && r.Number <= room.last:
		v.problem(s, at, room, "entry %d comes after %d", r.Number, room.last)
	}
	room.last, room.crc, room.segment, room.at, room.damaged = r.Number, r.CRC, s.Number, uint32(at), damaged
	if r.Flags&segment.FlagNames != 0 {
		room.root = uint32(at)
	}
}

// indexes compares the indexes of a sealed segment with its records.
func (v *verifier) indexes(s *logSegment, scan *segment.Scan) {
	if scan.End != s.tail {
		v.problem(s, scan.End, nil, "its records end there, and not at %d", s.tail)
	}
	said := make(map[segment.Key]segment.Place)
	for _, x := range s.indexes {
		if what := s.CheckIndex(scan, &x.Index, s.tail, said); what != "" {
			v.harmless(s, int64(x.Offset), "%s; the file is read for what is in it", what)
			return
		}
	}
	for k, p := range scan.Places.Of {
		if q, ok := said[k]; !ok || q.Last != p.Last || q.At != p.At || q.CRC != p.CRC && !v.rooms[k].damaged || q.Root != p.Root {
			v.problem(s, int64(p.At), v.rooms[k], "no index says that a room's newest entry is there")
		}
		delete(said, k)
	}
	for k, p := range said {
		v.problem(s, int64(p.At), v.rooms[k], "an index says that a room has entry %d there", p.Last)
	}
}

// pins compares the pins with the entries of their rooms.
func (v *verifier) pins() {
	if v.current == nil {
		return
	}
	for _, p := range v.current.pins {
		if r := v.rooms[p.id.Key]; r == nil || r.last != p.last {
			have, in := uint64(0), uint64(0)
			if r != nil {
				have, in = r.last, r.segment
			}
			v.reportMissing(Problem{
				File: currentName, Namespace: p.id.Namespace, Room: p.id.Room, Epoch: p.id.Epoch,
				What: fmt.Sprintf("the room has entries up to %d that it did not release, and there are some up to %d; the rest is missing", p.last, have),
			}, in, math.MaxUint64)
		}
	}
}
