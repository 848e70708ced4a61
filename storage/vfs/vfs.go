// Package vfs is the interface between Den's storage and a file system: the machine's, or in tests a file system in
// memory that loses power (storage/faultdisk). The idea is pebble's vfs.FS.
//
// Errors are those of package os. Everything is safe for use by several goroutines.
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

// FS is a file system. A change survives a power cut only after a sync: File.Sync for a file's content, SyncDir of the
// file's directory for its name.
type FS interface {
	// SQLite returns the name of the SQLite VFS for the same files; see package storage/dbfile.
	SQLite() string
	// Open opens a file with the flags of package os. A new file has permissions for its owner only.
	Open(path string, flag int) (File, error)
	// Size returns a file's size in bytes.
	Size(path string) (int64, error)
	// Names returns the names of the files in a directory, sorted, without directories.
	Names(dir string) ([]string, error)
	// Remove removes a file.
	Remove(path string) error
	// Rename renames a file. It replaces a file that has the new name.
	Rename(from, to string) error
	// Link gives a file a second name, which must be free (fs.ErrExist). A file system without links returns errors.ErrUnsupported.
	Link(from, to string) error
	// Mkdir makes one directory. Its name survives a power cut after SyncDir of its parent.
	Mkdir(dir string) error
	// MakeDirs makes a directory and its parents, so that their names survive a power cut. It also syncs the name of a directory
	// that exists, because the process that made it may have died before the sync. made reports whether the directory is new.
	MakeDirs(dir string) (made bool, err error)
	// SyncDir makes a directory's entries survive a power cut.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the file's size in bytes.
	Size() (int64, error)
	// Truncate sets the file's size. New bytes are zeros.
	Truncate(size int64) error
	// Sync makes the content survive a power cut. After an error it is unknown what has become of the
	// writes since the last Sync, and a later Sync that succeeds does not change that.
	Sync() error
}

// Use opens a file with the flags of package os, calls do with it, and closes it.
func Use(f FS, path string, flag int, do func(File) error) error {
	file, err := f.Open(path, flag)
	if err != nil {
		return err
	}
	return errors.Join(do(file), file.Close())
}

// IsFull reports whether an error means that the disk, or the user's quota, is full.
func IsFull(err error) bool {
	return slices.ContainsFunc(errorsOfAFullDisk, func(no syscall.Errno) bool { return errors.Is(err, no) })
}

// Host returns the machine's file system.
func Host() FS { return host{} }

type host struct{}

func (host) SQLite() string               { return "den" }
func (host) Remove(path string) error     { return os.Remove(path) }
func (host) Rename(from, to string) error { return rename(from, to) }
func (host) SyncDir(dir string) error     { return syncDir(dir) }
func (host) Mkdir(dir string) error       { return os.Mkdir(dir, 0o700) }

// filePermissions are the permissions of a new file.
const filePermissions = 0o600

func (h host) MakeDirs(dir string) (made bool, err error) { return MakeDirs(h, filepath.Clean(dir)) }

func (host) IsDir(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

func (host) Link(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSYS) { // Linux returns EPERM if the file system has no links
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

// hostFile syncs with the system's call for a file's content.
type hostFile struct{ *os.File }

func (f hostFile) Sync() error { return syncData(f.File) }

// Size seeks to the end, because nothing uses the file's position.
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

// Dirs is the part of a file system that MakeDirs needs.
type Dirs interface {
	// IsDir reports whether a path is a directory. A missing path gives fs.ErrNotExist.
	IsDir(path string) (bool, error)
	// Mkdir makes one directory. Its name survives a power cut after SyncDir of its parent.
	Mkdir(dir string) error
	SyncDir(dir string) error
}

// MakeDirs implements FS.MakeDirs in single steps. A file system for tests takes the same steps as the machine's, so that
// tests of power cuts are valid for both. A directory is made after the names of its parents are durable. So only the
// deepest existing directory can have a name that is not durable.
func MakeDirs(f Dirs, dir string) (made bool, err error) {
	parent := filepath.Dir(dir)
	is, err := f.IsDir(dir)
	switch {
	case err == nil && !is:
		return false, &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case err == nil && parent == dir: // the root, which nobody has to make
		return false, nil
	case err == nil:
		err := f.SyncDir(parent)
		if errors.Is(err, fs.ErrPermission) { // then this program did not make it either
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
