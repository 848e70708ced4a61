package roomfile

// Giving a file that is whole its name. It is written under another name, synced and renamed, and then the directory
// is synced: after a power cut the name leads to what was there before, or to all of the new file.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/denrooms/den/storage/vfs"
)

// Create makes the file of a new room. write gives it its content. After an error there is no such file, but a power cut
// may bring one back: see MakeAbsenceDurable. ErrInUse: there is a file already.
func (f File) Create(write func(vfs.File) error) error {
	if err := f.MakeNamesDurable(); err != nil {
		return err
	}
	f.lookForEntries()
	temp := f.Path + newSuffix
	err := writeSynced(f.FS, temp, write)
	if err == nil {
		if size, failed := f.FS.Size(f.Path); failed == nil && size > 0 {
			err = fmt.Errorf("%w: somebody has made the file meanwhile", ErrInUse)
		} else if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = failed
		} else {
			err = f.clearMark()
		}
	}
	if err == nil {
		if err = f.publish(temp); err != nil {
			f.FS.Remove(f.Path)
		}
	}
	if err != nil {
		f.FS.Remove(temp)
	}
	return err
}

// publish gives a file that is whole and synced the room's name. After an error it may have it, or
// not: the next Open makes what is there durable before it uses it.
func (f File) publish(temp string) error {
	if err := f.FS.Rename(temp, f.Path); err != nil {
		return err
	}
	return f.SyncDir()
}

// writeSynced makes a file, in place of one that a crash may have left.
func writeSynced(f vfs.FS, path string, write func(vfs.File) error) error {
	file, err := create(f, path)
	if err != nil {
		return err
	}
	if err = write(file); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// writeBeside writes a file beside the room's, whole, whose name is not durable yet.
func (f File) writeBeside(suffix string, write func(vfs.File) error) error {
	temp := f.Path + suffix + newSuffix
	err := writeSynced(f.FS, temp, write)
	if err == nil {
		err = f.FS.Rename(temp, f.Path+suffix)
	}
	if err != nil {
		f.FS.Remove(temp)
	}
	return err
}

// Unique appends to a name what makes it nobody else's: 16 hex digits.
func Unique(random io.Reader, name string) (string, error) {
	digits, err := NewEpoch(random)
	if err != nil {
		return "", err
	}
	return name + digits[:16], nil
}

// Publish gives a file that is whole and synced a name that must be free (ErrExists): of several
// that want it at the same time one gets it. After an error there is no file of that name.
func Publish(f vfs.FS, temp, path string) error {
	err := f.Link(temp, path)
	if errors.Is(err, errors.ErrUnsupported) { // then two at the same moment may both get it
		if err = Absent(f, path); err == nil {
			err = f.Rename(temp, path)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: %s", ErrExists, path)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(RemoveIfThere(f, temp), f.SyncDir(filepath.Dir(path))); err != nil {
		return errors.Join(err, f.Remove(path))
	}
	return nil
}

// Replace puts a file that is whole and synced in the place of the room's, which nobody has open. The rename to NAME.whole
// decides: with the mark beside it FinishRewrite goes on from there, whatever fails later. Nothing of the old room is
// removed before it. The old file may need its WAL, or a NAME.whole of its own, where the disk has failed under it.
// After an error the old file is in place, unless the error says that the new one is.
func (f File) Replace(temp string) error {
	marked, err := Exists(f.FS, f.Path+SuspectSuffix)
	if err == nil && !marked {
		err = f.Mark()
	}
	if err == nil {
		err = f.FS.Rename(temp, f.Path+WholeSuffix)
	}
	if err != nil {
		return err
	}
	if err := f.SyncDir(); err != nil {
		return inPlace(err)
	}
	if err := f.takeWhole(nil); err != nil {
		return fmt.Errorf("%w: the new file is in place, and the next open goes on with it: %w", ErrIO, err)
	}
	return nil
}

// PutNew gives a file that is whole and synced the room's name, which no file has. What is beside the name belongs to a
// file that somebody has removed, and must not be played into the new one, nor take its place.
func (f File) PutNew(temp string) error {
	if err := RemoveIfThere(f.FS, f.Path+WholeSuffix); err != nil {
		return err
	}
	if err := f.RemoveJournals(); err != nil {
		return err
	}
	if err := f.FS.Rename(temp, f.Path); err != nil {
		return err
	}
	if err := f.SyncDir(); err != nil {
		return inPlace(err)
	}
	_ = f.dropRewrite() // what stays of it has the new file written again, once
	return nil
}

func inPlace(err error) error {
	return fmt.Errorf("%w: the new file is in place, but a power cut may bring the old one back; restore again: %w", ErrIO, err)
}

// RemoveJournals removes what SQLite would play into the room's file, for good.
func (f File) RemoveJournals() error {
	for _, suffix := range journals {
		if err := RemoveIfThere(f.FS, f.Path+suffix); err != nil {
			return err
		}
	}
	return f.SyncDir()
}

// RemoveRestores removes what crashes have left of restores and imports.
func (f File) RemoveRestores() error {
	dir, prefix := filepath.Dir(f.Path), filepath.Base(f.Path)+RestoreInfix
	names, err := f.FS.Names(dir)
	for _, name := range names {
		if err == nil && strings.HasPrefix(name, prefix) {
			err = RemoveIfThere(f.FS, filepath.Join(dir, name))
		}
	}
	return err
}
