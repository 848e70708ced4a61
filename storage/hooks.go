package storage

// How SQLite calls back.

import "github.com/denrooms/den/storage/sqlite"

// callbacks is a DB as its connection calls it. Its methods are not a part of the DB's own API.
type callbacks DB

// install registers the callbacks of d. The pre-update hook is set and unset
// with the recording, see recordChanges.
func (d *DB) install() error {
	d.c.SetProgressHandler(progressSteps, (*callbacks)(d).stop)
	return failed(d.c.SetAuthorizer((*callbacks)(d)))
}

// uninstall has the connection forget d.
func (d *DB) uninstall() {
	d.recordChanges(false)
	d.c.SetProgressHandler(0, nil)
	d.c.SetAuthorizer(nil)
}

// progressSteps is how often a running statement looks whether it was fenced, or has written too much,
// in steps of SQLite's machine: about every 100 µs.
const progressSteps = 10_000

// recordChanges switches the pre-update hook. It is off in Den's own statements,
// whose rows are nobody's business.
func (d *DB) recordChanges(on bool) {
	if on {
		d.c.SetPreUpdateHook((*callbacks)(d))
	} else {
		d.c.SetPreUpdateHook(nil)
	}
}

// PreUpdate is called before each change of a row.
func (h *callbacks) PreUpdate(op sqlite.OpType, schema, table string) {
	(*DB)(h).capture(op, schema, table)
}

// Authorize says what a statement may do.
func (h *callbacks) Authorize(a sqlite.Action) sqlite.AuthResult { return (*DB)(h).authorize(a) }

func (h *callbacks) stop() bool { return h.fenced.Load() || (*DB)(h).overwritten() }
