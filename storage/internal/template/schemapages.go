package template

// What SQLite's parsed schema depends on, as bytes of a file. Connections with equal bytes are interchangeable (storage/pooled.go).

import (
	"encoding/binary"
	"strings"
	"sync"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
)

// SchemaOf is SchemaPages of an open file whose WAL is empty.
func SchemaOf(ses *session.Session) string {
	page := func(p []byte, off int64) error {
		_, err := ses.Conn.Files.Main().ReadAt(p, off)
		return err
	}
	buffer := pageBuffers.Get().(*[pagelog.PageSize]byte)
	defer pageBuffers.Put(buffer)
	if page(buffer[:], 0) != nil {
		return ""
	}
	return SchemaPages(buffer[:], page)
}

// pageBuffers are for reads of a page whose content is not kept.
var pageBuffers = sync.Pool{New: func() any { return new([pagelog.PageSize]byte) }}

// maxSchemaPages is how many pages of a schema are compared.
const maxSchemaPages = 8

// SchemaPages returns all bytes of a file that SQLite's parsed schema depends on: the fields of the header that do not change with
// the content, the number of reserved bytes among them, and the b-tree of sqlite_schema with its first page. It returns "" if they are too large. Equal bytes mean equal
// schemas; different bytes mean nothing.
func SchemaPages(first []byte, read func(p []byte, off int64) error) string {
	var b strings.Builder
	usable := pagelog.PageSize - int(first[roomfile.ReservedAt])
	b.Write(first[16:24])
	b.Write(first[40:92])
	b.Write(first[headerSize:usable])
	switch first[headerSize] {
	case tableLeaf:
		if !wholeCells(first[:usable], headerSize) {
			return ""
		}
		return b.String()
	case tableInner:
		children := int(binary.BigEndian.Uint16(first[headerSize+3:]))
		if children >= maxSchemaPages {
			return ""
		}
		page := make([]byte, pagelog.PageSize)
		for i := range children + 1 {
			number := binary.BigEndian.Uint32(first[headerSize+8:])
			if i < children {
				cell := int(binary.BigEndian.Uint16(first[headerSize+12+2*i:]))
				if cell > pagelog.PageSize-4 {
					return ""
				}
				number = binary.BigEndian.Uint32(first[cell:])
			}
			if number == 0 || read(page, int64(number-1)*pagelog.PageSize) != nil || page[0] != tableLeaf || !wholeCells(page[:usable], 0) {
				return ""
			}
			b.Write(page[:usable])
		}
		return b.String()
	}
	return ""
}

// wholeCells reports whether no row of a leaf, which is given without its reserved bytes, continues on another page.
func wholeCells(page []byte, at int) bool {
	for i := range int(binary.BigEndian.Uint16(page[at+3:])) {
		pointer := at + 8 + 2*i
		if pointer+2 > len(page) {
			return false
		}
		cell, size := int(binary.BigEndian.Uint16(page[pointer:])), uint64(0)
		for n := 0; ; n++ {
			if cell+n >= len(page) || n == 3 {
				return false
			}
			size = size<<7 | uint64(page[cell+n]&0x7f)
			if page[cell+n]&0x80 == 0 {
				break
			}
		}
		if size > uint64(len(page)-35) {
			return false
		}
	}
	return true
}

// The types of b-tree pages.
const (
	tableInner = 0x05 // it has pages below it
	indexLeaf  = 0x0A // the leaves of WITHOUT ROWID tables
	tableLeaf  = 0x0D // and of other tables
)

const (
	usableSize = pagelog.PageSize - dbfile.ReservedBytes // of a page of a file with checksums
	headerSize = 100
)
