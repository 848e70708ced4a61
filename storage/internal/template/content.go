// Package template makes the content of a new room's file, which is the same in each room of a kind except for one page of _den_meta, and
// tells by a file's bytes which schema SQLite would parse from it.
package template

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// A Template is the content of a new file.
type Template struct {
	Pages  []byte // of the database, in their order
	meta   int    // where in it the only page of _den_meta is
	Notes  map[string]sqlite.Value
	Schema string // its SchemaPages; "": too large

	Entries [][]byte // what the entry of a room's first transaction says of each page; nil: of _den_meta's
}

// maxTemplate is how large a template may be. Larger content is made again for each room.
const maxTemplate = 1 << 20

// Take makes a template of the file as it is, with notes in its _den_meta. It returns nil if the file's form does not allow
// one.
func Take(ses *session.Session, notes map[string]sqlite.Value) (*Template, error) {
	t := &Template{Notes: notes}
	changes := 0
	err := ses.Each(`SELECT m.rootpage, c.rootpage FROM sqlite_schema AS m, sqlite_schema AS c WHERE m.name = '_den_meta' AND c.name = '_den_changes'`,
		func(r *session.Rows) {
			t.meta, changes = int(r.Int(0)-1)*pagelog.PageSize, int(r.Int(1)-1)*pagelog.PageSize
		})
	if err != nil {
		return nil, err
	}
	pages, err := ses.Conn.Serialize()
	if err != nil {
		return nil, roomfile.Failed(err)
	}
	size := len(pages)
	if size > maxTemplate || size%pagelog.PageSize != 0 || max(t.meta, changes) >= size {
		return nil, nil
	}
	t.Pages = pages
	t.Pages[18], t.Pages[19] = byte(roomfile.WALMode), byte(roomfile.WALMode) // SQLite's own memory knows no WAL
	if t.Pages[t.meta] != indexLeaf || t.Pages[changes] != tableLeaf || t.Pages[roomfile.ReservedAt] != dbfile.ReservedBytes {
		return nil, nil // one of them has grown out of its page
	}
	// The new room has none of the first room's transactions in its change log, and begins with number 1.
	empty := make([]byte, pagelog.PageSize)
	empty[0] = tableLeaf
	binary.BigEndian.PutUint16(empty[5:], usableSize)
	copy(t.Pages[changes:], empty)
	t.Schema = SchemaPages(t.Pages[:pagelog.PageSize], func(p []byte, off int64) error {
		if off+pagelog.PageSize > int64(size) {
			return io.ErrUnexpectedEOF
		}
		copy(p, t.Pages[off:])
		return nil
	})
	for at := 0; at < size; at += pagelog.PageSize {
		var entry []byte
		if at != t.meta {
			entry = bytes.Clone(pagelog.AppendNewPage(nil, uint32(at/pagelog.PageSize+1), t.Pages[at:at+pagelog.PageSize]))
		}
		t.Entries = append(t.Entries, entry)
	}
	return t, nil
}

// Fill returns the content of a new room's file, with rows of _den_meta besides the notes.
func (t *Template) Fill(meta map[string]sqlite.Value) ([]byte, error) {
	rows := maps.Clone(t.Notes)
	maps.Copy(rows, meta)
	page, err := metaPage(rows)
	if err != nil {
		return nil, err
	}
	pages := bytes.Clone(t.Pages)
	copy(pages[t.meta:], page)
	return pages, nil
}

// maxMetaRecord is how long a row of _den_meta may be. SQLite would put a part of a longer one on another page.
const maxMetaRecord = 1000

// metaPage is the page of a _den_meta that has one: sqlite.org/fileformat2.html#b_tree_pages.
func metaPage(rows map[string]sqlite.Value) ([]byte, error) {
	page := make([]byte, pagelog.PageSize)
	page[0] = indexLeaf
	end, pointers := usableSize, 8
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		record, err := metaRecord(name, rows[name])
		if err != nil {
			return nil, err
		}
		cell := append(appendVarint(nil, uint64(len(record))), record...)
		end -= len(cell)
		if len(record) > maxMetaRecord || end < pointers+2 {
			return nil, fmt.Errorf("storage: _den_meta does not fit into a page: %q", name)
		}
		copy(page[end:], cell)
		binary.BigEndian.PutUint16(page[pointers:], uint16(end))
		pointers += 2
	}
	binary.BigEndian.PutUint16(page[3:], uint16(len(rows)))
	binary.BigEndian.PutUint16(page[5:], uint16(end))
	return page, nil
}

// metaRecord is a row in SQLite's record format.
func metaRecord(name string, value sqlite.Value) ([]byte, error) {
	types, body := appendVarint(nil, textType(name)), []byte(name)
	switch v := value.(type) {
	case string:
		types, body = appendVarint(types, textType(v)), append(body, v...)
	case int64:
		types = append(types, 6)
		body = binary.BigEndian.AppendUint64(body, uint64(v))
	default:
		return nil, fmt.Errorf("storage: a %T in _den_meta", value)
	}
	return slices.Concat([]byte{byte(1 + len(types))}, types, body), nil // the header is short: one byte says how long
}

// textType is the serial type of a text.
func textType(s string) uint64 { return uint64(13 + 2*len(s)) }

// appendVarint appends SQLite's form of a number below 2^14, which is above every length here: seven bits a byte, the highest first.
func appendVarint(dst []byte, n uint64) []byte {
	if n >= 1<<7 {
		dst = append(dst, byte(n>>7)|0x80)
	}
	return append(dst, byte(n)&0x7f)
}
