package storage

// Connections that are used again. A room that goes to sleep leaves its connection to the next
// one of its kind whose file has the same schema, byte for byte: that room then has SQLite's
// parsed schema and the compiled statements ready, and opens no more than its file. It is what
// a server's pool of connections does, for connections that belong to a file.

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

const (
	// maxSpares is how many connections a Kind keeps, each with 100 to 300 KB.
	maxSpares = 32
	// fewSpares is how many of them stay when nobody has wanted them for spareTime.
	fewSpares = 2
	spareTime = 10 * time.Second
)

// A spare is a connection without files.
type spare struct {
	c      *sqlite.Conn
	files  *dbfile.Files
	wal    *wal
	caches [3]*cache
	tx     transactionStatements
	rec    *changes.Recorder
	schema string
	set    settings
	since  time.Time
}

// settings are what a connection cannot change from one file to the next.
type settings struct {
	fs                            vfs.FS
	maxBytes, cacheBytes          int64
	maxValueBytes, statementCache int
	durable                       bool
}

func settingsOf(o Options) settings {
	return settings{o.FS, o.MaxBytes, o.CacheBytes, o.MaxValueBytes, o.StatementCache, o.Log != nil}
}

// keep makes a spare of a DB's connection, where its file is whole, and tells whether it has.
// Then the file is closed, and the DB over.
func (d *DB) keep() bool {
	k := d.o.Kind
	if k == nil || d.wal == nil || !d.swept || !reflect.TypeOf(d.o.FS).Comparable() || d.broken != nil || d.suspect || d.fenced.Load() || len(d.copies) > 0 {
		return false
	}
	schema := d.schemaNow()
	if schema == "" || d.unusual() {
		return false
	}
	k.add(d.strip(schema))
	return true
}

// strip takes the connection out of a DB, without files. Then the DB is over.
func (d *DB) strip(schema string) *spare {
	s := &spare{c: d.c, files: d.files, wal: d.wal, caches: d.caches, tx: d.tx, schema: schema, set: settingsOf(d.o), since: d.o.Now()}
	d.end()
	s.rec = d.changes.Renew()
	for _, c := range d.caches {
		for s := range c.All() {
			s.Info.used = false
		}
	}
	d.uninstall()
	d.c.ReleaseMemory()
	d.c.SetLastInsertRowID(0)
	if !d.wal.away() && d.parkWAL() != nil {
		d.dropWAL()
	}
	_ = d.files.CloseMain()
	d.wal.forget()
	d.wal, d.files, d.c = nil, nil, nil
	return s
}

// dropWAL closes the WAL, whose content is in the database, and removes it.
func (d *DB) dropWAL() {
	parked := d.wal.parked
	d.wal.leave()
	if parked != "" {
		d.o.FS.Remove(parked)
	} else {
		d.removeWAL() // else it is in the next life's way; that one sees to it
	}
}

// unusual tells of tables that have a memory of their own beneath SQLite: virtual ones.
func (d *DB) unusual() (found bool) {
	err := d.each("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND coalesce(rootpage, 0) = 0 LIMIT 1", func(*Rows) { found = true })
	return found || err != nil
}

// add keeps a spare, and lets others go where there are too many.
func (k *Kind) add(s *spare) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		s.close()
		return
	}
	if len(k.spares) >= maxSpares {
		k.spares[0].close()
		k.spares = append(k.spares[:0], k.spares[1:]...)
	}
	k.spares = append(k.spares, s)
}

// take gives the spare that was used last among those that fit, nil if there is none.
func (k *Kind) take(schema string, set settings) *spare {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := len(k.spares) - 1; i >= 0; i-- {
		if s := k.spares[i]; s.set == set && s.schema == schema {
			k.spares = append(k.spares[:i], k.spares[i+1:]...)
			return s
		}
	}
	return nil
}

// Tend closes the connections that have not been used again for 10 s, but for two, and tells
// whether there are more than these. Who uses the Kind calls it from time to time.
func (k *Kind) Tend(now time.Time) (more bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.spares) > fewSpares && now.Sub(k.spares[0].since) >= spareTime {
		k.spares[0].close()
		k.spares = append(k.spares[:0], k.spares[1:]...)
	}
	return len(k.spares) > fewSpares
}

// count is how many connections the Kind keeps.
func (k *Kind) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.spares)
}

// Close closes the connections that the Kind keeps; from then on it keeps none.
func (k *Kind) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, s := range k.spares {
		s.close()
	}
	k.spares = nil
}

// close gives back what a spare has.
func (s *spare) close() {
	d := &DB{c: s.c, caches: s.caches, tx: s.tx, changes: s.rec}
	d.dropArguments()
	s.c.SetConfig(sqlite.ConfigNoCheckpoint, 1)
	closeConn(s.c, s.files) // and the WAL, if it is open
	if s.wal.parked != "" {
		s.set.fs.Remove(s.wal.parked)
	}
}

// KeepWALs says where connections that are not in use keep their WALs: a directory that is
// there, on the file system of the rooms, and in use by no other process. Without it they are
// removed and made anew. It is called before the Kind is used.
func (k *Kind) KeepWALs(dir string) { k.wals = dir }

// ClearWALs makes such a directory, and removes what an earlier process has left in it.
func ClearWALs(f FS, dir string) error {
	if _, err := f.MakeDirs(dir); err != nil {
		return err
	}
	names, err := f.Names(dir)
	for _, name := range names {
		err = errors.Join(err, f.Remove(filepath.Join(dir, name)))
	}
	return err
}

// openSpare opens a file that was closed well, with a spare. nil: it must be opened from anew.
func openSpare(o Options, header *fileHeader) *DB {
	if o.Kind == nil || o.Log == nil || header == nil || !header.wal || header.schema == "" {
		return nil
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := o.FS.Size(o.Path + suffix); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	s := o.Kind.take(header.schema, settingsOf(o))
	if s == nil {
		return nil
	}
	f, err := dbfile.OpenFile(o.FS.SQLite(), o.Path)
	if err != nil {
		s.close()
		return nil
	}
	d := s.wake(o)
	d.header = header
	d.files.Swap(f)
	if d.resume(s.wal) != nil {
		d.refuse()
		return nil
	}
	return d
}

// wake begins a DB with the spare's connection, which has no file yet.
func (s *spare) wake(o Options) *DB {
	d := &DB{o: o, c: s.c, running: s.c, files: s.files, caches: s.caches, tx: s.tx}
	d.recordWith(s.rec)
	d.freshWAL = true
	o.opening.addDB(d)
	d.install() // SQLite has the callbacks already
	return d
}

// resume is what opening is for a connection that was moved.
func (d *DB) resume(w *wal) error {
	if err := d.watchAgain(w); err != nil {
		return err
	}
	if err := d.checkStamps(); err != nil {
		return err
	}
	if whole, err := d.mark.whole(d.o.Log); err != nil || !whole {
		return errors.Join(err, ErrLogMismatch)
	}
	room, err := d.o.part(d.epoch)
	if err != nil {
		return err
	}
	if room.Last() > d.number {
		room.Close()
		return ErrLogMismatch
	}
	room.Release(d.number)
	d.room, d.released = room, d.number
	return d.reload()
}

// schemaNow is schemaPages of an open file whose WAL is empty.
func (d *DB) schemaNow() string {
	page := func(p []byte, off int64) error {
		_, err := d.files.Main().ReadAt(p, off)
		return err
	}
	buffer := pageBuffers.Get().(*[pageSize]byte)
	defer pageBuffers.Put(buffer)
	if page(buffer[:], 0) != nil {
		return ""
	}
	return schemaPages(buffer[:], page)
}

// pageBuffers are for reads of a page whose content is not kept.
var pageBuffers = sync.Pool{New: func() any { return new([pageSize]byte) }}

const (
	tableInner     = 0x05 // the type of a b-tree page with pages below it
	maxSchemaPages = 8
)

// schemaPages gives all bytes of a file that SQLite's parsed schema depends on: the fields of the
// header that do not change with the content, and the b-tree of sqlite_schema with its first
// page. "": it is too large. Equal ones mean equal schemas; different ones mean nothing.
func schemaPages(first []byte, read func(p []byte, off int64) error) string {
	var b strings.Builder
	b.Write(first[16:24])
	b.Write(first[40:92])
	b.Write(first[headerSize:])
	switch first[headerSize] {
	case tableLeaf:
		if !wholeCells(first, headerSize) {
			return ""
		}
		return b.String()
	case tableInner:
		children := int(binary.BigEndian.Uint16(first[headerSize+3:]))
		if children >= maxSchemaPages {
			return ""
		}
		page := make([]byte, pageSize)
		for i := range children + 1 {
			number := binary.BigEndian.Uint32(first[headerSize+8:])
			if i < children {
				cell := int(binary.BigEndian.Uint16(first[headerSize+12+2*i:]))
				if cell > pageSize-4 {
					return ""
				}
				number = binary.BigEndian.Uint32(first[cell:])
			}
			if number == 0 || read(page, int64(number-1)*pageSize) != nil || page[0] != tableLeaf || !wholeCells(page, 0) {
				return ""
			}
			b.Write(page)
		}
		return b.String()
	}
	return ""
}

// wholeCells tells whether a leaf has all of its rows in itself: none of them goes on elsewhere.
func wholeCells(page []byte, at int) bool {
	for i := range int(binary.BigEndian.Uint16(page[at+3:])) {
		pointer := at + 8 + 2*i
		if pointer+2 > pageSize {
			return false
		}
		cell, size := int(binary.BigEndian.Uint16(page[pointer:])), uint64(0)
		for n := 0; ; n++ {
			if cell+n >= pageSize || n == 3 {
				return false
			}
			size = size<<7 | uint64(page[cell+n]&0x7f)
			if page[cell+n]&0x80 == 0 {
				break
			}
		}
		if size > pageSize-35 {
			return false
		}
	}
	return true
}
