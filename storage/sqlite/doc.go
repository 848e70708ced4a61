// Package sqlite is SQLite as Den uses it: connections by any VFS, cached statements, rows as bytes, the pre-update hook, the
// authorizer, backups and file controls. Its names are SQLite's own, and zombiezen.com/go/sqlite is its model.
//
// The package calls modernc.org/sqlite/lib, the driver module's translation of SQLite, itself: not database/sql and not the
// driver's connection. The driver cuts text at a NUL, makes NULL of an empty blob, turns DATETIME columns into time.Time, gives
// wrong values for virtual generated columns in hooks, and costs about ten allocations a call. The lib is SQLite's C API with
// uintptr for pointers: documented at sqlite.org/c3ref.
//
// Nothing here is safe for use by several goroutines at a time, except Conn.Interrupt.
package sqlite
