package dbfile

// The files of a connection that holds its database: they can be closed beneath SQLite and others installed in their
// place. SQLite opens a database's file once and keeps it until the connection is closed; what it has
// beside it, the schema as it parsed it and the compiled statements, costs much more than the file.

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// File is a file that was opened by a VFS of this package. It has SQLite's locks.
type File struct {
	vfs.File
	sys   *system
	path  string   // "": it has no name
	locks Locker   // nil: there are none
	pages Database // is File, if it is a database's
}

// file takes over a file that was opened, and counts it.
func (s *system) file(file vfs.File, path string) *File {
	s.open.Add(1)
	return &File{File: file, sys: s, path: path, locks: lockerOf(file)}
}

// database takes over the file of a database.
func (s *system) database(file vfs.File, path string) *File {
	f := s.file(file, path)
	f.pages = Database{File: file, path: path}
	f.File = &f.pages
	return f
}

// OpenFile opens a database's file by a VFS of this package, to read and write, and locks it until it is closed. Of a file that
// another one has locked the error is sqlite.ResultBusy.
func OpenFile(vfs, path string) (*File, error) {
	s, err := find(vfs)
	if err != nil {
		return nil, err
	}
	return s.openLocked(path, os.O_RDWR, Exclusive)
}

// Share opens a file to read, and keeps others from writing to it until it is closed.
func Share(vfs, path string) (*File, error) {
	s, err := find(vfs)
	if err != nil {
		return nil, err
	}
	return s.openLocked(path, os.O_RDONLY, Shared)
}

// MakeWAL opens a WAL, and makes it where there is none, as SQLite does: its first sync is one of the directory too.
func MakeWAL(name, path string) (vfs.File, error) {
	s, err := find(name)
	if err != nil {
		return nil, err
	}
	f, err := s.FS.Open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	return &journal{File: s.file(f, path)}, nil
}

func (s *system) openLocked(path string, mode int, level Level) (*File, error) {
	file, err := s.FS.Open(path, mode)
	if err != nil {
		return nil, err
	}
	f := s.database(file, path)
	if err := lock(f.locks, level); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Close closes the file, and gives its locks back.
func (f *File) Close() error {
	release(f.locks)
	f.sys.open.Add(-1)
	return f.File.Close()
}

// lock takes a level, with SQLite's words for what is in the way.
func lock(l Locker, level Level) error {
	if l == nil {
		return nil
	}
	switch err := l.Lock(level); {
	case err == nil:
		return nil
	case errors.Is(err, ErrBusy):
		return sqlite.ErrorOf(sqlite.ResultBusy)
	default:
		return errors.Join(sqlite.ErrorOf(sqlite3.SQLITE_IOERR_LOCK), err)
	}
}

// Files are the files of a connection: the database's, which it holds for itself alone, and the WAL. They belong to
// the goroutine that uses the connection.
type Files struct {
	handle    uintptr // finds it; see OpenMemory
	main, wal *slot
	index     []uintptr // the WAL's index, in the pieces that SQLite asks for, C memory
	moved     bool      // SQLite has opened another file than this one
}

// Hold makes a connection that has not read anything yet the only one that may have its database, until it is
// closed. If it fails, the connection has to be closed.
func Hold(c *sqlite.Conn) (*Files, error) {
	p, err := c.FileControl(sqlite.FileControlFile)
	if err != nil {
		return nil, err
	}
	f := &Files{}
	if f.handle, err = registered.files.Add(f); err != nil {
		return nil, err
	}
	if f.main, err = f.take(p); err == nil {
		err = lock(f.main.owner.locks, Exclusive)
	}
	if err != nil {
		registered.files.Remove(f.handle)
		return nil, err
	}
	return f, nil
}

// opened finds what SQLite has opened.
func opened(p uintptr) (o *slot, is bool) {
	open := (*openFile)(cmem.Pointer(p))
	if open == nil || open.FpMethods != plainMethods && open.FpMethods != heldMethods {
		return nil, false
	}
	return registered.slots.Find(open.handle), true
}

// take takes over what SQLite has opened.
func (f *Files) take(p uintptr) (*slot, error) {
	o, is := opened(p)
	if !is {
		return nil, errors.New("SQLite has no file open there")
	}
	o.files = f
	(*openFile)(cmem.Pointer(p)).FpMethods = heldMethods
	return o, nil
}

// namePrefix begins the names of files that are given to SQLite and not opened by it.
const namePrefix = "den files "

// OpenMemory opens a connection to a database in memory by a VFS of this package, as if it had been read from a
// file of that VFS, with a WAL. Nothing is made in the file system.
func OpenMemory(name string, main *Memory, wal vfs.File) (*sqlite.Conn, *Files, error) {
	s, err := find(name)
	if err != nil {
		return nil, nil, err
	}
	f := &Files{}
	f.main, f.wal = &slot{sys: s, file: main, files: f}, &slot{sys: s, file: wal, files: f}
	if f.handle, err = registered.files.Add(f); err != nil {
		return nil, nil, err
	}
	c, err := sqlite.OpenConn(name, namePrefix+strconv.Itoa(int(f.handle)), sqlite.OpenReadWrite)
	if err != nil {
		registered.files.Remove(f.handle)
		return nil, nil, err
	}
	c.Explain(f.main.explain)
	return c, f, nil
}

// beginning finds the Files that a name means; nil: it is a path.
func beginning(name string) (f *Files, suffix string) {
	name, is := strings.CutPrefix(name, namePrefix)
	if !is {
		return nil, ""
	}
	number, suffix, _ := strings.Cut(name, "-")
	handle, err := strconv.Atoi(number)
	if err != nil {
		return nil, ""
	}
	return registered.files.Find(uintptr(handle)), suffix
}

// slot gives SQLite the file of a suffix.
func (f *Files) slot(suffix string) (*slot, uintptr, error) {
	switch suffix {
	case "":
		return f.main, heldMethods, nil
	case "wal":
		return f.wal, heldMethods, nil
	}
	return nil, 0, os.ErrInvalid
}

// Number is a number that no other Files have.
func (f *Files) Number() int { return int(f.handle) }

// Moved reports whether the connection serves another file than SQLite has opened.
func (f *Files) Moved() bool { return f.moved }

// Main is what SQLite reads and writes as its database; nil: nothing is installed.
func (f *Files) Main() vfs.File { return f.main.file }

// Memory is Main if it is a file in memory, else nil.
func (f *Files) Memory() *Memory {
	m, _ := f.main.file.(*Memory)
	return m
}

// Damaged reports whether a page was read from the installed file that did not have its checksum.
func (f *Files) Damaged() bool { return f != nil && f.main.complaint() != "" }

// Swap installs another database, whose WAL is empty, and has SQLite forget what it keeps of the one before.
// That must have been closed, and its WAL have been empty too.
func (f *Files) Swap(main vfs.File) {
	f.Replace(main)
	f.turnIndex()
}

// Replace installs another file of the same content.
func (f *Files) Replace(main vfs.File) {
	f.main.install(main)
	f.moved = f.moved || f.main.owner != nil
}

// CloseMain closes the database. Until another one is installed SQLite may close the connection, and no more.
func (f *Files) CloseMain() error { return f.main.close() }

// WAL is what SQLite has open as its WAL; nil: nothing.
func (f *Files) WAL() vfs.File { return f.wal.file }

// WrapWAL installs a file that wraps the WAL that SQLite has just opened. c is the connection.
func (f *Files) WrapWAL(c *sqlite.Conn, wrap func(wal vfs.File) vfs.File) error {
	p, err := c.FileControl(sqlite.FileControlJournal)
	if err != nil {
		return err
	}
	if f.wal, err = f.take(p); err != nil {
		return fmt.Errorf("the WAL: %w", err)
	}
	f.wal.install(wrap(f.wal.file))
	return nil
}

// InstallWAL installs another WAL, which has the same content. A nil one is none.
func (f *Files) InstallWAL(wal vfs.File) {
	if f.wal != nil {
		f.wal.install(wal)
	}
}

// Free gives back what is left of the files of a connection that was closed.
func (f *Files) Free() {
	registered.files.Remove(f.handle)
	f.freeIndex()
}

func xHeldLock(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK }

func xHeldReserved(_ *libc.TLS, _, out uintptr) int32 {
	*(*int32)(cmem.Pointer(out)) = 0
	return sqlite3.SQLITE_OK
}
