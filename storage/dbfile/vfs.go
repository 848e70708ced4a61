package dbfile

// A file system as a VFS of SQLite's: sqlite3_vfs, with the result codes of SQLite's VFS for Unix.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

const (
	maxPath = 4096 // bytes of a file's name
	// unixEpoch is 1970 in SQLite's milliseconds, which begin in 4714 BC.
	unixEpoch = 210_866_760_000_000
)

// ErrInUse: SQLite has files open.
var ErrInUse = errors.New("SQLite has files open")

// A System is a file system as SQLite is to see it. The zero value of a field is the machine's.
type System struct {
	FS vfs.FS
	// Temporary makes a file without a name.
	Temporary func() (vfs.File, error)
	// SyncDir syncs a directory after the first sync of a new journal or WAL in it. By default it is the file
	// system's, and like SQLite's own it is not asked whether it has succeeded.
	SyncDir func(dir string) error
	// Sleep waits, as SQLite does for a lock.
	Sleep func(time.Duration)
	// Now is SQLite's clock, in Unix milliseconds.
	Now func() int64
	// CantOpen is the result code of an open that fails: sqlite.ResultCantOpen by default.
	CantOpen sqlite.ResultCode
	// SectorSize is what the device writes whole, in bytes: 4096 by default.
	SectorSize int32
	// Traits are what SQLite may rely on. By default they are those of the machine's files.
	Traits *Traits
}

// Traits are what SQLite is told of a device: SQLITE_IOCAP_….
type Traits int32

// PowersafeOverwrite: a power cut in a write leaves the bytes beside it alone.
const PowersafeOverwrite Traits = sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE

// system is a System that is registered.
type system struct {
	System
	traits Traits
	base   uintptr      // SQLite's own VFS
	open   atomic.Int64 // files
}

// vfsMemory is what SQLite keeps pointers to while the VFS is registered.
type vfsMemory struct {
	vfs  sqlite3.Tsqlite3_vfs
	name [256]byte
}

// registered finds what a number in C memory stands for. It is package state because C memory must not hold Go pointers.
var registered struct {
	systems cmem.Handles[system] // of registered VFSes
	slots   cmem.Handles[slot]   // of files that SQLite has open
	files   cmem.Handles[Files]  // of connections that hold their database
}

// Register makes a file system the VFS of that name, which must be free, for the whole process. unregister takes it back,
// and fails with ErrInUse while SQLite has files open.
func Register(name string, s System) (unregister func() error, err error) {
	sqlite.Initialize()
	tls := libc.NewTLS()
	defer tls.Close()
	own := &system{System: s, traits: hostTraits, base: sqlite3.Xsqlite3_vfs_find(tls, 0)}
	if s.Traits != nil {
		own.traits = *s.Traits
	}
	if own.SectorSize == 0 {
		own.SectorSize = 4096
	}
	if own.CantOpen == 0 {
		own.CantOpen = sqlite.ResultCantOpen
	}
	p := cmem.Malloc(tls, int(unsafe.Sizeof(vfsMemory{})))
	m := (*vfsMemory)(cmem.Pointer(p))
	*m = vfsMemory{vfs: own.methods()}
	m.vfs.FzName = p + unsafe.Offsetof(m.name)
	switch {
	case name == "" || !cmem.PutString(m.vfs.FzName, len(m.name), name):
		err = fmt.Errorf("a VFS's name has 1 to %d bytes", len(m.name)-1)
	case sqlite3.Xsqlite3_vfs_find(tls, m.vfs.FzName) != 0:
		err = errors.New("there is such a VFS")
	default:
		m.vfs.FpAppData, err = registered.systems.Add(own)
	}
	if err == nil {
		if rc := sqlite3.Xsqlite3_vfs_register(tls, p, 0); rc != sqlite3.SQLITE_OK {
			registered.systems.Remove(m.vfs.FpAppData)
			err = sqlite.ErrorOf(sqlite.ResultCode(rc))
		}
	}
	if err != nil {
		cmem.Free(tls, p)
		return nil, fmt.Errorf("register %q: %w", name, err)
	}
	return func() error { return own.unregister(p) }, nil
}

func (s *system) unregister(p uintptr) error {
	if n := s.open.Load(); n > 0 {
		return fmt.Errorf("unregister: %w: %d", ErrInUse, n)
	}
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_vfs_unregister(tls, p)
	registered.systems.Remove((*vfsMemory)(cmem.Pointer(p)).vfs.FpAppData)
	cmem.Free(tls, p)
	return nil
}

// registerHost makes the machine's file system a VFS, once.
var registerHost = sync.OnceValue(func() error {
	_, err := Register(vfs.Host().SQLite(), System{FS: vfs.Host()})
	return err
})

// Open opens a connection to a database by a VFS of this package: that of a vfs.FS, by the name that it gives.
func Open(vfs, path string, flags sqlite.OpenFlags) (*sqlite.Conn, error) {
	if err := registerHost(); err != nil {
		return nil, err
	}
	c, err := sqlite.OpenConn(vfs, path, flags)
	if err != nil {
		return nil, err
	}
	p, err := c.FileControl(sqlite.FileControlFile)
	if o, is := opened(p); is && err == nil {
		c.Explain(o.explain)
	}
	return c, nil
}

// find gives the system of a VFS's name.
func find(name string) (*system, error) {
	if err := registerHost(); err != nil {
		return nil, err
	}
	tls := libc.NewTLS()
	defer tls.Close()
	text := cmem.CString(tls, name)
	defer cmem.Free(tls, text)
	if p := sqlite3.Xsqlite3_vfs_find(tls, text); p != 0 {
		if s := systemOf(p); s != nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%q is not a VFS of this package", name)
}

// SeedRandomness seeds the generator of SQLite's random numbers. With 0 the machine seeds it again. No other goroutine may use
// SQLite during the call.
func SeedRandomness(seed uint32) {
	tls := libc.NewTLS()
	defer tls.Close()
	va := cmem.Malloc(tls, 16)
	defer cmem.Free(tls, va)
	sqlite3.Xsqlite3_test_control(tls, sqlite3.SQLITE_TESTCTRL_PRNG_SEED, libc.VaList(va, int32(seed), uintptr(0)))
}

// methods are those of SQLite's own VFS where a file system has no part in them.
func (s *system) methods() sqlite3.Tsqlite3_vfs {
	m := *(*sqlite3.Tsqlite3_vfs)(cmem.Pointer(s.base))
	m.FiVersion, m.FszOsFile, m.FmxPathname, m.FpNext = 2, max(int32(unsafe.Sizeof(openFile{})), m.FszOsFile), maxPath, 0
	m.FxOpen, m.FxDelete, m.FxAccess, m.FxFullPathname = cmem.Func(xOpen), cmem.Func(xDelete), cmem.Func(xAccess), cmem.Func(xFullPathname)
	if s.Sleep != nil {
		m.FxSleep = cmem.Func(xSleep)
	}
	if s.Now != nil {
		m.FxCurrentTimeInt64 = cmem.Func(xCurrentTimeInt64)
	}
	return m
}

func systemOf(vfs uintptr) *system {
	m := (*sqlite3.Tsqlite3_vfs)(cmem.Pointer(vfs))
	if m.FxOpen != cmem.Func(xOpen) {
		return nil
	}
	return registered.systems.Find(m.FpAppData)
}

type openMethod = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32

func xOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	to := (*openFile)(cmem.Pointer(file))
	to.FpMethods = 0 // then SQLite doesn't close it
	s := systemOf(vfs)
	if s == nil {
		return sqlite3.SQLITE_CANTOPEN
	}
	if name == 0 && s.Temporary == nil {
		return cmem.Method[openMethod]((*sqlite3.Tsqlite3_vfs)(cmem.Pointer(s.base)).FxOpen)(tls, s.base, name, file, flags, out)
	}
	o, methods, err := s.openSlot(cmem.String(name), &flags)
	if err == nil {
		if to.handle, err = registered.slots.Add(o); err != nil && o.files == nil {
			o.close()
		}
	}
	if err != nil {
		return int32(s.CantOpen)
	}
	to.FpMethods = methods
	cmem.PutInt32(out, flags)
	return sqlite3.SQLITE_OK
}

// openSlot opens what SQLite asks for. "" is a file without a name.
func (s *system) openSlot(path string, flags *int32) (*slot, uintptr, error) {
	if f, suffix := beginning(path); f != nil {
		return f.slot(suffix)
	}
	var file vfs.File
	var err error
	if path == "" {
		file, err = s.Temporary()
	} else {
		file, err = s.openFile(path, flags)
	}
	if err != nil {
		return nil, 0, err
	}
	take := s.file
	if *flags&sqlite3.SQLITE_OPEN_MAIN_DB != 0 {
		take = s.database
	}
	o, f := &slot{sys: s, deleteAfter: *flags&sqlite3.SQLITE_OPEN_DELETEONCLOSE != 0 && path != ""}, take(file, path)
	o.install(f)
	const journals = sqlite3.SQLITE_OPEN_MAIN_JOURNAL | sqlite3.SQLITE_OPEN_SUPER_JOURNAL | sqlite3.SQLITE_OPEN_WAL
	if *flags&journals != 0 && *flags&sqlite3.SQLITE_OPEN_CREATE != 0 {
		o.file = &journal{File: f}
	}
	return o, plainMethods, nil
}

// openFile opens a file by SQLite's flags, to read only if it cannot be written; the flags tell then.
func (s *system) openFile(path string, flags *int32) (vfs.File, error) {
	if *flags&sqlite3.SQLITE_OPEN_READONLY != 0 {
		return s.FS.Open(path, os.O_RDONLY)
	}
	mode := os.O_RDWR
	if *flags&sqlite3.SQLITE_OPEN_CREATE != 0 {
		mode |= os.O_CREATE
	}
	if *flags&sqlite3.SQLITE_OPEN_EXCLUSIVE != 0 {
		mode |= os.O_EXCL
	}
	f, err := s.FS.Open(path, mode)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		if f, failed := s.FS.Open(path, os.O_RDONLY); failed == nil {
			*flags = *flags&^(sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE) | sqlite3.SQLITE_OPEN_READONLY
			return f, nil
		}
	}
	return f, err
}

func xDelete(_ *libc.TLS, vfs, name uintptr, syncDir int32) int32 {
	s, path := systemOf(vfs), cmem.String(name)
	if s == nil {
		return sqlite3.SQLITE_IOERR_DELETE
	}
	if strings.HasPrefix(path, namePrefix) {
		return sqlite3.SQLITE_OK
	}
	switch err := s.FS.Remove(path); {
	case errors.Is(err, fs.ErrNotExist):
		return sqlite3.SQLITE_IOERR_DELETE_NOENT
	case err != nil:
		return sqlite3.SQLITE_IOERR_DELETE
	case syncDir != 0 && s.FS.SyncDir(filepath.Dir(path)) != nil:
		return sqlite3.SQLITE_IOERR_DIR_FSYNC
	}
	return sqlite3.SQLITE_OK
}

func xAccess(_ *libc.TLS, vfs, name uintptr, flags int32, out uintptr) int32 {
	s, path := systemOf(vfs), cmem.String(name)
	if s == nil {
		return sqlite3.SQLITE_IOERR_ACCESS
	}
	cmem.PutInt32(out, 0)
	if strings.HasPrefix(path, namePrefix) {
		return sqlite3.SQLITE_OK
	}
	size, err := s.FS.Size(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return sqlite3.SQLITE_IOERR_ACCESS
	case flags != sqlite3.SQLITE_ACCESS_EXISTS || size > 0: // an empty file is none, for SQLite's question after a hot journal
		cmem.PutInt32(out, 1)
	}
	return sqlite3.SQLITE_OK
}

func xFullPathname(_ *libc.TLS, _, name uintptr, size int32, out uintptr) int32 {
	path := cmem.StringView(name)
	if !strings.HasPrefix(path, namePrefix) {
		path = filepath.Clean(path)
	}
	if !cmem.PutString(out, int(size), path) {
		return sqlite3.SQLITE_CANTOPEN
	}
	return sqlite3.SQLITE_OK
}

func xSleep(_ *libc.TLS, vfs uintptr, microseconds int32) int32 {
	if s := systemOf(vfs); s != nil {
		s.Sleep(time.Duration(microseconds) * time.Microsecond)
	}
	return microseconds
}

func xCurrentTimeInt64(_ *libc.TLS, vfs, out uintptr) int32 {
	s := systemOf(vfs)
	if s == nil {
		return sqlite3.SQLITE_ERROR
	}
	*(*int64)(cmem.Pointer(out)) = unixEpoch + s.Now()
	return sqlite3.SQLITE_OK
}
