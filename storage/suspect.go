package storage

// A file under which the disk has failed. After a sync that failed, programs go on to read
// what they wrote, although it may never reach the disk, and the next sync succeeds and
// says nothing (Rebello et al., USENIX ATC 2020). So such a file is marked, and before it is
// used again its content is written into a fresh one that is synced and checked.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	sqlite3 "modernc.org/sqlite/lib"
)

// suspectSuffix names the mark beside a file.
const suspectSuffix = ".suspect"

// accuse marks the file.
func (d *DB) accuse() error {
	f, err := d.o.FS.Open(d.o.Path+suspectSuffix, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), d.o.FS.SyncDir(filepath.Dir(d.o.Path)))
}

// acquit writes a marked file anew, and tells whether it did.
func acquit(o Options) (rewritten bool, err error) {
	mark := o.Path + suspectSuffix
	if _, err := o.FS.Size(mark); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, writeAnew(o, mark)
}

func writeAnew(o Options, mark string) error {
	fresh := o.Path + ".fresh"
	if err := rewrite(o, fresh); err != nil {
		return fmt.Errorf("%w: the disk failed under the file, and writing it anew did not succeed: %w", ErrIO, err)
	}
	// The old WAL's content is in the fresh file: playing it into that changes nothing.
	if err := o.FS.Rename(fresh, o.Path); err != nil {
		return err
	}
	if err := o.FS.Remove(o.Path + "-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := o.FS.SyncDir(filepath.Dir(o.Path)); err != nil {
		return err
	}
	if err := o.FS.Remove(mark); err != nil {
		return err
	}
	return o.FS.SyncDir(filepath.Dir(o.Path))
}

// rewrite copies the file with its WAL, page by page, and checks what has come of it.
func rewrite(o Options, to string) error {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := o.FS.Remove(to + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := copyPages(o, to); err != nil {
		return err
	}
	return checkFile(o, to)
}

func copyPages(o Options, to string) error {
	c, err := openFile(o.FS.SQLite(), o.Path, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_EXRESCODE)
	if err != nil {
		return err
	}
	d, err := newDB(o, c)
	if err != nil {
		c.close(nil)
		return err
	}
	err = d.configure()
	if err == nil {
		err = d.copyTo(to)
	}
	return errors.Join(err, c.configure(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1), d.shut())
}

// copyTo writes the database as it is now, WAL included, into a new file, and syncs it.
func (d *DB) copyTo(to string) error {
	f, err := d.o.FS.Open(to, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	var failed error
	err = d.each("SELECT pgno, data FROM sqlite_dbpage('main') ORDER BY pgno", func(r *Rows) {
		if failed == nil {
			_, failed = f.WriteAt(r.Bytes(1), (r.Int(0)-1)*pageSize)
		}
	})
	if err = errors.Join(err, failed); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// checkFile has SQLite look through a file.
func checkFile(o Options, path string) error {
	c, err := openFile(o.FS.SQLite(), path, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_EXRESCODE)
	if err != nil {
		return err
	}
	d, err := newDB(o, c)
	if err != nil {
		c.close(nil)
		return err
	}
	verdict := ""
	if err = d.configure(); err == nil {
		err = d.each("PRAGMA integrity_check(1)", func(r *Rows) { verdict = string(r.Bytes(0)) })
	}
	if err == nil && verdict != "ok" {
		err = fmt.Errorf("%w: %s", ErrCorrupt, verdict)
	}
	return errors.Join(err, d.shut())
}
