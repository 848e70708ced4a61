package faultdisk

// Files, which are only appended to or written at any place; and the operations on handles.

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/denrooms/den/storage/dbfile"
)

// File is an open file. Its writes go to the file's end.
type File struct {
	h      *handle
	count  *int // of the disk: how many are open
	mu     sync.Mutex
	closed bool // protected by mu
}

// handle is an open file. The disk's mutex guards it.
type handle struct {
	d    *Disk
	n    *inode
	name string // "" for a temporary file without one
	boot int
	lock dbfile.Level
}

// OpenFile opens a file with the os package's flags, of which O_CREATE, O_EXCL and O_TRUNC have a meaning here.
func (d *Disk) OpenFile(name string, flag int) (f *File, err error) {
	err = d.call("open", name, func(name string) error {
		h, err := d.openHandle(name, flag)
		if err == nil && flag&os.O_TRUNC != 0 && len(h.n.data) > 0 {
			err = h.truncate(0)
		}
		if err == nil {
			f = d.file(h, &d.files)
		}
		return err
	})
	return f, err
}

// file gives a handle to its user, and counts it. The mutex is held.
func (d *Disk) file(h *handle, count *int) *File {
	*count++
	return &File{h: h, count: count}
}

// OpenFiles is how many Files were opened and not closed: where all programs have ended, what they have forgotten.
func (d *Disk) OpenFiles() (n int) {
	d.locked(func() { n = d.files })
	return n
}

func (d *Disk) openHandle(name string, flag int) (*handle, error) {
	if err := d.judge(OpOpen, name); err != nil {
		return nil, err
	}
	if name != "" { // SQLite's temporary files have no name
		if err := d.check(name); err != nil {
			return nil, err
		}
	}
	n := d.live[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case n == nil:
		n = new(inode)
		if name == "" {
			break
		}
		d.enter(entry{op: OpOpen, name: name, inode: n})
		if err := d.burn(OpOpen, name); err != nil {
			return nil, err
		}
	default:
		if err := d.pass(OpOpen, name); err != nil {
			return nil, err
		}
	}
	return &handle{d: d, n: n, name: name, boot: d.boot}, nil
}

// start says whether an operation may go on.
func (h *handle) start(op Op) error {
	err := h.d.judge(op, h.name)
	if h.boot != h.d.boot {
		return ErrPowerCut
	}
	return err
}

func (h *handle) readAt(p []byte, off int64) (int, error) {
	if err := h.start(OpRead); err != nil {
		n := 0
		if errors.As(err, new(shortRead)) && off < int64(len(h.n.data)) {
			n = copy(p[:h.d.rng.IntN(max(len(p), 1))], h.n.data[off:])
		}
		return n, err
	}
	if err := h.d.pass(OpRead, h.name); err != nil {
		return 0, err
	}
	if off >= int64(len(h.n.data)) {
		return 0, io.EOF
	}
	if n := copy(p, h.n.data[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (h *handle) writeAt(p []byte, off int64) (int, error) {
	if err := h.start(OpWrite); err != nil {
		if h.boot == h.d.boot && !h.d.off {
			p = p[:h.d.rng.IntN(len(p)+1)]
			h.n.write(off, p)
			return len(p), err
		}
		return 0, err
	}
	h.n.write(off, p)
	if err := h.d.burn(OpWrite, h.name); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (h *handle) truncate(size int64) error {
	if err := h.start(OpTruncate); err != nil {
		return err
	}
	h.n.truncate(size)
	return h.d.burn(OpTruncate, h.name)
}

func (h *handle) sync() error {
	if err := h.start(OpSync); err != nil {
		if h.boot == h.d.boot && !h.d.off {
			h.d.failSync(h.n)
		}
		return err
	}
	if err := h.d.burn(OpSync, h.name); err != nil {
		return err
	}
	if h.d.traits&IgnoreSync == 0 {
		h.n.flush()
	}
	return nil
}

// failSync draws what a failed sync leaves: the dirty pages, to be written by the
// next one, or clean pages whose content never got through, or only some of it.
func (d *Disk) failSync(n *inode) {
	if len(n.ops) == 0 || d.rng.IntN(2) == 0 {
		return
	}
	d.stats.Dropped++
	odds := d.rng.IntN(3) * 32 // of 64: nothing, half of the sectors, all
	for _, p := range n.pieces() {
		// A file's size is the directory's business: it gets through.
		if p.truncate || d.rng.IntN(64) < odds {
			n.synced = n.settle(n.synced, p.change)
		}
	}
	n.forget()
}

func (h *handle) size() (int64, error) {
	if err := h.start(OpStat); err != nil {
		return 0, err
	}
	if err := h.d.pass(OpStat, h.name); err != nil {
		return 0, err
	}
	return int64(len(h.n.data)), nil
}

func (h *handle) close() error {
	delete(h.n.locks, h)
	return h.alive()
}

// use runs one operation of the file.
func (f *File) use(op string, fn func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: op, Path: f.h.name, Err: fs.ErrClosed}
	}
	f.h.d.mu.Lock()
	defer f.h.d.mu.Unlock()
	return wrap(op, f.h.name, fn())
}

// Name is the file's name as it was opened.
func (f *File) Name() string { return f.h.name }

// Size is the file's size in bytes.
func (f *File) Size() (size int64, err error) {
	err = f.use("stat", func() error { size, err = f.h.size(); return err })
	return size, err
}

// Write appends p. An error may leave a part of it at the end.
func (f *File) Write(p []byte) (n int, err error) {
	err = f.use("write", func() error { n, err = f.h.writeAt(p, int64(len(f.h.n.data))); return err })
	return n, err
}

// ReadAt is io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.h.name, Err: syscall.EINVAL}
	}
	err = f.use("read", func() error { n, err = f.h.readAt(p, off); return err })
	return n, err
}

// Truncate cuts the file, or lengthens it with zeros.
func (f *File) Truncate(size int64) error {
	if size < 0 {
		return &fs.PathError{Op: "truncate", Path: f.h.name, Err: syscall.EINVAL}
	}
	return f.use("truncate", func() error { return f.h.truncate(size) })
}

// Sync makes the content survive a power cut; the name needs Disk.SyncDir. After
// an error nothing is known about what was written since the last Sync.
func (f *File) Sync() error { return f.use("sync", f.h.sync) }

// Close closes the file, and syncs nothing.
func (f *File) Close() error {
	err := f.use("close", func() error { *f.count--; return f.h.close() })
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	return err
}
