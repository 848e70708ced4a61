package commitlog

// Filters: what tells, without a read, that a room is in none of an index's blocks. One in a
// thousand rooms that are not there passes. It is the split block Bloom filter of Apache
// Parquet, fed with the keys themselves, which are hashes.

import (
	"encoding/binary"
	"math/bits"

	"github.com/denrooms/den/storage/vfs"
)

const (
	filterHeader  = 4
	filterBlock   = 32 // bytes; a room sets a bit in each of its eight words
	roomsPerBlock = 16 // so a filter has two bytes for each room
)

// filter is a filter's bytes, without the header. An empty one lets everything pass.
type filter []byte

func filterSize(rooms int) int { return (rooms + roomsPerBlock - 1) / roomsPerBlock * filterBlock }

// block is the block of a room, and the bits that stand for it.
func (f filter) block(k key) ([]byte, uint64) {
	i, _ := bits.Mul64(binary.BigEndian.Uint64(k[:]), uint64(len(f)/filterBlock))
	return f[i*filterBlock:][:filterBlock], binary.LittleEndian.Uint64(k[8:])
}

func (f filter) add(k key) {
	b, h := f.block(k)
	for i := 0; i < filterBlock; i += 4 {
		binary.LittleEndian.PutUint32(b[i:], binary.LittleEndian.Uint32(b[i:])|1<<(h&31))
		h >>= 5
	}
}

func (f filter) has(k key) bool {
	if len(f) == 0 {
		return true
	}
	b, h := f.block(k)
	for i := 0; i < filterBlock; i += 4 {
		if binary.LittleEndian.Uint32(b[i:])&(1<<(h&31)) == 0 {
			return false
		}
		h >>= 5
	}
	return true
}

// loadFilter reads an index's filter and keeps it, if there is room for it. Otherwise, or when
// it cannot be read, it is empty: the index itself will tell.
func (l *Log) loadFilter(s *segment, x *index, f vfs.File) filter {
	size := filterSize(int(x.rooms))
	l.mu.Lock()
	fits := l.filters+int64(size) <= l.mostFilters
	l.mu.Unlock()
	if !fits {
		return nil
	}
	b := make([]byte, filterHeader+size)
	at := int64(x.offset) + int64(x.blocks()*blockHeader) + int64(x.rooms)*indexEntry
	if s.readAt(f, b, at) != nil || binary.LittleEndian.Uint32(b) != sum(s.salt, b[filterHeader:]) {
		return nil
	}
	keep := filter(b[filterHeader:])
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.segment(s.number) == s && x.filter.Load() == nil && l.filters+int64(size) <= l.mostFilters {
		l.filters += int64(size)
		x.filter.Store(&keep)
	}
	return keep
}

// keepFilter takes in the filter of a segment that was just sealed; those of the oldest go
// for it. mu is held.
func (l *Log) keepFilter(x *index, keep filter) {
	for _, s := range l.segments {
		if l.filters+int64(len(keep)) <= l.mostFilters {
			break
		}
		l.dropFilters(s)
	}
	if l.filters+int64(len(keep)) <= l.mostFilters {
		l.filters += int64(len(keep))
		x.filter.Store(&keep)
	}
}

// dropFilters forgets a segment's filters. mu is held.
func (l *Log) dropFilters(s *segment) {
	for _, x := range s.indexes {
		if keep := x.filter.Swap(nil); keep != nil {
			l.filters -= int64(len(*keep))
		}
	}
}
