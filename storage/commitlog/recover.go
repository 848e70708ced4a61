package commitlog

// What a crash has left: the last part of the segment that was written is read to its end,
// which is where its records stop to follow each other. Whether that is the end of what was
// acknowledged, or damage in the middle of it, is what most of this file is about.

import (
	"maps"
	"os"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// scanned is what the good records from some offset on hold.
type scanned struct {
	from   int64
	end    int64 // of them
	chain  uint32
	synced int64 // how much of the segment was durable when its last group was written
	index  places
}

// scan reads a segment's records, from the first on that b begins with, up to the first that
// is not good.
func scan(b []byte, from start, salt uint32) scanned {
	s := scanned{from: from.at, end: from.at, chain: from.chain, synced: from.at, index: places{of: make(map[key]*place)}}
	for {
		r, ok := parseRecord(b[s.end-s.from:], salt)
		if !ok || r.chain != s.chain {
			return s
		}
		if r.flags&flagIndex == 0 {
			s.add(&r)
		}
		s.chain, s.synced = r.crc, max(s.synced, int64(r.synced))
		s.end += int64(r.size())
	}
}

// add takes a record into the index. Names are not read: they lie at the root.
func (s *scanned) add(r *record) {
	p := s.index.get(r.key)
	p.last, p.at, p.crc, p.root = r.number, uint32(s.end), r.crc, r.root
	if r.root == 0 {
		p.first, p.root = r.number, p.at
	}
}

// damaged tells whether what follows the good part was durable once.
func (s *scanned) damaged(b []byte, salt uint32) bool {
	rest := b[s.end-s.from:]
	if flipped(rest, s.end, salt, s.chain) {
		return true
	}
	for at := 0; at+recordHeader <= len(rest); at += 8 {
		if [8]byte(rest[at:]) == [8]byte{} { // zeros written ahead
			continue
		}
		r, ok := parseHeader(rest[at:at+recordHeader], salt)
		if ok && int64(r.synced) > s.end && int64(r.synced) <= s.end+int64(at) && r.size() <= len(rest)-at &&
			r.checkBody(rest[at:at+r.size()], salt) {
			return true
		}
	}
	return false
}

// recover puts the active segment of a generation that crashed in order.
func (l *Log) recover(c *current) error {
	name, path := segmentName(c.active), l.path(c.active)
	size, err := l.o.FS.Size(path)
	if err != nil {
		return failure("looking for "+name, err)
	}
	f, err := l.o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return failure("opening "+name, err)
	}
	defer f.Close()
	begin, err := readPart(f, 0, min(size, segmentStart))
	if err != nil {
		return failure("reading "+name, err)
	}
	salt, err := checkSegmentHeader(begin, c.id, c.active)
	if err != nil {
		return err
	}
	g := &segment{number: c.active, salt: salt, size: size, newest: l.o.Now().UnixMilli()}
	if size < segmentStart {
		return corrupt(name, size, "the file ends before its first record")
	}
	b, from, indexes, err := g.lastPart(f, begin)
	if err != nil {
		return failure("reading "+name, err)
	}
	g.indexes = indexes
	s := scan(b, from, salt)
	if s.damaged(b, salt) {
		return corrupt(name, s.end, "a record that was durable is damaged")
	}
	l.o.Logger.Info("commit log: the last run did not end well", "file", name, "bytes", s.end, "read", s.end-from.at)
	l.begun = from.at
	if err := l.seal(f, g, &s, b); err != nil {
		return failure("sealing "+name, err)
	}
	l.segments = append(l.segments, g)
	crashed := suspects{generation: c.generation, from: c.floor, through: c.active}
	if c.crashed.generation != 0 {
		crashed.from = min(c.floor, c.crashed.from)
	}
	l.crashed.begin(crashed)
	return nil
}

// seal ends a segment behind what was read of it with an index of that.
func (l *Log) seal(f vfs.File, g *segment, s *scanned, b []byte) error {
	var footer []byte
	if len(s.index.of) > 0 {
		footer, _ = encodeIndex(slices.Collect(maps.Values(s.index.of)), g.salt)
		g.indexes = append(g.indexes, &index{offset: uint32(s.end), rooms: uint32(len(s.index.of))})
	}
	// What is behind synced may be only in the cache of a system whose sync has failed:
	// it is written again.
	from := min(s.synced, s.end)
	g.size = s.end + int64(len(footer))
	// The zeros behind it stay: to free them takes longer than all the rest.
	if _, err := f.WriteAt(b[from-s.from:s.end-s.from], from); err != nil {
		return err
	}
	if _, err := f.WriteAt(footer, s.end); err != nil {
		return err
	}
	return l.sync(f)
}
