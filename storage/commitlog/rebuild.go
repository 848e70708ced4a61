package commitlog

// CURRENT made again from the segments, because it is missing, older than they are, or damaged in both copies. The
// headers tell which log and generation the segments are of, the records what is in them. What was released since the
// newest segment was begun is not known. So all segments from there on count as left by a crash, and every room says
// again what it has.

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

// readHeader reads the header of a segment of any log. ErrCorrupt: more than one bit of it is damaged.
func (l *Log) readHeader(number uint64) (h segment.Header, err error) {
	f, err := l.o.FS.Open(l.path(number), os.O_RDONLY)
	if err != nil {
		return h, failure("opening "+segment.Name(number), err)
	}
	defer f.Close()
	return segment.ReadHeader(f, number)
}

// checkCurrentAge returns ErrCorrupt if CURRENT is older than the segments, because somebody has put it there: a
// segment after all that it names has records.
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

// segmentHeaders are the headers of the segments in the directory.
type segmentHeaders struct {
	id      [16]byte
	numbers []uint64                  // of this log's segments, sorted
	headers map[uint64]segment.Header // of those whose headers are not damaged
	newest  segment.Header            // the last of headers
	foreign []segment.Header          // of segments of other logs
	highest uint64                    // the highest number; not in numbers if the file is unfinished
}

// readHeaders reads the headers of all segments. b is what is left of CURRENT. ErrCorrupt: no file tells which log it
// is of.
func (l *Log) readHeaders(numbers []uint64, b []byte) (*segmentHeaders, error) {
	slices.Sort(numbers)
	all, found := make(map[uint64]segment.Header), &segmentHeaders{headers: make(map[uint64]segment.Header)}
	for _, n := range numbers {
		h, err := l.readHeader(n)
		switch {
		case err == nil:
			all[n] = h
		case !errors.Is(err, ErrCorrupt):
			return nil, err
		}
	}
	var ok bool
	if found.id, ok = chooseLogID(all, b); !ok {
		return nil, fmt.Errorf("commitlog: %w: %s is missing or damaged, and no segment tells which log it is of", ErrCorrupt, filepath.Join(l.o.Dir, currentName))
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
	found.numbers = slices.DeleteFunc(found.numbers, func(n uint64) bool { return n < found.newest.First }) // deleted, and back after a power cut
	return found, nil
}

// unfinished reports whether the beginning of a segment was cut short: its header, or the space before the first
// record, is not whole, and nothing follows it.
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

// rebuild makes CURRENT from the segments in the directory. b is what is left of the file, and why is what is wrong
// with it, nil if it is missing.
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
	l.o.Logger.Error("commit log: a file is missing or damaged, and was made again from the segments; every room has to be recovered",
		"file", filepath.Join(l.o.Dir, currentName), "segments", len(c.segments), "why", cmp.Or(why, errNoCurrent))
	return c, nil
}

// chooseLogID returns the ID of the log that the directory is of. What is left of CURRENT tells it; else it is the
// log of most of the files, and of the newest file if two logs have the same number.
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

// unscannedSegment returns a segment of which only the number and the generation are known.
func unscannedSegment(number, generation uint64) *logSegment {
	return &logSegment{File: segment.File{Number: number}, generation: generation, hole: maxSegmentEnd}
}

// unscanned reports whether the segment was not read yet: it was missing when CURRENT was made again.
func (s *logSegment) unscanned() bool { return s.tail == 0 }

// reindex reads all records of a segment, and seals it with an index of them.
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
