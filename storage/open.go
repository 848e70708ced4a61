package storage

// Opening a room's file: making it whole or not at all, and refusing a file that is not this room's without a change to it.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// Open opens a room's file, which it makes if there is none. One process at a time has a file open (ErrInUse), with one DB.
func Open(o Options) (*DB, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	d, err := openOrGiveBack(o)
	if err == nil {
		return d, nil
	}
	err = fmt.Errorf("open %s: %w", o.Path, damaged(diagnose(o.Path, err)))
	if Refused(err) {
		err = sayMoved(err, o)
	}
	return nil, err
}

// openOrGiveBack is openRoom, and gives everything back if that panics.
func openOrGiveBack(o Options) (d *DB, err error) {
	o.opening = newOpening()
	returned := false
	defer func() {
		if !returned {
			o.opening.giveBack()
		}
	}()
	if d, err = openRoom(o); d != nil {
		d.o.opening = nil
	}
	returned = true
	return d, err
}

func openRoom(o Options) (*DB, error) {
	header, fresh, err := look(o)
	if err != nil {
		return nil, err
	}
	if fresh {
		d, there, err := begin(o)
		if d != nil || err != nil {
			return d, err
		}
		fresh = !there
		if fresh {
			header, _, err = readHeader(o.FS, o.Path)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := o.File().MakeNamesDurable(); err != nil {
		return nil, err
	}
	if rewritten, err := convert(o, header); err != nil {
		return nil, err
	} else if rewritten {
		header = nil
	}
	moved, err := readEntries(o)
	if err != nil {
		return nil, err
	}
	defer moved.Close()
	var d *DB
	if moved == nil {
		d = openPooled(o, header)
	}
	if d == nil {
		if d, err = openAndCatchUp(o, header, moved); err != nil {
			return nil, err
		}
	}
	d.created = fresh
	return d, nil
}

// openAndCatchUp opens a file and adds the transactions that it lacks, from the log and from entries that were moved out of the log.
func openAndCatchUp(o Options, header *fileHeader, moved *roomfile.Entries) (*DB, error) {
	var room RoomLog
	for {
		d, err := openOnce(o, header)
		header = nil
		if err != nil {
			leave(room)
			return nil, err
		}
		if o.Log == nil {
			return d, nil
		}
		if room == nil {
			if room, err = o.part(d.epoch); err != nil {
				return nil, errors.Join(err, d.refuse())
			}
			room = withMoved(moved, room, d.epoch, d.store.number)
		}
		again, err := d.store.catchUp(room, d.epoch)
		if err == nil && !again {
			err = d.followLog(plain(room))
		}
		switch {
		case err != nil:
			err = errors.Join(err, d.refuse())
			room.Close()
			return nil, err
		case !again:
			return d, nil
		}
		if err := d.closeConnection(); err != nil {
			room.Close()
			return nil, err
		}
	}
}

func leave(room RoomLog) {
	if room != nil {
		room.Close()
	}
}

// openOnce makes a connection to a file that exists. header is the file's, or nil if it is not known.
func openOnce(o Options, header *fileHeader) (*DB, error) {
	size, missing := o.FS.Size(o.Path + "-wal")
	if missing == nil && size > 0 {
		if err := writeWALAgain(o.FS, o.Path+"-wal", size); err != nil {
			return nil, err
		}
	}
	d, err := connect(o, o.FS.SQLite(), o.Path)
	if err != nil {
		return nil, err
	}
	if d.store.freshWAL = errors.Is(missing, fs.ErrNotExist); d.store.freshWAL {
		d.sql.header = header
	}
	err = d.start()
	if err == nil && o.Log == nil {
		_, err = d.store.mark.whole(o.Log)
	}
	if err == nil && o.Log == nil {
		err = d.reload()
	}
	if err != nil {
		return nil, errors.Join(err, d.refuse())
	}
	return d, nil
}

// refuse closes a file without a checkpoint, so that the file stays as it is.
func (d *DB) refuse() error {
	err := errors.Join(failed(d.sql.c.SetConfig(sqlite.ConfigNoCheckpoint, 1)), d.closeConnection())
	removeEmpty(d.o.FS, d.o.Path+"-wal")
	return err
}

// followLog has each transaction of the file logged first.
func (d *DB) followLog(room RoomLog) error {
	if !d.store.freshWAL {
		if err := d.store.checkpoint(sqlite.CheckpointTruncate); err != nil {
			return err
		}
	}
	if err := d.store.wrapWAL(); err != nil {
		return err
	}
	d.store.room, d.store.released = room, d.store.number
	return d.reload()
}

// connect makes a DB with a new connection to a database that exists, or to one in SQLite's memory.
func connect(o Options, vfs, path string) (*DB, error) {
	c, err := dbfile.Open(vfs, path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, failed(err)
	}
	return newDB(o, newConnection(o, c, nil)), nil
}

// newDB makes a DB of a connection.
func newDB(o Options, c *connection) *DB {
	d := &DB{o: o}
	d.sql.begin(d, c)
	d.store.o, d.store.sql = &d.o, &d.sql
	d.notes.sql, d.notes.pool = &d.sql, o.Pool
	d.sql.changes.Limit(o.MaxChanges, o.MaxChangeBytes)
	o.opening.addDB(d)
	return d
}

// start configures the connection, checks the stamps and loads what is kept in memory.
func (d *DB) start() error {
	if err := d.sql.configure(d.o); err != nil {
		return err
	}
	if err := d.checkStamps(); err != nil {
		return err
	}
	return d.sql.install()
}

func (ses *session) configure(o Options) error {
	for _, s := range []struct {
		option sqlite.Config
		on     int32
	}{
		{sqlite.ConfigDefensive, 1}, // no writes to SQLite's own tables
		{sqlite.ConfigDQSDDL, 0},    // "x" is a name, never a text
		{sqlite.ConfigDQSDML, 0},
		{sqlite.ConfigEnableForeignKeys, 1},
	} {
		if err := ses.c.SetConfig(s.option, s.on); err != nil {
			return failed(err)
		}
	}
	ses.c.SetLimit(sqlite.LimitAttached, 0)
	ses.c.SetLimit(sqlite.LimitLength, int32(min(o.MaxValueBytes, 1<<30)))
	if ses.c.Files == nil {
		files, err := dbfile.Hold(ses.c.Conn)
		if err != nil {
			return failed(err)
		}
		ses.c.Files = files
	}
	_, err := ses.exec(own, fmt.Sprintf(`PRAGMA synchronous = %d; PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1; PRAGMA temp_store = MEMORY;
		PRAGMA cache_size = -%d; PRAGMA journal_size_limit = 4194304; PRAGMA max_page_count = %d;
		PRAGMA secure_delete = FAST`, // deleted content is overwritten where its page is written anyway
		[...]int{Full: 2, Normal: 1, Off: 0}[o.Synchronous], max(o.CacheBytes>>10, 16), o.hardPages()), nil)
	if err != nil {
		return err
	}
	if ses.header != nil && ses.header.wal {
		return nil
	}
	mode := ""
	if err := ses.each("PRAGMA journal_mode = WAL", func(r *Rows) { mode = string(r.Bytes(0)) }); err != nil {
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
	if d.sql.header == nil {
		var id, version int64
		err := d.sql.each("PRAGMA application_id", func(r *Rows) { id = r.Int(0) })
		if err == nil {
			err = d.sql.each("PRAGMA user_version", func(r *Rows) { version = r.Int(0) })
		}
		if err == nil {
			err = roomfile.CheckVersion(uint32(id), uint32(version))
		}
		if err != nil {
			return err
		}
	}
	meta := map[string]Value{}
	if err := d.sql.each("SELECT name, value FROM _den_meta", func(r *Rows) { meta[string(r.Bytes(0))] = r.Value(1) }); err != nil {
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
	d.store.mark, d.store.layout = markOf(log, clean), uint64(layout)
	d.notes.stored = make(map[string]Value)
	for _, name := range []string{notePrepared, noteTables, noteTended, noteAlarm} {
		if v, there := meta[name]; there {
			d.notes.stored[name] = v
		}
	}
	number, err := d.sql.changes.Load(Seq(floor))
	d.store.number = number
	return d.sql.recorded(err)
}

// inspect checks a file's header as readHeader does.
func inspect(f vfs.FS, path string) (fresh bool, err error) {
	_, fresh, err = readHeader(f, path)
	return fresh, err
}

// look is readHeader after a rewrite of the file, if one was interrupted. For a room without a file it looks for nothing else,
// because makeWith removes what a rewrite has left of an older file.
func look(o Options) (h *fileHeader, fresh bool, err error) {
	file, err := o.FS.Open(o.Path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) && !o.File().Remembered() {
		return nil, true, orphans(o.FS, o.Path)
	}
	opened := err == nil
	marked, err := o.File().Marked()
	if opened && err == nil && !marked {
		defer file.Close()
		return headerIn(file, o.FS, o.Path)
	}
	if opened {
		file.Close()
	}
	if err == nil && marked {
		err = o.File().FinishRewrite(o.rewrite)
	}
	if err != nil {
		return nil, false, err
	}
	return readHeader(o.FS, o.Path)
}

// readHeader reads the file's header without SQLite, because SQLite could write to the file. fresh reports whether there is no file,
// or an empty one.
func readHeader(f vfs.FS, path string) (h *fileHeader, fresh bool, err error) {
	file, err := f.Open(path, os.O_RDWR) // fails for a file that cannot be written
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, orphans(f, path)
	}
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	return headerIn(file, f, path)
}

// headerIn is readHeader of a file that is open.
func headerIn(file vfs.File, f vfs.FS, path string) (h *fileHeader, fresh bool, err error) {
	first := make([]byte, pageSize)
	n, err := file.ReadAt(first, 0)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, true, orphans(f, path)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, false, err
	case n < headerSize:
		return nil, false, fmt.Errorf("%w: %d bytes", ErrNotDatabase, n)
	case string(first[:len(magic)]) != magic:
		return nil, false, fmt.Errorf("%w: it does not begin as an SQLite file", ErrNotDatabase)
	}
	h = &fileHeader{changes: int64(binary.BigEndian.Uint32(first[40:])), wal: first[18] == 2 && first[19] == 2}
	if n == pageSize {
		h.schema = schemaPages(first, func(p []byte, off int64) error { _, err := file.ReadAt(p, off); return err })
	}
	return h, false, roomfile.CheckFormat(first)
}

// orphans refuses to make a file beside a WAL that belonged to another one, because SQLite would play that WAL into the new file.
func orphans(f vfs.FS, path string) error {
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := f.Size(path + suffix); err == nil {
			return fmt.Errorf("%w: there is a %s but not the database that it belongs to", ErrCorrupt, filepath.Base(path)+suffix)
		}
	}
	return nil
}

// begin begins a room that has no file, in memory if possible. there reports that the log had the room, whose file exists now.
func begin(o Options) (d *DB, there bool, err error) {
	if there, err = recoverFromLog(o); there || err != nil {
		return nil, there, err
	}
	if d, err = openLogOnly(o); d != nil || err != nil {
		return d, false, err
	}
	return nil, false, create(o)
}

// create makes the file of a new room.
func create(o Options) error {
	epoch, err := roomfile.NewEpoch(o.Random)
	if err != nil {
		return err
	}
	t, err := o.beginning()
	if err != nil {
		return err
	}
	content, err := t.fill(o, epoch)
	if err != nil {
		return err
	}
	return makeWhole(o, content)
}

// damaged wraps an error of SQLite that means a damaged file with ErrCorrupt. Opening a room runs only Den's own statements, so they
// fail because the file is not as Den wrote it: its schema format is unknown, or one of Den's tables is missing.
func damaged(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || errors.Is(err, ErrCorrupt) {
		return err
	}
	switch sqlite.ResultCode(e.Code).Primary() {
	case sqlite.ResultError, sqlite.ResultInternal, sqlite.ResultFormat, sqlite.ResultMismatch, sqlite.ResultSchema:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// removeEmpty removes an empty WAL, which our look into the file has made.
func removeEmpty(f vfs.FS, path string) {
	if size, err := f.Size(path); err == nil && size == 0 {
		f.Remove(path)
	}
}
