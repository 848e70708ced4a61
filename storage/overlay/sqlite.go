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
	"sync"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	maxPath = 4096
	// unixEpoch is 1970 in SQLite's milliseconds, which begin in 4714 BC.
	unixEpoch = 210_866_760_000_000
)

// ErrInUse: SQLite has files of the file system open.
var ErrInUse = errors.New("overlay: SQLite has files open")

// registry finds the file system of a VFS and the open file of a sqlite3_file. It is the one table
// that is not inside of an FS, because a C callback carries a number and no Go pointer.
type registry struct {
	mu    sync.RWMutex
	last  uintptr           // protected by mu, as is all that follows
	all   map[uintptr]*FS   // that are registered
	files map[uintptr]*node // that SQLite has open, by their numbers
	of    map[uintptr]*FS   // whose they are
}

var registered registry

func (r *registry) add(f *FS) uintptr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all, r.files, r.of = make(map[uintptr]*FS), make(map[uintptr]*node), make(map[uintptr]*FS)
	}
	r.last++
	r.all[r.last] = f
	return r.last
}

func (r *registry) addFile(f *FS, n *node) uintptr {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	r.files[r.last], r.of[r.last] = n, f
	return r.last
}

func (r *registry) remove(id uintptr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, id)
	delete(r.files, id)
	delete(r.of, id)
}

func (r *registry) fs(id uintptr) *FS {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.all[id]
}

func (r *registry) file(id uintptr) (*FS, *node) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.of[id], r.files[id]
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
	m := (*vfsMemory)(pointer(p))
	*m = vfsMemory{vfs: vfsMethods(), file: fileMethods()}
	m.vfs.FpAppData = registered.add(f)
	m.vfs.FzName = p + unsafe.Offsetof(m.name)
	f.registered = fmt.Sprintf("den-overlay-%d", m.vfs.FpAppData)
	copy(m.name[:], f.registered)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, p, 0); rc != sqlite3.SQLITE_OK {
		registered.remove(m.vfs.FpAppData)
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
	registered.remove((*vfsMemory)(pointer(p)).vfs.FpAppData)
	sqlite3.Xsqlite3_free(tls, p)
	return nil
}

func vfsMethods() sqlite3.Tsqlite3_vfs {
	return sqlite3.Tsqlite3_vfs{
		FiVersion: 2, FszOsFile: int32(unsafe.Sizeof(vfsFile{})), FmxPathname: maxPath,
		FxOpen: callback(xOpen), FxDelete: callback(xDelete), FxAccess: callback(xAccess), FxFullPathname: callback(xFullPathname),
		FxDlOpen: callback(xDlOpen), FxDlError: callback(xDlError), FxDlSym: callback(xDlSym), FxDlClose: callback(xDlClose),
		FxRandomness: callback(xRandomness), FxSleep: callback(xSleep), FxCurrentTime: callback(xCurrentTime),
		FxGetLastError: callback(xGetLastError), FxCurrentTimeInt64: callback(xCurrentTimeInt64),
	}
}

func fileMethods() sqlite3.Tsqlite3_io_methods {
	return sqlite3.Tsqlite3_io_methods{
		FiVersion: 1, FxClose: callback(xClose), FxRead: callback(xRead), FxWrite: callback(xWrite), FxTruncate: callback(xTruncate),
		FxSync: callback(xSync), FxFileSize: callback(xFileSize), FxLock: callback(xLock), FxUnlock: callback(xLock),
		FxCheckReservedLock: callback(xCheckReservedLock), FxFileControl: callback(xFileControl),
		FxSectorSize: callback(xSectorSize), FxDeviceCharacteristics: callback(xDeviceCharacteristics),
	}
}

// xOpen fails with IOERR: after a CANTOPEN package storage looks for the reason in the directory.
func xOpen(_ *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	to := (*vfsFile)(pointer(file))
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
		n, err = f.use(text(name), mode)
	} else {
		n.users = 1
	}
	if err != nil {
		return sqlite3.SQLITE_IOERR
	}
	f.open++
	to.number = registered.addFile(f, n)
	to.FpMethods = vfs + unsafe.Offsetof(vfsMemory{}.file)
	if out != 0 {
		*(*int32)(pointer(out)) = flags
	}
	return sqlite3.SQLITE_OK
}

func xDelete(_ *libc.TLS, vfs, name uintptr, _ int32) int32 {
	f := fsOf(vfs)
	if f == nil {
		return sqlite3.SQLITE_IOERR_DELETE
	}
	switch err := f.Remove(text(name)); {
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
	size, err := f.Size(text(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sqlite3.SQLITE_IOERR_ACCESS
	}
	found := int32(0)
	// An empty file doesn't exist, for SQLite's question after a hot journal.
	if err == nil && (flags != sqlite3.SQLITE_ACCESS_EXISTS || size > 0) {
		found = 1
	}
	*(*int32)(pointer(out)) = found
	return sqlite3.SQLITE_OK
}

func xFullPathname(_ *libc.TLS, _, name uintptr, size int32, out uintptr) int32 {
	if !putText(out, int(size), filepath.Clean(text(name))) {
		return sqlite3.SQLITE_CANTOPEN
	}
	return sqlite3.SQLITE_OK
}

// Extensions are not loaded from here.
func xDlOpen(*libc.TLS, uintptr, uintptr) uintptr            { return 0 }
func xDlError(_ *libc.TLS, _ uintptr, n int32, p uintptr)    { putText(p, int(n), "no extensions") }
func xDlSym(*libc.TLS, uintptr, uintptr, uintptr) uintptr    { return 0 }
func xDlClose(*libc.TLS, uintptr, uintptr)                   {}
func xGetLastError(*libc.TLS, uintptr, int32, uintptr) int32 { return 0 }

func xRandomness(_ *libc.TLS, _ uintptr, n int32, out uintptr) int32 {
	rand.Read(view(out, int(n))) // never fails (crypto/rand)
	return n
}

// xSleep does not: nobody else can be in the way.
func xSleep(_ *libc.TLS, _ uintptr, microseconds int32) int32 { return microseconds }

func xCurrentTimeInt64(_ *libc.TLS, _, out uintptr) int32 {
	*(*int64)(pointer(out)) = unixEpoch + time.Now().UnixMilli()
	return sqlite3.SQLITE_OK
}

func xCurrentTime(_ *libc.TLS, _, out uintptr) int32 {
	*(*float64)(pointer(out)) = float64(unixEpoch+time.Now().UnixMilli()) / 86_400_000
	return sqlite3.SQLITE_OK
}

// fileDo runs an operation of a file that SQLite has open, with mu of its FS held.
func fileDo(file uintptr, failed int32, do func(*FS, *node) error) int32 {
	f, n := registered.file((*vfsFile)(pointer(file)).number)
	if f == nil {
		return failed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch err := do(f, n); {
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
	registered.remove((*vfsFile)(pointer(file)).number)
	return rc
}

func xRead(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_READ, func(f *FS, n *node) error {
		b := view(p, int(amount))
		done, err := f.readAt(n, b, off)
		clear(b[done:])
		return err
	})
}

func xWrite(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_WRITE, func(f *FS, n *node) error {
		_, err := f.writeAt(n, view(p, int(amount)), off)
		return err
	})
}

func xTruncate(_ *libc.TLS, file uintptr, size int64) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_TRUNCATE, func(_ *FS, n *node) error { n.truncate(size); return nil })
}

func xFileSize(_ *libc.TLS, file, out uintptr) int32 {
	return fileDo(file, sqlite3.SQLITE_IOERR_FSTAT, func(_ *FS, n *node) error { *(*int64)(pointer(out)) = n.size; return nil })
}

func xSync(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK }
func xLock(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK }
func xSectorSize(*libc.TLS, uintptr) int32  { return blockSize }

func xCheckReservedLock(_ *libc.TLS, _, out uintptr) int32 {
	*(*int32)(pointer(out)) = 0
	return sqlite3.SQLITE_OK
}

func xFileControl(*libc.TLS, uintptr, int32, uintptr) int32 { return sqlite3.SQLITE_NOTFOUND }

func xDeviceCharacteristics(*libc.TLS, uintptr) int32 {
	return sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

func fsOf(vfs uintptr) *FS {
	return registered.fs((*sqlite3.Tsqlite3_vfs)(pointer(vfs)).FpAppData)
}

// pointer turns an address of C memory into a Go pointer. Reading the number as
// a pointer is what go vet and checkptr accept for memory that Go doesn't own.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// view gives n bytes of C memory as they lie; nobody may keep them.
func view(p uintptr, n int) []byte {
	if n <= 0 || p == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer(p)), n)
}

// text copies a C string; "" for a null pointer.
func text(p uintptr) string {
	if p == 0 {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(pointer(p), n)) != 0 {
		n++
	}
	return string(view(p, n))
}

// putText copies s with a NUL into n bytes of C memory, if there is room.
func putText(p uintptr, n int, s string) bool {
	if len(s)+1 > n {
		return false
	}
	b := view(p, n)
	b[copy(b, s)] = 0
	return true
}

// callback gives the address that SQLite calls for a top-level Go function.
func callback[F any](f F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f}))
}
