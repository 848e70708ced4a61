package dbfile

// The WAL's index of a connection that holds its database. SQLite believes that it is shared with others.
// Its form is sqlite.org/walformat.html#the_wal_index_file_format.

import (
	"encoding/binary"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// indexPiece is the size of a piece of the index.
const indexPiece = 32 << 10

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

// Empty reports whether the WAL has no frames, nor ever had in the words of its index.
func (f *Files) Empty() bool {
	if len(f.index) == 0 {
		return false
	}
	b := cmem.Bytes(f.index[0], indexHeader)
	return binary.NativeEndian.Uint32(b) == indexVersion && binary.NativeEndian.Uint32(b[indexFrames:]) == 0
}

// turnIndex changes the index so that SQLite forgets what it has of the file that was there before.
func (f *Files) turnIndex() {
	b := cmem.Bytes(f.index[0], 2*indexHeader)
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

func (f *Files) freeIndex() {
	tls := libc.NewTLS()
	defer tls.Close()
	for _, p := range f.index {
		cmem.Free(tls, p)
	}
	f.index = nil
}

func xShmMap(tls *libc.TLS, file uintptr, piece, size, _ int32, out uintptr) int32 {
	o := slotOf(file)
	if o == nil || o.files == nil || size != indexPiece {
		return sqlite3.SQLITE_IOERR_SHMMAP
	}
	f := o.files
	for len(f.index) <= int(piece) {
		p := sqlite3.Xsqlite3_malloc64(tls, indexPiece)
		if p == 0 {
			return sqlite3.SQLITE_NOMEM
		}
		clear(cmem.Bytes(p, indexPiece))
		f.index = append(f.index, p)
	}
	*(*uintptr)(cmem.Pointer(out)) = f.index[piece]
	return sqlite3.SQLITE_OK
}

// Nobody else has the index.

func xShmLock(*libc.TLS, uintptr, int32, int32, int32) int32 { return sqlite3.SQLITE_OK }
func xShmBarrier(*libc.TLS, uintptr)                         {}
func xShmUnmap(*libc.TLS, uintptr, int32) int32              { return sqlite3.SQLITE_OK }
