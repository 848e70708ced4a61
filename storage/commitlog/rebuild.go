package commitlog

// CURRENT from the segments, where it is gone or both of its copies are damaged. What segments
// there are, and which log and which generation they are of, is in their headers; what is in
// them, in their records. What was released is known by nobody: so all of it counts as left by a
// crash, and the rooms say what they have.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// head is what the header of a segment says.
type head struct {
	id                        [16]byte
	number, generation, first uint64
	flags                     uint32
	begun                     int64
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
		id: [16]byte(b[16:32]), number: number, generation: le.Uint64(b[40:]), first: le.Uint64(b[56:]),
		flags: le.Uint32(b[12:]), begun: int64(le.Uint64(b[48:])),
	}, nil
}

// rebuild makes what CURRENT would say of the segments that there are. b is what is left of it, and
// why is what is wrong with it, nil if it is gone.
func (l *Log) rebuild(have map[uint64]bool, b []byte, why error) (*current, error) {
	heads, numbers := make(map[uint64]head), slices.Sorted(maps.Keys(have))
	for _, n := range numbers {
		h, err := l.readHead(n)
		switch {
		case err == nil:
			heads[n] = h
		case !errors.Is(err, ErrCorrupt): // it is not only damaged
			return nil, err
		}
	}
	id, ok := whoseLog(heads, b)
	if !ok {
		return nil, fmt.Errorf("commitlog: %w: %s is gone or damaged, and no file says which log it is of", ErrCorrupt, filepath.Join(l.o.Dir, currentName))
	}
	c := &current{id: id}
	c.clock.wall = l.o.Now().UnixMilli()
	l.id = id
	var last head
	for _, n := range numbers {
		h, ok := heads[n]
		if ok && h.id != id {
			l.setAside(n, h.id)
			delete(have, n)
			continue
		}
		if c.first == 0 {
			c.first = n
		}
		c.crashed.through = n
		if ok {
			last = h
			if h.flags&flagRelaxed != 0 {
				c.unsynced = max(c.unsynced, h.generation)
			}
		}
	}
	// What was deleted, and is there again.
	c.first = max(c.first, last.first)
	// Each generation begins one segment at least.
	c.generation = last.generation + c.crashed.through - last.number
	c.crashed.generation, c.crashed.from, c.floor = c.generation, c.first, c.first
	for n, before := c.first, uint64(1); n <= c.crashed.through; n++ {
		if h, ok := heads[n]; ok && h.id == id {
			before = h.generation
		}
		c.segments = append(c.segments, unreadSegment(n, before))
	}
	l.o.Logger.Error("commit log: a file is gone or damaged, and was made again from the segments; every room is looked at",
		"file", filepath.Join(l.o.Dir, currentName), "segments", len(c.segments), "error", why)
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
	s, err := g.scanAll(f)
	if err != nil {
		return nil, failure("reading "+name, err)
	}
	l.complain(s)
	return g, failureOrNil("sealing "+name, l.seal(f, g, s))
}

// scanAll reads all records of a segment of which it is not known where they end. If it was
// sealed that is where its last index begins, and all before was whole once.
func (g *segment) scanAll(f vfs.File) (*scan, error) {
	r := reader{f: f, number: g.number, salt: g.salt}
	s := newScan(r, start{segmentStart, g.salt}, segmentStart, g.size)
	if err := s.run(); err != nil {
		return nil, err
	}
	end := int64(0)
	for at := s.end; at < g.size; at += 8 {
		n, err := s.indexAt(at, g.size)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			end = at
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
