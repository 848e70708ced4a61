package faultdisk

// The disk as SQLite's VFS: its methods, one to one, with the result codes of
// SQLite's own unix VFS. Version 1 of the file methods: no shared memory.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

const (
	maxPath = 1024
	// Epoch is where SQLite's clock stands on a new disk: the beginning of 2026,
	// in Unix milliseconds.
	Epoch = 1_767_225_600_000
	// unixEpoch is 1970 in SQLite's milliseconds, which begin in 4714 BC.
	unixEpoch = 210_866_760_000_000
)

// vfsMemory is what SQLite keeps pointers to while the VFS is registered.
type vfsMemory struct {
	vfs  sqlite3.Tsqlite3_vfs
	file sqlite3.Tsqlite3_io_methods
	name [256]byte
}

// vfsFile is what SQLite allocates for an open file. It must begin as sqlite3_file.
type vfsFile struct {
	sqlite3.Tsqlite3_file
	handle uintptr
}

// Register makes the disk the SQLite VFS of that name, for the whole process: the
// name must be free. unregister takes it back, and refuses with ErrInUse while
// SQLite has files of the disk open.
func (d *Disk) Register(name string) (unregister func() error, err error) {
	// The start-up fix of the translated SQLite; running it again changes nothing.
	sqlite3.PatchIssue199()
	tls := libc.NewTLS()
	defer tls.Close()
	p := sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(vfsMemory{})))
	if p == 0 {
		return nil, fmt.Errorf("faultdisk: register %q: out of memory", name)
	}
	m := (*vfsMemory)(cmem.Pointer(p))
	*m = vfsMemory{vfs: vfsMethods(), file: fileMethods()}
	cname := p + unsafe.Offsetof(m.name)
	if name == "" || !cmem.PutString(cname, len(m.name), name) {
		sqlite3.Xsqlite3_free(tls, p)
		return nil, fmt.Errorf("faultdisk: register %q: a VFS's name has 1 to %d bytes", name, len(m.name)-1)
	}
	m.vfs.FzName = cname
	if m.vfs.FpAppData, err = registered.disks.Add(d); err != nil {
		sqlite3.Xsqlite3_free(tls, p)
		return nil, fmt.Errorf("faultdisk: register %q: %w", name, err)
	}
	if sqlite3.Xsqlite3_vfs_find(tls, cname) != 0 {
		registered.disks.Remove(m.vfs.FpAppData)
		sqlite3.Xsqlite3_free(tls, p)
		return nil, fmt.Errorf("faultdisk: register %q: there is such a VFS", name)
	}
	if rc := sqlite3.Xsqlite3_vfs_register(tls, p, 0); rc != sqlite3.SQLITE_OK {
		registered.disks.Remove(m.vfs.FpAppData)
		sqlite3.Xsqlite3_free(tls, p)
		return nil, fmt.Errorf("faultdisk: register %q: SQLite's code %d", name, rc)
	}
	return func() error { return d.unregister(p) }, nil
}

func (d *Disk) unregister(p uintptr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open > 0 {
		return fmt.Errorf("faultdisk: unregister: %w: %d", ErrInUse, d.open)
	}
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_vfs_unregister(tls, p)
	registered.disks.Remove((*vfsMemory)(cmem.Pointer(p)).vfs.FpAppData)
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
		FxSync: cmem.Func(xSync), FxFileSize: cmem.Func(xFileSize), FxLock: cmem.Func(xLock), FxUnlock: cmem.Func(xUnlock),
		FxCheckReservedLock: cmem.Func(xCheckReservedLock), FxFileControl: cmem.Func(xFileControl),
		FxSectorSize: cmem.Func(xSectorSize), FxDeviceCharacteristics: cmem.Func(xDeviceCharacteristics),
	}
}

func diskOf(vfs uintptr) *Disk {
	return registered.disks.Find((*sqlite3.Tsqlite3_vfs)(cmem.Pointer(vfs)).FpAppData)
}

func handleOf(file uintptr) *handle {
	return registered.handles.Find((*vfsFile)(cmem.Pointer(file)).handle)
}

func xOpen(_ *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	f := (*vfsFile)(cmem.Pointer(file))
	f.FpMethods = 0 // then SQLite doesn't close it
	d := diskOf(vfs)
	if d == nil {
		return sqlite3.SQLITE_CANTOPEN
	}
	path, mode := cmem.String(name), os.O_RDWR
	if flags&sqlite3.SQLITE_OPEN_CREATE != 0 || name == 0 {
		mode |= os.O_CREATE
	}
	if flags&sqlite3.SQLITE_OPEN_EXCLUSIVE != 0 {
		mode |= os.O_EXCL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.openHandle(path, mode)
	if err != nil {
		return sqlite3.SQLITE_CANTOPEN
	}
	const journals = sqlite3.SQLITE_OPEN_MAIN_JOURNAL | sqlite3.SQLITE_OPEN_SUPER_JOURNAL | sqlite3.SQLITE_OPEN_WAL
	h.syncEntry = flags&journals != 0 && flags&sqlite3.SQLITE_OPEN_CREATE != 0
	h.deleteAfter = flags&sqlite3.SQLITE_OPEN_DELETEONCLOSE != 0
	if f.handle, err = registered.handles.Add(h); err != nil {
		h.close()
		return sqlite3.SQLITE_CANTOPEN
	}
	d.open++
	f.FpMethods = vfs + unsafe.Offsetof(vfsMemory{}.file)
	cmem.PutInt32(out, flags)
	return sqlite3.SQLITE_OK
}

func xDelete(_ *libc.TLS, vfs, name uintptr, syncDir int32) int32 {
	d := diskOf(vfs)
	if d == nil {
		return sqlite3.SQLITE_IOERR_DELETE
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	path := cmem.String(name)
	err := d.remove(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sqlite3.SQLITE_IOERR_DELETE_NOENT
	case err != nil:
		return sqlite3.SQLITE_IOERR_DELETE
	case syncDir != 0 && d.syncDir(filepath.Dir(path)) != nil:
		return sqlite3.SQLITE_IOERR_DIR_FSYNC
	}
	return sqlite3.SQLITE_OK
}

func xAccess(_ *libc.TLS, vfs, name uintptr, flags int32, out uintptr) int32 {
	d := diskOf(vfs)
	if d == nil {
		return sqlite3.SQLITE_IOERR_ACCESS
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	path := cmem.String(name)
	if err := d.stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sqlite3.SQLITE_IOERR_ACCESS
	}
	n, found := d.live[path], int32(0)
	// An empty file doesn't exist, for SQLite's question after a hot journal.
	if n != nil && (flags != sqlite3.SQLITE_ACCESS_EXISTS || len(n.data) > 0) {
		found = 1
	}
	cmem.PutInt32(out, found)
	return sqlite3.SQLITE_OK
}

func xFullPathname(_ *libc.TLS, _, name uintptr, size int32, out uintptr) int32 {
	if !cmem.PutString(out, int(size), filepath.Clean(cmem.String(name))) {
		return sqlite3.SQLITE_CANTOPEN
	}
	return sqlite3.SQLITE_OK
}

// Extensions are not loaded from here.
func xDlOpen(*libc.TLS, uintptr, uintptr) uintptr         { return 0 }
func xDlError(_ *libc.TLS, _ uintptr, n int32, p uintptr) { cmem.PutString(p, int(n), "no extensions") }
func xDlSym(*libc.TLS, uintptr, uintptr, uintptr) uintptr { return 0 }
func xDlClose(*libc.TLS, uintptr, uintptr)                {}
func xGetLastError(*libc.TLS, uintptr, int32, uintptr) int32 {
	return 0
}

func xRandomness(_ *libc.TLS, vfs uintptr, n int32, out uintptr) int32 {
	d := diskOf(vfs)
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b := cmem.Bytes(out, int(n))
	for i := range b {
		b[i] = byte(d.salt.Uint32())
	}
	return n
}

// xSleep moves the clock and takes no time.
func xSleep(_ *libc.TLS, vfs uintptr, microseconds int32) int32 {
	if d := diskOf(vfs); d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.slept += time.Duration(microseconds) * time.Microsecond
	}
	return microseconds
}

func (d *Disk) now() int64 {
	if d == nil {
		return unixEpoch + Epoch
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return unixEpoch + Epoch + d.slept.Milliseconds()
}

func xCurrentTimeInt64(_ *libc.TLS, vfs, out uintptr) int32 {
	*(*int64)(cmem.Pointer(out)) = diskOf(vfs).now()
	return sqlite3.SQLITE_OK
}

func xCurrentTime(_ *libc.TLS, vfs, out uintptr) int32 {
	*(*float64)(cmem.Pointer(out)) = float64(diskOf(vfs).now()) / 86_400_000
	return sqlite3.SQLITE_OK
}

func xClose(_ *libc.TLS, file uintptr) int32 {
	f := (*vfsFile)(cmem.Pointer(file))
	h := registered.handles.Find(f.handle)
	if h == nil {
		return sqlite3.SQLITE_OK
	}
	registered.handles.Remove(f.handle)
	f.handle = 0
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.open--
	return code(h.close(), sqlite3.SQLITE_IOERR_CLOSE)
}

// code is the result code of an operation that failed with err.
func code(err error, failed int32) int32 {
	if err == nil {
		return sqlite3.SQLITE_OK
	}
	return failed
}

func xRead(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_READ
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	b := cmem.Bytes(p, int(amount))
	n, err := h.readAt(b, off)
	if errors.Is(err, io.EOF) {
		clear(b[n:])
		return sqlite3.SQLITE_IOERR_SHORT_READ
	}
	return code(err, sqlite3.SQLITE_IOERR_READ)
}

func xWrite(_ *libc.TLS, file, p uintptr, amount int32, off int64) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_WRITE
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	_, err := h.writeAt(cmem.Bytes(p, int(amount)), off)
	if errors.Is(err, syscall.ENOSPC) {
		return sqlite3.SQLITE_FULL
	}
	return code(err, sqlite3.SQLITE_IOERR_WRITE)
}

func xTruncate(_ *libc.TLS, file uintptr, size int64) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_TRUNCATE
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return code(h.truncate(size), sqlite3.SQLITE_IOERR_TRUNCATE)
}

func xSync(_ *libc.TLS, file uintptr, _ int32) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.sync() != nil {
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	if h.syncEntry {
		h.syncEntry = false
		// SQLite's own VFS looks over a failure here; a power cut is none.
		if errors.Is(h.d.syncDir(filepath.Dir(h.name)), ErrPowerCut) {
			return sqlite3.SQLITE_IOERR_FSYNC
		}
	}
	return sqlite3.SQLITE_OK
}

func xFileSize(_ *libc.TLS, file, out uintptr) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_FSTAT
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	size, err := h.size()
	*(*int64)(cmem.Pointer(out)) = size
	return code(err, sqlite3.SQLITE_IOERR_FSTAT)
}

func xSectorSize(*libc.TLS, uintptr) int32 { return SectorSize }

func xDeviceCharacteristics(_ *libc.TLS, file uintptr) int32 {
	if h := handleOf(file); h != nil && h.d.traits&PowersafeOverwrite != 0 {
		return sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE
	}
	return 0
}

func xFileControl(_ *libc.TLS, file uintptr, op int32, arg uintptr) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_NOTFOUND
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	switch op {
	case sqlite3.SQLITE_FCNTL_LOCKSTATE:
		cmem.PutInt32(arg, h.lock)
	case sqlite3.SQLITE_FCNTL_HAS_MOVED: // it, or what had its name, is not there any more
		moved := int32(0)
		if h.name != "" && h.d.live[h.name] != h.n {
			moved = 1
		}
		cmem.PutInt32(arg, moved)
	default:
		return sqlite3.SQLITE_NOTFOUND
	}
	if h.d.off || h.boot != h.d.boot {
		return sqlite3.SQLITE_IOERR
	}
	return sqlite3.SQLITE_OK
}
