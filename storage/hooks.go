package storage

// How SQLite calls back.

import "github.com/denrooms/den/storage/sqlite"

// callbacks is a DB as its connection calls it. Its methods are not a part of the DB's own API.
type callbacks DB

// install registers the callbacks of d. The pre-update hook is the Recorder's.
func (d *DB) install() error {
	d.c.SetProgressHandler(progressSteps, (*callbacks)(d).stop)
	return failed(d.c.SetAuthorizer((*callbacks)(d)))
}

// uninstall has the connection forget d.
func (d *DB) uninstall() {
	d.changes.Pause()
	d.c.SetProgressHandler(0, nil)
	d.c.SetAuthorizer(nil)
}

// progressSteps is how often a running statement looks whether it was fenced, or has written too much,
// in steps of SQLite's machine: about every 100 µs.
const progressSteps = 10_000

// Authorize says what a statement may do.
func (h *callbacks) Authorize(a sqlite.Action) sqlite.AuthResult { return (*DB)(h).authorize(a) }

func (h *callbacks) stop() bool { return h.fenced.Load() || (*DB)(h).overwritten() }
