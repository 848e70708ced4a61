package storage

// Where a room's files are, for what is done to them besides SQLite: which reaches them
// by a VFS of its own.

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// files is a file system. Its errors are those of package os.
type files interface {
	vfs() string // the SQLite VFS that has the same files; "": SQLite's own
	size(path string) (int64, error)
	head(path string, p []byte) (n int, err error) // of a file that could be written; io.EOF, io.ErrUnexpectedEOF as io.ReadFull
	sync(path string) error
	remove(path string) error
	rename(from, to string) error
	makeDirs(dir string) error // so that they survive a power cut
	syncDir(dir string) error
}

// hostFiles is the machine's file system.
type hostFiles struct{}

func (hostFiles) vfs() string                  { return "" }
func (hostFiles) remove(path string) error     { return os.Remove(path) }
func (hostFiles) rename(from, to string) error { return os.Rename(from, to) }
func (hostFiles) makeDirs(dir string) error    { return makeDirs(dir) }
func (hostFiles) syncDir(dir string) error     { return syncDir(dir) }

func (hostFiles) size(path string) (int64, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (hostFiles) head(path string, p []byte) (int, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.ReadFull(f, p)
}

func (hostFiles) sync(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func makeDirs(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}
