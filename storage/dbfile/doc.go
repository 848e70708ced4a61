// Package dbfile is SQLite's way to files: a VFS of SQLite's (sqlite.org/vfs.html) over a vfs.FS. The machine's
// files, those of a disk that loses power in tests, and those of an overlay are reached by the same code.
//
// What SQLite has open is a slot. A file is installed in it: one of the file system, one in memory, or one that
// wraps another, as the WAL's does that has the commit log in front of it. Most slots keep their file until SQLite
// closes it. Files, the two slots of a connection that holds its database for itself alone, are different. Another
// file can be installed in them at any time, without SQLite's help, so that a connection can serve one file after another:
//
//	c, err := dbfile.Open(vfs, path, sqlite.OpenReadWrite)
//	files, err := dbfile.Hold(c)    // locks the file, until it is closed
//	err = files.WrapWAL(c, wrap)
//	…
//	err = files.CloseMain()         // the connection has no file now
//	f, err := dbfile.OpenFile(vfs, other)
//	files.Swap(f)                   // it goes on with another one
//
// # Locks
//
// A database's locks are SQLite's own, byte for byte, so that other programs that use SQLite find a file locked.
// They belong to the open file (open file description locks on Linux and macOS, LockFileEx on Windows), not to the
// process as those of SQLite's own VFS for Unix: nobody loses one because another descriptor of the file is closed.
// Systems that have no such locks get those of the process.
//
// # WAL
//
// A connection that holds its database gets the WAL's index in memory of its own. SQLite believes that others may share it; so it
// keeps nothing of the database between transactions that the index does not vouch for, and Swap only has to change the index. In
// the exclusive locking mode it would keep its pages, and give wrong answers from another file. Any other connection has no shared
// memory: to use a WAL it needs PRAGMA locking_mode = EXCLUSIVE as its first statement.
//
// # Checksums
//
// The pages of a database have checksums if its header says that each page has 8 reserved bytes (checksum.go). They are added when
// a page is written into the database's file, and compared when a page is read from it. The WAL has checksums of its own, and
// SQLite's memory has none. SQLite gets zeros in their place. A page without its checksum is SQLITE_CORRUPT, and the error's text
// names the page and the file. What opens a database's file without SQLite does it by a Database, which does the same.
//
// A checksum covers the page's number too, so that a page in another one's place is found. A page of zeros needs none: nobody has
// written it. An older version of the same page is not found by its checksum.
//
// # Where ideas come from
//
// Checksums in reserved bytes are SQLite's own idea (sqlite.org/cksumvfs.html); the checksum itself is another one.
// github.com/ncruces/go-sqlite3's vfs package, for a VFS in Go over interfaces, and its memdb for files in memory.
package dbfile
