package commitlog

// What a crash has left: the segment that was written is read to its end, which is where its
// records stop to follow each other. Whether that is the end of what was acknowledged, or
// damage in the middle of it, is what most of this file is about.

import "os"

// scanned is what the good part of a segment holds.
type scanned struct {
	end    int64 // of the good part
	chain  uint32
	synced int64 // how much of it was durable when its last group was written
	index  map[key]*place
}

// scan reads a segment's records up to the first that is not good.
func scan(b []byte, salt uint32) scanned {
	s := scanned{end: segmentHeader, chain: salt, synced: segmentHeader, index: make(map[key]*place)}
	for {
		r, ok := parseRecord(b[s.end:], salt)
		if !ok || r.chain != s.chain || !s.add(&r, b[s.end:]) {
			return s
		}
		s.chain, s.synced = r.crc, max(s.synced, int64(r.synced))
		s.end += int64(r.size())
	}
}

// add takes a record into the index.
func (s *scanned) add(r *record, b []byte) bool {
	p := s.index[r.key]
	if p == nil {
		who, ok := parseNames(string(b[recordHeader : recordHeader+int(r.names)]))
		if !ok || who.key != r.key || r.flags&flagNames == 0 {
			return false
		}
		p = &place{who: who}
		s.index[r.key] = p
	}
	if p.first == 0 || r.flags&flagStarts != 0 {
		p.first = r.number
	}
	p.last, p.at, p.crc = r.number, uint32(s.end), r.crc
	return true
}

// damaged tells whether what follows the good part was durable once.
func (s *scanned) damaged(b []byte, salt uint32) bool {
	rest := b[s.end:]
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
	b, err := readSegment(f, size)
	if err != nil {
		return failure("reading "+name, err)
	}
	salt, err := checkSegmentHeader(b, c.id, c.active)
	if err != nil {
		return err
	}
	s := scan(b, salt)
	if s.damaged(b, salt) {
		return corrupt(name, s.end, "a record that was durable is damaged")
	}
	// What is behind synced may be only in the cache of a system whose sync has failed:
	// it is written again.
	footer := encodeFooter(s.index, salt)
	from := min(s.synced, s.end)
	tail := append(b[from:s.end:s.end], footer...)
	end := s.end + int64(len(footer))
	if _, err = f.WriteAt(tail, from); err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		err = l.sync(f)
	}
	if err != nil {
		return failure("sealing "+name, err)
	}
	l.segments = append(l.segments, &segment{
		number: c.active, salt: salt, size: end, footer: uint32(s.end), rooms: uint32(len(s.index)), newest: l.o.Now().UnixMilli(),
	})
	l.crashed = suspects{generation: c.generation, from: c.floor, through: c.active}
	if c.crashed.generation != 0 {
		l.crashed.from = min(c.floor, c.crashed.from)
	}
	return nil
}
