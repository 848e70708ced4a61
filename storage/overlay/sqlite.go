package overlay

// The file system as a VFS of SQLite's. Version 1 of the file methods: no shared memory. There are
// no locks: who has the file system is alone with it.

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

const (
	maxPath = 4096
	// unixEpoch is 1970 in SQLite's milliseconds, which begin in 4714 BC.
	unixEpoch = 210_866_760_000_000
)

// ErrInUse: SQLite has files of the file system open.
var ErrInUse = errors.New("overlay: SQLite has files open")

// registered finds the file system of a VFS and the open file of a sqlite3_file. It is the one table
// that is not inside of an FS, because a C callback carries a number and no Go pointer.
var registered struct {
	all   cmem.Handles[FS]       // that are registered
	files cmem.Handles[openFile] // that SQLite has open
}

// openFile is a file of a file system that SQLite has open.
type openFile struct {
	of *FS
	*node
}

// vfsMemory is what SQLite keeps pointers to while the VFS is registered.
type vfsMemory struct {
	vfs  sqlite3.Tsqlite3_vfs
	file sqlite3.Tsqlite3_io_methods
	name [64]byte
}

// vfsFile is what SQLite allocates for an open file. It must begin as sqlite3_file.
type vfsFile struct {
	sqlite3.Tsqlite3_file
	number uintptr
}

// Register makes the file system a VFS of SQLite's, whose name SQLite gives. It is called before the
// file system is used. unregister takes it back, and fails with ErrInUse while SQLite has files open.
func (f *FS) Register() (unregister func() error, err error) {
	sqlite3.PatchIssue199() // the start-up fix of the translated SQLite; running it again changes nothing
	tls := libc.NewTLS()
	defer tls.Close()
	p := sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(vfsMemory{})))
	if p == 0 {
		return nil, errors.New("overlay: out of memory")
	}
	m := (*vfsMemory)(cmem.Pointer(p))
	*m = vfsMemory{vfs: vfsMethods(), file: fileMethods()}
	if m.vfs.FpAppData, err = registered.all.Add(f); err != nil {
		sqlite3.Xsqlite3_free(tls, p)
		return nil, fmt.Errorf("overlay: registering a VFS: %w", err)
	}
	m.vfs.FzName = p + unsafe.Offsetof(m.name)
	f.registered = fmt.Sprintf("den-overlay-%d", m.vfs.FpAppData)
	copy(m.name[:], f.registered)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, p, 0); rc != sqlite3.SQLITE_OK {
		registered.all.Remove(m.vfs.FpAppData)
		sqlite3.Xsqlite3_free(tls, p)
		return nil, fmt.Errorf("overlay: registering a VFS: SQLite's code %d", rc)
	}
	return func() error { return f.unregister(p) }, nil
}

func (f *FS) unregister(p uintptr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open > 0 {
		return fmt.Errorf("%w: %d", ErrInUse, f.open)
	}
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_vfs_unregister(tls, p)
	registered.all.Remove((*vfsMemory)(cmem.Pointer(p)).vfs.FpAppData)
	sqlite3.Xsqlite3_free(tls, p)
	return nil
}

func vfsMethods() sqlite3.Tsqlite3_vfs {
	return sqlite3.Tsqlite3_vfs{
		FiVersion: 2, FszOsFile: int32(unsafe.Sizeof(vfsFile{})), FmxPathname: maxPath,
		FxOpen: cmem.Func(xOpen), FxDelete: cmem.Func(xDelete), FxAccess: cmem.Func(xAccess), FxFullPathname: cmem.Func(xFullPathname),
		FxDlOpen: cmem.Func(xDlOpen), FxDlError: cmem.Func(xDlError), FxDlSym: cmem.Func(xDlSym), FxDlClose: cmem.Func(xDlClose),
		FxRandomness: cmem.Func(xRandomness), FxSleep: cmem.Func(xSleep), FxCurrentTime: cmem.Func(xCurrentTime),
		FxGetLastError: cmem.Func(xGetLastError), FxCurrentTimeInt64: cmem.Func(xCurrentTimeInt64),
	}
}

func fileMethods() sqlite3.Tsqlite3_io_methods {
	return sqlite3.Tsqlite3_io_methods{
		FiVersion: 1, FxClose: cmem.Func(xClose), FxRead: cmem.Func(xRead), FxWrite: cmem.Func(xWrite), FxTruncate: cmem.Func(xTruncate),
		FxSync: cmem.Func(xSync), FxFileSize: cmem.Func(xFileSize), FxLock: cmem.Func(xLock), FxUnlock: cmem.Func(xLock),
		FxCheckReservedLock: cmem.Func(xCheckReservedLock), FxFileControl: cmem.Func(xFileControl),
		FxSectorSize: cmem.Func(xSectorSize), FxDeviceCharacteristics: cmem.Func(xDeviceCharacteristics),
	}
}

// xOpen fails with IOERR: after a CANTOPEN package storage looks for the reason in the directory.
func xOpen(_ *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	to := (*vfsFile)(cmem.Pointer(file))
	to.FpMethods = 0 // then SQLite doesn't close it
	f := fsOf(vfs)
	if f == nil {
		return sqlite3.SQLITE_IOERR
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := new(node), error(nil)
	if name != 0 { // else it is a temporary one
		mode := os.O_RDWR
		if flags&sqlite3.SQLITE_OPEN_CREATE != 0 {
			mode |= os.O_CREATE
		}
		n, err = f.use(cmem.String(name), mode)
	} else {
		n.users = 1
	}
	if err != nil {
		return sqlite3.SQLITE_IOERR
	}
	if to.number, err = registered.files.Add(&openFile{f, n}); err != nil {
		f.leave(n)
		return sqlite3.SQLITE_IOERR
	}
	f.open++
	to.FpMethods = vfs + unsafe.Offsetof(vfsMemory{}.file)
	cmem.PutInt32(out, flags)
	return sqlite3.SQLITE_OK
}

func xDelete(_ *libc.TLS, vfs, name uintptr, _ int32) int32 {
	f := fsOf(vfs)
	if f == nil {
		return sqlite3.SQLITE_IOERR_DELETE
	}
	switch err := f.Remove(cmem.String(name)); {
	case errors.Is(err, fs.ErrNotExist):
		return sqlite3.SQLITE_IOERR_DELETE_NOENT
	case err != nil:
		return sqlite3.SQLITE_IOERR_DELETE
	}
	return sqlite3.SQLITE_OK
}

func xAccess(_ *libc.TLS, vfs, name uintptr, flags int32, out uintptr) int32 {
	f := fsOf(vfs)
	if f == nil {
		return sqlite3.SQLITE_IOERR_ACCESS
	}
	size, err := f.Size(cmem.String(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sqlite3.SQLITE_IOERR_ACCESS
	}
	found := int32(0)
	// An empty file doesn't exist, for SQLite's question after a hot journal.
	if err == nil && (flags != sqlite3.SQLITE_ACCESS_EXISTS || size > 0) {
		found = 1
	}
	*(*int32)(cmem.Pointer(out)) = found
	return sqlite3.SQLITE_OK
}

func xFullPathname(_ *libc.TLS, _, name uintptr, size int32, out uintptr) int32 {
	if !cmem.PutString(out, int(size), filepath.Clean(cmem.String(name))) {
		return sqlite3.SQLITE_CANTOPEN
	}
	return sqlite3.SQLITE_OK
}

// Extensions are not loaded from here.
func xDlOpen(*libc.TLS, uintptr, uintptr) uintptr            { return 0 }
func xDlError(_ *libc.TLS, _ uintptr, n int32, p uintptr)    { cmem.PutString(p, int(n), "no extensions") }
func xDlSym(*libc.TLS, uintptr, uintptr, uintptr) uintptr    { return 0 }
func xDlClose(*libc.TLS, uintptr, uintptr)                   {}
func xGetLastError(*libc.TLS, uintptr, int32, uintptr) int32 { return 0 }

func xRandomness(_ *libc.TLS, _ uintptr, n int32, out uintptr) int32 {
	rand.Read(cmem.Bytes(out, int(n))) // never fails (crypto/rand)
	return n
}

// xSleep does not: nobody else can be in the way.
func xSleep(_ *libc.TLS, _ uintptr, microseconds int32) int32 { return microseconds }

func xCurrentTimeInt64(_ *libc.TLS, _, out uintptr) int32 {
	*(*int64)(cmem.Pointer(out)) = unixEpoch + time.Now().UnixMilli()
	return sqlite3.SQLITE_OK
}

func xCurrentTime(_ *libc.TLS, _, out uintptr) int32 {
	*(*float64)(cmem.Pointer(out)) = float64(unixEpoch+time.Now().UnixMilli()) / 86_400_000
	return sqlite3.SQLITE_OK
}

// fileDo runs an operation of a file that SQLite has open, with mu of its FS held.
func fileDo(file uintptr, failed int32, do func(*FS, *node) error) int32 {
	open := registered.files.Find((*vfsFile)(cmem.Pointer(file)).number)
	if open == nil {
		return failed
	}
	open.of.mu.Lock()
	defer open.of.mu.Unlock()
	switch err := do(open.of, open.node); {
	case err == io.EOF:
		return sqlite3.SQLITE_IOERR_SHORT_READ
	case err != nil:
		return failed
	}
	return sqlite3.SQLITE_OK
}

func xClose(_ *libc.TLS, file uintptr) int32 {
	rc := fileDo(file, sqlite3.SQLITE_OK, func(f *FS, n *node) error {
		f.open--
		return f.leave(n)
	})
	registered.files.Remove((*vfsFile)(cmem.Pointer(file)).number)
	return rc
}

func xRead(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_READ, func(f *FS, n *node) error {
		b := cmem.Bytes(p, int(amount))
		done, err := f.readAt(n, b, off)
		clear(b[done:])
		return err
	})
}

func xWrite(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_WRITE, func(f *FS, n *node) error {
		_, err := f.writeAt(n, cmem.Bytes(p, int(amount)), off)
		return err
	})
}

func xTruncate(_ *libc.TLS, file uintptr, size int64) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_TRUNCATE, func(_ *FS, n *node) error { n.truncate(size); return nil })
}

func xFileSize(_ *libc.TLS, file, out uintptr) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_FSTAT, func(_ *FS, n *node) error { *(*int64)(cmem.Pointer(out)) = n.size; return nil })
}

func xSync(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK }
func xLock(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK }
func xSectorSize(*libc.TLS, uintptr) int32  { return blockSize }

func xCheckReservedLock(_ *libc.TLS, _, out uintptr) int32 {
	*(*int32)(cmem.Pointer(out)) = 0
	return sqlite3.SQLITE_OK
}

func xFileControl(*libc.TLS, uintptr, int32, uintptr) int32 { return sqlite3.SQLITE_NOTFOUND }

func xDeviceCharacteristics(*libc.TLS, uintptr) int32 {
	return sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

func fsOf(vfs uintptr) *FS {
	return registered.all.Find((*sqlite3.Tsqlite3_vfs)(cmem.Pointer(vfs)).FpAppData)
}
