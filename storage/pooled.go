package storage

// Pooled connections. A room that goes to sleep leaves its connection to the next room of the Pool whose file has the same schema,
// byte for byte (package pool). That room has SQLite's parsed schema and the compiled statements ready, and only opens its file.

import (
	"errors"
	"io/fs"
	"reflect"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pool"
	"github.com/denrooms/den/storage/vfs"
)

func (o Options) poolKey(schema string) poolKey {
	return poolKey{schema, o.FS, o.MaxBytes, o.CacheBytes, o.MaxValueBytes, o.StatementCache, o.Log != nil}
}

// pools reports whether connections of rooms with these options go to a pool.
func (o Options) pools() bool {
	return o.Pool != nil && o.Log != nil && reflect.TypeOf(o.FS).Comparable()
}

// openPooled opens a file that was closed, with a pooled connection. It returns nil if the file needs a new connection.
func openPooled(o Options, header *fileHeader) *DB {
	if !o.pools() || header == nil || !header.wal || header.schema == "" {
		return nil
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := o.FS.Size(o.Path + suffix); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	key := o.poolKey(header.schema)
	c := o.Pool.conns.Get(key)
	if c == nil {
		return nil
	}
	f, err := dbfile.OpenFile(o.FS.SQLite(), o.Path)
	if err != nil {
		o.Pool.conns.Put(key, c, pool.WAL{})
		return nil
	}
	d := newPooled(o, c, header, f)
	if d.resume() != nil {
		d.refuse()
		return nil
	}
	return d
}

// newPooled makes a DB of a pooled connection and a file.
func newPooled(o Options, c *connection, header *fileHeader, file vfs.File) *DB {
	d := newDB(o, c)
	d.sql.header, d.store.freshWAL = header, true
	d.sql.install() // SQLite has the callbacks already
	c.Files.Swap(file)
	d.store.installWAL()
	return d
}

// resume checks a file that a pooled connection has opened.
func (d *DB) resume() error {
	if err := d.store.countPages(); err != nil {
		return err
	}
	if err := d.checkStamps(); err != nil {
		return err
	}
	if whole, err := d.store.mark.whole(d.o.Log); err != nil || !whole {
		return errors.Join(err, ErrLogMismatch)
	}
	room, err := d.o.part(d.epoch)
	if err != nil {
		return err
	}
	if room.Last() > d.store.number {
		room.Close()
		return ErrLogMismatch
	}
	room.Release(d.store.number)
	d.store.room, d.store.released = room, d.store.number
	return d.reload()
}

// warm has two connections prepared for the next new rooms of the Pool, in case rooms begin while none sleeps. They have the
// statements compiled that this room has used. A DB does it once, after its first transaction.
func (d *DB) warm() {
	if d.warmed || !d.o.pools() || d.store.number == 0 {
		return
	}
	d.warmed = true
	p := d.o.Pool
	t := p.template.Load()
	if t == nil || t.schema == "" {
		return
	}
	p.conns.Warm(d.o.poolKey(t.schema), func() func() *connection {
		o, texts, recorder := d.o, d.sql.texts(), d.sql.changes.Used()
		return func() *connection { return prepareConnection(o, t, texts, recorder) }
	})
}

// noEpoch is the epoch of a connection without a room. Its content is not used.
const noEpoch = "00000000000000000000000000000000"

// prepareConnection makes a connection that no room has used. It returns nil if that fails.
func prepareConnection(o Options, t *template, texts []text, recorder []string) *connection {
	content, err := t.fill(o, noEpoch)
	if err != nil {
		return nil
	}
	d, err := openMemory(o, content)
	if err != nil {
		return nil
	}
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	for _, x := range texts { // a room that runs one that cannot be compiled gets the error
		if s, _, err := d.sql.statement(x.auth, x.sql); err == nil && s != nil {
			s.Release()
		}
	}
	d.sql.changes.Prepare(recorder)
	for _, p := range d.sql.tx.all() {
		d.sql.ready(p)
	}
	return d.detach()
}
