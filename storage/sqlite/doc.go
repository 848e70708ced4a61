// Package sqlite is SQLite as Den uses it, over modernc.org/sqlite/lib: connections by any VFS, cached
// statements, rows as bytes, the pre-update hook, the authorizer, backups and file controls. Its names
// are SQLite's own, and zombiezen.com/go/sqlite is its model.
//
// Nothing here is safe for use by several goroutines at a time, except Conn.Interrupt.
package sqlite
