package sqlite

import (
	"sync"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// Conn is a connection to a database.
type Conn struct {
	tls    *libc.TLS
	db     uintptr
	out    uintptr // 16 bytes of C memory, where SQLite puts results
	handle uintptr // finds the Conn in callbacks

	authorizer Authorizer
	authorizes bool // SQLite calls onAuthorize
	preUpdate  PreUpdateHook
	progress   func() (stop bool)
	explain    func(ResultCode) string // nil: SQLite's text is enough
}

var setUp = sync.OnceFunc(sqlite3.PatchIssue199)

// Initialize sets the library up for this process. OpenConn does so itself.
func Initialize() { setUp() }

// OpenConn opens a database file by a VFS; "" is the default one.
func OpenConn(vfs, path string, flags OpenFlags) (*Conn, error) {
	setUp()
	c := new(Conn)
	var err error
	if c.handle, err = conns.Add(c); err != nil {
		return nil, &Error{Code: ResultNoMem, Message: err.Error()}
	}
	c.tls = libc.NewTLS()
	c.out = cmem.Malloc(c.tls, 16)
	name := cmem.CString(c.tls, path)
	defer cmem.Free(c.tls, name)
	system := uintptr(0)
	if vfs != "" {
		system = cmem.CString(c.tls, vfs)
		defer cmem.Free(c.tls, system)
	}
	rc := sqlite3.Xsqlite3_open_v2(c.tls, name, c.out, int32(flags)|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_EXRESCODE, system)
	c.db = c.outPointer(0) // SQLite may give one along with an error
	if rc != sqlite3.SQLITE_OK {
		err := c.failure(rc, "")
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) outPointer(at uintptr) uintptr { return *(*uintptr)(cmem.Pointer(c.out + at)) }
func (c *Conn) outInt32(at uintptr) int32     { return *(*int32)(cmem.Pointer(c.out + at)) }

// Close closes the connection and rolls an open transaction back. All statements must have been finalized; those of virtual tables
// are SQLite's to finalize. If Close fails, SQLite may go on to use the files' memory.
func (c *Conn) Close() error {
	var err error
	if c.db != 0 {
		if rc := sqlite3.Xsqlite3_close(c.tls, c.db); rc != sqlite3.SQLITE_OK {
			err = c.failure(rc, "")
			sqlite3.Xsqlite3_close_v2(c.tls, c.db)
		}
		c.db = 0
	}
	conns.Remove(c.handle)
	cmem.Free(c.tls, c.out)
	c.tls.Close()
	return err
}

// Interrupt ends the statement that runs now, if one does, with ResultInterrupt. Any goroutine may call
// it, but not once Close has been called.
func (c *Conn) Interrupt() {
	tls := libc.NewTLS() // the connection's own belongs to the goroutine that runs
	sqlite3.Xsqlite3_interrupt(tls, c.db)
	tls.Close()
}

// SetConfig sets an option of sqlite3_db_config that is a number.
func (c *Conn) SetConfig(option Config, value int32) error {
	va := cmem.Malloc(c.tls, 16)
	defer cmem.Free(c.tls, va)
	return c.check(sqlite3.Xsqlite3_db_config(c.tls, c.db, int32(option), libc.VaList(va, value, uintptr(0))))
}

// SetLimit sets a limit of sqlite3_limit.
func (c *Conn) SetLimit(limit Limit, value int32) {
	sqlite3.Xsqlite3_limit(c.tls, c.db, int32(limit), value)
}

// ExecScript runs all statements of a script. Their rows are dropped.
func (c *Conn) ExecScript(sql string) error {
	text := cmem.CString(c.tls, sql)
	defer cmem.Free(c.tls, text)
	if rc := sqlite3.Xsqlite3_exec(c.tls, c.db, text, 0, 0, 0); rc != sqlite3.SQLITE_OK {
		return c.failure(rc, sql)
	}
	return nil
}

// AutocommitEnabled reports whether no transaction is open.
func (c *Conn) AutocommitEnabled() bool { return sqlite3.Xsqlite3_get_autocommit(c.tls, c.db) != 0 }

// Writing reports whether the open transaction has written anything.
func (c *Conn) Writing() bool {
	return sqlite3.Xsqlite3_txn_state(c.tls, c.db, 0) == sqlite3.SQLITE_TXN_WRITE
}

// Changes returns how many rows the newest INSERT, UPDATE or DELETE has changed, triggers' rows excluded.
func (c *Conn) Changes() int64 { return sqlite3.Xsqlite3_changes64(c.tls, c.db) }

// TotalChanges returns how many rows were changed since the connection was opened, triggers' rows included.
func (c *Conn) TotalChanges() int64 { return sqlite3.Xsqlite3_total_changes64(c.tls, c.db) }

// LastInsertRowID returns the rowid of the newest insertion.
func (c *Conn) LastInsertRowID() int64 { return sqlite3.Xsqlite3_last_insert_rowid(c.tls, c.db) }

// SetLastInsertRowID sets what LastInsertRowID returns until the next insertion.
func (c *Conn) SetLastInsertRowID(id int64) { sqlite3.Xsqlite3_set_last_insert_rowid(c.tls, c.db, id) }

// DeferredForeignKeys reports whether a deferred foreign key is violated now.
func (c *Conn) DeferredForeignKeys() bool {
	rc := sqlite3.Xsqlite3_db_status(c.tls, c.db, sqlite3.SQLITE_DBSTATUS_DEFERRED_FKS, c.out, c.out+8, 0)
	return rc == sqlite3.SQLITE_OK && c.outInt32(0) != 0
}

// ReleaseMemory gives back what the connection can do without, its page cache for example.
func (c *Conn) ReleaseMemory() { sqlite3.Xsqlite3_db_release_memory(c.tls, c.db) }

// Collation returns the name of the collation of a column of the database main; "" if there is no such column.
func (c *Conn) Collation(table, column string) string {
	main, t, col := cmem.CString(c.tls, "main"), cmem.CString(c.tls, table), cmem.CString(c.tls, column)
	defer func() { cmem.Free(c.tls, main); cmem.Free(c.tls, t); cmem.Free(c.tls, col) }()
	rc := sqlite3.Xsqlite3_table_column_metadata(c.tls, c.db, main, t, col, 0, c.out, 0, 0, 0)
	if rc != sqlite3.SQLITE_OK {
		return ""
	}
	return cmem.String(c.outPointer(0))
}

// FileControl asks the database main for a pointer by sqlite3_file_control.
func (c *Conn) FileControl(op FileControl) (uintptr, error) {
	main := cmem.CString(c.tls, "main")
	defer cmem.Free(c.tls, main)
	*(*uintptr)(cmem.Pointer(c.out)) = 0
	if err := c.check(sqlite3.Xsqlite3_file_control(c.tls, c.db, main, int32(op), c.out)); err != nil {
		return 0, err
	}
	return c.outPointer(0), nil
}

// ReserveBytes has a database that has no pages yet leave bytes at the end of each page to others. A database that VACUUM INTO makes
// of this one has as many.
func (c *Conn) ReserveBytes(n int32) error {
	main := cmem.CString(c.tls, "main")
	defer cmem.Free(c.tls, main)
	cmem.PutInt32(c.out, n)
	return c.check(sqlite3.Xsqlite3_file_control(c.tls, c.db, main, sqlite3.SQLITE_FCNTL_RESERVE_BYTES, c.out))
}

// SetAutoCheckpoint has SQLite run a checkpoint whenever a commit leaves so many frames in the WAL; 0 turns that off.
func (c *Conn) SetAutoCheckpoint(frames int) {
	sqlite3.Xsqlite3_wal_autocheckpoint(c.tls, c.db, int32(frames))
}

// Checkpoint moves the WAL's frames into the database main. It returns how many frames the WAL has, and
// how many of them are in the database now.
func (c *Conn) Checkpoint(mode CheckpointMode) (logged, done int, err error) {
	main := cmem.CString(c.tls, "main")
	defer cmem.Free(c.tls, main)
	rc := sqlite3.Xsqlite3_wal_checkpoint_v2(c.tls, c.db, main, int32(mode), c.out, c.out+8)
	if rc != sqlite3.SQLITE_OK {
		return 0, 0, &Error{Code: ResultCode(rc), Message: ResultCode(rc).String(), SQL: "checkpoint"}
	}
	return int(c.outInt32(0)), int(c.outInt32(8)), nil
}

// Serialize returns a copy of the database main, as it would be in a file.
func (c *Conn) Serialize() ([]byte, error) {
	main := cmem.CString(c.tls, "main")
	defer cmem.Free(c.tls, main)
	p := sqlite3.Xsqlite3_serialize(c.tls, c.db, main, c.out, 0)
	if p == 0 {
		return nil, c.failure(sqlite3.SQLITE_NOMEM, "serialize")
	}
	defer cmem.Free(c.tls, p)
	size := *(*int64)(cmem.Pointer(c.out))
	return append([]byte(nil), cmem.Bytes(p, int(size))...), nil
}
