package dbfile

// What SQLite has open: sqlite3_io_methods. Each method finds its slot by the number in SQLite's sqlite3_file,
// and calls the file that is installed there.

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// slot is a file that SQLite has open. It belongs to the goroutine that uses the connection.
type slot struct {
	sys         *system
	file        vfs.File // what is installed; nil: nothing is, and SQLite may close it and no more
	owner       *File    // it, with its locks, if it was opened by a VFS
	files       *Files   // the connection's, if it holds its database
	deleteAfter bool     // the name goes with it
}

// openFile is what SQLite allocates for an open file. It must begin as sqlite3_file.
type openFile struct {
	sqlite3.Tsqlite3_file
	handle uintptr // finds the slot
}

func slotOf(file uintptr) *slot { return registered.slots.Find((*openFile)(cmem.Pointer(file)).handle) }

// The tables of methods, where SQLite finds them. Version 1 has no shared memory. Who holds its database has no
// more locks to take, and the WAL's index in memory of its own.
var (
	plainTable = &sqlite3.Tsqlite3_io_methods{
		FiVersion: 1, FxClose: cmem.Func(xClose), FxRead: cmem.Func(xRead), FxWrite: cmem.Func(xWrite), FxTruncate: cmem.Func(xTruncate),
		FxSync: cmem.Func(xSync), FxFileSize: cmem.Func(xFileSize), FxLock: cmem.Func(xLock), FxUnlock: cmem.Func(xUnlock),
		FxCheckReservedLock: cmem.Func(xCheckReservedLock), FxFileControl: cmem.Func(xFileControl),
		FxSectorSize: cmem.Func(xSectorSize), FxDeviceCharacteristics: cmem.Func(xDeviceCharacteristics),
	}
	heldTable    = heldOf(*plainTable)
	plainMethods = uintptr(unsafe.Pointer(plainTable))
	heldMethods  = uintptr(unsafe.Pointer(heldTable))
)

func heldOf(m sqlite3.Tsqlite3_io_methods) *sqlite3.Tsqlite3_io_methods {
	m.FiVersion, m.FxLock, m.FxUnlock, m.FxCheckReservedLock = 2, cmem.Func(xHeldLock), cmem.Func(xHeldLock), cmem.Func(xHeldReserved)
	m.FxShmMap, m.FxShmLock, m.FxShmBarrier, m.FxShmUnmap = cmem.Func(xShmMap), cmem.Func(xShmLock), cmem.Func(xShmBarrier), cmem.Func(xShmUnmap)
	return &m
}

// install puts a file into the slot. A nil one is none.
func (o *slot) install(file vfs.File) {
	o.file, o.owner = file, nil
	if f, is := file.(*File); is {
		o.file, o.owner = f.File, f
	}
}

// complaint is that of the database that is installed; "": there is none.
func (o *slot) complaint() string {
	if d, is := o.file.(*Database); is {
		return d.complaint()
	}
	return ""
}

// explain says why SQLite has called the database corrupt, if that is because of what was read.
func (o *slot) explain(code sqlite.ResultCode) string {
	if code.Primary() == sqlite.ResultCorrupt {
		return o.complaint()
	}
	return ""
}

// close closes what is installed.
func (o *slot) close() (err error) {
	file, owner := o.file, o.owner
	o.install(nil)
	switch {
	case owner != nil:
		err = owner.Close()
	case file != nil:
		err = file.Close()
	}
	if o.deleteAfter && owner != nil && err == nil {
		err = o.sys.FS.Remove(owner.path)
	}
	return err
}

func xClose(_ *libc.TLS, file uintptr) int32 {
	f := (*openFile)(cmem.Pointer(file))
	o := registered.slots.Find(f.handle)
	if o == nil {
		return sqlite3.SQLITE_OK
	}
	registered.slots.Remove(f.handle)
	f.handle = 0
	return code(o.close(), sqlite3.SQLITE_IOERR_CLOSE)
}

// code is the result code of an operation that failed with err: the error's own, if it has one.
func code(err error, failed int32) int32 {
	if err == nil {
		return sqlite3.SQLITE_OK
	}
	if e, is := err.(*sqlite.Error); is {
		return int32(e.Code)
	}
	return failed
}

// WriteCode is the result code of a write that failed: ResultFull if the disk has no room, else ResultIOErrWrite.
func WriteCode(err error) sqlite.ResultCode {
	if vfs.IsFull(err) {
		return sqlite.ResultFull
	}
	return sqlite.ResultIOErrWrite
}

func xRead(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	o := slotOf(file)
	if o == nil || o.file == nil {
		return sqlite3.SQLITE_IOERR_READ
	}
	b := cmem.Bytes(p, int(amount))
	n, err := o.file.ReadAt(b, off)
	switch {
	case err == nil:
		return sqlite3.SQLITE_OK
	case errors.Is(err, io.EOF):
		clear(b[n:])
		return sqlite3.SQLITE_IOERR_SHORT_READ
	default:
		return code(err, sqlite3.SQLITE_IOERR_READ)
	}
}

func xWrite(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	o := slotOf(file)
	if o == nil || o.file == nil {
		return sqlite3.SQLITE_IOERR_WRITE
	}
	if _, err := o.file.WriteAt(cmem.Bytes(p, int(amount)), off); err != nil {
		return code(err, int32(WriteCode(err)))
	}
	return sqlite3.SQLITE_OK
}

// do runs an operation of what is installed.
func do(file uintptr, failed int32, operation func(vfs.File) error) int32 {
	o := slotOf(file)
	if o == nil || o.file == nil {
		return failed
	}
	return code(operation(o.file), failed)
}

func xTruncate(_ *libc.TLS, file uintptr, size int64) int32 {
	return do(file, sqlite3.SQLITE_IOERR_TRUNCATE, func(f vfs.File) error { return f.Truncate(size) })
}

func xSync(_ *libc.TLS, file uintptr, _ int32) int32 {
	return do(file, sqlite3.SQLITE_IOERR_FSYNC, vfs.File.Sync)
}

func xFileSize(_ *libc.TLS, file, out uintptr) int32 {
	return do(file, sqlite3.SQLITE_IOERR_FSTAT, func(f vfs.File) (err error) {
		*(*int64)(cmem.Pointer(out)), err = f.Size()
		return err
	})
}

// journal is a journal or a WAL whose name is new, perhaps.
type journal struct {
	*File
	named bool // the name survives a power cut
}

// Sync syncs the directory too, the first time.
func (j *journal) Sync() error {
	err := j.File.Sync()
	if err != nil || j.named {
		return err
	}
	j.named = true
	dir := filepath.Dir(j.path)
	if j.sys.SyncDir != nil {
		return j.sys.SyncDir(dir)
	}
	_ = j.sys.FS.SyncDir(dir)
	return nil
}

func xSectorSize(_ *libc.TLS, file uintptr) int32 { return slotOf(file).sys.SectorSize }

func xDeviceCharacteristics(_ *libc.TLS, file uintptr) int32 {
	o := slotOf(file)
	if d, is := o.file.(*Database); is && d.kind != plain { // a part of a page cannot be compared with a checksum
		return int32(o.sys.traits) &^ sqlite3.SQLITE_IOCAP_SUBPAGE_READ
	}
	return int32(o.sys.traits)
}

func xFileControl(_ *libc.TLS, file uintptr, op int32, arg uintptr) int32 {
	o := slotOf(file)
	if o == nil || o.owner == nil {
		return sqlite3.SQLITE_NOTFOUND
	}
	switch {
	case op == sqlite3.SQLITE_FCNTL_LOCKSTATE && o.owner.locks != nil:
		cmem.PutInt32(arg, int32(o.owner.locks.Level()))
	case op == sqlite3.SQLITE_FCNTL_HAS_MOVED: // it, or what had its name, is not there any more
		moved, err := hasMoved(o.owner.File, o.owner.path)
		if err != nil {
			return sqlite3.SQLITE_IOERR
		}
		cmem.PutInt32(arg, 0)
		if moved {
			cmem.PutInt32(arg, 1)
		}
	default:
		return sqlite3.SQLITE_NOTFOUND
	}
	return sqlite3.SQLITE_OK
}

// hasMoved reports whether a path no longer leads to an open file.
func hasMoved(f vfs.File, path string) (bool, error) {
	if d, is := f.(*Database); is {
		f = d.File
	}
	switch f := f.(type) {
	case interface{ HasMoved() (bool, error) }:
		return f.HasMoved()
	case interface{ Stat() (fs.FileInfo, error) }:
		now, err := os.Stat(path)
		if err != nil {
			return true, nil
		}
		was, err := f.Stat()
		return err == nil && !os.SameFile(was, now), nil
	}
	return false, nil
}

func xLock(_ *libc.TLS, file uintptr, level int32) int32 {
	return locked(file, sqlite3.SQLITE_IOERR_LOCK, func(l Locker) error { return l.Lock(Level(level)) })
}

func xUnlock(_ *libc.TLS, file uintptr, level int32) int32 {
	return locked(file, sqlite3.SQLITE_IOERR_UNLOCK, func(l Locker) error { return l.Unlock(Level(level)) })
}

func xCheckReservedLock(_ *libc.TLS, file, out uintptr) int32 {
	*(*int32)(cmem.Pointer(out)) = 0
	return locked(file, sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK, func(l Locker) error {
		is, err := l.Reserved()
		if is {
			*(*int32)(cmem.Pointer(out)) = 1
		}
		return err
	})
}

// locked does something with a file's locks, if it has any.
func locked(file uintptr, failed int32, do func(Locker) error) int32 {
	o := slotOf(file)
	switch {
	case o == nil || o.file == nil:
		return failed
	case o.owner == nil || o.owner.locks == nil:
		return sqlite3.SQLITE_OK
	}
	err := do(o.owner.locks)
	if errors.Is(err, ErrBusy) {
		return sqlite3.SQLITE_BUSY
	}
	return code(err, failed)
}
