package storage

// A database's file that is in memory, without SQLite's help: its own kind of them has no WAL,
// and could not be exchanged for a file. A connection that was made for a file gets one by its
// seat; one that is made for it has a VFS of its own, which makes nothing on the disk and is
// otherwise the one that the file will be opened by.

import (
	"errors"
	"fmt"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
)

// memoryVFS is what SQLite opens a file in memory by. It lies in C memory, as long as the connection.
type memoryVFS struct {
	vfs    sqlite3.Tsqlite3_vfs // the name behind it
	base   uintptr              // the file's own VFS
	handle uintptr              // finds the DB
}

// openMemory makes a connection to a file in memory. traits are what SQLite is told of its device.
func openMemory(o Options, content []byte, traits int32) (*DB, error) {
	d, err := newDB(o, nil)
	if err != nil {
		return nil, err
	}
	d.header = headerOf(content)
	d.freshWAL = true
	d.seat = &seat{traits: traits, memory: content}
	if err := d.connectMemory(); err != nil {
		d.seat.free()
		open.Remove(d.handle)
		return nil, err
	}
	if err = d.start(); err == nil {
		err = d.watchAgain(d.wal)
	}
	if err != nil {
		return nil, errors.Join(err, d.refuse())
	}
	return d, nil
}

// connectMemory opens the connection itself, and makes what finds the memory: a seat's and a WAL's methods.
func (d *DB) connectMemory() error {
	tls, s := libc.NewTLS(), d.seat
	defer tls.Close()
	sqlite.Initialize()
	system := uintptr(0)
	if name := d.o.FS.SQLite(); name != "" {
		system = cmem.CString(tls, name)
		defer cmem.Free(tls, system)
	}
	if s.system = sqlite3.Xsqlite3_vfs_find(tls, system); s.system == 0 {
		return said(sqlite.ResultCantOpen)
	}
	s.table = (*seatMethods)(cmem.Pointer(cmem.Malloc(tls, int(unsafe.Sizeof(seatMethods{})))))
	s.table.methods, s.table.base, s.table.handle = remembered(), 0, d.handle
	w := &wal{place: make(map[uint32]int64), table: (*walMethods)(cmem.Pointer(cmem.Malloc(tls, int(unsafe.Sizeof(walMethods{})))))}
	w.table.methods, w.table.handle = vacant(), d.handle
	w.table.catch()
	d.wal = w
	c, err := s.openBy(tls, d.handle)
	if err != nil {
		cmem.Free(tls, w.address())
		return failed(err)
	}
	c.SetAutoCheckpoint(0)
	d.c, s.c = c, c
	d.alive.Lock()
	defer d.alive.Unlock()
	d.running = c
	return nil
}

// openBy opens the connection by a VFS of its own, which SQLite has to know by a name meanwhile.
func (s *seat) openBy(tls *libc.TLS, handle uintptr) (*sqlite.Conn, error) {
	text := fmt.Sprintf("den-%d", handle)
	name := cmem.CString(tls, text)
	defer cmem.Free(tls, name)
	s.vfs = cmem.Malloc(tls, int(unsafe.Sizeof(memoryVFS{})))
	m, system := (*memoryVFS)(cmem.Pointer(s.vfs)), (*sqlite3.Tsqlite3_vfs)(cmem.Pointer(s.system))
	m.base, m.handle = s.system, handle
	copyVFS(s.vfs, s.system)
	m.vfs.FzName = name
	m.vfs.FxOpen, m.vfs.FxFullPathname = cmem.Func(onMemoryOpen), cmem.Func(onMemoryPath)
	m.vfs.FxAccess, m.vfs.FxDelete = cmem.Func(onMemoryAccess), cmem.Func(onMemoryDelete)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, s.vfs, 0); rc != sqlite3.SQLITE_OK {
		return nil, said(sqlite.ResultCode(rc))
	}
	c, err := sqlite.OpenConn(text, "memory", sqlite.OpenReadWrite)
	sqlite3.Xsqlite3_vfs_unregister(tls, s.vfs) // the connection goes on to use it
	m.vfs.FzName = system.FzName
	return c, err
}

// copyVFS copies what a VFS is, but for its place in SQLite's list of them, which another connection may be writing.
func copyVFS(to, from uintptr) {
	const size = int(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{}))
	const next = int(unsafe.Offsetof(sqlite3.Tsqlite3_vfs{}.FpNext))
	const behind = next + int(unsafe.Sizeof(uintptr(0)))
	copy(cmem.Bytes(to, next), cmem.Bytes(from, next))
	clear(cmem.Bytes(to, size)[next:behind])
	copy(cmem.Bytes(to, size)[behind:], cmem.Bytes(from, size)[behind:])
}

func onMemoryOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	m := (*memoryVFS)(cmem.Pointer(vfs))
	d, to := open.Find(m.handle), (*uintptr)(cmem.Pointer(file))
	switch {
	case flags&sqlite3.SQLITE_OPEN_MAIN_DB != 0:
		d.seat.file, *to = file, uintptr(unsafe.Pointer(d.seat.table))
		d.wal.main = file
	case flags&sqlite3.SQLITE_OPEN_WAL != 0:
		d.wal.file, *to = file, d.wal.address()
	default: // of the sorter, say
		return cmem.Method[openMethod]((*sqlite3.Tsqlite3_vfs)(cmem.Pointer(m.base)).FxOpen)(tls, m.base, name, file, flags, out)
	}
	cmem.PutInt32(out, flags)
	return sqlite3.SQLITE_OK
}

func onMemoryPath(_ *libc.TLS, _, name uintptr, size int32, out uintptr) int32 {
	text := cmem.StringView(name)
	if len(text) >= int(size) {
		return sqlite3.SQLITE_CANTOPEN
	}
	to := cmem.Bytes(out, len(text)+1)
	to[copy(to, text)] = 0
	return sqlite3.SQLITE_OK
}

func onMemoryAccess(_ *libc.TLS, _, _ uintptr, _ int32, out uintptr) int32 {
	*(*int32)(cmem.Pointer(out)) = 0
	return sqlite3.SQLITE_OK
}

func onMemoryDelete(*libc.TLS, uintptr, uintptr, int32) int32 { return sqlite3.SQLITE_OK }

// imagine puts a file of this content, in memory, into the place of the one that was vacated.
func (s *seat) imagine(content []byte) {
	s.memory = content
	s.table.methods = remembered()
	s.turn()
}

// land opens the file of the same content in the place of the one in memory.
func (s *seat) land(path string) error {
	content := s.memory
	if err := s.enter(path); err != nil {
		s.vacate()
		s.memory, s.table.methods = content, remembered()
		return err
	}
	s.memory = nil
	return nil
}

// remembered are the methods of a file in memory.
func remembered() sqlite3.Tsqlite3_io_methods {
	m := vacant()
	m.FxRead, m.FxWrite = cmem.Func(onMemoryRead), cmem.Func(onMemoryWrite)
	m.FxTruncate, m.FxFileSize = cmem.Func(onMemoryTruncate), cmem.Func(onMemorySize)
	m.FxSync = cmem.Func(func(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK })
	m.FxDeviceCharacteristics = cmem.Func(onMemoryTraits)
	return m
}

func seatOf(file uintptr) *seat { return open.Find(seatTable(file).handle).seat }

func onMemoryRead(_ *libc.TLS, file, p uintptr, n int32, off int64) int32 {
	to, s := cmem.Bytes(p, int(n)), seatOf(file)
	done := 0
	if off < int64(len(s.memory)) {
		done = copy(to, s.memory[off:])
	}
	if done == len(to) {
		return sqlite3.SQLITE_OK
	}
	clear(to[done:])
	return sqlite3.SQLITE_IOERR_SHORT_READ
}

func onMemoryWrite(_ *libc.TLS, file, p uintptr, n int32, off int64) int32 {
	s := seatOf(file)
	s.resize(max(int64(len(s.memory)), off+int64(n)))
	copy(s.memory[off:], cmem.Bytes(p, int(n)))
	return sqlite3.SQLITE_OK
}

func onMemoryTruncate(_ *libc.TLS, file uintptr, size int64) int32 {
	seatOf(file).resize(size)
	return sqlite3.SQLITE_OK
}

// resize makes the file in memory longer by zeros, or shorter.
func (s *seat) resize(size int64) {
	if more := size - int64(len(s.memory)); more > 0 {
		s.memory = append(s.memory, make([]byte, more)...)
	}
	s.memory = s.memory[:size]
}

func onMemorySize(_ *libc.TLS, file, out uintptr) int32 {
	*(*int64)(cmem.Pointer(out)) = int64(len(seatOf(file).memory))
	return sqlite3.SQLITE_OK
}

func onMemoryTraits(_ *libc.TLS, file uintptr) int32 { return seatOf(file).traits }
