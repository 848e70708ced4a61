package storage

// How SQLite calls back: top-level functions that find their DB by the small
// integer that was registered with them.

import (
	"sync"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// open finds the DB of a handle. It is the one table of the package that is not inside of a DB,
// because a C callback carries a number and no Go pointer.
var open cmem.Handles[DB]

// install registers the callbacks of d. The pre-update hook is set and unset
// with the recording, see recordChanges.
func (d *DB) install() error {
	if rc := sqlite3.Xsqlite3_set_authorizer(d.c.tls, d.c.db, cmem.Func(onAuthorize), d.handle); rc != sqlite3.SQLITE_OK {
		return d.c.failure(rc, "")
	}
	sqlite3.Xsqlite3_progress_handler(d.c.tls, d.c.db, progressSteps, cmem.Func(onProgress), d.handle)
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
		f = cmem.Func(onPreUpdate)
	}
	sqlite3.Xsqlite3_preupdate_hook(d.c.tls, d.c.db, f, d.handle)
}

func onPreUpdate(_ *libc.TLS, handle, _ uintptr, op int32, zDb, zTab uintptr, _, _ int64) {
	if d := open.Find(handle); d != nil {
		d.capture(op, cmem.StringView(zDb), cmem.StringView(zTab))
	}
}

func onAuthorize(_ *libc.TLS, handle uintptr, op int32, z1, z2, zDb, zTrigger uintptr) int32 {
	d := open.Find(handle)
	if d == nil {
		return sqlite3.SQLITE_DENY
	}
	return d.authorize(op, cmem.StringView(z1), cmem.StringView(z2))
}

func onProgress(_ *libc.TLS, handle uintptr) int32 {
	if d := open.Find(handle); d != nil && (d.fenced.Load() || d.overwritten()) {
		return 1
	}
	return 0
}

// translated is the SQLite library of this process: its start-up fix runs once.
type translated struct{ o sync.Once }

var lib translated

func (t *translated) once() { t.o.Do(sqlite3.PatchIssue199) }
