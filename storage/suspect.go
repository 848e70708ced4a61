package storage

// Rewriting a room's file before it is used, because it is suspect or because SQLite would use a rollback journal for it. Package
// roomfile has the steps. This file copies and checks the content.

import (
	"context"
	"errors"
	"os"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// writeWALAgain writes the content of a WAL that a crash has left once more, and syncs it. A sync may have failed before the crash.
// Then the system shows the whole WAL although not all of it is on the disk, and a checkpoint that a power cut interrupts could not be
// repeated.
func writeWALAgain(f FS, path string, size int64) error {
	return vfs.Use(f, path, os.O_RDWR, func(file vfs.File) error {
		b := make([]byte, min(size, 1<<20))
		for at := int64(0); at < size; at += int64(len(b)) {
			b = b[:min(int64(len(b)), size-at)]
			if n, err := file.ReadAt(b, at); n < len(b) {
				return err
			}
			if _, err := file.WriteAt(b, at); err != nil {
				return err
			}
		}
		return file.Sync()
	})
}

// convert marks the room's file and rewrites it if SQLite would use a rollback journal, and reports whether it did.
func convert(o Options, header *fileHeader) (rewritten bool, err error) {
	due := header != nil && !header.wal
	if !due {
		if due, err = roomfile.Exists(o.FS, o.Path+"-journal"); err != nil || !due {
			return false, err
		}
	}
	if bug.On("rollback-mode") {
		return false, nil
	}
	if err := o.File().Mark(); err != nil {
		return false, err
	}
	return true, o.File().Rewrite(o.rewrite)
}

// rewrite copies the file with its WAL, page by page, and checks the copy.
func (o Options) rewrite(to string) error {
	if err := roomfile.RemoveDatabase(o.FS, to); err != nil {
		return err
	}
	if err := copyPages(o, to); err != nil {
		return err
	}
	return checkFile(context.Background(), o, to)
}

func copyPages(o Options, to string) error {
	d, err := connect(o, o.FS.SQLite(), o.Path)
	if err != nil {
		return err
	}
	d.header = &fileHeader{wal: true} // its journal mode is not to be changed
	err = d.configure()
	if err == nil {
		err = copyTo(&d.sql, o.FS, to)
	}
	return errors.Join(err, failed(d.sql.Conn.SetConfig(sqlite.ConfigNoCheckpoint, 1)), d.closeConnection())
}

// copyTo writes the database as it is now, WAL included, into a new file in WAL mode, and syncs it.
func copyTo(ses *session.Session, fs FS, to string) error {
	f, err := fs.Open(to, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	copy := dbfile.NewDatabase(f, to)
	var failed error
	err = ses.Each("SELECT pgno, data FROM sqlite_dbpage('main') ORDER BY pgno", func(r *Rows) {
		if failed == nil {
			_, failed = copy.WriteAt(r.Bytes(1), (r.Int(0)-1)*pageSize)
		}
	})
	if err = errors.Join(err, failed); err == nil {
		err = roomfile.SetJournalMode(copy, roomfile.WALMode)
	}
	if err == nil {
		err = copy.Sync()
	}
	return errors.Join(err, copy.Close())
}

// checkFile has SQLite check a file until ctx ends.
func checkFile(ctx context.Context, o Options, path string) error {
	d, err := connect(o, o.FS.SQLite(), path)
	if err != nil {
		return err
	}
	if err = d.configure(); err == nil {
		err = d.sql.While(ctx, func() error { return d.sql.Check("PRAGMA integrity_check(1)") })
	}
	return errors.Join(err, d.closeConnection(), roomfile.RemoveIfThere(o.FS, path+"-wal")) // SQLite does not say so if it could not
}
