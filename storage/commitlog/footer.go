package commitlog

// Footers: what a segment that is done holds of which rooms, sorted by key. Keys are hashes,
// so that a room's block is found by its share of all keys, with one read or two.

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

const (
	blockHeader  = 24
	footerEntry  = 40
	blockEntries = 128
	blockSize    = blockHeader + blockEntries*footerEntry
)

// sorted gives the places by their keys. It looks at the keys' first bytes, which differ, and
// at no place: there may be many.
func sorted(index map[key]*place) []*place {
	type first struct {
		bytes uint64
		of    *place
	}
	list := make([]first, 0, len(index))
	for k, p := range index {
		list = append(list, first{binary.BigEndian.Uint64(k[:]), p})
	}
	slices.SortFunc(list, func(a, b first) int {
		if c := cmp.Compare(a.bytes, b.bytes); c != 0 {
			return c
		}
		return bytes.Compare(a.of.who.key[:], b.of.who.key[:])
	})
	places := make([]*place, len(list))
	for i, f := range list {
		places[i] = f.of
	}
	return places
}

// encodeFooter makes the footer of a segment, to lie at offset.
func encodeFooter(index map[key]*place, salt uint32) []byte {
	places := sorted(index)
	blocks := (len(places) + blockEntries - 1) / blockEntries
	b, le := make([]byte, blocks*blockHeader+len(places)*footerEntry), binary.LittleEndian
	var names []byte
	for i := range blocks {
		in := places[i*blockEntries : min((i+1)*blockEntries, len(places))]
		block := b[i*blockSize:][:blockHeader+len(in)*footerEntry]
		start := len(names)
		for j, p := range in {
			encodePlace(block[blockHeader+j*footerEntry:], p)
			text := p.who.names()
			names = append(le.AppendUint16(names, uint16(len(text))), text...)
		}
		le.PutUint32(block[4:], uint32(i))
		le.PutUint32(block[8:], uint32(len(in)))
		le.PutUint32(block[12:], uint32(start))
		le.PutUint32(block[16:], uint32(len(names)-start))
		le.PutUint32(block[20:], sum(salt, names[start:]))
		le.PutUint32(block, sum(salt, block[4:]))
	}
	return append(b, names...)
}

func encodePlace(b []byte, p *place) {
	le := binary.LittleEndian
	copy(b, p.who.key[:])
	le.PutUint64(b[16:], p.first)
	le.PutUint64(b[24:], p.last)
	le.PutUint32(b[32:], p.at)
	le.PutUint32(b[36:], p.crc)
}

// block is a part of a footer.
type block struct {
	entries   []byte
	names     int64 // offset in the file
	length    int   // of the names
	namesSum  uint32
	low, high key
}

func (s *segment) blocks() int { return (int(s.rooms) + blockEntries - 1) / blockEntries }

// readBlock reads a block of the footer and checks it.
func (s *segment) readBlock(f vfs.File, i int) (block, error) {
	count := min(blockEntries, int(s.rooms)-i*blockEntries)
	b, off, le := make([]byte, blockHeader+count*footerEntry), int64(s.footer)+int64(i)*blockSize, binary.LittleEndian
	if err := s.readAt(f, b, off); err != nil {
		return block{}, err
	}
	if le.Uint32(b) != sum(s.salt, b[4:]) || le.Uint32(b[4:]) != uint32(i) || le.Uint32(b[8:]) != uint32(count) {
		return block{}, corrupt(segmentName(s.number), off, "a block of the footer does not fit its checksum")
	}
	all := int64(s.footer) + int64(s.blocks()*blockHeader) + int64(s.rooms)*footerEntry
	entries := b[blockHeader:]
	return block{
		entries: entries, names: all + int64(le.Uint32(b[12:])), length: int(le.Uint32(b[16:])), namesSum: le.Uint32(b[20:]),
		low: key(entries), high: key(entries[len(entries)-footerEntry:]),
	}, nil
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

// find finds a room in a block.
func (b *block) find(k key) (place, bool) {
	le := binary.LittleEndian
	for e := b.entries; len(e) > 0; e = e[footerEntry:] {
		if key(e) == k {
			return place{first: le.Uint64(e[16:]), last: le.Uint64(e[24:]), at: le.Uint32(e[32:]), crc: le.Uint32(e[36:])}, true
		}
	}
	return place{}, false
}

// find finds a room in the footer.
func (s *segment) find(f vfs.File, k key) (place, bool, error) {
	n := s.blocks()
	if n == 0 {
		return place{}, false, nil
	}
	guess, _ := bits.Mul64(binary.BigEndian.Uint64(k[:]), uint64(n))
	i, moved := int(guess), 0
	for {
		b, err := s.readBlock(f, i)
		if err != nil {
			return place{}, false, err
		}
		step := 0
		switch {
		case bytes.Compare(k[:], b.low[:]) < 0:
			step = -1
		case bytes.Compare(k[:], b.high[:]) > 0:
			step = 1
		}
		if step == 0 || step == -moved || i+step < 0 || i+step == n { // -moved: it would lie between two blocks
			p, found := b.find(k)
			return p, found, nil
		}
		i, moved = i+step, step
	}
}

// lookup finds a room in a segment that is done. One that was deleted holds nothing.
func (l *Log) lookup(s *segment, k key) (place, bool, error) {
	f, err := l.openSegment(s.number)
	if f == nil || err != nil {
		return place{}, false, err
	}
	defer f.Close()
	return s.find(f, k)
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
	return nil, fmt.Errorf("commitlog: %w: %s", ErrLost, segmentName(number))
}

// eachName calls do for the rooms in a footer until it returns false.
func (s *segment) eachName(f vfs.File, do func(identity) bool) error {
	for i := range s.blocks() {
		b, err := s.readBlock(f, i)
		if err != nil {
			return err
		}
		names := make([]byte, b.length)
		if err := s.readAt(f, names, b.names); err != nil {
			return err
		}
		bad := corrupt(segmentName(s.number), b.names, "the names in the footer do not fit their checksum")
		if sum(s.salt, names) != b.namesSum {
			return bad
		}
		for len(names) > 2 {
			n := int(binary.LittleEndian.Uint16(names))
			if n > len(names)-2 {
				return bad
			}
			who, ok := parseNames(string(names[2 : 2+n]))
			if !ok {
				return bad
			}
			if !do(who) {
				return nil
			}
			names = names[2+n:]
		}
	}
	return nil
}
