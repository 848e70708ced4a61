package storage

// A new file's content, made once for all rooms of a kind. What is the same in each of them
// (Den's tables, those of the handler's struct, the notes of what was prepared) is taken from
// the first room as bytes, which has begun with Den's tables alone (plain.go); the page that says which room it is is written
// for each.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// maxTemplate is how large a template may be: what is larger is made for each room anew.
const maxTemplate = 1 << 20

// MakeTemplate syncs tables, and has all files of this Pool that are made from now on begin
// as this one is now. It does nothing where it would not be right: the file is not a new one,
// a table has rows already (who knows which they would be in another room), or the Pool has
// a template.
func (d *DB) MakeTemplate(tables ...string) error {
	k := d.o.Pool
	if k == nil || !d.created || k.template.Load() != nil {
		return nil
	}
	if err := d.Sync(tables...); err != nil {
		return err
	}
	if err := d.sql.lock(); err != nil {
		return err
	}
	defer d.sql.mu.Unlock()
	if rows, err := d.sql.anyRows(); err != nil || rows {
		return err
	}
	t, err := takeTemplate(&d.sql, &d.notes)
	if err == nil && t != nil {
		k.template.Store(t)
	}
	return err
}

// anyRows tells whether a table that is not Den's has rows.
func (ses *session) anyRows() (some bool, err error) {
	var names []string
	err = ses.each(`SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 5) <> '_den_'`, func(r *Rows) {
		names = append(names, string(r.Bytes(0)))
	})
	for _, name := range names {
		if err != nil || some {
			break
		}
		err = ses.each("SELECT 1 FROM "+sqlite.Quote(name)+" LIMIT 1", func(*Rows) { some = true })
	}
	return some, err
}

// takeTemplate copies the file as it is; nil: it has a form that cannot be one.
func takeTemplate(ses *session, n *notes) (*template, error) {
	t := &template{notes: maps.Clone(n.stored)}
	if t.notes == nil {
		t.notes = make(map[string]Value)
	}
	maps.Copy(t.notes, n.due)
	changes := 0
	err := ses.each(`SELECT m.rootpage, c.rootpage FROM sqlite_schema AS m, sqlite_schema AS c WHERE m.name = '_den_meta' AND c.name = '_den_changes'`,
		func(r *Rows) { t.meta, changes = int(r.Int(0)-1)*pageSize, int(r.Int(1)-1)*pageSize })
	if err != nil {
		return nil, err
	}
	pages, err := ses.c.Serialize()
	if err != nil {
		return nil, failed(err)
	}
	size := len(pages)
	if size > maxTemplate || size%pageSize != 0 || max(t.meta, changes) >= size {
		return nil, nil
	}
	t.pages = pages
	t.pages[18], t.pages[19] = byte(roomfile.WALMode), byte(roomfile.WALMode) // SQLite's own memory knows no WAL
	if t.pages[t.meta] != indexLeaf || t.pages[changes] != tableLeaf || t.pages[20] != 0 {
		return nil, nil // one of them has grown out of its page
	}
	// What the first room's transactions did is there, and no transaction of the new one's: it
	// begins with number 1.
	empty := make([]byte, pageSize)
	empty[0] = tableLeaf
	binary.BigEndian.PutUint16(empty[5:], pageSize)
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

// fill gives the content of a new room's file.
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

// newMeta is what _den_meta says of a new room.
func newMeta(o Options, epoch string) map[string]Value {
	return map[string]Value{
		"namespace": o.Namespace, "room": o.Room, "epoch": epoch, "floor": int64(0),
		"created_at": o.Now().UnixMilli(), "log": "", "clean": int64(0), roomfile.EpochSum: roomfile.SumOf(epoch),
	}
}

// maxMetaRecord is how long a row of _den_meta may be: what is longer would go to another page.
const maxMetaRecord = 1000

// metaPage is the page of a _den_meta that has one: sqlite.org/fileformat2.html#b_tree_pages.
func metaPage(rows map[string]Value) ([]byte, error) {
	page := make([]byte, pageSize)
	page[0] = indexLeaf
	end, pointers := pageSize, 8
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
