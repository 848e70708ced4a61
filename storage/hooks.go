package storage

// How SQLite calls back: top-level functions that find their DB by the small
// integer that was registered with them.

import (
	"sync"
	"sync/atomic"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	slotsPerChunk = 1024
	maxChunks     = 1024 // a million open databases a process
)

type chunk [slotsPerChunk]atomic.Pointer[DB]

// registry finds the DB of a handle: two loads, no lock, no allocation. It is
// the one table of the package that is not inside of a DB, because a C callback
// carries a number and no Go pointer.
type registry struct {
	chunks [maxChunks]atomic.Pointer[chunk]
	mu     sync.Mutex
	next   int   // protected by mu
	free   []int // protected by mu
}

var open registry

func (r *registry) add(d *DB) (uintptr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.next
	if last := len(r.free) - 1; last >= 0 {
		n = r.free[last]
		r.free = r.free[:last]
	} else if n == slotsPerChunk*maxChunks {
		return 0, ErrInUse
	} else {
		r.next++
	}
	c := r.chunks[n/slotsPerChunk].Load()
	if c == nil {
		c = new(chunk)
		r.chunks[n/slotsPerChunk].Store(c)
	}
	c[n%slotsPerChunk].Store(d)
	return uintptr(n), nil
}

func (r *registry) remove(handle uintptr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chunks[handle/slotsPerChunk].Load()[handle%slotsPerChunk].Store(nil)
	r.free = append(r.free, int(handle))
}

// set has a handle find another DB, or none.
func (r *registry) set(handle uintptr, d *DB) {
	r.chunks[handle/slotsPerChunk].Load()[handle%slotsPerChunk].Store(d)
}

func (r *registry) find(handle uintptr) *DB {
	return r.chunks[handle/slotsPerChunk].Load()[handle%slotsPerChunk].Load()
}

// install registers the callbacks of d. The pre-update hook is set and unset
// with the recording, see recordChanges.
func (d *DB) install() error {
	if rc := sqlite3.Xsqlite3_set_authorizer(d.c.tls, d.c.db, callback(onAuthorize), d.handle); rc != sqlite3.SQLITE_OK {
		return d.c.failure(rc, "")
	}
	sqlite3.Xsqlite3_progress_handler(d.c.tls, d.c.db, progressSteps, callback(onProgress), d.handle)
	return nil
}

// progressSteps is how often a running statement looks whether it was fenced, or has written too much,
// in steps of SQLite's machine: about every 100 µs.
const progressSteps = 10_000

// recordChanges switches the pre-update hook. It is off in Den's own statements,
// whose rows are nobody's business.
func (d *DB) recordChanges(on bool) {
	if d.hooked == on {
		return
	}
	d.hooked = on
	var f uintptr
	if on {
		f = callback(onPreUpdate)
	}
	sqlite3.Xsqlite3_preupdate_hook(d.c.tls, d.c.db, f, d.handle)
}

func onPreUpdate(_ *libc.TLS, handle, _ uintptr, op int32, zDb, zTab uintptr, _, _ int64) {
	if d := open.find(handle); d != nil {
		d.capture(op, viewString(zDb), viewString(zTab))
	}
}

func onAuthorize(_ *libc.TLS, handle uintptr, op int32, z1, z2, zDb, zTrigger uintptr) int32 {
	d := open.find(handle)
	if d == nil {
		return sqlite3.SQLITE_DENY
	}
	return d.authorize(op, viewString(z1), viewString(z2))
}

func onProgress(_ *libc.TLS, handle uintptr) int32 {
	if d := open.find(handle); d != nil && (d.fenced.Load() || d.overwritten()) {
		return 1
	}
	return 0
}

// translated is the SQLite library of this process: its start-up fix runs once.
type translated struct{ o sync.Once }

var lib translated

func (t *translated) once() { t.o.Do(sqlite3.PatchIssue199) }
