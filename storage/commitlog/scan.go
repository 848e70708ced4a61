package commitlog

// Reading all records of a segment, or those of its last part: where they end, what they hold of
// which rooms, and what is damaged.
//
// A record that is not good is the end, unless something says that it was good once: that it is
// so but for a bit; or a record behind it, which says up to where all was durable when it was
// written. Then it is damage. If its header is good it is known whose it is, and its room finds the
// damage when it reads it. If not there is a hole, up to the next record that is good: any
// room may have had its newest entry there, but for those that have one behind it.

import (
	"encoding/binary"
	"slices"
)

// scan is what the good records from some offset on hold.
type scan struct {
	reader
	limit int64 // nothing is read behind it
	sure  int64 // what lies before it was whole once

	from    int64
	end     int64 // of the records
	chain   uint32
	linked  bool  // chain is the checksum of the record that ends at end; else that one is damaged
	synced  int64 // how much of the segment was durable when its last group was written
	index   places
	indexes []uint32 // offsets of the records that are indexes
	flips   []flip   // that were put right
	bad     []int64  // records that are damaged, and of known rooms
	holes   []hole
	guess   *place // of a damaged record: its checksum is what the next record says

	each func(at int64, r *record, v state) // is told of each record; may be nil
}

// hole is where records were whose rooms are not known.
type hole struct{ from, to int64 }

// state says what a record is.
type state uint8

const (
	unreadable state = iota
	good             // whole, and behind the record before it
	mended           // but for a bit
	doubtful         // but for a bit that may be all that came of a sector
	damaged          // the header is good, and says whose it was
)

// newScan prepares the scan of a segment's file from where a reader begins. What lies before sure
// was whole once; there is nothing behind limit.
func newScan(r reader, from start, sure, limit int64) *scan {
	r.window = scanWindow
	return &scan{
		reader: r, limit: limit, sure: sure, from: from.at, end: from.at, chain: from.chain, linked: true, synced: from.at,
		index: places{of: make(map[key]*place)},
	}
}

// run goes through the records.
func (s *scan) run() error {
	for s.end+recordHeader <= s.limit {
		r, v, f, err := s.look(s.end)
		if err != nil {
			return err
		}
		if v != good && v != mended && s.end >= s.sure {
			if s.sure, err = s.proof(); err != nil {
				return err
			}
			if s.end >= s.sure {
				return nil // the last write was cut short here
			}
		}
		switch v {
		case mended, doubtful:
			s.flips = append(s.flips, f)
			s.take(&r, v)
		case good:
			s.take(&r, v)
		case damaged:
			s.takeDamaged(&r)
		default:
			if err := s.skip(); err != nil {
				return err
			}
		}
	}
	if s.end < s.sure {
		s.skipTo(s.sure)
	}
	return nil
}

// look says what the record at an offset is.
func (s *scan) look(at int64) (record, state, flip, error) {
	b, err := s.bytes(at, recordHeader, forwards)
	if err != nil {
		return record{}, unreadable, flip{}, err
	}
	r, ok := parseHeader(b, s.salt)
	fits := ok && at+int64(r.size()) <= s.limit && (!s.linked || r.chain == s.chain)
	if fits {
		crc, cross, err := s.sums(at, &r)
		if err != nil {
			return r, unreadable, flip{}, err
		}
		if crc == r.crc && cross == r.cross {
			return r, good, flip{}, nil
		}
	} else if ok {
		if (!s.linked || r.chain == s.chain) && at+int64(r.size()) <= s.sure { // the file was cut
			return r, damaged, flip{}, nil
		}
		return r, unreadable, flip{}, nil
	}
	m, f, found, err := s.mend(at, s.limit)
	switch {
	case err != nil:
		return r, unreadable, f, err
	case found && s.linked && m.chain != s.chain:
		return m, unreadable, f, nil
	case found && f.torn:
		return m, doubtful, f, nil
	case found:
		return m, mended, f, nil
	case fits:
		return r, damaged, flip{}, nil
	}
	return r, unreadable, flip{}, nil
}

// take goes on behind a record that is good.
func (s *scan) take(r *record, v state) {
	if s.each != nil {
		s.each(s.end, r, v)
	}
	if s.guess != nil {
		s.guess.crc, s.guess = r.chain, nil
	}
	s.add(r)
	s.chain, s.linked = r.crc, true
	s.synced, s.sure = max(s.synced, int64(r.synced)), max(s.sure, min(int64(r.synced), s.limit))
	s.end += int64(r.size())
}

// takeDamaged goes on behind a record of which the header is good.
func (s *scan) takeDamaged(r *record) {
	if s.each != nil {
		s.each(s.end, r, damaged)
	}
	if r.flags&flagIndex == 0 { // which nobody needs
		s.bad = append(s.bad, s.end)
	}
	s.guess = s.add(r)
	s.linked = false
	s.end += int64(r.size())
}

// add takes a record into the index. Names are not read: they lie at the root.
func (s *scan) add(r *record) *place {
	if r.flags&flagIndex != 0 {
		s.indexes = append(s.indexes, uint32(s.end))
		return nil
	}
	p := s.index.get(r.key)
	p.last, p.at, p.crc, p.root = r.number, uint32(s.end), r.crc, r.root
	if r.root == 0 {
		p.first, p.root, p.starts = r.number, p.at, r.flags&flagStarts != 0
	}
	return p
}

// skip goes on behind a hole.
func (s *scan) skip() error {
	for at := s.end + 8; at < min(s.sure, s.limit); at += 8 {
		_, ok, err := s.goodAt(at)
		if err != nil {
			return err
		}
		if ok {
			s.skipTo(at)
			return nil
		}
	}
	s.skipTo(s.sure)
	return nil
}

func (s *scan) skipTo(at int64) {
	s.holes = append(s.holes, hole{s.end, at})
	s.end, s.linked, s.guess = at, false, nil
}

// goodAt tells whether there is a good record at an offset.
func (s *scan) goodAt(at int64) (record, bool, error) {
	if at+recordHeader+recordTrailer > s.limit {
		return record{}, false, nil
	}
	b, err := s.bytes(at, recordHeader, forwards)
	if err != nil || [8]byte(b) == [8]byte{} { // zeros written ahead
		return record{}, false, err
	}
	r, ok := parseHeader(b, s.salt)
	if !ok || at+int64(r.size()) > s.limit {
		return r, false, nil
	}
	crc, cross, err := s.sums(at, &r)
	return r, err == nil && crc == r.crc && cross == r.cross, err
}

// proof is how much of the segment was durable once, by what the records say that lie behind the
// end of the good ones.
func (s *scan) proof() (int64, error) {
	sure := s.sure
	for at := s.end + 8; at+recordHeader+recordTrailer <= s.limit; at += 8 {
		r, ok, err := s.goodAt(at)
		if err != nil {
			return sure, err
		}
		if ok && int64(r.synced) <= at {
			sure = max(sure, int64(r.synced))
		}
	}
	return sure, nil
}

// forgive drops the holes in which nothing was but an index: it was kept for those who read the
// segment, and is not needed. hints are offsets at which there should be one.
func (s *scan) forgive(hints ...uint32) error {
	for _, offset := range s.indexes {
		r, ok, err := s.goodAt(int64(offset))
		if err != nil {
			return err
		}
		if ok {
			hints = append(hints, r.previous)
		}
	}
	left := s.holes[:0]
	for _, h := range s.holes {
		size := int64(0)
		if slices.Contains(hints, uint32(h.from)) {
			var err error
			if size, err = s.indexAt(h.from+recordHeader, h.to, 0); err != nil {
				return err
			}
		}
		if size == 0 || h.from+int64(recordSize(0, int(size))) != h.to {
			left = append(left, h)
		}
	}
	s.holes = left
	return nil
}

// indexAt measures the index at an offset, whose blocks and filter are good; 0: there is none of
// that kind.
func (s *scan) indexAt(at, limit int64, kind uint32) (size int64, err error) {
	le, rooms := binary.LittleEndian, 0
	for number := uint32(0); ; number++ {
		if at+size+blockHeader > limit {
			return 0, nil
		}
		b, err := s.bytes(at+size, blockHeader, forwards)
		if err != nil {
			return 0, err
		}
		n := int(le.Uint32(b[8:]))
		if le.Uint32(b[4:]) != number|kind || n > blockEntries || n == 0 {
			break
		}
		block := blockHeader + n*indexEntry
		if at+size+int64(block) > limit {
			break
		}
		if b, err = s.bytes(at+size, block, forwards); err != nil {
			return 0, err
		}
		if le.Uint32(b) != sum(s.salt, b[4:]) {
			break
		}
		size, rooms = size+int64(block), rooms+n
		if n < blockEntries {
			break
		}
	}
	keep := filterHeader + filterSize(rooms)
	if rooms == 0 || at+size+int64(keep) > limit {
		return 0, nil
	}
	b, err := s.bytes(at+size, keep, forwards)
	if err != nil || le.Uint32(b) != sum(s.salt, b[filterHeader:]) {
		return 0, err
	}
	return size + int64(keep), nil
}

// hole is the end of the last hole; 0: there is none.
func (s *scan) hole() int64 {
	if len(s.holes) == 0 {
		return 0
	}
	return s.holes[len(s.holes)-1].to
}
