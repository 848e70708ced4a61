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

	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/template"
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
		d, there, err := begin(o, header != nil)
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
			room = nodelog.WithMoved(moved, room, d.epoch, d.store.number)
		}
		again, err := d.store.catchUp(room, d.epoch)
		if err == nil && !again {
			err = d.followLog(nodelog.Plain(room))
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
		d.header = header
	}
	err = d.start()
	if err == nil && o.Log == nil {
		_, err = d.store.mark.Whole(o.Log)
	}
	if err == nil && o.Log == nil {
		err = d.reload()
	}
	if err != nil {
		return nil, errors.Join(err, d.refuse())
	}
	return d, nil
}

// followLog installs the WAL that logs each transaction before SQLite commits it.
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
// or an empty one; then there is a header nevertheless.
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
		return &fileHeader{empty: true}, true, orphans(f, path)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, false, err
	case n < headerSize:
		return nil, false, fmt.Errorf("%w: %d bytes", ErrNotDatabase, n)
	case string(first[:len(magic)]) != magic:
		return nil, false, fmt.Errorf("%w: it does not begin as an SQLite file", ErrNotDatabase)
	}
	h = &fileHeader{changes: int64(binary.BigEndian.Uint32(first[40:])), wal: first[18] == 2 && first[19] == 2}
	if n == pageSize {
		h.schema = template.SchemaPages(first, func(p []byte, off int64) error { _, err := file.ReadAt(p, off); return err })
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

// begin begins a room without a file, in memory if possible. there reports that the log had the room, whose file exists now.
// An empty file counts as none if the log can replace it, and is refused otherwise.
func begin(o Options, empty bool) (d *DB, there bool, err error) {
	if there, err = recoverFromLog(o); there || err != nil {
		return nil, there, err
	}
	if empty { // it was cut: what it had may be nowhere else
		return nil, false, fmt.Errorf("%w: the file is empty; a room's file is never made before its content", ErrCorrupt)
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
	content, err := t.Fill(newMeta(o, epoch))
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

// resume checks a file that a pooled connection has opened.
func (d *DB) resume() error {
	if err := d.store.countPages(); err != nil {
		return err
	}
	if err := d.checkStamps(); err != nil {
		return err
	}
	if whole, err := d.store.mark.Whole(d.o.Log); err != nil || !whole {
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
