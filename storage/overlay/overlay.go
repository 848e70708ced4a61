// Package overlay is a file system on top of another one, which it only reads. Writes stay in memory and are dropped with the
// overlay. So code that opens, repairs and replays files can be tried without changing them.
//
// Written data uses memory in blocks of 4 KiB. An FS is safe for use by several goroutines. Nobody else may change the files
// of the base file system meanwhile.
package overlay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// blockSize is the unit in which written data is stored, in bytes.
const blockSize = 4096

// FS is an overlay. Use New to make one.
type FS struct {
	base       vfs.FS // immutable
	registered string // the name of the SQLite VFS, set by Register; "": not registered

	mu    sync.Mutex
	nodes map[string]*node // by path, the files that were opened, changed or made; nil: removed
}

// New returns an overlay of base without changes.
func New(base vfs.FS) *FS { return &FS{base: base, nodes: make(map[string]*node)} }

// Reset drops all changes. No file may be open.
func (f *FS) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.nodes)
}

// A node is a file's content. FS.mu protects it.
type node struct {
	source string           // path in base; "": the file is new
	have   int64            // bytes of source that are still part of the file
	size   int64            // of the file, in bytes
	blocks map[int64][]byte // written data, by block number
	file   vfs.File         // source, opened by the first read and closed by the last user
	users  int
}

// there returns a file that an operation needs. mu is held.
func (f *FS) there(op, path string) (*node, error) {
	n, err := f.find(path)
	if err == nil && n == nil {
		err = &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
	}
	return n, err
}

// find returns a file, or nil if it does not exist. mu is held.
func (f *FS) find(path string) (*node, error) {
	if n, known := f.nodes[path]; known {
		return n, nil
	}
	size, err := f.base.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n := &node{source: path, have: size, size: size}
	f.nodes[path] = n
	return n, nil
}

// Open opens a file. The file can be written even if the base file is read-only.
func (f *FS) Open(path string, flag int) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.use(path, flag)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, n: n, path: path}, nil
}

// use returns a file for one more user, and makes it if flag says so. mu is held.
func (f *FS) use(path string, flag int) (*node, error) {
	path = filepath.Clean(path)
	n, err := f.find(path)
	switch {
	case err != nil:
		return nil, err
	case n == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	case n == nil:
		n = new(node)
		f.nodes[path] = n
	case flag&os.O_TRUNC != 0:
		n.truncate(0)
	}
	n.users++
	return n, nil
}

// leave removes a user. mu is held.
func (f *FS) leave(n *node) error {
	if n.users--; n.users > 0 || n.file == nil {
		return nil
	}
	err := n.file.Close()
	n.file = nil
	return err
}

// Size returns a file's size in bytes.
func (f *FS) Size(path string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.there("stat", filepath.Clean(path))
	if err != nil {
		return 0, err
	}
	return n.size, nil
}

// Names returns the names of the files in a directory, sorted.
func (f *FS) Names(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = filepath.Clean(dir)
	names, err := f.base.Names(dir)
	for path, n := range f.nodes {
		if name := filepath.Base(path); filepath.Dir(path) == dir {
			names = slices.DeleteFunc(names, func(other string) bool { return other == name })
			if n != nil {
				names = append(names, name)
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) && len(names) > 0 {
		err = nil
	}
	slices.Sort(names)
	return names, err
}

// Remove removes a file.
func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	_, err := f.there("remove", path)
	if err == nil {
		f.nodes[path] = nil
	}
	return err
}

// Rename renames a file. If both names belong to one file, Rename does nothing, as in POSIX.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	n, err := f.there("rename", from)
	if err == nil && f.nodes[to] != n {
		f.nodes[to], f.nodes[from] = n, nil
	}
	return err
}

// Link gives a file a second name, which must be free.
func (f *FS) Link(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	n, err := f.there("link", from)
	if err != nil {
		return err
	}
	taken, err := f.find(to)
	switch {
	case err != nil:
		return err
	case taken != nil:
		return &fs.PathError{Op: "link", Path: to, Err: fs.ErrExist}
	}
	f.nodes[to] = n
	return nil
}

// Mkdir does nothing: a file can be made in any directory.
func (f *FS) Mkdir(string) error { return nil }

// MakeDirs does nothing: a file can be made in any directory.
func (f *FS) MakeDirs(string) (made bool, err error) { return false, nil }

// SyncDir does nothing.
func (f *FS) SyncDir(string) error { return nil }

// Register registers the overlay as a VFS of SQLite. The method SQLite returns the VFS's name. Register must be called before the
// overlay is used. unregister fails with dbfile.ErrInUse while SQLite has files open.
//
// The VFS has no locks, because an overlay has one user. A failed open returns IOERR and not CANTOPEN, because after a CANTOPEN
// package storage looks for the reason in the directory.
func (f *FS) Register() (unregister func() error, err error) {
	f.registered = fmt.Sprintf("den-overlay-%p", f)
	traits := dbfile.PowersafeOverwrite
	return dbfile.Register(f.registered, dbfile.System{
		FS: f, Traits: &traits, CantOpen: sqlite.ResultIOErr,
		Temporary: func() (vfs.File, error) { return dbfile.NewMemory(nil), nil },
	})
}

// SQLite returns the name of the overlay's SQLite VFS; see Register.
func (f *FS) SQLite() string { return f.registered }

// readAt reads from the written blocks, and between them from the base file. mu is held.
func (f *FS) readAt(n *node, p []byte, off int64) (done int, err error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	for done < len(p) && off < n.size {
		rest := p[done:int(min(int64(len(p)), int64(done)+n.size-off))]
		var m int
		if b := n.blocks[off/blockSize]; b != nil {
			m = copy(rest, b[off%blockSize:])
		} else {
			m = n.gap(off, len(rest))
			err = f.readBase(n, rest[:m], off)
		}
		if err != nil {
			return done, err
		}
		done, off = done+m, off+int64(m)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// gap returns how many bytes at off, at most most, have no block.
func (n *node) gap(off int64, most int) int {
	size := int(blockSize - off%blockSize)
	for size < most && n.blocks[(off+int64(size))/blockSize] == nil {
		size += blockSize
	}
	return min(size, most)
}

// readBase reads from the base file. Beyond its end there are zeros. mu is held.
func (f *FS) readBase(n *node, p []byte, off int64) error {
	have := int(min(max(n.have-off, 0), int64(len(p))))
	clear(p[have:])
	if have == 0 {
		return nil
	}
	if n.file == nil {
		file, err := f.base.Open(n.source, os.O_RDONLY)
		if err != nil {
			return err
		}
		n.file = file
	}
	got, err := n.file.ReadAt(p[:have], off)
	if got == have {
		return nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		err = &fs.PathError{Op: "read", Path: n.source, Err: io.ErrUnexpectedEOF}
	}
	return err
}

// writeAt writes to blocks. mu is held.
func (f *FS) writeAt(n *node, p []byte, off int64) (done int, err error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	for done < len(p) {
		at, start := off/blockSize, off%blockSize
		b := n.blocks[at]
		if b == nil {
			b = make([]byte, blockSize)
			if start > 0 || len(p)-done < blockSize {
				if err := f.readBase(n, b, at*blockSize); err != nil {
					return done, err
				}
			}
			if n.blocks == nil {
				n.blocks = make(map[int64][]byte)
			}
			n.blocks[at] = b
		}
		m := copy(b[start:], p[done:])
		done, off = done+m, off+int64(m)
		n.size = max(n.size, off)
	}
	return done, nil
}

// truncate sets the file's size. New bytes are zeros. mu is held.
func (n *node) truncate(size int64) {
	for at, b := range n.blocks {
		switch start := at * blockSize; {
		case start >= size:
			delete(n.blocks, at)
		case start+blockSize > size:
			clear(b[size-start:])
		}
	}
	n.have = min(n.have, size)
	n.size = size
}

// file is an open file.
type file struct {
	fs     *FS
	n      *node
	path   string
	closed bool // protected by fs.mu
}

func (f *file) do(op string, fn func() error) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := fs.ErrClosed
	if !f.closed {
		err = fn()
	}
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (done int, err error) {
	err = f.do("read", func() error { done, err = f.fs.readAt(f.n, p, off); return err })
	return done, err
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(p []byte, off int64) (done int, err error) {
	err = f.do("write", func() error { done, err = f.fs.writeAt(f.n, p, off); return err })
	return done, err
}

// Truncate sets the file's size. New bytes are zeros.
func (f *file) Truncate(size int64) error {
	return f.do("truncate", func() error {
		if size < 0 {
			return syscall.EINVAL
		}
		f.n.truncate(size)
		return nil
	})
}

// Size returns the file's size in bytes.
func (f *file) Size() (size int64, err error) {
	err = f.do("stat", func() error { size = f.n.size; return nil })
	return size, err
}

// Sync does nothing.
func (f *file) Sync() error { return f.do("sync", func() error { return nil }) }

// Close closes the file.
func (f *file) Close() error {
	return f.do("close", func() error {
		f.closed = true
		return f.fs.leave(f.n)
	})
}
