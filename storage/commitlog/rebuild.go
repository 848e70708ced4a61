package commitlog

// CURRENT from the segments, where it is gone or both of its copies are damaged. What segments
// there are, and which log and which generation they are of, is in their headers; what is in
// them, in their records. What was released since the newest of them was begun is known by nobody:
// so all from there on counts as left by a crash, and the rooms say what they have.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// head is what the header of a segment says.
type head struct {
	id         [16]byte
	number     uint64
	generation uint64
	begun      int64  // Unix ms
	first      uint64 // number of the log's first segment then
	floor      uint64 // segments below it had only released entries then
	unsynced   uint64 // the newest generation then that was Relaxed and had crashed; 0: none
	relaxed    bool   // its own generation is
}

// readHead reads the header of a segment, whatever log it is of. ErrCorrupt: it is damaged in more
// than one bit.
func (l *Log) readHead(number uint64) (h head, err error) {
	f, err := l.o.FS.Open(l.path(number), os.O_RDONLY)
	if err != nil {
		return h, failure("opening "+segmentName(number), err)
	}
	defer f.Close()
	b := make([]byte, segmentHeader)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return h, shortRead(number, int64(n), err)
	}
	return parseHead(b, number)
}

// parseHead takes a header apart.
func parseHead(b []byte, number uint64) (h head, err error) {
	le := binary.LittleEndian
	if _, err = checkSegmentHeader(b, [16]byte(b[16:32]), number); errors.Is(err, ErrCorrupt) {
		if _, ok := mendHeader(b); ok {
			_, err = checkSegmentHeader(b, [16]byte(b[16:32]), number)
		}
	}
	if err != nil {
		return h, err
	}
	return head{
		id: [16]byte(b[16:32]), number: number, generation: le.Uint64(b[40:]), begun: int64(le.Uint64(b[48:])),
		first: le.Uint64(b[56:]), floor: le.Uint64(b[64:]), unsynced: le.Uint64(b[72:]), relaxed: le.Uint32(b[12:])&flagRelaxed != 0,
	}, nil
}

// outdated is the error of a CURRENT that is older than the segments, because somebody has put it
// there: a segment that comes behind all that it names has entries.
func (l *Log) outdated(c *current, have map[uint64]bool) error {
	for n := range have {
		if n < c.next() {
			continue
		}
		h, err := l.readHead(n)
		if errors.Is(err, ErrIO) {
			return err
		}
		if err != nil || h.id != c.id {
			continue
		}
		f, err := l.o.FS.Open(l.path(n), os.O_RDONLY)
		if err != nil {
			return failure("opening "+segmentName(n), err)
		}
		b := make([]byte, segmentStart+recordHeader)
		read, err := f.ReadAt(b, 0)
		if err = errors.Join(err, f.Close()); read == len(b) {
			if _, ok := parseHeader(b[segmentStart:], binary.LittleEndian.Uint32(b[segmentHeader-4:])); ok {
				return fmt.Errorf("commitlog: %w: %s is older than %s", ErrCorrupt, currentName, segmentName(n))
			}
		} else if !errors.Is(err, io.EOF) {
			return failure("reading "+segmentName(n), err)
		}
	}
	return nil
}

// remains are the segments that there are.
type remains struct {
	id      [16]byte
	numbers []uint64        // of this log's, sorted
	heads   map[uint64]head // of them, but for those that are damaged
	newest  head            // the last of these
	foreign []head          // of other logs'
	top     uint64          // the highest number; it is not among numbers if the file was begun only
}

// lookAround reads the headers of all segments. b is what is left of CURRENT. ErrCorrupt: no file says
// which log it is of.
func (l *Log) lookAround(numbers []uint64, b []byte) (*remains, error) {
	slices.Sort(numbers)
	all, m := make(map[uint64]head), &remains{heads: make(map[uint64]head)}
	for _, n := range numbers {
		h, err := l.readHead(n)
		switch {
		case err == nil:
			all[n] = h
		case !errors.Is(err, ErrCorrupt): // it is not only damaged
			return nil, err
		}
	}
	var ok bool
	if m.id, ok = whoseLog(all, b); !ok {
		return nil, fmt.Errorf("commitlog: %w: %s is gone or damaged, and no file says which log it is of", ErrCorrupt, filepath.Join(l.o.Dir, currentName))
	}
	for _, n := range numbers {
		h, readable := all[n]
		switch {
		case readable && h.id != m.id:
			m.foreign = append(m.foreign, h)
			continue
		case readable:
			m.heads[n], m.newest = h, h
		}
		m.numbers, m.top = append(m.numbers, n), n
	}
	for last := len(m.numbers) - 1; last >= 0 && l.begunOnly(m.numbers[last], m.heads); last-- {
		m.numbers = m.numbers[:last]
	}
	m.numbers = slices.DeleteFunc(m.numbers, func(n uint64) bool { return n < m.newest.first }) // deleted, and there again
	return m, nil
}

// begunOnly tells whether a segment is what is left of a beginning that was cut short: its header or
// the space up to the first record is not whole, and nothing lies behind that.
func (l *Log) begunOnly(number uint64, heads map[uint64]head) bool {
	size, err := l.o.FS.Size(l.path(number))
	if _, ok := heads[number]; err != nil || ok && size >= segmentStart {
		return false
	}
	f, err := l.o.FS.Open(l.path(number), os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	r := reader{f: f, number: number, window: scanWindow}
	blank, err := r.zeros(segmentStart, size)
	return blank && err == nil
}

// rebuild makes what CURRENT would say of the segments that there are. b is what is left of it, and
// why is what is wrong with it, nil if it is gone.
func (l *Log) rebuild(have map[uint64]bool, b []byte, why error) (*current, error) {
	m, err := l.lookAround(slices.Collect(maps.Keys(have)), b)
	if err != nil {
		return nil, err
	}
	for _, h := range m.foreign {
		l.setAside(h.number, h.id)
		delete(have, h.number)
	}
	c := &current{id: m.id, first: m.top, floor: m.top, nameless: make(map[key]uint64)}
	c.clock.wall = l.o.Now().UnixMilli()
	for _, h := range m.heads {
		c.unsynced = max(c.unsynced, h.unsynced)
		if h.relaxed {
			c.unsynced = max(c.unsynced, h.generation)
		}
	}
	// Each generation begins one segment at least.
	c.generation = m.newest.generation + m.top - m.newest.number
	if n := len(m.numbers); n > 0 {
		c.first = m.numbers[0]
		c.floor = min(max(c.first, m.newest.floor), m.numbers[n-1])
		c.crashed = suspects{generation: c.generation, from: c.floor, through: m.numbers[n-1]}
	}
	for n, before := c.first, uint64(1); n <= c.crashed.through; n++ {
		if h, ok := m.heads[n]; ok {
			before = h.generation
		}
		c.segments = append(c.segments, unreadSegment(n, before))
	}
	l.o.Logger.Error("commit log: a file is gone or damaged, and was made again from the segments; every room is looked at",
		"file", filepath.Join(l.o.Dir, currentName), "segments", len(c.segments), "why", cmp.Or(why, errNone))
	return c, nil
}

// whoseLog finds out which log is meant: what is left of CURRENT may say it; else it is that of
// most of the files, and of these the one that was written last.
func whoseLog(heads map[uint64]head, b []byte) (id [16]byte, ok bool) {
	files, newest := make(map[[16]byte]int), make(map[[16]byte]int64)
	for _, h := range heads {
		files[h.id]++
		newest[h.id] = max(newest[h.id], h.begun)
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

// unreadSegment stands for one that CURRENT tells nothing of.
func unreadSegment(number, generation uint64) *segment {
	return &segment{number: number, generation: generation, hole: maxSegmentEnd}
}

// unread tells that nothing was read of a segment so far: it was missing when CURRENT was made
// again.
func (s *segment) unread() bool { return s.tail == 0 }

// adopt reads all of a segment, and ends it with an index.
func (l *Log) adopt(number, generation uint64) (*segment, error) {
	name := segmentName(number)
	size, err := l.o.FS.Size(l.path(number))
	if err != nil {
		return nil, failure("looking for "+name, err)
	}
	f, err := l.o.FS.Open(l.path(number), os.O_RDWR)
	if err != nil {
		return nil, failure("opening "+name, err)
	}
	defer f.Close()
	g := &segment{number: number, size: size, newest: l.now(), generation: generation}
	begin, err := g.begin(f)
	if err != nil {
		return nil, err
	}
	salt, found, err := l.findSalt(f, g, begin)
	if err != nil {
		return nil, err
	}
	if !found || size < segmentStart {
		l.o.Logger.Error("commit log: the beginning of a file is damaged, and rooms that need the file will be refused", "file", name)
		g.tail, g.hole = segmentStart, maxSegmentEnd
		return g, nil
	}
	g.salt = salt
	s, err := g.scanAll(f, begin)
	if err != nil {
		return nil, failure("reading "+name, err)
	}
	l.complain(s)
	return g, failureOrNil("sealing "+name, l.seal(f, g, s))
}

// scanAll reads all records of a segment of which it is not known where they end. If it was
// sealed that is where its last index begins, and all before was whole once. What a Relaxed generation
// has left of an index says nothing of the kind: it was synced together with the records.
func (g *segment) scanAll(f vfs.File, begin []byte) (*scan, error) {
	r := reader{f: f, number: g.number, salt: g.salt}
	s := newScan(r, start{segmentStart, g.salt}, segmentStart, g.size)
	if err := s.run(); err != nil {
		return nil, err
	}
	end := int64(0)
	if binary.LittleEndian.Uint32(begin[12:])&flagRelaxed == 0 {
		var err error
		if end, err = s.nextIndex(); err != nil {
			return nil, err
		}
	}
	if end > s.end {
		s = newScan(r, start{segmentStart, g.salt}, end, end)
		if err := s.run(); err != nil {
			return nil, err
		}
	}
	return s, s.forgive()
}

// nextIndex finds the index that lies behind the records; 0: there is none.
func (s *scan) nextIndex() (int64, error) {
	for at := s.end; at < s.limit; at += 8 {
		if n, err := s.indexAt(at, s.limit, footerBlock); n > 0 || err != nil {
			return at, err
		}
	}
	return 0, nil
}
