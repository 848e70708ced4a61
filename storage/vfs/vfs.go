// Package vfs is how Den's storage reaches files: the machine's, or in tests those of
// a disk in memory that loses power (storage/faultdisk). The idea is pebble's vfs.FS.
//
// Errors are those of package os. All of it may be used from several goroutines.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"syscall"
)

// FS is a file system. What it is told survives a power cut only when it was synced:
// a file's content by File.Sync, its name by SyncDir of its directory.
type FS interface {
	// SQLite is the name of the SQLite VFS that has the same files, see package storage/dbfile.
	SQLite() string
	// Open opens a file with os's flags; a new one is its owner's alone.
	Open(path string, flag int) (File, error)
	// Size is a file's size in bytes.
	Size(path string) (int64, error)
	// Names are the names of the files in a directory, sorted; directories are not among them.
	Names(dir string) ([]string, error)
	// Remove removes a file.
	Remove(path string) error
	// Rename gives a file another name, and takes it from the file that had it.
	Rename(from, to string) error
	// Link gives a file a second name, which must be free (fs.ErrExist). Some file systems have no
	// links: errors.ErrUnsupported.
	Link(from, to string) error
	// Mkdir makes one directory. Its name survives a power cut after SyncDir of its parent.
	Mkdir(dir string) error
	// MakeDirs makes a directory and those above it, so that their names survive a power cut. A
	// directory that is there already gets its own name synced, because whoever made it may have
	// died before that. made: it was not there, so nothing is in it.
	MakeDirs(dir string) (made bool, err error)
	// SyncDir makes a directory's entries survive a power cut.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the file's size in bytes.
	Size() (int64, error)
	// Truncate cuts the file, or lengthens it with zeros.
	Truncate(size int64) error
	// Sync makes the content survive a power cut. After an error nothing is known of what
	// was written since the last Sync, and another Sync that succeeds says nothing of it.
	Sync() error
}

// IsFull reports whether an error says that the disk, or somebody's part of it, has no room.
func IsFull(err error) bool {
	return slices.ContainsFunc(errorsOfAFullDisk, func(no syscall.Errno) bool { return errors.Is(err, no) })
}

// Host is the machine's file system.
func Host() FS { return host{} }

type host struct{}

func (host) SQLite() string               { return "den" }
func (host) Remove(path string) error     { return os.Remove(path) }
func (host) Rename(from, to string) error { return rename(from, to) }
func (host) SyncDir(dir string) error     { return syncDir(dir) }
func (host) Mkdir(dir string) error       { return os.Mkdir(dir, 0o700) }

// filePermissions are those of a new file: its owner's alone.
const filePermissions = 0o600

func (h host) MakeDirs(dir string) (made bool, err error) {
	return MakeDirs(h, filepath.Clean(dir))
}

func (host) IsDir(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

func (host) Link(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSYS) { // EPERM is what Linux says where there are no links
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

func (host) Open(path string, flag int) (File, error) {
	f, err := openFile(path, flag)
	if err != nil {
		return nil, err
	}
	return hostFile{f}, nil
}

// hostFile syncs by what the system has for a file's content.
type hostFile struct{ *os.File }

func (f hostFile) Sync() error { return syncData(f.File) }

// Size leaves the place alone from which nobody reads: files are read and written at an offset.
func (f hostFile) Size() (int64, error) { return f.Seek(0, io.SeekEnd) }

func (host) Size(path string) (int64, error) { return sizeOf(path) }

func (host) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// Dirs is what MakeDirs needs of a file system.
type Dirs interface {
	// IsDir reports whether a path is a directory. A missing path gives fs.ErrNotExist.
	IsDir(path string) (bool, error)
	// Mkdir makes one directory. Its name survives a power cut after SyncDir of its parent.
	Mkdir(dir string) error
	SyncDir(dir string) error
}

// MakeDirs is MakeDirs of an FS, in steps that fail one by one. A disk in memory takes the same steps
// as the machine does, so that what holds on it holds here. A directory is made when the names above it
// are durable: so of those that are there, only the deepest can have a name that is not.
func MakeDirs(f Dirs, dir string) (made bool, err error) {
	parent := filepath.Dir(dir)
	is, err := f.IsDir(dir)
	switch {
	case err == nil && !is:
		return false, &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case err == nil && parent == dir: // nobody has made it
		return false, nil
	case err == nil:
		err := f.SyncDir(parent)
		if errors.Is(err, fs.ErrPermission) { // nor could it have been made by this program
			return false, nil
		}
		return false, err
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	case parent != dir:
		if _, err := MakeDirs(f, parent); err != nil {
			return false, err
		}
	}
	err = f.Mkdir(dir)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	return err == nil, f.SyncDir(parent)
}
