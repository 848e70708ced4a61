package storage

// The content of a new file, made once for all rooms of a Pool. The pages that are the same in each room (Den's tables, those of the
// program, the notes) are copied from the first room, which began with Den's tables alone (plain.go). The page that names the room is
// made for each room.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"github.com/denrooms/den/storage/internal/session"
	"io"
	"maps"
	"slices"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// maxTemplate is how large a template may be. Larger content is made again for each room.
const maxTemplate = 1 << 20

// MakeTemplate syncs tables, and has all new files of this Pool begin as this one is now. It does nothing if the file is not new, if
// a table has rows, because another room may need other rows, or if the Pool has a template.
func (d *DB) MakeTemplate(tables ...string) error {
	k := d.o.Pool
	if k == nil || !d.created || k.template.Load() != nil {
		return nil
	}
	if err := d.Sync(tables...); err != nil {
		return err
	}
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	if rows, err := anyRows(&d.sql); err != nil || rows {
		return err
	}
	t, err := takeTemplate(&d.sql, &d.notes)
	if err == nil && t != nil {
		k.template.Store(t)
	}
	return err
}

// anyRows reports whether a table that is not Den's has rows.
func anyRows(ses *session.Session) (some bool, err error) {
	var names []string
	err = ses.Each(`SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 5) <> '_den_'`, func(r *Rows) {
		names = append(names, string(r.Bytes(0)))
	})
	for _, name := range names {
		if err != nil || some {
			break
		}
		err = ses.Each("SELECT 1 FROM "+sqlite.Quote(name)+" LIMIT 1", func(*Rows) { some = true })
	}
	return some, err
}

// takeTemplate makes a template of the file as it is. It returns nil if the file's form does not allow one.
func takeTemplate(ses *session.Session, n *notes) (*template, error) {
	t := &template{notes: maps.Clone(n.stored)}
	if t.notes == nil {
		t.notes = make(map[string]Value)
	}
	maps.Copy(t.notes, n.due)
	changes := 0
	err := ses.Each(`SELECT m.rootpage, c.rootpage FROM sqlite_schema AS m, sqlite_schema AS c WHERE m.name = '_den_meta' AND c.name = '_den_changes'`,
		func(r *Rows) { t.meta, changes = int(r.Int(0)-1)*pageSize, int(r.Int(1)-1)*pageSize })
	if err != nil {
		return nil, err
	}
	pages, err := ses.Conn.Serialize()
	if err != nil {
		return nil, failed(err)
	}
	size := len(pages)
	if size > maxTemplate || size%pageSize != 0 || max(t.meta, changes) >= size {
		return nil, nil
	}
	t.pages = pages
	t.pages[18], t.pages[19] = byte(roomfile.WALMode), byte(roomfile.WALMode) // SQLite's own memory knows no WAL
	if t.pages[t.meta] != indexLeaf || t.pages[changes] != tableLeaf || t.pages[roomfile.ReservedAt] != dbfile.ReservedBytes {
		return nil, nil // one of them has grown out of its page
	}
	// The new room has none of the first room's transactions in its change log, and begins with number 1.
	empty := make([]byte, pageSize)
	empty[0] = tableLeaf
	binary.BigEndian.PutUint16(empty[5:], usableSize)
	copy(t.pages[changes:], empty)
	t.schema = schemaPages(t.pages[:pageSize], func(p []byte, off int64) error {
		if off+pageSize > int64(size) {
			return io.ErrUnexpectedEOF
		}
		copy(p, t.pages[off:])
		return nil
	})
	for at := 0; at < size; at += pageSize {
		var entry []byte
		if at != t.meta {
			entry = bytes.Clone(pagelog.AppendNewPage(nil, uint32(at/pageSize+1), t.pages[at:at+pageSize]))
		}
		t.entries = append(t.entries, entry)
	}
	return t, nil
}

// fill returns the content of a new room's file.
func (t *template) fill(o Options, epoch string) ([]byte, error) {
	meta := maps.Clone(t.notes)
	maps.Copy(meta, newMeta(o, epoch))
	page, err := metaPage(meta)
	if err != nil {
		return nil, err
	}
	pages := bytes.Clone(t.pages)
	copy(pages[t.meta:], page)
	return pages, nil
}

// newMeta returns the rows of a new room's _den_meta.
func newMeta(o Options, epoch string) map[string]Value {
	return map[string]Value{
		"namespace": o.Namespace, "room": o.Room, "epoch": epoch, "floor": int64(0),
		"created_at": o.Now().UnixMilli(), "log": "", "clean": int64(0), roomfile.EpochSum: roomfile.SumOf(epoch),
	}
}

// maxMetaRecord is how long a row of _den_meta may be. SQLite would put a part of a longer one on another page.
const maxMetaRecord = 1000

// metaPage is the page of a _den_meta that has one: sqlite.org/fileformat2.html#b_tree_pages.
func metaPage(rows map[string]Value) ([]byte, error) {
	page := make([]byte, pageSize)
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
func metaRecord(name string, value Value) ([]byte, error) {
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
