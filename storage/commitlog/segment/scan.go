package segment

// Scans: all records of a segment, or those of its last part, are read to find where they end, which rooms they are
// of, and what is damaged.
//
// The first record that is not good ends the segment, unless it is known to have been good: only one bit of it is
// wrong, or a later record says that all up to there was durable. Then it is damaged. If its header is good, its room
// is known, and finds the damage when it reads the record. If not, there is a hole up to the next good record. Any
// room may have had its newest entry in a hole, unless it has one after it.

import (
	"encoding/binary"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// Scan is what the records of a segment say from some offset on, and what is damaged. It reads the file that it was
// made of as long as it is used.
type Scan struct {
	From    int64   // where the scan began
	End     int64   // of the records
	Chain   uint32  // the checksum that the next record has to hold
	Places  Places  // of the rooms of the records
	Damaged []int64 // offsets of records that are damaged, and of known rooms
	Holes   []Hole  // in order

	reader
	limit        int64    // nothing is read after it
	durable      int64    // what lies before it was whole once
	linked       bool     // Chain is the checksum of the record that ends at End; else that one is damaged
	synced       int64    // how much of the segment was durable when its last group was written
	indexes      []uint32 // offsets of the records that are indexes
	flips        []flip   // that were put right
	damagedPlace *Place   // of a damaged record: its checksum is what the next record says

	each func(at int64, r *Record, damaged bool) // is told of each record; may be nil
}

// Hole is a range that is damaged so that nobody can tell which rooms had records there.
type Hole struct{ From, To int64 }

// state is what a record is.
type state uint8

const (
	unreadable state = iota
	good             // whole, and after the record before it
	repaired         // after the repair of a bit
	doubtful         // the same, but the bit may be all that was set in a sector that was not written
	damaged          // the header is good, and says whose it was
)

type scanStart struct {
	at    int64
	chain uint32 // the checksum that the first record has to name
}

// Scan reads all records of a segment up to limit. What precedes durable was whole once: a record there that is not
// good is damaged, and does not end the segment. each, which may be nil, is called for each record in order, with its
// offset, damaged ones included; r is valid until it returns. ErrIO, ErrCorrupt: the file is too short.
func (s *File) Scan(f vfs.File, sure, limit int64, each func(at int64, r *Record, damaged bool)) (*Scan, error) {
	found := newScan(reader{f: f, number: s.Number, salt: s.Salt}, scanStart{Start, s.Salt}, sure, limit)
	found.each = each
	return found, found.scan()
}

// newScan returns a scan that has not begun. What precedes durable was whole once. Nothing is read after limit.
func newScan(r reader, from scanStart, sure, limit int64) *Scan {
	r.window = scanWindow
	return &Scan{
		reader: r, limit: limit, durable: sure, From: from.at, End: from.at, Chain: from.chain, linked: true, synced: from.at,
		Places: Places{Of: make(map[Key]*Place)},
	}
}

func (s *Scan) scan() error {
	for s.End+recordHeader <= s.limit {
		r, v, f, err := s.classify(s.End)
		if err != nil {
			return err
		}
		if v != good && v != repaired && s.End >= s.durable {
			if s.durable, err = s.durableEnd(); err != nil {
				return err
			}
			if s.End >= s.durable {
				return nil // the last write was cut short here
			}
		}
		switch v {
		case repaired, doubtful:
			s.flips = append(s.flips, f)
			s.accept(&r)
		case good:
			s.accept(&r)
		case damaged:
			s.acceptDamaged(&r)
		default:
			if err := s.skip(); err != nil {
				return err
			}
		}
	}
	if s.End < s.durable {
		s.skipTo(s.durable)
	}
	return nil
}

// classify tells what the record at an offset is.
func (s *Scan) classify(at int64) (Record, state, flip, error) {
	b, err := s.bytes(at, recordHeader, forwards)
	if err != nil {
		return Record{}, unreadable, flip{}, err
	}
	r, ok := parseHeader(b, s.salt)
	fits := ok && at+int64(r.Size()) <= s.limit && (!s.linked || r.Chain == s.Chain)
	if fits {
		crc, cross, err := s.checksums(at, &r)
		if err != nil {
			return r, unreadable, flip{}, err
		}
		if crc == r.CRC && cross == r.ieee {
			return r, good, flip{}, nil
		}
	} else if ok {
		if (!s.linked || r.Chain == s.Chain) && at+int64(r.Size()) <= s.durable { // the file was cut
			return r, damaged, flip{}, nil
		}
		return r, unreadable, flip{}, nil
	}
	m, f, found, err := s.repair(at, s.limit)
	switch {
	case err != nil:
		return r, unreadable, f, err
	case found && s.linked && m.Chain != s.Chain:
		return m, unreadable, f, nil
	case found && f.maybeTorn:
		return m, doubtful, f, nil
	case found:
		return m, repaired, f, nil
	case fits:
		return r, damaged, flip{}, nil
	}
	return r, unreadable, flip{}, nil
}

// accept goes on after a good record.
func (s *Scan) accept(r *Record) {
	if s.each != nil {
		s.each(s.End, r, false)
	}
	if s.damagedPlace != nil {
		s.damagedPlace.CRC, s.damagedPlace = r.Chain, nil
	}
	s.addPlace(r)
	s.Chain, s.linked = r.CRC, true
	s.synced, s.durable = max(s.synced, int64(r.Synced)), max(s.durable, min(int64(r.Synced), s.limit))
	s.End += int64(r.Size())
}

// acceptDamaged goes on after a record whose header is good.
func (s *Scan) acceptDamaged(r *Record) {
	if s.each != nil {
		s.each(s.End, r, true)
	}
	if r.Flags&FlagIndex == 0 { // an index is not needed
		s.Damaged = append(s.Damaged, s.End)
	}
	s.damagedPlace = s.addPlace(r)
	s.linked = false
	s.End += int64(r.Size())
}

// addPlace makes a record the newest of its room. It does not read names: they are at the root.
func (s *Scan) addPlace(r *Record) *Place {
	if r.Flags&FlagIndex != 0 {
		s.indexes = append(s.indexes, uint32(s.End))
		return nil
	}
	p := s.Places.Get(r.Key)
	p.Last, p.At, p.CRC, p.Root = r.Number, uint32(s.End), r.CRC, r.Root
	if r.Root == 0 {
		p.First, p.Root, p.Starts = r.Number, p.At, r.Flags&FlagStarts != 0
	}
	return p
}

// skip goes on after a hole.
func (s *Scan) skip() error {
	for at := s.End + 8; at < min(s.durable, s.limit); at += 8 {
		_, ok, err := s.goodAt(at)
		if err != nil {
			return err
		}
		if ok {
			s.skipTo(at)
			return nil
		}
	}
	s.skipTo(s.durable)
	return nil
}

func (s *Scan) skipTo(at int64) {
	s.Holes = append(s.Holes, Hole{s.End, at})
	s.End, s.linked, s.damagedPlace = at, false, nil
}

// goodAt reports whether there is a good record at an offset.
func (s *Scan) goodAt(at int64) (Record, bool, error) {
	if at+recordHeader+recordTrailer > s.limit {
		return Record{}, false, nil
	}
	b, err := s.bytes(at, recordHeader, forwards)
	if err != nil || [8]byte(b) == [8]byte{} { // zeros written ahead
		return Record{}, false, err
	}
	r, ok := parseHeader(b, s.salt)
	if !ok || at+int64(r.Size()) > s.limit {
		return r, false, nil
	}
	crc, cross, err := s.checksums(at, &r)
	return r, err == nil && crc == r.CRC && cross == r.ieee, err
}

// durableEnd returns how much of the segment was durable, by what the good records after End say.
func (s *Scan) durableEnd() (int64, error) {
	sure := s.durable
	for at := s.End + 8; at+recordHeader+recordTrailer <= s.limit; at += 8 {
		r, ok, err := s.goodAt(at)
		if err != nil {
			return sure, err
		}
		if ok && int64(r.Synced) <= at {
			sure = max(sure, int64(r.Synced))
		}
	}
	return sure, nil
}

// DropIndexHoles drops the holes that had only an index, because nobody needs it. hints are offsets of records that
// may be an index.
func (s *Scan) DropIndexHoles(hints ...uint32) error {
	for _, offset := range s.indexes {
		r, ok, err := s.goodAt(int64(offset))
		if err != nil {
			return err
		}
		if ok {
			hints = append(hints, r.Previous)
		}
	}
	left := s.Holes[:0]
	for _, h := range s.Holes {
		size := int64(0)
		if slices.Contains(hints, uint32(h.From)) {
			var err error
			if size, err = s.indexAt(h.From+recordHeader, h.To, 0); err != nil {
				return err
			}
		}
		if size == 0 || h.From+int64(RecordSize(0, int(size))) != h.To {
			left = append(left, h)
		}
	}
	s.Holes = left
	return nil
}

// indexAt returns the size of the index at an offset if its blocks and its filter are good; 0 if there is no such
// index of this kind.
func (s *Scan) indexAt(at, limit int64, kind uint32) (size int64, err error) {
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
		if le.Uint32(b) != Sum(s.salt, b[4:]) {
			break
		}
		size, rooms = size+int64(block), rooms+n
		if n < blockEntries {
			break
		}
	}
	filterBytes := filterHeader + filterSize(rooms)
	if rooms == 0 || at+size+int64(filterBytes) > limit {
		return 0, nil
	}
	b, err := s.bytes(at+size, filterBytes, forwards)
	if err != nil || le.Uint32(b) != Sum(s.salt, b[filterHeader:]) {
		return 0, err
	}
	return size + int64(filterBytes), nil
}

// HoleEnd returns the end of the last hole; 0 if there is none.
func (s *Scan) HoleEnd() int64 {
	if len(s.Holes) == 0 {
		return 0
	}
	return s.Holes[len(s.Holes)-1].To
}

// CheckIndex adds the places in an index to listed, and returns what is wrong with it, for an operator; "" if nothing
// is. scan is a scan of the same file, and tail is where the segment's records end.
func (s *File) CheckIndex(scan *Scan, x *Index, tail int64, listed map[Key]Place) string {
	kind := uint32(footerBlock)
	if int64(x.Offset) < tail {
		kind = 0
	}
	size, err := scan.indexAt(int64(x.Offset), max(s.Size, tail), kind)
	filterBytes := filterSize(int(x.Rooms))
	if want := int64(x.Blocks()*blockHeader) + int64(x.Rooms)*indexEntry + int64(filterHeader+filterBytes); err != nil || size != want {
		return "an index is damaged"
	}
	b, err := scan.bytes(int64(x.Offset)+size-int64(filterBytes), filterBytes, forwards)
	if err != nil {
		return "an index is damaged"
	}
	filter := Filter(slices.Clone(b))
	for i := range x.Blocks() {
		b, err := s.readBlock(scan.f, x, i)
		if err != nil {
			return "an index is damaged"
		}
		for ; len(b) > 0; b = b[indexEntry:] {
			p := parsePlace(b)
			if listed[p.Key] = p; !filter.Has(p.Key) {
				return "the filter of an index excludes a room that the index has"
			}
		}
	}
	return ""
}
