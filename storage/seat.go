package storage

// Where a connection has its files. SQLite opens a database's file once and keeps it until the
// connection is closed; what it has beneath it then, the schema as it parsed it and the compiled
// statements, costs much more than the file. So its two files, the database and the WAL, have
// methods of ours here, and can be closed beneath SQLite and others opened in their place
// (spare.go).
//
// SQLite is made to believe that others may use the file too: then it keeps nothing of it between
// transactions that the WAL's index does not vouch for. The index is in memory of ours: nobody
// else may have the file, whose lock is taken before SQLite reads from it and kept as long as it
// is open. The index's form is sqlite.org/walformat.html#the_wal_index_file_format.

import (
	"encoding/binary"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
)

// seatMethods is the table of methods that SQLite finds in the database's open file. It lies in
// C memory.
type seatMethods struct {
	methods sqlite3.Tsqlite3_io_methods
	base    uintptr // the methods of what is open; 0: nothing is
	handle  uintptr // finds the DB
}

// seat is the database's file of a connection. The DB's mutex protects it.
type seat struct {
	c      *sqlite.Conn
	system uintptr      // the VFS
	vfs    uintptr      // a VFS of the connection's own, memory.go; 0: it has none
	file   uintptr      // SQLite's open file
	table  *seatMethods // what stands in its methods' place
	index  []uintptr    // the WAL's index, in the pieces that SQLite asks for, C memory
	name   uintptr      // of the file that is open, as SQLite wants names; 0: SQLite has its own
	traits int32        // what the newest file that was open said of its device
	memory []byte       // the file's content as long as the room has none, born.go; nil: it has
}

// indexPiece is the size of a piece of the index.
const indexPiece = 32 << 10

// sit puts our methods into the file that SQLite has just opened, and locks it.
func (d *DB) sit() error {
	file, err := d.c.FileControl(sqlite.FileControlFile)
	if err != nil {
		return failed(err)
	}
	system, err := d.c.FileControl(sqlite.FileControlVFS)
	if err != nil {
		return failed(err)
	}
	table := cmem.Malloc(d.c.TLS(), int(unsafe.Sizeof(seatMethods{})))
	s := &seat{c: d.c, system: system, file: file, table: (*seatMethods)(cmem.Pointer(table))}
	s.table.handle = d.handle
	d.seat = s
	s.occupy()
	return s.lock()
}

// occupy takes over what is open in SQLite's file.
func (s *seat) occupy() {
	t, methods := s.table, (*uintptr)(cmem.Pointer(s.file))
	t.base = *methods
	t.methods = *(*sqlite3.Tsqlite3_io_methods)(cmem.Pointer(t.base))
	if t.methods.FiVersion < 2 {
		t.methods.FiVersion = 2 // with an index
	}
	if ask := t.methods.FxDeviceCharacteristics; ask != 0 {
		s.traits = cmem.Method[closeMethod](ask)(s.c.TLS(), s.file)
	}
	t.methods.FxClose = cmem.Func(onSeatClose)
	t.methods.FxLock, t.methods.FxUnlock = cmem.Func(onSeatLock), cmem.Func(onSeatLock)
	t.methods.FxCheckReservedLock = cmem.Func(onSeatReserved)
	t.methods.FxShmMap, t.methods.FxShmLock = cmem.Func(onIndexMap), cmem.Func(onIndexLock)
	t.methods.FxShmBarrier, t.methods.FxShmUnmap = cmem.Func(onIndexBarrier), cmem.Func(onIndexUnmap)
	*methods = uintptr(unsafe.Pointer(t))
}

// vacate closes what is open. SQLite must not be called before something else is.
func (s *seat) vacate() {
	s.memory = nil
	onSeatClose(s.c.TLS(), s.file)
	*(*uintptr)(cmem.Pointer(s.file)) = uintptr(unsafe.Pointer(s.table))
	s.table.methods = vacant()
}

// vacant are the methods of a file where nothing is open: SQLite may close it, and no more.
func vacant() sqlite3.Tsqlite3_io_methods {
	read := cmem.Func(func(*libc.TLS, uintptr, uintptr, int32, int64) int32 { return sqlite3.SQLITE_IOERR })
	ask := cmem.Func(func(*libc.TLS, uintptr, uintptr) int32 { return sqlite3.SQLITE_IOERR })
	return sqlite3.Tsqlite3_io_methods{
		FiVersion: 2, FxClose: cmem.Func(onSeatClose), FxRead: read, FxWrite: read,
		FxTruncate:              cmem.Func(func(*libc.TLS, uintptr, int64) int32 { return sqlite3.SQLITE_IOERR }),
		FxSync:                  cmem.Func(func(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_IOERR }),
		FxFileSize:              ask,
		FxLock:                  cmem.Func(onSeatLock),
		FxUnlock:                cmem.Func(onSeatLock),
		FxSectorSize:            cmem.Func(func(*libc.TLS, uintptr) int32 { return pageSize }),
		FxCheckReservedLock:     cmem.Func(onSeatReserved),
		FxFileControl:           cmem.Func(func(*libc.TLS, uintptr, int32, uintptr) int32 { return sqlite3.SQLITE_NOTFOUND }),
		FxDeviceCharacteristics: cmem.Func(func(*libc.TLS, uintptr) int32 { return 0 }),
		FxShmMap:                cmem.Func(onIndexMap), FxShmLock: cmem.Func(onIndexLock), FxShmBarrier: cmem.Func(onIndexBarrier), FxShmUnmap: cmem.Func(onIndexUnmap),
	}
}

// lock takes the file for this connection alone, as SQLite's EXCLUSIVE mode does.
func (s *seat) lock() error {
	if cmem.StringView((*sqlite3.Tsqlite3_vfs)(cmem.Pointer(s.system)).FzName) == "unix" {
		if rc, done := lockDescription(s.file); done {
			if rc != sqlite3.SQLITE_OK {
				return said(sqlite.ResultCode(rc))
			}
			return nil
		}
	}
	for _, level := range []int32{sqlite3.SQLITE_LOCK_SHARED, sqlite3.SQLITE_LOCK_EXCLUSIVE} {
		if rc := cmem.Method[lockMethod]((*sqlite3.Tsqlite3_io_methods)(cmem.Pointer(s.table.base)).FxLock)(s.c.TLS(), s.file, level); rc != sqlite3.SQLITE_OK {
			return said(sqlite.ResultCode(rc))
		}
	}
	return nil
}

// move opens another file in the place of the one that was vacated. Of it there must be no WAL.
func (s *seat) move(path string) error {
	err := s.enter(path)
	if err == nil {
		s.turn()
	}
	return err
}

// filename makes SQLite's form of a database's name, in C memory.
func (s *seat) filename(path string) uintptr {
	tls := s.c.TLS()
	file, journal, wal := cmem.CString(tls, path), cmem.CString(tls, path+"-journal"), cmem.CString(tls, path+"-wal")
	defer func() { cmem.Free(tls, file); cmem.Free(tls, journal); cmem.Free(tls, wal) }()
	name := sqlite3.Xsqlite3_create_filename(tls, file, journal, wal, 0, 0)
	if name == 0 {
		panic("storage: out of memory")
	}
	return name
}

// enter opens a file where nothing is open, and locks it.
func (s *seat) enter(path string) error {
	name := s.filename(path)
	if rc := s.open(name, s.file, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_MAIN_DB); rc != sqlite3.SQLITE_OK {
		*(*uintptr)(cmem.Pointer(s.file)) = uintptr(unsafe.Pointer(s.table))
		sqlite3.Xsqlite3_free_filename(s.c.TLS(), name)
		return said(sqlite.ResultCode(rc))
	}
	s.occupy()
	sqlite3.Xsqlite3_free_filename(s.c.TLS(), s.name)
	s.name = name
	return s.lock()
}

// open has SQLite's VFS open a file in the place of one that was closed; not one that can only be
// read.
func (s *seat) open(name, file uintptr, flags int32) int32 {
	tls := s.c.TLS()
	out := sqlite3.Xsqlite3_malloc(tls, 4)
	if out == 0 {
		return sqlite3.SQLITE_NOMEM
	}
	defer sqlite3.Xsqlite3_free(tls, out)
	rc := cmem.Method[openMethod]((*sqlite3.Tsqlite3_vfs)(cmem.Pointer(s.system)).FxOpen)(tls, s.system, name, file, flags, out)
	if rc == sqlite3.SQLITE_OK && *(*int32)(cmem.Pointer(out))&sqlite3.SQLITE_OPEN_READWRITE == 0 {
		methods := *(*uintptr)(cmem.Pointer(file))
		cmem.Method[closeMethod]((*sqlite3.Tsqlite3_io_methods)(cmem.Pointer(methods)).FxClose)(tls, file)
		rc = sqlite3.SQLITE_READONLY
	}
	return rc
}

// The places in the index's header that are looked at here. There are two copies of it, at 0 and
// at indexHeader, in the machine's byte order.
const (
	indexHeader  = 48
	indexChange  = 8  // counts the transactions
	indexFrames  = 16 // in the WAL
	indexPages   = 20 // of the database; 0: ask the file
	indexSums    = 40 // two sums of what is before them
	indexVersion = 3007000
)

// empty tells whether the WAL has no frames, nor ever had in the words of its index.
func (s *seat) empty() bool {
	if len(s.index) == 0 {
		return false
	}
	b := cmem.Bytes(s.index[0], indexHeader)
	return binary.NativeEndian.Uint32(b) == indexVersion && binary.NativeEndian.Uint32(b[indexFrames:]) == 0
}

// turn changes the index so that SQLite forgets what it has of the file that was there before.
func (s *seat) turn() {
	b := cmem.Bytes(s.index[0], 2*indexHeader)
	order := binary.NativeEndian
	order.PutUint32(b[indexChange:], order.Uint32(b[indexChange:])+1)
	order.PutUint32(b[indexPages:], 0)
	var s1, s2 uint32
	for i := 0; i < indexSums; i += 8 {
		s1 += order.Uint32(b[i:]) + s2
		s2 += order.Uint32(b[i+4:]) + s1
	}
	order.PutUint32(b[indexSums:], s1)
	order.PutUint32(b[indexSums+4:], s2)
	copy(b[indexHeader:], b[:indexHeader])
}

// free gives the memory back, when the connection is closed.
func (s *seat) free() {
	tls := libc.NewTLS()
	defer tls.Close()
	for _, p := range s.index {
		cmem.Free(tls, p)
	}
	sqlite3.Xsqlite3_free_filename(tls, s.name)
	cmem.Free(tls, uintptr(unsafe.Pointer(s.table)))
	cmem.Free(tls, s.vfs)
	s.index, s.name, s.table, s.vfs = nil, 0, nil, 0
}

type (
	lockMethod  = func(tls *libc.TLS, file uintptr, level int32) int32
	closeMethod = func(tls *libc.TLS, file uintptr) int32
	openMethod  = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32
)

func seatTable(file uintptr) *seatMethods {
	return (*seatMethods)(cmem.Pointer(*(*uintptr)(cmem.Pointer(file))))
}

func onSeatClose(tls *libc.TLS, file uintptr) int32 {
	t := seatTable(file)
	base := t.base
	t.base = 0
	if base == 0 {
		return sqlite3.SQLITE_OK
	}
	return cmem.Method[closeMethod]((*sqlite3.Tsqlite3_io_methods)(cmem.Pointer(base)).FxClose)(tls, file)
}

// The lock is taken once, by seat.lock.

func onSeatLock(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK }

func onSeatReserved(_ *libc.TLS, _, out uintptr) int32 {
	*(*int32)(cmem.Pointer(out)) = 0
	return sqlite3.SQLITE_OK
}

func onIndexMap(tls *libc.TLS, file uintptr, piece, size, _ int32, out uintptr) int32 {
	d := open.Find(seatTable(file).handle)
	if d == nil || size != indexPiece {
		return sqlite3.SQLITE_IOERR_SHMMAP
	}
	s := d.seat
	for len(s.index) <= int(piece) {
		p := sqlite3.Xsqlite3_malloc64(tls, indexPiece)
		if p == 0 {
			return sqlite3.SQLITE_NOMEM
		}
		clear(cmem.Bytes(p, indexPiece))
		s.index = append(s.index, p)
	}
	*(*uintptr)(cmem.Pointer(out)) = s.index[piece]
	return sqlite3.SQLITE_OK
}

func onIndexLock(*libc.TLS, uintptr, int32, int32, int32) int32 { return sqlite3.SQLITE_OK }
func onIndexBarrier(*libc.TLS, uintptr)                         {}
func onIndexUnmap(*libc.TLS, uintptr, int32) int32              { return sqlite3.SQLITE_OK }
