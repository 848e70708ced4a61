package storage

// Files that are written again before they are used. One kind is suspect: the disk has failed under
// the file. After a sync that failed, programs go on to read what they wrote, although it may never
// reach the disk, and the next sync succeeds and says nothing (Rebello et al., USENIX ATC 2020). The
// other kind is not in WAL mode, or has a rollback journal beside it: an operator has put a backup
// in the room's place, say. SQLite would switch such a file to WAL mode, or roll the journal back, and
// remove the journal without a sync of the directory. After a power cut the journal could be there
// again, and SQLite would play it over a newer file.
//
// The file's content goes into a fresh file, which takes its place. These files may be on the disk,
// NAME being the room's file:
//
//	NAME.suspect  the mark: NAME is to be written again
//	NAME.fresh    the new content, being written; worth nothing
//	NAME.whole    the new content, checked and synced
//
// The steps, each durable before the next begins: the mark; NAME.whole; the WAL and the journal are
// removed; NAME.whole becomes NAME; the mark is removed. A WAL is removed before the rename because it
// may hold a part of what it should, after a sync that failed: played over the new file it
// would mix old pages with new ones. A power cut leaves the mark with NAME as it was, or the mark with
// NAME.whole, with which the next Open goes on. A restore puts its file in an old one's place in the same way, as NAME.whole
// (see Replacement.takeOver).

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/sqlite"
)

const (
	suspectSuffix = ".suspect"
	freshSuffix   = ".fresh"
	wholeSuffix   = ".whole"
)

// accuse marks the room's file: it is to be written again.
func (o Options) accuse() error {
	// The mark must never meet an older file's NAME.whole.
	stale, err := exists(o.FS, o.Path+wholeSuffix)
	if err == nil && stale {
		if err = o.FS.Remove(o.Path + wholeSuffix); err == nil {
			err = o.syncDir()
		}
	}
	if err != nil {
		return err
	}
	f, err := o.FS.Open(o.Path+suspectSuffix, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), o.syncDir()); err != nil {
		return err
	}
	o.Kind.noteAccused(o.Path, nil)
	return nil
}

// accused reports whether a room's file is suspect and could not be marked.
func (k *Kind) accused(path string) bool {
	if k == nil {
		return false
	}
	k.names.mu.Lock()
	defer k.names.mu.Unlock()
	_, is := k.names.unmarked[path]
	return is
}

// noteAccused notes how marking a room's file went.
func (k *Kind) noteAccused(path string, err error) {
	if k == nil {
		return
	}
	k.names.mu.Lock()
	defer k.names.mu.Unlock()
	if err == nil {
		delete(k.names.unmarked, path)
		return
	}
	if k.names.unmarked == nil {
		k.names.unmarked = make(map[string]struct{})
	}
	k.names.unmarked[path] = struct{}{}
}

// writeWALAgain writes a WAL's content once more, and syncs it. A crash has left it, and a sync of it may have failed
// before: then the system shows what was written, but not all of it is on the disk, and a checkpoint that the power
// interrupts could not be made again.
func writeWALAgain(f FS, path string, size int64) error {
	file, err := f.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	b := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size && err == nil; at += int64(len(b)) {
		b = b[:min(int64(len(b)), size-at)]
		if n, failed := file.ReadAt(b, at); n < len(b) {
			err = failed
		} else {
			_, err = file.WriteAt(b, at)
		}
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// seeToMark reports whether the room's file is marked, after it has marked one of which that could not be done before. It removes what
// a power cut has left of a rewrite.
func seeToMark(o Options) (marked bool, err error) {
	if err := dropFresh(o); err != nil {
		return false, err
	}
	if o.Kind.accused(o.Path) {
		if err := o.accuse(); err != nil {
			return false, err
		}
	}
	return exists(o.FS, o.Path+suspectSuffix)
}

// clearMark removes the mark of a file that is no longer there, for good. Whoever makes a new file calls it before, or else NAME.whole
// would take the new one's place.
func (o Options) clearMark() error {
	marked, err := exists(o.FS, o.Path+suspectSuffix)
	if err != nil || !marked {
		return err
	}
	return errors.Join(o.dropRewrite(), o.syncDir())
}

// finishRewrite writes the room's file, which is marked, again.
func finishRewrite(o Options) error {
	there, err := exists(o.FS, o.Path)
	switch {
	case err != nil:
		return err
	case !there: // an operator has removed it
		return errors.Join(o.dropRewrite(), o.syncDir())
	}
	if err := o.makeNamesDurable(); err != nil {
		return err
	}
	return writeAgain(o)
}

// convert marks the room's file and writes it again where SQLite would use a rollback journal, and
// reports whether it did.
func convert(o Options, header *fileHeader) (rewritten bool, err error) {
	due := header != nil && !header.wal
	if !due {
		if due, err = exists(o.FS, o.Path+"-journal"); err != nil || !due {
			return false, err
		}
	}
	if bug.On("rollback-mode") {
		return false, nil
	}
	if err := o.accuse(); err != nil {
		return false, err
	}
	return true, writeAgain(o)
}

// dropRewrite removes what a rewrite has left, but for the room's file. Whoever syncs the directory
// next makes that durable.
func (o Options) dropRewrite() error {
	for _, suffix := range []string{wholeSuffix, freshSuffix, suspectSuffix} { // the mark last
		if err := removeIfThere(o.FS, o.Path+suffix); err != nil {
			return err
		}
	}
	return nil
}

// current is the file with the room's content: NAME.whole where the room's file was being written again and got that far.
func (o Options) current() (string, error) {
	for _, suffix := range []string{suspectSuffix, wholeSuffix} {
		if there, err := exists(o.FS, o.Path+suffix); err != nil || !there {
			return o.Path, err
		}
	}
	return o.Path + wholeSuffix, nil
}

// exists reports whether there is a file.
func exists(f FS, path string) (bool, error) {
	_, err := f.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// writeAgain is the way from the mark to a room's file that needs none. A crash may come at any
// step of it.
func writeAgain(o Options) error {
	whole := o.Path + wholeSuffix
	there, err := exists(o.FS, whole)
	if err == nil && !there {
		if err = rewrite(o, o.Path+freshSuffix); err == nil {
			err = o.FS.Rename(o.Path+freshSuffix, whole)
		}
	}
	if err == nil {
		err = o.syncDir() // also where an earlier process has made it
	}
	if err != nil {
		return fmt.Errorf("%w: the file has to be written again, and that did not succeed: %w", ErrIO, err)
	}
	first, second := o.removeJournals, func() error { return o.publish(whole) }
	if bug.On("suspect-order") {
		first, second = second, first
	}
	if err := first(); err != nil {
		return err
	}
	if err := second(); err != nil {
		return err
	}
	if err := removeIfThere(o.FS, o.Path+suspectSuffix); err != nil {
		return err
	}
	return o.syncDir()
}

// removeJournals removes what SQLite would play into the room's file, for good.
func (o Options) removeJournals() error {
	for _, suffix := range []string{"-wal", "-journal", "-shm"} {
		if err := removeIfThere(o.FS, o.Path+suffix); err != nil {
			return err
		}
	}
	return o.syncDir()
}

// rewrite copies the file with its WAL, page by page, and checks what has come of it.
func rewrite(o Options, to string) error {
	if err := removeFiles(o.FS, to); err != nil {
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
		err = d.copyTo(to)
	}
	return errors.Join(err, failed(d.c.SetConfig(sqlite.ConfigNoCheckpoint, 1)), d.shut())
}

// copyTo writes the database as it is now, WAL included, into a new file in WAL mode, and syncs it.
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
		err = setJournalMode(f, walMode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// checkFile has SQLite look through a file, as long as ctx goes on.
func checkFile(ctx context.Context, o Options, path string) error {
	d, err := connect(o, o.FS.SQLite(), path)
	if err != nil {
		return err
	}
	if err = d.configure(); err == nil {
		err = d.while(ctx, func() error { return d.check("PRAGMA integrity_check(1)") })
	}
	return errors.Join(err, d.shut(), removeIfThere(o.FS, path+"-wal")) // SQLite does not say so if it could not
}

// check runs one of the PRAGMAs that look through a file. What they find is ErrCorrupt. They find a page, too,
// that they could not read because the disk failed. So each page is read after a find, and the PRAGMA runs
// again.
func (d *DB) check(pragma string) error {
	verdict := ""
	for range 2 {
		if err := d.each(pragma, func(r *Rows) { verdict = string(r.Bytes(0)) }); err != nil {
			return err
		}
		if verdict == "ok" {
			return nil
		}
		if err := d.each("SELECT max(length(data)) FROM sqlite_dbpage('main')", func(*Rows) {}); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %s", ErrCorrupt, strings.TrimSpace(verdict))
}
