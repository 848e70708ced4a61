package pagelog

// Making a payload while SQLite writes the transaction into its WAL.

import (
	"cmp"
	"iter"
	"slices"
)

const (
	keepBytes  = 64 << 10 // how much memory the parts keep between transactions
	keepPages  = 32       // and how many pages memory is kept for
	maxChunk   = 1 << 20  // how large the pieces of memory are that hold a large payload
	smallChunk = 64 << 10 // up to where append may grow one, and leave what it has copied to those who hold parts of it
)

// A Builder makes the payload of a transaction from its pages, in the order in which they come into the WAL. A page
// may come again, and a savepoint may take pages back. The zero Builder is ready; it is used for one transaction
// after another.
//
// A large transaction takes about its own size of memory, however often its pages come again; 64 KiB stay
// between transactions.
type Builder struct {
	pages []builtPage // of the transaction in work, in the order of their places
	size  int         // of their parts together
	chunk []byte      // where the next part goes, if there is room; parts before it are here or in older chunks
	dead  int         // bytes in chunks of parts that are of no use any more
	usual int         // the last transaction's size: the next one is likely to be as large
	parts [][]byte
	head  [headerSize]byte
}

// A builtPage is a page of the transaction.
type builtPage struct {
	at     int64 // its place
	number uint32
	part   []byte // of the payload, in a chunk
}

// Len is how many pages the transaction has. One that came twice, in two places, counts twice.
func (b *Builder) Len() int { return len(b.pages) }

// Size is how many bytes of the payload there are so far.
func (b *Builder) Size() int { return b.size }

// Memory is Size with what is of no use any more, and still takes memory.
func (b *Builder) Memory() int { return b.size + b.dead }

// Pages gives the transaction's pages with their places, in the order of these.
func (b *Builder) Pages() iter.Seq2[uint32, int64] {
	return func(yield func(number uint32, at int64) bool) {
		for i := range b.pages {
			if !yield(b.pages[i].number, b.pages[i].at) {
				return
			}
		}
	}
}

// Add takes a page: where it is in the WAL, behind those that are here already, and what it was before the
// transaction. Neither slice is used after the call.
func (b *Builder) Add(at int64, number uint32, before, after []byte) {
	b.pages = append(b.pages, builtPage{at, number, b.part(number, before, after)})
}

// At returns the number of the page at a place; ok is false if there is none.
func (b *Builder) At(at int64) (number uint32, ok bool) {
	i, ok := b.find(at)
	if !ok {
		return 0, false
	}
	return b.pages[i].number, true
}

// Replace takes the page at a place again, with other content. It must be there.
func (b *Builder) Replace(at int64, before, after []byte) {
	i, _ := b.find(at)
	p := &b.pages[i]
	b.drop(p)
	p.part = b.part(p.number, before, after)
	b.tidy()
}

// Remove takes a page out, wherever it is.
func (b *Builder) Remove(number uint32) {
	b.remove(func(p builtPage) bool { return p.number == number })
}

// Truncate takes out all pages at a place or behind it.
func (b *Builder) Truncate(at int64) {
	for n := len(b.pages); n > 0 && b.pages[n-1].at >= at; n-- {
		b.drop(&b.pages[n-1])
		b.pages = b.pages[:n-1]
	}
	b.tidy()
}

// Payload completes the payload, with the pages that the database has before and after the transaction, and gives it in
// parts. They are valid until the Builder is used again. base is what BeginSnapshot has returned, of all pages
// before the transaction; nil: the payload is a delta. Pages above after are none of it: SQLite may spill one
// that a savepoint takes back, and does not look at it again.
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

// BeginSnapshot begins the payload of a snapshot with all pages as they are before the transaction: parts[n-1], if it is there
// and not nil, is what AppendNewPage made of page n; the others are read.
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

// Done forgets the transaction, whose payload is where it should be.
func (b *Builder) Done() {
	b.usual = b.size
	b.Reset()
}

// Reset forgets the transaction.
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

// part makes a page's part of the payload.
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

// reserve begins a new chunk where the last one has no room for n bytes. Older chunks live as long as
// a part in them is of use: so a large transaction takes about its own size of memory. A small chunk is left
// to append, which makes it as large as its parts are: most are a few hundred bytes, and n is for the worst.
func (b *Builder) reserve(n int) {
	switch {
	case cap(b.chunk)-len(b.chunk) >= n:
	case cap(b.chunk) >= smallChunk:
		b.chunk = make([]byte, 0, max(min(b.usual, maxChunk), min(2*cap(b.chunk), maxChunk), n))
	case b.chunk == nil:
		b.chunk = make([]byte, 0, max(min(b.usual, maxChunk), 1<<10))
	}
}

// drop notes that a page's part is of no use any more.
func (b *Builder) drop(p *builtPage) {
	b.size -= len(p.part)
	b.dead += len(p.part)
	p.part = nil
}

// remove takes pages out.
func (b *Builder) remove(which func(builtPage) bool) {
	b.pages = slices.DeleteFunc(b.pages, func(p builtPage) bool {
		is := which(p)
		if is {
			b.drop(&p)
		}
		return is
	})
}

// tidy moves the parts that are of use into new chunks, when the old ones have much that is not.
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
