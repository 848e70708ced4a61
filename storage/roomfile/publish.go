package roomfile

// Giving a complete file its name. The file is written under another name, synced and renamed, and then the directory is
// synced. So after a power cut the name leads to the old file or to all of the new one.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/denrooms/den/storage/vfs"
)

// Create makes the file of a new room, with the content that write gives it. After an error there is no such file, but a power
// cut may bring one back: see MakeAbsenceDurable. ErrInUse: there is a file already.
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

// publish gives a complete and synced file the room's name. After an error the file may or may not have the name. The next
// Open makes what it finds durable before it is used.
func (f File) publish(temp string) error {
	if err := f.FS.Rename(temp, f.Path); err != nil {
		return err
	}
	return f.SyncDir()
}

// writeSynced writes and syncs a file. It replaces one that a crash may have left.
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

// writeBeside writes a file beside the room's, whole or not at all. Its name is not durable yet.
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

// Unique appends 16 random hex digits to a name.
func Unique(random io.Reader, name string) (string, error) {
	digits, err := NewEpoch(random)
	if err != nil {
		return "", err
	}
	return name + digits[:16], nil
}

// Publish gives a complete and synced file a name that must be free (ErrExists). If several want the name at the same time,
// one gets it. After an error there is no file of that name.
func Publish(f vfs.FS, temp, path string) error {
	err := f.Link(temp, path)
	if errors.Is(err, errors.ErrUnsupported) { // without links, two at the same moment may both get it
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

// Replace puts a complete and synced file in the place of the room's, which nobody has open. The rename to NAME.whole decides:
// after it FinishRewrite goes on, because the mark is there, whatever fails later. Nothing of the old room is removed before
// it, because the old file may need its WAL or, if the disk has failed under it, a NAME.whole of its own. After an error the
// old file is in place, unless the error says that the new one is.
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

// PutNew gives a complete and synced file the room's name, which must be free. A journal or a NAME.whole beside the name belongs
// to a file that somebody has removed. It must neither be played into the new file nor take its place.
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
	_ = f.dropRewrite() // if a mark stays, the new file is written again once
	return nil
}

func inPlace(err error) error {
	return fmt.Errorf("%w: the new file is in place, but a power cut may bring the old one back; restore again: %w", ErrIO, err)
}

// RemoveJournals removes, durably, what SQLite would play into the room's file.
func (f File) RemoveJournals() error {
	for _, suffix := range journals {
		if err := RemoveIfThere(f.FS, f.Path+suffix); err != nil {
			return err
		}
	}
	return f.SyncDir()
}

// RemoveRestores removes the files that crashes have left of restores and imports.
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
