package segment

// Filters: a filter says that an index does not have a room, without a read of the blocks. It lets one room in a thousand pass that
// the index does not have. It is the split block Bloom filter of Apache Parquet. The keys are hashes, and are used as they are.

import (
	"encoding/binary"
	"math/bits"
)

const (
	filterHeader  = 4
	filterBlock   = 32 // bytes; a room sets a bit in each of its eight words
	roomsPerBlock = 16 // so a filter has two bytes for each room
)

// Filter is the bytes of a filter, without the checksum. An empty filter lets every room pass.
type Filter []byte

func filterSize(rooms int) int { return (rooms + roomsPerBlock - 1) / roomsPerBlock * filterBlock }

// block returns the block of a room, and the bits that stand for the room.
func (f Filter) block(k Key) ([]byte, uint64) {
	i, _ := bits.Mul64(binary.BigEndian.Uint64(k[:]), uint64(len(f)/filterBlock))
	return f[i*filterBlock:][:filterBlock], binary.LittleEndian.Uint64(k[8:])
}

func (f Filter) add(k Key) {
	b, h := f.block(k)
	for i := 0; i < filterBlock; i += 4 {
		binary.LittleEndian.PutUint32(b[i:], binary.LittleEndian.Uint32(b[i:])|1<<(h&31))
		h >>= 5
	}
}

// Has reports whether the index may have a room. If it returns false, the index does not have it.
func (f Filter) Has(k Key) bool {
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
