package pagelog

// Making a payload while SQLite writes the transaction into its WAL.

import (
	"cmp"
	"iter"
	"slices"
)

const (
	keepBytes  = 64 << 10 // memory that parts keep between transactions, in bytes
	keepPages  = 32       // pages that memory is kept for between transactions
	maxChunk   = 1 << 20  // size of a chunk of a large payload, in bytes
	smallChunk = 64 << 10 // append may copy and grow a chunk up to this size; parts keep the old copy alive
)

// A Builder makes the payload of a transaction from its pages, in the order in which SQLite writes them to the WAL. SQLite
// may write a page again, and a savepoint may take pages back. The zero Builder is ready to use. One Builder serves one
// transaction after another.
//
// A Builder uses about as much memory as the payload is large, however often a page is written again. Between transactions it
// keeps 64 KiB.
type Builder struct {
	pages []builtPage // of the current transaction, sorted by offset
	size  int         // sum of the lengths of the parts, in bytes
	chunk []byte      // holds the next part if it has room; earlier parts are here or in older chunks
	dead  int         // bytes of replaced parts that still use memory
	usual int         // size of the last transaction, as a guess for the next one
	parts [][]byte
	head  [headerSize]byte
}

// A builtPage is a page of the current transaction.
type builtPage struct {
	at     int64 // offset in the WAL
	number uint32
	part   []byte // the page's part of the payload, in a chunk
}

// Len returns how many pages the transaction has. A page that was written at two offsets counts twice.
func (b *Builder) Len() int { return len(b.pages) }

// Size returns the size of the payload so far, in bytes.
func (b *Builder) Size() int { return b.size }

// Memory returns Size and what replaced parts still use, in bytes.
func (b *Builder) Memory() int { return b.size + b.dead }

// Pages iterates over the pages' numbers and offsets, sorted by offset.
func (b *Builder) Pages() iter.Seq2[uint32, int64] {
	return func(yield func(number uint32, at int64) bool) {
		for i := range b.pages {
			if !yield(b.pages[i].number, b.pages[i].at) {
				return
			}
		}
	}
}

// Add adds a page. at is its offset in the WAL, which must be larger than those of the pages before; before is the page's
// content before the transaction. Add does not keep the slices.
func (b *Builder) Add(at int64, number uint32, before, after []byte) {
	b.pages = append(b.pages, builtPage{at, number, b.part(number, before, after)})
}

// At returns the number of the page at an offset. ok is false if there is no page.
func (b *Builder) At(at int64) (number uint32, ok bool) {
	i, ok := b.find(at)
	if !ok {
		return 0, false
	}
	return b.pages[i].number, true
}

// Replace changes the content of the page at an offset, where a page must be.
func (b *Builder) Replace(at int64, before, after []byte) {
	i, _ := b.find(at)
	p := &b.pages[i]
	b.drop(p)
	p.part = b.part(p.number, before, after)
	b.tidy()
}

// Remove removes a page from all offsets.
func (b *Builder) Remove(number uint32) {
	b.remove(func(p builtPage) bool { return p.number == number })
}

// Truncate removes all pages at an offset or after it.
func (b *Builder) Truncate(at int64) {
	for n := len(b.pages); n > 0 && b.pages[n-1].at >= at; n-- {
		b.drop(&b.pages[n-1])
		b.pages = b.pages[:n-1]
	}
	b.tidy()
}

// Payload completes the payload and returns it in parts, which are valid until the Builder is used again. before and after are
// how many pages the database has before and after the transaction. base is the result of BeginSnapshot, or nil for a delta.
// Pages with a number above after are left out: SQLite may spill a page that a savepoint then takes back.
func (b *Builder) Payload(base []byte, before, after uint32) (first []byte, more [][]byte) {
	b.remove(func(p builtPage) bool { return p.number > after })
	b.parts = slices.Grow(b.parts[:0], len(b.pages))
	for _, p := range b.pages {
		b.parts = append(b.parts, p.part)
	}
	count := uint32(len(b.pages))
	if base == nil {
		b.head = [headerSize]byte{formDelta}
		base = b.head[:]
	} else {
		count += before
	}
	putHeader(base, before, after, count)
	return base, b.parts
}

// BeginSnapshot begins the payload of a snapshot, with all pages as they are before the transaction. parts[n-1] may hold what
// AppendNewPage made of page n. BeginSnapshot calls read for the other pages.
func BeginSnapshot(pages uint32, parts [][]byte, read func(number uint32) ([]byte, error)) ([]byte, error) {
	b := make([]byte, headerSize, 16<<10)
	b[0] = formSnapshot
	for number := uint32(1); number <= pages; number++ {
		if n := int(number) - 1; n < len(parts) && parts[n] != nil {
			b = append(b, parts[n]...)
			continue
		}
		page, err := read(number)
		if err != nil {
			return nil, err
		}
		b = AppendNewPage(b, number, page)
	}
	return b, nil
}

// Done ends the transaction after its payload has been stored.
func (b *Builder) Done() {
	b.usual = b.size
	b.Reset()
}

// Reset drops the transaction.
func (b *Builder) Reset() {
	clear(b.pages)
	clear(b.parts)
	b.pages, b.chunk, b.parts, b.size, b.dead = b.pages[:0], b.chunk[:0], b.parts[:0], 0, 0
	if cap(b.chunk) > keepBytes {
		b.chunk = nil
	}
	if cap(b.pages) > keepPages {
		b.pages, b.parts = nil, nil
	}
}

func (b *Builder) find(at int64) (i int, ok bool) {
	return slices.BinarySearchFunc(b.pages, at, func(p builtPage, at int64) int { return cmp.Compare(p.at, at) })
}

// part encodes a page's part of the payload into the chunk.
func (b *Builder) part(number uint32, before, after []byte) []byte {
	if number == 1 {
		var first [PageSize]byte
		copy(first[:], before)
		copyCounters(first[:], after)
		before = first[:]
	}
	b.reserve(pageHeaderSize + maxDifference)
	start := len(b.chunk)
	b.chunk = appendPage(b.chunk, number, before, after)
	b.size += len(b.chunk) - start
	return b.chunk[start:len(b.chunk):len(b.chunk)]
}

// reserve begins a new chunk if the current one has no room for n bytes. An older chunk lives as long as a part in it is
// used, so a large transaction uses about its own size of memory. A small chunk is grown by append instead, because most parts
// have a few hundred bytes and n is the worst case.
func (b *Builder) reserve(n int) {
	switch {
	case cap(b.chunk)-len(b.chunk) >= n:
	case cap(b.chunk) >= smallChunk:
		b.chunk = make([]byte, 0, max(min(b.usual, maxChunk), min(2*cap(b.chunk), maxChunk), n))
	case b.chunk == nil:
		b.chunk = make([]byte, 0, max(min(b.usual, maxChunk), 1<<10))
	}
}

// drop marks a page's part as unused.
func (b *Builder) drop(p *builtPage) {
	b.size -= len(p.part)
	b.dead += len(p.part)
	p.part = nil
}

// remove removes the pages for which which returns true.
func (b *Builder) remove(which func(builtPage) bool) {
	b.pages = slices.DeleteFunc(b.pages, func(p builtPage) bool {
		is := which(p)
		if is {
			b.drop(&p)
		}
		return is
	})
}

// tidy copies the used parts to new chunks when the old chunks are mostly unused.
func (b *Builder) tidy() {
	if b.dead <= max(b.size/2, keepBytes) {
		return
	}
	b.dead, b.chunk = 0, nil
	for i := range b.pages {
		p := &b.pages[i]
		b.reserve(len(p.part))
		start := len(b.chunk)
		b.chunk = append(b.chunk, p.part...)
		p.part = b.chunk[start:len(b.chunk):len(b.chunk)]
	}
}
