package roomfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/denrooms/den/storage/vfs"
)

// A File is where a room's file is, or will be. It is a value, and opens nothing by itself.
type File struct {
	FS   vfs.FS
	Path string
	// Known is what the process knows of the rooms' directories. nil: nothing, and nothing is remembered.
	Known *Known
}

// The ends of the names beside a room's file, and what follows the last three.
const (
	newSuffix     = ".new"
	SuspectSuffix = ".suspect"
	FreshSuffix   = ".fresh"
	WholeSuffix   = ".whole"
	EntriesSuffix = ".entries"
	SeqSuffix     = ".seq"

	RestoreInfix  = ".restore-"        // 16 hex digits
	PartInfix     = ".part-"           // 16 hex digits
	ReplacedInfix = ".before-restore-" // the time
)

// others are the files that Den makes beside a room's, in the order in which they are looked for.
var others = []struct{ infix, is string }{
	{ReplacedInfix, "a file that a restore has replaced; it is kept for a while"},
	{RestoreInfix, "a restore that did not come to its end; the next one removes it"},
	{PartInfix, "a backup that did not come to its end; it can be removed"},
	{newSuffix, "a new room's file that was not finished; it is written over"},
	{EntriesSuffix + newSuffix, "a file that was not finished; it is written over"},
	{SeqSuffix + newSuffix, "a file that was not finished; it is written over"},
	{FreshSuffix, "a file that was not finished; it goes when the room is opened"},
	{WholeSuffix, "the content that the room's file is about to get"},
	{SuspectSuffix, "the room's file is written again when the room is opened"},
	{EntriesSuffix, "what the commit log had of the room when the room was refused; it is taken from there when the room's file is repaired"},
	{".refused-", "what was put aside because it was refused; it is the operator's"},
}

// Describe says for an operator what a file is that lies beside a room's, by its name. known is false for a file
// that Den does not make. An empty text says that the file belongs there.
func Describe(name string) (is string, known bool) {
	if strings.HasSuffix(name, ".db"+SeqSuffix) {
		return "", true
	}
	for _, other := range others {
		if strings.Contains(name, ".db"+other.infix) {
			return other.is, true
		}
	}
	return "", false
}

// CutJournal takes SQLite's ending off the name of a file that belongs to a database.
func CutJournal(name string) (database, suffix string, is bool) {
	for _, suffix := range journals {
		if database, is := strings.CutSuffix(name, suffix); is {
			return database, suffix, true
		}
	}
	return "", "", false
}

// journals are the ends of the names of the files that SQLite has beside a database.
var journals = []string{"-wal", "-journal", "-shm"}

// Exists reports whether there is a file.
func Exists(f vfs.FS, path string) (bool, error) {
	_, err := f.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Absent returns ErrExists if there is a file.
func Absent(f vfs.FS, path string) error {
	there, err := Exists(f, path)
	if there {
		err = fmt.Errorf("%w: %s", ErrExists, path)
	}
	return err
}

// Make makes an empty file, its owner's alone; SQLite would give it to others too.
func Make(f vfs.FS, path string) error {
	file, err := f.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	return file.Close()
}

// create makes a file that is its owner's alone, its directory too if it must, in the place
// of what a crash may have left there.
func create(f vfs.FS, path string) (vfs.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	file, err := f.Open(path, flags)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := f.MakeDirs(filepath.Dir(path)); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrExist):
		if err := f.Remove(path); err != nil {
			return nil, err
		}
	default:
		return file, err
	}
	return f.Open(path, flags)
}

// RemoveIfThere removes a file that may be there.
func RemoveIfThere(f vfs.FS, path string) error {
	if err := f.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveDatabase removes a database that may be there, with what may be beside it.
func RemoveDatabase(f vfs.FS, path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := RemoveIfThere(f, path+suffix); err != nil {
			return err
		}
	}
	return nil
}

// Sync syncs a file that was written by somebody else.
func Sync(f vfs.FS, path string) error {
	file, err := f.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Keep gives a file a second name, so that even one that cannot be read is kept. Where the file system has no
// links it is copied. The name must be free (fs.ErrExist).
func Keep(f vfs.FS, path, kept string) error {
	err := f.Link(path, kept)
	if errors.Is(err, errors.ErrUnsupported) {
		err = Copy(f, path, kept)
	}
	return err
}

// CopyWAL has a database's WAL copied, if there is one and something is in it. One that cannot be looked at is not taken for none.
func CopyWAL(f vfs.FS, from, to string, copy func(f vfs.FS, from, to string) error) error {
	size, err := f.Size(from + "-wal")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && size > 0:
		err = copy(f, from+"-wal", to+"-wal")
	}
	return err
}

// Copy copies a file into a new one (fs.ErrExist), and syncs that.
func Copy(f vfs.FS, from, to string) (err error) {
	size, err := f.Size(from)
	if err != nil {
		return err
	}
	source, err := f.Open(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	dest, err := f.Open(to, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, dest.Close()); err != nil {
			f.Remove(to)
		}
	}()
	if _, err := io.Copy(io.NewOffsetWriter(dest, 0), io.NewSectionReader(source, 0, size)); err != nil {
		return err
	}
	return dest.Sync()
}
