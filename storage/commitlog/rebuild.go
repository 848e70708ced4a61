package commitlog

// CURRENT from the segments, where it is gone or both of its copies are damaged. What segments
// there are, and which log and which generation they are of, is in their headers; what is in
// them, in their records. What was released since the newest of them was begun is known by nobody:
// so all from there on counts as left by a crash, and the rooms say what they have.

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// readHeader reads the header of a segment, whatever log it is of. ErrCorrupt: it is damaged in more
// than one bit.
func (l *Log) readHeader(number uint64) (h segment.Header, err error) {
	f, err := l.o.FS.Open(l.path(number), os.O_RDONLY)
	if err != nil {
		return h, failure("opening "+segment.Name(number), err)
	}
	defer f.Close()
	return segment.ReadHeader(f, number)
}

// checkCurrentAge is the error of a CURRENT that is older than the segments, because somebody has put it
// there: a segment that comes behind all that it names has entries.
func (l *Log) checkCurrentAge(c *current, have map[uint64]bool) error {
	for n := range have {
		if n < c.next() {
			continue
		}
		h, err := l.readHeader(n)
		if errors.Is(err, ErrIO) {
			return err
		}
		if err != nil || h.ID != c.id {
			continue
		}
		f, err := l.o.FS.Open(l.path(n), os.O_RDONLY)
		if err != nil {
			return failure("opening "+segment.Name(n), err)
		}
		has, err := segment.HasRecord(f)
		if failed := f.Close(); err != nil {
			return failure("reading "+segment.Name(n), errors.Join(err, failed))
		}
		if has {
			return fmt.Errorf("commitlog: %w: %s is older than %s", ErrCorrupt, currentName, segment.Name(n))
		}
	}
	return nil
}

// segmentHeaders are the segments that there are.
type segmentHeaders struct {
	id      [16]byte
	numbers []uint64                  // of this log's, sorted
	headers map[uint64]segment.Header // of them, but for those that are damaged
	newest  segment.Header            // the last of these
	foreign []segment.Header          // of other logs'
	highest uint64                    // the highest number; it is not among numbers if the file was begun only
}

// readHeaders reads the headers of all segments. b is what is left of CURRENT. ErrCorrupt: no file says
// which log it is of.
func (l *Log) readHeaders(numbers []uint64, b []byte) (*segmentHeaders, error) {
	slices.Sort(numbers)
	all, found := make(map[uint64]segment.Header), &segmentHeaders{headers: make(map[uint64]segment.Header)}
	for _, n := range numbers {
		h, err := l.readHeader(n)
		switch {
		case err == nil:
			all[n] = h
		case !errors.Is(err, ErrCorrupt): // it is not only damaged
			return nil, err
		}
	}
	var ok bool
	if found.id, ok = chooseLogID(all, b); !ok {
		return nil, fmt.Errorf("commitlog: %w: %s is gone or damaged, and no file says which log it is of", ErrCorrupt, filepath.Join(l.o.Dir, currentName))
	}
	for _, n := range numbers {
		h, readable := all[n]
		switch {
		case readable && h.ID != found.id:
			found.foreign = append(found.foreign, h)
			continue
		case readable:
			found.headers[n], found.newest = h, h
		}
		found.numbers, found.highest = append(found.numbers, n), n
	}
	for last := len(found.numbers) - 1; last >= 0 && l.unfinished(found.numbers[last], found.headers); last-- {
		found.numbers = found.numbers[:last]
	}
	found.numbers = slices.DeleteFunc(found.numbers, func(n uint64) bool { return n < found.newest.First }) // deleted, and there again
	return found, nil
}

// unfinished tells whether a segment is what is left of a beginning that was cut short: its header or
// the space up to the first record is not whole, and nothing lies behind that.
func (l *Log) unfinished(number uint64, heads map[uint64]segment.Header) bool {
	size, err := l.o.FS.Size(l.path(number))
	if _, ok := heads[number]; err != nil || ok && size >= segment.Start {
		return false
	}
	f, err := l.o.FS.Open(l.path(number), os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	zeros, err := segment.OnlyZeros(f, number, size)
	return zeros && err == nil
}

// rebuild makes what CURRENT would say of the segments that there are. b is what is left of it, and
// why is what is wrong with it, nil if it is gone.
func (l *Log) rebuild(have map[uint64]bool, b []byte, why error) (*current, error) {
	m, err := l.readHeaders(slices.Collect(maps.Keys(have)), b)
	if err != nil {
		return nil, err
	}
	for _, h := range m.foreign {
		l.renameForeign(h.Number, h.ID)
		delete(have, h.Number)
	}
	c := &current{id: m.id, first: m.highest, floor: m.highest, nameless: make(map[segment.Key]uint64)}
	c.clock.wall = l.o.Now().UnixMilli()
	for _, h := range m.headers {
		c.relaxedCrash = max(c.relaxedCrash, h.Unsynced)
		if h.Relaxed {
			c.relaxedCrash = max(c.relaxedCrash, h.Generation)
		}
	}
	// Each generation begins one segment at least.
	c.generation = m.newest.Generation + m.highest - m.newest.Number
	if n := len(m.numbers); n > 0 {
		c.first = m.numbers[0]
		c.floor = min(max(c.first, m.newest.Floor), m.numbers[n-1])
		c.crashed = crashRange{generation: c.generation, from: c.floor, through: m.numbers[n-1]}
	}
	for n, before := c.first, uint64(1); n <= c.crashed.through; n++ {
		if h, ok := m.headers[n]; ok {
			before = h.Generation
		}
		c.segments = append(c.segments, unscannedSegment(n, before))
	}
	l.o.Logger.Error("commit log: a file is gone or damaged, and was made again from the segments; every room is looked at",
		"file", filepath.Join(l.o.Dir, currentName), "segments", len(c.segments), "why", cmp.Or(why, errNoCurrent))
	return c, nil
}

// chooseLogID finds out which log is meant: what is left of CURRENT may say it; else it is that of
// most of the files, and of these the one that was written last.
func chooseLogID(heads map[uint64]segment.Header, b []byte) (id [16]byte, ok bool) {
	files, newest := make(map[[16]byte]int), make(map[[16]byte]int64)
	for _, h := range heads {
		files[h.ID]++
		newest[h.ID] = max(newest[h.ID], h.Begun)
	}
	for at := 0; at+40 <= len(b); at += currentPage {
		if left := [16]byte(b[at+24:]); files[left] > 0 {
			return left, true
		}
	}
	for other, n := range files {
		if n > files[id] || n == files[id] && newest[other] > newest[id] {
			id = other
		}
	}
	return id, len(files) > 0
}

// unscannedSegment stands for one that CURRENT tells nothing of.
func unscannedSegment(number, generation uint64) *logSegment {
	return &logSegment{File: segment.File{Number: number}, generation: generation, hole: maxSegmentEnd}
}

// unscanned tells that nothing was read of a segment so far: it was missing when CURRENT was made
// again.
func (s *logSegment) unscanned() bool { return s.tail == 0 }

// reindex reads all of a segment, and ends it with an index.
func (l *Log) reindex(number, generation uint64) (*logSegment, error) {
	name := segment.Name(number)
	size, err := l.o.FS.Size(l.path(number))
	if err != nil {
		return nil, failure("looking for "+name, err)
	}
	f, err := l.o.FS.Open(l.path(number), os.O_RDWR)
	if err != nil {
		return nil, failure("opening "+name, err)
	}
	defer f.Close()
	g := &logSegment{File: segment.File{Number: number, Size: size}, sealedAt: l.now(), generation: generation}
	preamble, err := segment.ReadPreamble(f, number, min(size, segment.Start))
	if err != nil {
		return nil, err
	}
	salt, found, err := l.findSalt(f, g, preamble)
	if err != nil {
		return nil, err
	}
	if !found || size < segment.Start {
		l.o.Logger.Error("commit log: the beginning of a file is damaged, and rooms that need the file will be refused", "file", name)
		g.tail, g.hole = segment.Start, maxSegmentEnd
		return g, nil
	}
	g.Salt = salt
	s, err := g.ScanAll(f, preamble)
	if err != nil {
		return nil, failure("reading "+name, err)
	}
	l.logDamage(number, s)
	return g, failureOrNil("sealing "+name, l.seal(f, g, s))
}
