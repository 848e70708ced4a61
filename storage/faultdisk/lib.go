package faultdisk

// C memory and the numbers by which SQLite's callbacks find what they are for.

import (
	"strings"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// registry finds the disk of a VFS and the handle of an open file. It is the one
// table that is not inside of a Disk, because a C callback carries a number and
// no Go pointer.
type registry struct {
	mu      sync.RWMutex
	last    uintptr             // protected by mu, as is all that follows
	disks   map[uintptr]*Disk   // of registered VFSes
	handles map[uintptr]*handle // of SQLite's open files
}

var registered registry

func (r *registry) addDisk(d *Disk) uintptr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.disks == nil {
		r.disks = map[uintptr]*Disk{}
	}
	r.last++
	r.disks[r.last] = d
	return r.last
}

func (r *registry) addHandle(h *handle) uintptr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handles == nil {
		r.handles = map[uintptr]*handle{}
	}
	r.last++
	r.handles[r.last] = h
	return r.last
}

func (r *registry) remove(id uintptr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.disks, id)
	delete(r.handles, id)
}

func (r *registry) disk(id uintptr) *Disk {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.disks[id]
}

func (r *registry) handle(id uintptr) *handle {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.handles[id]
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
	return strings.Clone(unsafe.String((*byte)(pointer(p)), n))
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

func putInt32(p uintptr, v int32) {
	if p != 0 {
		*(*int32)(pointer(p)) = v
	}
}

// callback gives the address that SQLite calls for a top-level Go function.
func callback[F any](f F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f}))
}

// SeedSQLite sets the generator from which SQLite takes its random numbers, until
// restore is called. A run repeats byte by byte when it begins with the same seed,
// which must not be 0.
//
// The generator belongs to the process, and SQLite sets it without a lock: no
// other goroutine may use SQLite while SeedSQLite or restore runs, and any that
// uses it in between takes numbers away.
func SeedSQLite(seed uint32) (restore func()) {
	setSeed(seed)
	return func() { setSeed(0) }
}

func setSeed(seed uint32) {
	tls := libc.NewTLS()
	defer tls.Close()
	va := sqlite3.Xsqlite3_malloc64(tls, 16)
	if va == 0 {
		panic("faultdisk: out of memory")
	}
	defer sqlite3.Xsqlite3_free(tls, va)
	sqlite3.Xsqlite3_test_control(tls, sqlite3.SQLITE_TESTCTRL_PRNG_SEED, libc.VaList(va, int32(seed), uintptr(0)))
}
