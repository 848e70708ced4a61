package pagelog

import (
	"iter"
	"maps"
	"slices"
)

// MaxBuffered is how many bytes of pages a Buffer should keep before they are written where they belong.
const MaxBuffered = 64 << 20

// A Buffer keeps the pages that transactions change, in memory, until somebody writes them where they belong.
type Buffer struct {
	read  func(number uint32, page []byte) error
	pages map[uint32][]byte
}

// NewBuffer makes a Buffer. read is called for a page that is not in it, with zeros to read it into.
func NewBuffer(read func(number uint32, page []byte) error) *Buffer {
	return &Buffer{read: read, pages: make(map[uint32][]byte)}
}

// Page is that of Pages. The page stays in the Buffer.
func (b *Buffer) Page(number uint32) ([]byte, error) {
	if page := b.pages[number]; page != nil {
		return page, nil
	}
	page := make([]byte, PageSize)
	if err := b.read(number, page); err != nil {
		return nil, err
	}
	b.pages[number] = page
	return page, nil
}

// Changed is that of Pages. It does nothing.
func (b *Buffer) Changed(uint32, []byte) error { return nil }

// Size is how many bytes of pages are in the Buffer.
func (b *Buffer) Size() int { return len(b.pages) * PageSize }

// All gives the pages, sorted by their numbers.
func (b *Buffer) All() iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		for _, number := range slices.Sorted(maps.Keys(b.pages)) {
			if !yield(number, b.pages[number]) {
				return
			}
		}
	}
}

// Drop removes a page.
func (b *Buffer) Drop(number uint32) { delete(b.pages, number) }

// Clear removes all pages.
func (b *Buffer) Clear() { clear(b.pages) }
