package commitlog

// Indexes: what a part of a segment holds of which rooms, sorted by key. A segment that was
// sealed in good order has one, of all of it, at its end. Keys are hashes, so that a room's
// block is found by its share of all keys, with one read or two.

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/bits"
	"os"
	"slices"
	"sync/atomic"

	"github.com/denrooms/den/storage/vfs"
)

const (
	blockHeader  = 12
	indexEntry   = 36
	blockEntries = 128
	blockSize    = blockHeader + blockEntries*indexEntry
	footerBlock  = 1 << 31 // in the number of a block: the index ends a segment, and is no record
)

// index is where an index lies.
type index struct {
	offset uint32
	rooms  uint32                 // keys in it, at least one
	filter atomic.Pointer[filter] // nil: not in memory; set and cleared under Log.mu
}

// sorted sorts places by their keys. It looks at the keys' first bytes, which differ, and at
// no place: there may be many.
func sorted(places []*place) []*place {
	type first struct {
		bytes uint64
		of    *place
	}
	list := make([]first, len(places))
	for i, p := range places {
		list[i] = first{binary.BigEndian.Uint64(p.key[:]), p}
	}
	slices.SortFunc(list, func(a, b first) int {
		if c := cmp.Compare(a.bytes, b.bytes); c != 0 {
			return c
		}
		return bytes.Compare(a.of.key[:], b.of.key[:])
	})
	for i, f := range list {
		places[i] = f.of
	}
	return places
}

// encodeIndex makes an index of places, which it sorts, and its filter. kind is 0 or footerBlock.
func encodeIndex(places []*place, salt, kind uint32) ([]byte, filter) {
	sorted(places)
	count := (len(places) + blockEntries - 1) / blockEntries
	blocks := count*blockHeader + len(places)*indexEntry
	b, le := make([]byte, blocks+filterHeader+filterSize(len(places))), binary.LittleEndian
	keep := filter(b[blocks+filterHeader:])
	for i := range count {
		in := places[i*blockEntries : min((i+1)*blockEntries, len(places))]
		block := b[i*blockSize:][:blockHeader+len(in)*indexEntry]
		for j, p := range in {
			encodePlace(block[blockHeader+j*indexEntry:], p)
			keep.add(p.key)
		}
		le.PutUint32(block[4:], uint32(i)|kind)
		le.PutUint32(block[8:], uint32(len(in)))
		le.PutUint32(block, sum(salt, block[4:]))
	}
	le.PutUint32(b[blocks:], sum(salt, keep))
	return b, slices.Clone(keep)
}

func encodePlace(b []byte, p *place) {
	le := binary.LittleEndian
	copy(b, p.key[:])
	le.PutUint64(b[16:], p.last)
	le.PutUint32(b[24:], p.at)
	le.PutUint32(b[28:], p.crc)
	le.PutUint32(b[32:], p.root)
}

func parsePlace(b []byte) place {
	le := binary.LittleEndian
	return place{
		key: key(b), last: le.Uint64(b[16:]), at: le.Uint32(b[24:]), crc: le.Uint32(b[28:]), root: le.Uint32(b[32:]),
	}
}

func (x *index) blocks() int { return (int(x.rooms) + blockEntries - 1) / blockEntries }

// readBlock reads the entries of a block of an index, and checks them.
func (s *segment) readBlock(f vfs.File, x *index, i int) ([]byte, error) {
	count := min(blockEntries, int(x.rooms)-i*blockEntries)
	b, off, le := make([]byte, blockHeader+count*indexEntry), int64(x.offset)+int64(i)*blockSize, binary.LittleEndian
	if err := s.readAt(f, b, off); err != nil {
		return nil, err
	}
	if le.Uint32(b) != sum(s.salt, b[4:]) || le.Uint32(b[4:])&^footerBlock != uint32(i) || le.Uint32(b[8:]) != uint32(count) {
		return nil, corrupt(segmentName(s.number), off, "a block of an index does not fit its checksum")
	}
	return b[blockHeader:], nil
}

// readAt reads from a segment that is done, all of b.
func (s *segment) readAt(f vfs.File, b []byte, off int64) error {
	if off+int64(len(b)) > s.size {
		return corrupt(segmentName(s.number), off, "it goes on behind the end")
	}
	if n, err := f.ReadAt(b, off); n < len(b) {
		return shortRead(s.number, off+int64(n), err)
	}
	return nil
}

// findIn finds a room in an index.
func (s *segment) findIn(f vfs.File, x *index, k key) (place, bool, error) {
	n := x.blocks()
	guess, _ := bits.Mul64(binary.BigEndian.Uint64(k[:]), uint64(n))
	i, moved := int(guess), 0
	for {
		b, err := s.readBlock(f, x, i)
		if err != nil {
			return place{}, false, err
		}
		step := 0
		switch {
		case bytes.Compare(k[:], b[:len(k)]) < 0:
			step = -1
		case bytes.Compare(k[:], b[len(b)-indexEntry:][:len(k)]) > 0:
			step = 1
		}
		if step == 0 || step == -moved || i+step < 0 || i+step == n { // -moved: it would lie between two blocks
			p, found := findEntry(b, k)
			return p, found, nil
		}
		i, moved = i+step, step
	}
}

// findEntry finds a room in a block.
func findEntry(b []byte, k key) (place, bool) {
	for ; len(b) > 0; b = b[indexEntry:] {
		if key(b) == k {
			return parsePlace(b), true
		}
	}
	return place{}, false
}

// lookup finds a room in a segment that is done. One that was deleted holds nothing. When it
// is found f is the segment, which the caller closes.
func (l *Log) lookup(s *segment, k key) (p place, f vfs.File, err error) {
	if v := s.survey.Load(); v != nil {
		return l.lookupSurvey(s, v, k)
	}
	if p, f, err = l.lookupIndexes(s, k); err == nil || errors.Is(err, ErrLost) {
		return p, f, err
	}
	v, err := l.surveyed(s) // a part of an index that cannot be read is not needed either
	if err != nil {
		return place{}, nil, err
	}
	return l.lookupSurvey(s, v, k)
}

// lookupIndexes is lookup by the segment's indexes.
func (l *Log) lookupIndexes(s *segment, k key) (p place, f vfs.File, err error) {
	for _, x := range slices.Backward(s.indexes) {
		keep := x.filter.Load()
		if keep != nil && !keep.has(k) {
			continue
		}
		if f == nil {
			if f, err = l.openSegment(s.number); f == nil || err != nil {
				return place{}, nil, err
			}
		}
		if keep == nil && !l.loadFilter(s, x, f).has(k) {
			continue
		}
		p, found, err := s.findIn(f, x, k)
		if err != nil {
			f.Close()
			return place{}, nil, err
		}
		if found {
			return p, f, nil
		}
	}
	if f != nil {
		f.Close()
	}
	return place{}, nil, nil
}

// openSegment opens a segment to read; nil if it was deleted, having been released.
func (l *Log) openSegment(number uint64) (vfs.File, error) {
	f, err := l.o.FS.Open(l.path(number), os.O_RDONLY)
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, failure("opening "+segmentName(number), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < l.first() {
		return nil, nil
	}
	return nil, lost(number)
}

// rootReader is a reader for the names of rooms.
func (s *segment) rootReader(f vfs.File) *reader {
	return &reader{f: f, number: s.number, salt: s.salt, window: recordHeader + usualNames}
}

// root reads who a room is that has a place in a segment.
func (r *reader) root(p *place) (identity, error) {
	root, err := r.header(int64(p.root), p.key, forwards)
	if err != nil {
		return identity{}, err
	}
	if root.flags&flagNames == 0 {
		return identity{}, r.corrupt(int64(p.root), "the first record of a room is damaged")
	}
	return r.names(int64(p.root), &root)
}

// eachRoom calls do for the rooms of a segment from a cursor on, until it returns false. It goes
// on behind a room of which do returns an error, and returns the first.
func (l *Log) eachRoom(s *segment, f vfs.File, from cursor, do func(at cursor, p *place) (more bool, err error)) (more bool, first error) {
	for at := from; at.index < len(s.indexes); at.index, at.block = at.index+1, 0 {
		for x := s.indexes[at.index]; at.block < x.blocks(); at.block++ {
			b, err := s.readBlock(f, x, at.block)
			if err != nil || s.survey.Load() != nil {
				return l.eachSurveyed(s, at, do)
			}
			for ; len(b) > 0; b = b[indexEntry:] {
				p := parsePlace(b)
				more, err := do(at, &p)
				first = cmp.Or(first, err)
				if !more {
					return false, first
				}
			}
		}
	}
	return true, first
}
