package roomfile

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
// NAME.whole, with which the next FinishRewrite goes on. Replace puts a file in an old one's place in the same way,
// as NAME.whole.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/denrooms/den/internal/bug"
)

// Mark marks the room's file as suspect: it is to be written again.
func (f File) Mark() error {
	// The mark must never meet an older file's NAME.whole.
	stale, err := Exists(f.FS, f.Path+WholeSuffix)
	if err == nil && stale {
		if err = f.FS.Remove(f.Path + WholeSuffix); err == nil {
			err = f.SyncDir()
		}
	}
	if err != nil {
		return err
	}
	mark, err := f.FS.Open(f.Path+SuspectSuffix, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err := errors.Join(mark.Sync(), mark.Close(), f.SyncDir()); err != nil {
		return err
	}
	f.Known.noteMark(f.Path, nil)
	return nil
}

// MarkOrRemember is Mark. If it fails, Known remembers that the file is suspect.
func (f File) MarkOrRemember() error {
	err := f.Mark()
	f.Known.noteMark(f.Path, err)
	return err
}

// Remembered reports whether Known remembers that the file is suspect, because it could not be marked.
func (f File) Remembered() bool { return f.Known.isUnmarked(f.Path) }

// Marked reports whether the room's file is marked, after it has marked one that Known remembers. It removes what
// a power cut has left of a rewrite.
func (f File) Marked() (marked bool, err error) {
	if err := f.dropFresh(); err != nil {
		return false, err
	}
	if f.Remembered() {
		if err := f.Mark(); err != nil {
			return false, err
		}
	}
	return Exists(f.FS, f.Path+SuspectSuffix)
}

// FinishRewrite writes the room's file, which is marked, again. write makes NAME.fresh, the file of the path that it is given,
// whole and synced. It is not called where NAME.whole is there already.
func (f File) FinishRewrite(write func(fresh string) error) error {
	there, err := Exists(f.FS, f.Path)
	switch {
	case err != nil:
		return err
	case !there: // an operator has removed it
		return errors.Join(f.dropRewrite(), f.SyncDir())
	}
	if err := f.MakeNamesDurable(); err != nil {
		return err
	}
	return f.Rewrite(write)
}

// Rewrite is the way from the mark to a room's file that needs none. A crash may come at any
// step of it. write is that of FinishRewrite.
func (f File) Rewrite(write func(fresh string) error) error {
	there, err := Exists(f.FS, f.Path+WholeSuffix)
	if err == nil && !there {
		if err = write(f.Path + FreshSuffix); err == nil {
			err = f.FS.Rename(f.Path+FreshSuffix, f.Path+WholeSuffix)
		}
	}
	return f.takeWhole(err)
}

// takeWhole is Rewrite's way from NAME.whole on, unless making that has failed.
func (f File) takeWhole(failed error) error {
	err := failed
	if err == nil {
		err = f.SyncDir() // also where an earlier process has made NAME.whole
	}
	if err != nil {
		return fmt.Errorf("%w: the file has to be written again, and that did not succeed: %w", ErrIO, err)
	}
	first, second := f.RemoveJournals, func() error { return f.publish(f.Path + WholeSuffix) }
	if bug.On("suspect-order") {
		first, second = second, first
	}
	if err := first(); err != nil {
		return err
	}
	if err := second(); err != nil {
		return err
	}
	if err := RemoveIfThere(f.FS, f.Path+SuspectSuffix); err != nil {
		return err
	}
	return f.SyncDir()
}

// clearMark removes the mark of a file that is no longer there, for good. Whoever makes a new file calls it before, or else NAME.whole
// would take the new one's place.
func (f File) clearMark() error {
	marked, err := Exists(f.FS, f.Path+SuspectSuffix)
	if err != nil || !marked {
		return err
	}
	return errors.Join(f.dropRewrite(), f.SyncDir())
}

// dropRewrite removes what a rewrite has left, but for the room's file. Whoever syncs the directory
// next makes that durable.
func (f File) dropRewrite() error {
	for _, suffix := range []string{WholeSuffix, FreshSuffix, SuspectSuffix} { // the mark last
		if err := RemoveIfThere(f.FS, f.Path+suffix); err != nil {
			return err
		}
	}
	return nil
}

// dropFresh removes what a power cut has left of NAME.fresh.
func (f File) dropFresh() error {
	switch err := f.FS.Remove(f.Path + FreshSuffix); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return RemoveDatabase(f.FS, f.Path+FreshSuffix)
}

// current is the file with the room's content: NAME.whole where the room's file was being written again and got that far.
func (f File) current() (string, error) {
	for _, suffix := range []string{SuspectSuffix, WholeSuffix} {
		if there, err := Exists(f.FS, f.Path+suffix); err != nil || !there {
			return f.Path, err
		}
	}
	return f.Path + WholeSuffix, nil
}
