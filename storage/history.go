package storage

// The room as it was: from the file as it is, walked back by the entries that the commit log still has.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/history"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// CopyAt writes the room as it was at a point in its history into a new file, synced, which must not exist. It takes as long as a
// copy of the file and the way back from now, and the room waits. No batch may be open. The file tells of the same history;
// archive.PrepareRestore makes a room of it. A *HistoryError says how far the history goes: it matches ErrNoHistory or ErrNotYet.
func (d *DB) CopyAt(path string, p Point) error {
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	switch {
	case d.batch != nil:
		return fmt.Errorf("storage: %w: CopyAt while a batch is open", ErrMisuse)
	}
	newest, err := history.Position(&d.sql)
	if err == nil {
		err = p.NotYet(newest, d.o.Now())
	}
	if err != nil {
		return err
	}
	if now := history.PointOf(newest); d.store.room == nil {
		return &HistoryError{Asked: p, Oldest: now, Newest: now, Err: fmt.Errorf("%w, because the room has no commit log", ErrNoHistory)}
	}
	if err = copyTo(&d.sql, d.o.FS, path); err == nil {
		err = d.rewind(path, p, newest)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = errors.Join(err, roomfile.RemoveIfThere(d.o.FS, path))
	}
	return diagnose(path, err)
}

// rewind takes transactions back in a copy of the file.
func (d *DB) rewind(path string, p Point, newest LogEntry) error {
	f, err := d.o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	r := rewinder(d, dbfile.NewDatabase(f, path), func(from string) (pagelog.File, error) {
		return dbfile.NewDatabase(f, path), copyOver(d.o.FS, from, f) // the file at from may have no checksums
	})
	reached := d.store.number == 0
	err = d.store.room.Backward(func(e LogEntry) (bool, error) {
		if err := pagelog.CheckOrder(e.Number, r.Number); err != nil {
			return false, history.PagesError(err)
		}
		if reached = p.NotBefore(e); reached {
			return false, nil
		}
		if ok, err := r.Revert(e.Number, e.Payload); err != nil || !ok {
			return false, history.PagesError(err)
		}
		reached = r.Number == 0 // before the first transaction: the room was empty
		return !reached, nil
	})
	incomplete := errors.Is(err, ErrLogIncomplete)
	if err == nil || incomplete {
		err = r.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && !reached {
		err = history.EndOfHistory(d.o.FS, path, p, r.Number, newest)
	}
	if end, is := errors.AsType[*HistoryError](err); is && incomplete {
		end.Err = fmt.Errorf("%w, because a file of the commit log is missing", ErrNoHistory)
	}
	return err
}

// rewinder begins the way back in a copy of the file. next makes it go on with another file.
func rewinder(d *DB, f pagelog.File, next func(path string) (pagelog.File, error)) *pagelog.Rewinder {
	return &pagelog.Rewinder{File: f, Number: d.store.number, Layout: d.store.layout, Archive: d.o.archive(d.epoch), Switch: next}
}

// copyOver writes a file's content over an open one.
func copyOver(f FS, from string, to vfs.File) error {
	size, err := f.Size(from)
	if err != nil {
		return err
	}
	source, err := f.Open(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := to.Truncate(0); err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(source, 0, size))
	return err
}

// archive is where the files are that Compact has replaced, and the room's history leads through.
func (o Options) archive(epoch string) pagelog.Archive {
	return pagelog.Archive{FS: o.FS, Dir: o.Past, Owner: pagelog.ArchiveOwner(o.Namespace, o.Room, epoch)}
}

// SweepPast removes the files from a directory of Options.Past that were replaced before a time, and
// foreign files. A file with a time in the future, because the clock was set back, counts as replaced now. It returns
// how many files are left. Files stay until SweepPast is called.
func SweepPast(f FS, dir string, before, now time.Time) (left int, err error) {
	return pagelog.Archive{FS: f, Dir: dir}.Sweep(before, now)
}

// IsAt reports whether the room as it is now is what a point names. That needs no history.
func (d *DB) IsAt(p Point) (bool, error) {
	if err := d.sql.Lock(); err != nil {
		return false, err
	}
	defer d.sql.Mu.Unlock()
	newest, err := history.Position(&d.sql)
	if err == nil {
		err = p.NotYet(newest, d.o.Now())
	}
	return err == nil && p.NotBefore(newest), err
}
