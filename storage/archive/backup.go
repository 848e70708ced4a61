package archive

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

// A Backup is a copy in progress. The DB's goroutine calls Step between batches. Any goroutine may call Finish and Close,
// but not both at once.
type Backup struct {
	file
	copy *storage.Copy
}

// A file is written under a temporary name beside its final one.
type file struct {
	o          storage.Options
	path, temp string
	become     roomfile.Identity
}

// newFile begins a backup of the room. No file may have the path.
func newFile(d *storage.DB, path string) (file, error) {
	f := file{o: d.Options(), path: path}
	f.become = roomfile.Identity{Namespace: f.o.Namespace, Room: f.o.Room, At: f.o.Now().UnixMilli()}
	var err error
	if f.become.Epoch, err = roomfile.NewEpoch(f.o.Random); err == nil {
		f.temp, err = roomfile.Unique(f.o.Random, path+roomfile.PartInfix)
	}
	if err == nil {
		err = roomfile.Absent(f.o.FS, path)
	}
	if err == nil {
		_, err = f.o.FS.MakeDirs(filepath.Dir(path))
	}
	return f, err
}

// finish makes the file durable and gives it its name.
func (f *file) finish() error {
	_, err := f.become.Settle(f.o.FS, f.temp, roomfile.RollbackMode)
	if err == nil {
		err = roomfile.Publish(f.o.FS, f.temp, f.path)
	}
	return err
}

// failed removes the file. The error says what was being made.
func (f *file) failed(what string, err error) error {
	if f.temp != "" {
		roomfile.RemoveDatabase(f.o.FS, f.temp)
	}
	return fmt.Errorf("%s to %s: %w", what, f.path, roomfile.Diagnose(f.path, err))
}

// Begin begins a copy of the room into a new file (storage.ErrExists if there is one). Finish gives the file its name. Close,
// also of the DB, gives up a Backup that is not finished. The file opens as the same room.
func Begin(d *storage.DB, path string) (*Backup, error) {
	f, err := newFile(d, path)
	b := &Backup{file: f}
	if err == nil {
		b.copy, err = d.Copy(f.temp)
	}
	if err != nil {
		return nil, b.failed("backup", err)
	}
	return b, nil
}

// Step copies some pages: see storage.Copy.Step.
func (b *Backup) Step(pages int) (done bool, err error) {
	done, err = b.copy.Step(pages)
	if err != nil {
		err = fmt.Errorf("backup to %s: %w", b.path, err)
	}
	return done, err
}

// Left returns how many pages were still to be copied after the last Step, and how many there are.
func (b *Backup) Left() (left, of int) { return b.copy.Left() }

// Finish makes a complete copy durable and gives it its name. It waits for the disk; the room does not.
func (b *Backup) Finish() error {
	done, err := b.copy.Done()
	if err == nil && !done {
		err = fmt.Errorf("archive: %w: Finish of a backup that is not done", storage.ErrMisuse)
	}
	if err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return b.failed("backup", err)
	}
	return nil
}

// Close gives up the copy if it is not finished.
func (b *Backup) Close() error {
	b.copy.Close()
	return roomfile.RemoveDatabase(b.o.FS, b.temp)
}

// Write copies the room into a new file in one step.
func Write(d *storage.DB, path string) error {
	b, err := Begin(d, path)
	if err != nil {
		return err
	}
	defer b.Close()
	if _, err := b.Step(-1); err != nil {
		return err
	}
	return b.Finish()
}

// WriteAt copies the room into a new file, like Begin and Finish, but as it was at a point in its history (see
// storage.DB.CopyAt). No batch may be open, and the room waits. Errors besides those of Begin: a *storage.HistoryError,
// which matches storage.ErrNoHistory or storage.ErrNotYet.
func WriteAt(d *storage.DB, path string, p storage.Point) error {
	is, err := d.IsAt(p)
	if err != nil {
		return err
	}
	if is {
		return Write(d, path)
	}
	f, err := newFile(d, path)
	if err == nil {
		err = d.CopyAt(f.temp, p)
	}
	if err == nil {
		err = f.finish()
	}
	if err == nil {
		return nil
	}
	failed := f.failed("state", err)
	if _, history := errors.AsType[*storage.HistoryError](err); history { // the file is not its subject
		return err
	}
	return failed
}
