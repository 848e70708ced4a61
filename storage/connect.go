package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// Making a DB of a connection to a file that exists, or to a database in memory.

// connect makes a DB with a new connection to a database that exists, or to one in SQLite's memory.
func connect(o Options, vfs, path string) (*DB, error) {
	c, err := dbfile.Open(vfs, path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, failed(err)
	}
	return newDB(o, session.NewConnection(o.FS, o.StatementCache, c, nil)), nil
}

// newDB makes a DB of a connection.
func newDB(o Options, c *session.Connection) *DB {
	d := &DB{o: o}
	d.sql.Start((*watcher)(d), c)
	d.store.o, d.store.sql = &d.o, &d.sql
	d.notes.sql, d.notes.pool = &d.sql, o.Pool
	d.sql.Changes.Limit(o.MaxChanges, o.MaxChangeBytes)
	o.opening.addDB(d)
	return d
}

// start configures the connection, checks the stamps and loads what is kept in memory.
func (d *DB) start() error {
	if err := d.configure(); err != nil {
		return err
	}
	if err := d.checkStamps(); err != nil {
		return err
	}
	return d.sql.Install()
}

// configure sets the connection up for the options.
func (d *DB) configure() error {
	o, ses := d.o, &d.sql
	for _, s := range []struct {
		option sqlite.Config
		on     int32
	}{
		{sqlite.ConfigDefensive, 1}, // no writes to SQLite's own tables
		{sqlite.ConfigDQSDDL, 0},    // "x" is a name, never a text
		{sqlite.ConfigDQSDML, 0},
		{sqlite.ConfigEnableForeignKeys, 1},
	} {
		if err := ses.Conn.SetConfig(s.option, s.on); err != nil {
			return failed(err)
		}
	}
	ses.Conn.SetLimit(sqlite.LimitAttached, 0)
	ses.Conn.SetLimit(sqlite.LimitLength, int32(min(o.MaxValueBytes, 1<<30)))
	if ses.Conn.Files == nil {
		files, err := dbfile.Hold(ses.Conn.Conn)
		if err != nil {
			return failed(err)
		}
		ses.Conn.Files = files
	}
	_, err := ses.Exec(session.Own, fmt.Sprintf(`PRAGMA synchronous = %d; PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1; PRAGMA temp_store = MEMORY;
		PRAGMA cache_size = -%d; PRAGMA journal_size_limit = 4194304; PRAGMA max_page_count = %d;
		PRAGMA secure_delete = FAST`, // deleted content is overwritten where its page is written anyway
		[...]int{Full: 2, Normal: 1, Off: 0}[o.Synchronous], max(o.CacheBytes>>10, 16), o.hardPages()), nil)
	if err != nil {
		return err
	}
	if d.header != nil && d.header.wal {
		return nil
	}
	mode := ""
	if err := ses.Each("PRAGMA journal_mode = WAL", func(r *Rows) { mode = string(r.Bytes(0)) }); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("%w: the journal mode is %s", ErrReadOnly, mode)
	}
	return nil
}

// checkStamps checks through SQLite what readHeader has checked, because the file's first page may be older than its WAL. It loads
// the rows of _den_meta.
func (d *DB) checkStamps() error {
	if d.header == nil {
		var id, version int64
		err := d.sql.Each("PRAGMA application_id", func(r *Rows) { id = r.Int(0) })
		if err == nil {
			err = d.sql.Each("PRAGMA user_version", func(r *Rows) { version = r.Int(0) })
		}
		if err == nil {
			err = roomfile.CheckVersion(uint32(id), uint32(version))
		}
		if err != nil {
			return err
		}
	}
	meta := map[string]Value{}
	if err := d.sql.Each("SELECT name, value FROM _den_meta", func(r *Rows) { meta[string(r.Bytes(0))] = r.Value(1) }); err != nil {
		return err
	}
	if meta["namespace"] != d.o.Namespace || meta["room"] != d.o.Room {
		return fmt.Errorf("%w: it holds %q/%q, not %q/%q", ErrWrongRoom, meta["namespace"], meta["room"], d.o.Namespace, d.o.Room)
	}
	if err := roomfile.CheckEpoch(meta); err != nil {
		return err
	}
	d.epoch = meta["epoch"].(string)
	floor, ok := meta["floor"].(int64)
	if !ok || floor < 0 {
		return fmt.Errorf("%w: the floor in _den_meta is %v", ErrCorrupt, meta["floor"])
	}
	clean, ok := meta["clean"].(int64)
	if !ok {
		return fmt.Errorf("%w: the mark in _den_meta is %v", ErrCorrupt, meta["clean"])
	}
	log, ok := meta["log"].(string)
	if !ok {
		return fmt.Errorf("%w: no log in _den_meta", ErrCorrupt)
	}
	layout, _ := meta["layout"].(int64)
	d.store.mark, d.store.layout = nodelog.MarkOf(log, clean), uint64(layout)
	d.notes.stored = make(map[string]Value)
	for _, name := range []string{notePrepared, noteTables, noteTended, noteAlarm} {
		if v, there := meta[name]; there {
			d.notes.stored[name] = v
		}
	}
	number, err := d.sql.Changes.Load(Seq(floor))
	d.store.number = number
	return d.sql.Recorded(err)
}

// refuse closes a file without a checkpoint, so that the file stays as it is.
func (d *DB) refuse() error {
	err := errors.Join(failed(d.sql.Conn.SetConfig(sqlite.ConfigNoCheckpoint, 1)), d.closeConnection())
	removeEmpty(d.o.FS, d.o.Path+"-wal")
	return err
}

// removeEmpty removes an empty WAL, which our look into the file has made.
func removeEmpty(f vfs.FS, path string) {
	if size, err := f.Size(path); err == nil && size == 0 {
		f.Remove(path)
	}
}

// openMemory opens a database in memory with a new connection.
func openMemory(o Options, content []byte) (*DB, error) {
	c, files, err := dbfile.OpenMemory(o.FS.SQLite(), dbfile.NewMemory(content), nil)
	if err != nil {
		return nil, failed(err)
	}
	c.SetAutoCheckpoint(0)
	d := newDB(o, session.NewConnection(o.FS, o.StatementCache, c, files))
	d.header, d.store.freshWAL = headerOf(content), true
	d.store.installWAL()
	if err := d.start(); err != nil {
		return nil, errors.Join(err, d.refuse())
	}
	return d, nil
}

// headerOf returns the header of a template's content.
func headerOf(content []byte) *fileHeader {
	return &fileHeader{changes: int64(binary.BigEndian.Uint32(content[40:])), wal: true}
}
