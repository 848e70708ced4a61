package replies

// The index of replies says which row has the reply to an action. A room that wakes must know that of its newest 1
// MiB of replies before its first action, and cannot read them all. So the file also has an index of them, in parts
// that are written besides the replies each time some more have come:
//
//	part     a byte 1, the format's version · uvarint number of rows · for each row, without gaps:
//	         uvarint number of its replies · then 4 bytes of each reply's key, in that order
//
// The index in memory is the same, plus a filter of 2 to 4 bytes a reply, because most actions are new. So it is
// ready as soon as it has been read, unlike a hash table. Another action's key may have the same four bytes, so a
// match is checked in the row.

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/denrooms/den/storage"
)

const (
	indexVersion = 1
	// tailRows and tailBytes are how many rows of replies, and how many bytes, may be in the file that no part covers
	// yet. A life reads them when it begins.
	tailRows  = 32
	tailBytes = 8 << 10
	// partBytes is the size of a part, which gets one tail more, so that it usually fits into a page. It is rewritten
	// with each tail.
	partBytes = 3800
)

// keyPrint is what the index knows of a Key.
type keyPrint uint32

func (k Key) print() keyPrint { return keyPrint(binary.LittleEndian.Uint32(k[:])) }

// index is the index of consecutive rows. The zero value is empty.
type index struct {
	parts   []part   // in order
	filter  []uint64 // two bits for each print; a power of two of words
	added   int      // prints in the filter, including those of parts that were dropped
	covered entry    // the last row that a part in the file covers, without its time
}

// A part is the content of a part.
type part struct {
	first  int64  // its first entry
	at     int64  // when the first entry was written, Unix milliseconds
	rows   int64  // how many
	counts []byte // uvarints: how many replies each has
	prints []keyPrint
}

// append adds a row after the others. keys are those of its replies.
func (x *index) append(row entry, keys []Key) {
	n := len(x.parts)
	if n == 0 || x.parts[n-1].size() >= partBytes && x.covered.n == row.n-1 {
		x.parts = append(x.parts, part{first: row.n, at: row.at})
		n++
	}
	p := &x.parts[n-1]
	p.rows++
	p.counts = binary.AppendUvarint(p.counts, uint64(len(keys)))
	for _, key := range keys {
		p.prints = append(p.prints, key.print())
	}
	if x.added += len(keys); x.added > 4*len(x.filter) {
		x.refilter()
		return
	}
	x.mark(p.prints[len(p.prints)-len(keys):])
}

// bits returns the two bits of a print in the filter.
func (x *index) bits(print keyPrint) (a, b int) {
	mask := 64*len(x.filter) - 1
	return int(print) & mask, int(bits.RotateLeft32(uint32(print), 16)) & mask
}

func (x *index) mark(prints []keyPrint) {
	for _, print := range prints {
		a, b := x.bits(print)
		x.filter[a/64] |= 1 << (a % 64)
		x.filter[b/64] |= 1 << (b % 64)
	}
}

// mayHave returns false for a print that no reply has. For other prints it is wrong at most once in a hundred times.
func (x *index) mayHave(print keyPrint) bool {
	if len(x.filter) == 0 {
		return false
	}
	a, b := x.bits(print)
	return x.filter[a/64]>>(a%64)&(x.filter[b/64]>>(b%64))&1 != 0
}

// refilter builds the filter from scratch, with 16 to 32 bits a reply.
func (x *index) refilter() {
	x.added = 0
	for _, p := range x.parts {
		x.added += len(p.prints)
	}
	x.filter = make([]uint64, max(16, 1<<bits.Len(uint(x.added/4))))
	for _, p := range x.parts {
		x.mark(p.prints)
	}
}

// before returns the last row before row that may have a reply with this print, 0 if there is none.
func (x *index) before(row int64, print keyPrint) int64 {
	if !x.mayHave(print) {
		return 0
	}
	for _, p := range slices.Backward(x.parts) {
		if found := p.before(row, print); found != 0 {
			return found
		}
	}
	return 0
}

func (p *part) before(row int64, print keyPrint) int64 {
	for i, other := range slices.Backward(p.prints) {
		if other != print {
			continue
		}
		if n := p.row(i); n < row {
			return n
		}
	}
	return 0
}

// row returns the row of one of the prints.
func (p *part) row(at int) int64 {
	row, counts := p.first, p.counts
	for {
		count, n := binary.Uvarint(counts)
		if at -= int(count); at < 0 {
			return row
		}
		counts = counts[n:]
		row++
	}
}

// dead returns how many parts have only rows up to a row. The newest part always stays.
func (x *index) dead(row int64) (parts int) {
	for parts+1 < len(x.parts) && x.parts[parts+1].first-1 <= row {
		parts++
	}
	return parts
}

func (p *part) last() int64 { return p.first + p.rows - 1 }

// size returns about how long the part is in the file.
func (p *part) size() int { return len(p.counts) + 4*len(p.prints) }

// encode returns the part as it is in the file.
func (p *part) encode() []byte {
	text := binary.AppendUvarint([]byte{indexVersion}, uint64(p.rows))
	text = slices.Grow(append(text, p.counts...), 4*len(p.prints))
	for _, print := range p.prints {
		text = binary.LittleEndian.AppendUint32(text, uint32(print))
	}
	return text
}

// decodePart reads a part. first is its first entry, and at is when that was written.
func decodePart(first, at int64, text []byte) (part, error) {
	bad := fmt.Errorf("%w: the index of the replies from %d on", storage.ErrCorrupt, first)
	if len(text) == 0 || text[0] != indexVersion {
		return part{}, bad
	}
	rows, n := binary.Uvarint(text[1:])
	if n <= 0 || rows > uint64(len(text)) {
		return part{}, bad
	}
	text = text[1+n:]
	all, end := uint64(0), 0
	for range rows {
		count, n := binary.Uvarint(text[end:])
		if n <= 0 || count > uint64(len(text)) {
			return part{}, bad
		}
		all, end = all+count, end+n
	}
	if uint64(len(text)-end) != 4*all {
		return part{}, bad
	}
	p := part{first: first, at: at, rows: int64(rows), counts: slices.Clone(text[:end]), prints: make([]keyPrint, all)}
	for i := range p.prints {
		p.prints[i] = keyPrint(binary.LittleEndian.Uint32(text[end+4*i:]))
	}
	return p, nil
}
