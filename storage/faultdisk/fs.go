package faultdisk

// The disk as the file system of Den's storage.

import (
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/denrooms/den/storage/vfs"
)

// FS gives the disk as a file system, with the SQLite VFS of the name that it was registered under.
func (d *Disk) FS(registered string) vfs.FS { return system{d, registered} }

type system struct {
	*Disk
	registered string
}

func (s system) SQLite() string                     { return s.registered }
func (s system) Remove(path string) error           { return s.Delete(path) }
func (s system) MakeDirs(dir string) (bool, error)  { return vfs.MakeDirs(s, filepath.Clean(dir)) }
func (s system) Size(path string) (int64, error)    { return s.size(path) }
func (s system) Names(dir string) ([]string, error) { return s.list(dir) }

// Link gives a file a second name.
func (s system) Link(from, to string) error {
	return s.call("link", to, func(to string) error { return s.link(filepath.Clean(from), to) })
}

func (d *Disk) link(from, to string) error {
	if err := d.judge(OpOpen, to); err != nil {
		return err
	}
	switch {
	case d.live[from] == nil || d.live[from].dir || !d.isDir(filepath.Dir(to)):
		return fs.ErrNotExist
	case d.live[to] != nil:
		return fs.ErrExist
	}
	d.enter(entry{op: OpOpen, name: to, inode: d.live[from]})
	return d.burn(OpOpen, to)
}

func (s system) Open(path string, flag int) (vfs.File, error) {
	f, err := s.OpenFile(path, flag)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// WriteAt is io.WriterAt. An error may leave a part of p.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.h.name, Err: syscall.EINVAL}
	}
	err = f.use("write", func() error { n, err = f.h.writeAt(p, off); return err })
	return n, err
}
