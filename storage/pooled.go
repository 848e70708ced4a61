package storage

// Pooled connections. A room that goes to sleep leaves its connection to the next room of the Pool whose file has the same schema,
// byte for byte (package pool). That room has SQLite's parsed schema and the compiled statements ready, and only opens its file.

import (
	"errors"
	"io/fs"
	"reflect"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/internal/template"
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
func newPooled(o Options, c *session.Connection, header *fileHeader, file vfs.File) *DB {
	d := newDB(o, c)
	d.header, d.store.freshWAL = header, true
	d.sql.Install() // SQLite has the callbacks already
	c.Files.Swap(file)
	d.store.installWAL()
	return d
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
	if t == nil || t.Schema == "" {
		return
	}
	p.conns.Warm(d.o.poolKey(t.Schema), func() func() *session.Connection {
		o, texts, recorder := d.o, d.sql.Texts(), d.sql.Changes.Used()
		return func() *session.Connection { return prepareConnection(o, t, texts, recorder) }
	})
}

// noEpoch is the epoch of a connection without a room. Its content is not used.
const noEpoch = "00000000000000000000000000000000"

// prepareConnection makes a connection that no room has used. It returns nil if that fails.
func prepareConnection(o Options, t *template.Template, texts []session.Text, recorder []string) *session.Connection {
	content, err := t.Fill(newMeta(o, noEpoch))
	if err != nil {
		return nil
	}
	d, err := openMemory(o, content)
	if err != nil {
		return nil
	}
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	d.sql.Prepare(texts, recorder)
	return d.detach()
}

// leaveConnection puts the DB's connection into the pool if the file is whole, and reports whether it has. Then the file is closed.
func (d *DB) leaveConnection() bool {
	if !d.o.pools() || d.store.wal == nil || d.store.state != fileClean || d.sql.Broken != nil || d.sql.Fenced.Load() || len(d.copies) > 0 {
		return false
	}
	schema := template.SchemaOf(&d.sql)
	if schema == "" || d.sql.HasVirtualTables() {
		return false
	}
	wal := pool.WAL{File: d.store.wal.Base, Path: d.o.Path + "-wal", SyncDir: func() error { return d.o.File().SyncDir() }}
	d.o.Pool.conns.Put(d.o.poolKey(schema), d.detach(), wal)
	return true
}

// detach takes the connection out of a DB, which is closed then.
func (d *DB) detach() *session.Connection {
	d.invalidate()
	d.sql.Places, d.sql.Frames = d.store.wal.Memory()
	d.store.wal = nil
	return d.sql.Detach()
}
