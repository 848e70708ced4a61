package pagelog

import (
	"iter"
	"maps"
	"slices"
)

// MaxBuffered is how many bytes of pages a Buffer should hold before its user writes them out.
const MaxBuffered = 64 << 20

// A Buffer keeps the pages that transactions change in memory, until its user writes them out.
type Buffer struct {
	read  func(number uint32, page []byte) error
	pages map[uint32][]byte
}

// NewBuffer returns an empty Buffer. It calls read for a page that it does not have; page is zeroed before the call.
func NewBuffer(read func(number uint32, page []byte) error) *Buffer {
	return &Buffer{read: read, pages: make(map[uint32][]byte)}
}

// Page implements Pages. The page stays in the Buffer.
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

// Changed implements Pages. It does nothing.
func (b *Buffer) Changed(uint32, []byte) error { return nil }

// Size returns how many bytes of pages are in the Buffer.
func (b *Buffer) Size() int { return len(b.pages) * PageSize }

// All iterates over the pages, sorted by number.
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
