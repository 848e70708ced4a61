package commitlog

// Looking for damage without changing anything: all that the files of a log say is compared with
// all else that they say.

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
)

// Problem is something that is wrong with the files of a log.
type Problem struct {
	// File is a name in the log's directory.
	File string
	// Offset is where in the file, in bytes.
	Offset int64
	// Namespace, Room and Epoch say whose entry it concerns; "": nobody's, or that is not known.
	Namespace, Room, Epoch string
	// What is wrong, for an operator.
	What string
	// Harmless: it costs nobody an entry. It is put right, or not needed, or was given up by Abandon.
	Harmless bool
}

// Verified counts what Verify has read.
type Verified struct {
	Segments int   // files
	Bytes    int64 // in their records
	Rooms    int   // in each of their epochs
	Entries  int
}

// Verify reads all of the log in a directory that no process has open, changes nothing, and calls
// report for each thing that is wrong: CURRENT against the files; headers, checksums and chains of
// all records; each room's chain; the indexes against the records. What a crash has cut short at the
// end of the segment that was written is nothing wrong. FS and Dir are all that is used of the
// Options. The errors, after which not all was read, are ErrNewer, ErrOlder, ErrIO and ErrMisuse.
func Verify(o Options, report func(Problem)) (Verified, error) {
	o, err := o.complete()
	if err != nil {
		return Verified{}, err
	}
	v := &verifier{l: &Log{o: o}, report: report, rooms: make(map[key]*verifiedRoom)}
	names, err := o.FS.Names(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Verified{}, failure("listing the directory", err)
	}
	if err := v.readCurrent(names); err != nil {
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

// verifier is one run of Verify.
type verifier struct {
	Verified
	l        *Log // that was not opened
	report   func(Problem)
	current  *current // nil: it is damaged
	segments []*segment
	rooms    map[key]*verifiedRoom
	hole     bool // something is missing or damaged, and nobody knows whose it was
}

// verifiedRoom is how far the chain of a room in one epoch was followed.
type verifiedRoom struct {
	who     identity // its names are "" if they cannot be read
	last    uint64   // number of the newest entry
	crc     uint32
	segment uint64 // that has it
	at      uint32
	root    uint32 // offset of the newest record with names there
	blind   bool   // the entry is damaged: what follows cannot be compared with it
}

func (v *verifier) problem(s *segment, at int64, r *verifiedRoom, what string, args ...any) {
	p := Problem{File: segmentName(s.number), Offset: at, What: fmt.Sprintf(what, args...)}
	if r != nil {
		p.Namespace, p.Room, p.Epoch = r.who.namespace, r.who.room, r.who.epoch
	}
	v.report(p)
}

// given reports whether Abandon has given up one of some segments.
func (v *verifier) given(from, to uint64) bool {
	return slices.ContainsFunc(v.segments, func(s *segment) bool { return s.given.Load() && s.number >= from && s.number <= to })
}

// lack reports something that is missing between two segments. Where Abandon has given one of them up,
// an operator knows, and nobody needs it any more.
func (v *verifier) lack(p Problem, from, to uint64) {
	if v.given(from, to) {
		p.Harmless, p.What = true, p.What+", which was given up"
	}
	v.report(p)
}

func (v *verifier) harmless(s *segment, at int64, what string, args ...any) {
	v.report(Problem{File: segmentName(s.number), Offset: at, Harmless: true, What: fmt.Sprintf(what, args...)})
}

// readCurrent finds out which segments there should be.
func (v *verifier) readCurrent(names []string) error {
	var numbers []uint64
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			numbers = append(numbers, n)
		}
	}
	c, b, err := v.l.readCurrent()
	switch {
	case err != nil && !errors.Is(err, ErrCorrupt):
		return err
	case c == nil && len(numbers) == 0:
		return nil
	case c == nil:
		v.report(Problem{File: currentName, Harmless: true, What: cmp.Or(err, errNone).Error() + "; it will be made again from the segments"})
		return v.withoutCurrent(numbers, b)
	}
	if _, damaged, _ := parseCurrent(b); damaged {
		v.report(Problem{File: currentName, Harmless: true, What: "one of its two copies is damaged"})
	}
	v.current, v.l.id, v.segments = c, c.id, c.segments
	if c.active != 0 {
		v.segments = append(slices.Clone(c.segments), &segment{number: c.active, generation: c.generation})
	}
	for _, n := range numbers {
		if n < c.first || n >= c.next() {
			if h, err := v.l.readHead(n); err == nil && h.id != c.id {
				v.report(Problem{File: segmentName(n), Harmless: true, What: "it belongs to another log"})
			}
		}
	}
	return nil
}

// errNone: there is no CURRENT.
var errNone = errors.New("it is gone")

// withoutCurrent takes the segments that there are.
func (v *verifier) withoutCurrent(numbers []uint64, b []byte) error {
	m, err := v.l.lookAround(numbers, b)
	if errors.Is(err, ErrCorrupt) {
		v.report(Problem{File: currentName, What: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	v.l.id = m.id
	for _, h := range m.foreign {
		v.report(Problem{File: segmentName(h.number), Harmless: true, What: "it belongs to another log"})
	}
	for _, n := range m.numbers {
		v.segments = append(v.segments, &segment{number: n, generation: m.heads[n].generation})
	}
	return nil
}

// segment reads a segment.
func (v *verifier) segment(s *segment) error {
	name, path := segmentName(s.number), v.l.path(s.number)
	size, err := v.l.o.FS.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		v.hole = true
		v.lack(Problem{File: name, What: "it is missing"}, s.number, s.number)
		return nil
	}
	if err != nil {
		return failure("looking for "+name, err)
	}
	f, err := v.l.o.FS.Open(path, os.O_RDONLY)
	if err != nil {
		return failure("opening "+name, err)
	}
	defer f.Close()
	v.Segments++
	done := s.tail != 0
	if !done {
		s.size = size
	}
	salt, ok, err := v.header(s, f, done)
	if err != nil {
		return err
	}
	if !ok || !done && size < segmentStart {
		v.hole = true
		v.lack(Problem{File: name, What: "its beginning is damaged, and nothing of it can be read"}, s.number, s.number)
		return nil
	}
	if done && size < s.size {
		v.problem(s, size, nil, "it is shorter than it was: %d bytes of %d", size, s.size)
	}
	s.salt = salt
	return v.records(s, reader{f: f, number: s.number, salt: salt, window: scanWindow}, min(size, cmp.Or(s.tail, size)))
}

// header checks a segment's header. If that is damaged the salt is looked for elsewhere.
func (v *verifier) header(s *segment, f io.ReaderAt, done bool) (salt uint32, ok bool, err error) {
	b := make([]byte, segmentStart)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return 0, false, shortRead(s.number, int64(n), err)
	}
	salt, err = checkSegmentHeader(b, v.l.id, s.number)
	switch {
	case err == nil && done && salt != s.salt:
		v.problem(s, 0, nil, "it is not the segment that %s means", currentName)
		return s.salt, true, nil
	case err == nil:
		return salt, true, nil
	case !errors.Is(err, ErrCorrupt):
		return 0, false, err
	}
	salt, _, ok, err = v.l.salvageSalt(f, s, b)
	if done {
		salt, ok = s.salt, true
	}
	if ok {
		v.harmless(s, 0, "its header is damaged")
	}
	return salt, ok, err
}

// records reads all records of a segment, and then compares its indexes with them.
func (v *verifier) records(s *segment, r reader, limit int64) error {
	scan := newScan(r, start{segmentStart, s.salt}, cmp.Or(s.tail, segmentStart), limit)
	names := reader{f: r.f, number: s.number, salt: s.salt, window: recordHeader + usualNames}
	scan.each = func(at int64, r *record, state state) { v.record(s, &names, at, r, state) }
	err := scan.run()
	if err == nil {
		err = scan.forgive(s.indexHints()...)
	}
	if err != nil {
		return failure("reading "+segmentName(s.number), err)
	}
	v.Bytes += scan.end - segmentStart
	for _, f := range scan.flips {
		v.harmless(s, f.at, "a bit has flipped, which can be put right")
	}
	for _, h := range scan.holes {
		v.hole = true
		what := fmt.Sprintf("what lies up to %d is damaged, and it is not known whose it was", h.to)
		v.lack(Problem{File: segmentName(s.number), Offset: h.from, What: what}, s.number, s.number)
	}
	if s.tail != 0 {
		v.indexes(s, scan)
	}
	return nil
}

// record follows a room's chain by one entry.
func (v *verifier) record(s *segment, names *reader, at int64, r *record, state state) {
	if r.flags&flagIndex != 0 {
		if state == damaged {
			v.harmless(s, at, "an index is damaged")
		}
		return
	}
	v.Entries++
	room := v.rooms[r.key]
	first := room == nil
	if first {
		room = new(verifiedRoom)
		v.rooms[r.key] = room
	}
	if r.flags&flagNames != 0 && state != damaged {
		who, err := names.names(at, r)
		if err != nil {
			v.problem(s, at, room, "the names of a room cannot be read: %v", err)
		} else {
			room.who = who
		}
	}
	here := !first && room.segment == s.number
	follows := !first && r.flags&flagStarts == 0
	switch {
	case state == damaged:
		v.problem(s, at, room, "entry %d is damaged", r.number)
	case (r.flags&flagNames != 0) == (r.root != 0), !here && r.flags&flagNames == 0, r.root != 0 && r.root != room.root:
		v.problem(s, at, room, "entry %d does not lead to the room's names", r.number)
	case here && r.flags&flagNames == 0 && r.previous != room.at, (!here || r.flags&flagStarts != 0) && r.previous != 0:
		v.problem(s, at, room, "entry %d does not lead to the one before it", r.number)
	case follows && r.number > room.last+1:
		p := Problem{File: segmentName(s.number), Offset: at, Namespace: room.who.namespace, Room: room.who.room, Epoch: room.who.epoch}
		p.What = fmt.Sprintf("entry %d follows %d, and what is between them is missing", r.number, room.last)
		v.lack(p, room.segment, s.number)
	case follows && r.number != room.last+1:
		v.problem(s, at, room, "entry %d follows %d", r.number, room.last)
	case follows && !room.blind && r.roomChain != room.crc:
		v.problem(s, at, room, "entry %d does not follow the entry %d that there is", r.number, room.last)
	case !first && r.number <= room.last:
		v.problem(s, at, room, "entry %d comes after %d", r.number, room.last)
	}
	room.last, room.crc, room.segment, room.at, room.blind = r.number, r.crc, s.number, uint32(at), state == damaged
	if r.flags&flagNames != 0 {
		room.root = uint32(at)
	}
}

// indexes compares the indexes of a segment that is done with what its records are.
func (v *verifier) indexes(s *segment, scan *scan) {
	if scan.end != s.tail {
		v.problem(s, scan.end, nil, "its records end there, and not at %d", s.tail)
	}
	said := make(map[key]place)
	for _, x := range s.indexes {
		if what := s.readIndex(scan, x, said); what != "" {
			v.harmless(s, int64(x.offset), "%s; the file is read for what is in it", what)
			return
		}
	}
	for k, p := range scan.index.of {
		if q, ok := said[k]; !ok || q.last != p.last || q.at != p.at || q.crc != p.crc && !v.rooms[k].blind || q.root != p.root {
			v.problem(s, int64(p.at), v.rooms[k], "no index says that a room's newest entry is there")
		}
		delete(said, k)
	}
	for k, p := range said {
		v.problem(s, int64(p.at), v.rooms[k], "an index says that a room has entry %d there", p.last)
	}
}

// readIndex adds what an index says, and returns what is wrong with it.
func (s *segment) readIndex(scan *scan, x *index, said map[key]place) string {
	kind := uint32(footerBlock)
	if int64(x.offset) < s.tail {
		kind = 0
	}
	size, err := scan.indexAt(int64(x.offset), max(s.size, s.tail), kind)
	keep := filterSize(int(x.rooms))
	if want := int64(x.blocks()*blockHeader) + int64(x.rooms)*indexEntry + int64(filterHeader+keep); err != nil || size != want {
		return "an index is damaged"
	}
	b, err := scan.bytes(int64(x.offset)+size-int64(keep), keep, forwards)
	if err != nil {
		return "an index is damaged"
	}
	rooms := filter(slices.Clone(b))
	for i := range x.blocks() {
		b, err := s.readBlock(scan.f, x, i)
		if err != nil {
			return "an index is damaged"
		}
		for ; len(b) > 0; b = b[indexEntry:] {
			p := parsePlace(b)
			if said[p.key] = p; !rooms.has(p.key) {
				return "the filter of an index does not let a room of it pass"
			}
		}
	}
	return ""
}

// pins compares what closed rooms have not released with what there is of them.
func (v *verifier) pins() {
	if v.current == nil {
		return
	}
	for _, p := range v.current.pins {
		if r := v.rooms[p.who.key]; r == nil || r.last != p.last {
			have, in := uint64(0), uint64(0)
			if r != nil {
				have, in = r.last, r.segment
			}
			v.lack(Problem{
				File: currentName, Namespace: p.who.namespace, Room: p.who.room, Epoch: p.who.epoch,
				What: fmt.Sprintf("the room has entries up to %d that it did not release, and there are some up to %d; the rest is missing", p.last, have),
			}, in, math.MaxUint64)
		}
	}
}
