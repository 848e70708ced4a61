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
	// Known is what the process knows of the rooms' directories. nil means that nothing is known or remembered.
	Known *Known
}

// Suffixes of the files beside a room's file. More follows the last three.
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

// others are the files that Den makes beside a room's, in the order in which Describe looks for them.
var others = []struct{ infix, is string }{
	{ReplacedInfix, "a file that a restore has replaced; it is kept for a while"},
	{RestoreInfix, "a restore that did not finish; the next one removes it"},
	{PartInfix, "a backup that did not finish; it can be removed"},
	{newSuffix, "a new room's file that was not finished; it is overwritten"},
	{EntriesSuffix + newSuffix, "a file that was not finished; it is overwritten"},
	{SeqSuffix + newSuffix, "a file that was not finished; it is overwritten"},
	{FreshSuffix, "a file that was not finished; it is removed when the room is opened"},
	{WholeSuffix, "the new content of the room's file, which replaces it when the room is opened"},
	{SuspectSuffix, "the room's file is written again when the room is opened"},
	{EntriesSuffix, "the commit log's entries of the room when it was refused; the room reads them after its file was repaired"},
	{".refused-", "a file that was put aside because it was refused; it is the operator's"},
}

// Describe returns, for an operator, what a file beside a room's file is, by its name. known is false for a file that Den does
// not make. is is empty for a file that is always there.
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

// CutJournal cuts the suffix of a WAL, a journal or shared memory off a file's name.
func CutJournal(name string) (database, suffix string, is bool) {
	for _, suffix := range journals {
		if database, is := strings.CutSuffix(name, suffix); is {
			return database, suffix, true
		}
	}
	return "", "", false
}

// journals are the suffixes of the files that SQLite makes beside a database.
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

// Make makes an empty file that only its owner can read. SQLite would let others read it too.
func Make(f vfs.FS, path string) error {
	return vfs.Use(f, path, os.O_RDWR|os.O_CREATE|os.O_EXCL, func(vfs.File) error { return nil })
}

// create makes a file that only its owner can read, and its directory if there is none. It replaces a file that a crash may
// have left there.
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

// RemoveIfThere removes a file, if there is one.
func RemoveIfThere(f vfs.FS, path string) error {
	if err := f.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveDatabase removes a database, if there is one, and what SQLite has beside it.
func RemoveDatabase(f vfs.FS, path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := RemoveIfThere(f, path+suffix); err != nil {
			return err
		}
	}
	return nil
}

// syncFile syncs a file that is not open.
func syncFile(f vfs.FS, path string) error { return vfs.Use(f, path, os.O_RDWR, vfs.File.Sync) }

// Keep gives a file a second name, so that a file is kept even if it cannot be read. If the file system has no links, Keep
// copies the file. The name must be free (fs.ErrExist).
func Keep(f vfs.FS, path, kept string) error {
	err := f.Link(path, kept)
	if errors.Is(err, errors.ErrUnsupported) {
		err = Copy(f, path, kept)
	}
	return err
}

// CopyWAL copies a database's WAL with copy, unless there is none or it is empty. An error says that it could not be looked at.
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

// Copy copies a file to a new one (fs.ErrExist), and syncs it.
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
