package roomfile

// Files that are written again before they are used, for one of two reasons. A suspect file is one under which the disk has
// failed. After a failed sync, programs still read what they wrote, although it may never reach the disk, and the next sync
// succeeds and says nothing (Rebello et al., USENIX ATC 2020). The other files are not in WAL mode, or have a rollback journal:
// an operator has put a backup in the room's place, say. SQLite would switch such a file to WAL mode, or roll the journal back,
// and remove the journal without a sync of the directory. After a power cut the journal could be there again, and SQLite would
// play it over a newer file.
//
// The file's content is written into a fresh file, which takes its place. These files may be on the disk besides NAME, the
// room's file:
//
//	NAME.suspect  the mark: NAME must be written again
//	NAME.fresh    the new content, being written; useless after a crash
//	NAME.whole    the new content, checked and synced
//
// Each of these steps is durable before the next begins. The mark is made. NAME.whole is made. The WAL and the journal are
// removed. NAME.whole becomes NAME. The mark is removed. The WAL is removed before the rename because a failed sync may have
// left only a part of it, which would mix old pages with new ones in the new file. A power cut leaves the mark with NAME as it
// was, or the mark with NAME.whole, from which the next FinishRewrite goes on. Replace puts another file in NAME's place in the
// same way, as NAME.whole.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/denrooms/den/internal/bug"
)

// Mark marks the room's file as suspect: it must be written again.
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

// Remembered reports whether the file is suspect and could not be marked.
func (f File) Remembered() bool { return f.Known.isUnmarked(f.Path) }

// Marked reports whether the room's file is marked. Before that it marks a file that Known remembers, and removes what a power
// cut has left of a rewrite.
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

// FinishRewrite writes a marked file again. write gets the path of NAME.fresh, and makes that file, complete and synced. It is
// not called if there is a NAME.whole.
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

// Rewrite is FinishRewrite for a file that exists and whose name is durable.
func (f File) Rewrite(write func(fresh string) error) error {
	there, err := Exists(f.FS, f.Path+WholeSuffix)
	if err == nil && !there {
		if err = write(f.Path + FreshSuffix); err == nil {
			err = f.FS.Rename(f.Path+FreshSuffix, f.Path+WholeSuffix)
		}
	}
	return f.takeWhole(err)
}

// takeWhole is the part of Rewrite that begins with NAME.whole. failed is the error of making that.
func (f File) takeWhole(failed error) error {
	err := failed
	if err == nil {
		err = f.SyncDir() // even if an earlier process has made NAME.whole
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

// clearMark removes, durably, the mark of a file that no longer exists. It is called before a new file is made, because a
// NAME.whole would take its place.
func (f File) clearMark() error {
	marked, err := Exists(f.FS, f.Path+SuspectSuffix)
	if err != nil || !marked {
		return err
	}
	return errors.Join(f.dropRewrite(), f.SyncDir())
}

// dropRewrite removes all files of a rewrite except the room's. The next sync of the directory makes that durable.
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

// current returns the path of the file with the room's content: NAME.whole, if the file was being written again and that was
// complete.
func (f File) current() (string, error) {
	for _, suffix := range []string{SuspectSuffix, WholeSuffix} {
		if there, err := Exists(f.FS, f.Path+suffix); err != nil || !there {
			return f.Path, err
		}
	}
	return f.Path + WholeSuffix, nil
}
