package storage

// The calls into the translated SQLite, and nothing of Den's rules: handles are
// numbers here, memory is C memory, and each function does one call.

import (
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
)

// conn is one SQLite connection. It is not safe for two goroutines: the DB's
// mutex guards it.
type conn struct {
	tls *libc.TLS
	db  uintptr
	out uintptr // 16 bytes of C memory for results that come through a pointer
	vfs uintptr // a VFS of its own, in C memory; 0: it has none
}

func (c *conn) malloc(n int) uintptr {
	p := sqlite3.Xsqlite3_malloc64(c.tls, uint64(n))
	if p == 0 {
		panic("storage: out of memory")
	}
	return p
}

func (c *conn) free(p uintptr) { sqlite3.Xsqlite3_free(c.tls, p) }

// cstring copies s into C memory, with a NUL behind it. The caller frees it.
func (c *conn) cstring(s string) uintptr {
	p := c.malloc(len(s) + 1)
	b := cmem.Bytes(p, len(s)+1)
	copy(b, s)
	b[len(s)] = 0
	return p
}

// openFile opens path; sqlite3_open_v2 may give a handle along with an error.
func openFile(vfs, path string, flags int32) (*conn, error) {
	c := &conn{tls: libc.NewTLS()}
	c.out = c.malloc(16)
	name := c.cstring(path)
	defer c.free(name)
	system := uintptr(0)
	if vfs != "" {
		system = c.cstring(vfs)
		defer c.free(system)
	}
	rc := sqlite3.Xsqlite3_open_v2(c.tls, name, c.out, flags, system)
	c.db = *(*uintptr)(cmem.Pointer(c.out))
	if rc != sqlite3.SQLITE_OK {
		err := c.failure(rc, "")
		c.close(nil)
		return nil, err
	}
	sqlite3.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	return c, nil
}

// filename makes SQLite's form of a database's name, in C memory.
func (c *conn) filename(path string) uintptr {
	file, journal, wal := c.cstring(path), c.cstring(path+"-journal"), c.cstring(path+"-wal")
	defer func() { c.free(file); c.free(journal); c.free(wal) }()
	name := sqlite3.Xsqlite3_create_filename(c.tls, file, journal, wal, 0, 0)
	if name == 0 {
		panic("storage: out of memory")
	}
	return name
}

// close gives everything back, the seat's memory too if there is one. The statements have been finalized: not by walking
// over what SQLite knows of, because FTS5 has statements of its own there.
func (c *conn) close(s *seat) error {
	var err error
	if c.db != 0 {
		if rc := sqlite3.Xsqlite3_close(c.tls, c.db); rc != sqlite3.SQLITE_OK {
			err = c.failure(rc, "")
			sqlite3.Xsqlite3_close_v2(c.tls, c.db)
		}
		c.db = 0
	}
	if err == nil {
		if s != nil {
			s.free(c.tls)
		}
		c.free(c.vfs)
	}
	c.free(c.out)
	c.tls.Close()
	return err
}

// failure makes the error of a call that returned rc.
func (c *conn) failure(rc int32, sql string) *Error {
	e := &Error{Code: int(rc), SQL: sql, kind: kindOf(rc)}
	if c.db != 0 {
		e.Message = cmem.String(sqlite3.Xsqlite3_errmsg(c.tls, c.db))
	} else {
		e.Message = cmem.String(sqlite3.Xsqlite3_errstr(c.tls, rc))
	}
	return e
}

// configure sets one of the on/off settings of sqlite3_db_config.
func (c *conn) configure(op int32, on int32) error {
	va := c.malloc(16)
	defer c.free(va)
	if rc := sqlite3.Xsqlite3_db_config(c.tls, c.db, op, libc.VaList(va, on, uintptr(0))); rc != sqlite3.SQLITE_OK {
		return c.failure(rc, "")
	}
	return nil
}

func (c *conn) limit(what, n int32) { sqlite3.Xsqlite3_limit(c.tls, c.db, what, n) }

// prepare compiles the first statement of sql, which is C memory of n bytes with
// a NUL behind them. It returns the handle (0 for a comment) and what it consumed.
func (c *conn) prepare(sql uintptr, n int, flags uint32) (p uintptr, used int, rc int32) {
	rc = sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, sql, int32(n+1), flags, c.out, c.out+8)
	p = *(*uintptr)(cmem.Pointer(c.out))
	if tail := *(*uintptr)(cmem.Pointer(c.out + 8)); tail != 0 {
		used = int(tail - sql)
	}
	return p, used, rc
}

func (c *conn) step(p uintptr) int32    { return sqlite3.Xsqlite3_step(c.tls, p) }
func (c *conn) reset(p uintptr)         { sqlite3.Xsqlite3_reset(c.tls, p) }
func (c *conn) finalize(p uintptr)      { sqlite3.Xsqlite3_finalize(c.tls, p) }
func (c *conn) autocommit() bool        { return sqlite3.Xsqlite3_get_autocommit(c.tls, c.db) != 0 }
func (c *conn) changes() int64          { return sqlite3.Xsqlite3_changes64(c.tls, c.db) }
func (c *conn) totalChanges() int64     { return sqlite3.Xsqlite3_total_changes64(c.tls, c.db) }
func (c *conn) lastInsertID() int64     { return sqlite3.Xsqlite3_last_insert_rowid(c.tls, c.db) }
func (c *conn) params(p uintptr) int    { return int(sqlite3.Xsqlite3_bind_parameter_count(c.tls, p)) }
func (c *conn) columns(p uintptr) int   { return int(sqlite3.Xsqlite3_column_count(c.tls, p)) }
func (c *conn) readOnly(p uintptr) bool { return sqlite3.Xsqlite3_stmt_readonly(c.tls, p) != 0 }

func (c *conn) columnName(p uintptr, i int) string {
	return cmem.String(sqlite3.Xsqlite3_column_name(c.tls, p, int32(i)))
}

// writing tells whether the open transaction has written anything.
func (c *conn) writing() bool {
	return sqlite3.Xsqlite3_txn_state(c.tls, c.db, 0) == sqlite3.SQLITE_TXN_WRITE
}

// deferredViolations tells whether a deferred foreign key is violated now.
func (c *conn) deferredViolations() bool {
	rc := sqlite3.Xsqlite3_db_status(c.tls, c.db, sqlite3.SQLITE_DBSTATUS_DEFERRED_FKS, c.out, c.out+8, 0)
	return rc == sqlite3.SQLITE_OK && *(*int32)(cmem.Pointer(c.out)) != 0
}

// appendColumn appends column i of the current row, in the form of package sqlite.
func (c *conn) appendColumn(dst []byte, p uintptr, i int) []byte {
	return c.appendValue(dst, sqlite3.Xsqlite3_column_value(c.tls, p, int32(i)))
}

// appendValue appends a sqlite3_value, in the form of package sqlite.
func (c *conn) appendValue(dst []byte, v uintptr) []byte {
	switch sqlite3.Xsqlite3_value_type(c.tls, v) {
	case sqlite3.SQLITE_INTEGER:
		return sqlite.AppendInt64(dst, sqlite3.Xsqlite3_value_int64(c.tls, v))
	case sqlite3.SQLITE_FLOAT:
		return sqlite.AppendFloat64(dst, sqlite3.Xsqlite3_value_double(c.tls, v))
	case sqlite3.SQLITE_TEXT:
		p := sqlite3.Xsqlite3_value_text(c.tls, v)
		return sqlite.AppendBytes(dst, Text, cmem.Bytes(p, int(sqlite3.Xsqlite3_value_bytes(c.tls, v))))
	case sqlite3.SQLITE_BLOB:
		p := sqlite3.Xsqlite3_value_blob(c.tls, v)
		return sqlite.AppendBytes(dst, Blob, cmem.Bytes(p, int(sqlite3.Xsqlite3_value_bytes(c.tls, v))))
	}
	return append(dst, byte(Null))
}

// side is one of the two rows that the pre-update hook offers.
type side uint8

const (
	oldRow side = iota
	newRow
)

// preupdate appends column i of the row in the pre-update hook. A column that
// SQLite cannot give there counts as NULL.
func (c *conn) preupdate(dst []byte, of side, i int) []byte {
	var rc int32
	if of == oldRow {
		rc = sqlite3.Xsqlite3_preupdate_old(c.tls, c.db, int32(i), c.out)
	} else {
		rc = sqlite3.Xsqlite3_preupdate_new(c.tls, c.db, int32(i), c.out)
	}
	if rc != sqlite3.SQLITE_OK {
		return append(dst, byte(Null))
	}
	return c.appendValue(dst, *(*uintptr)(cmem.Pointer(c.out)))
}

// collation gives the name of a column's collation.
func (c *conn) collation(table, column string) string {
	schema, t, col := c.cstring("main"), c.cstring(table), c.cstring(column)
	defer func() { c.free(schema); c.free(t); c.free(col) }()
	rc := sqlite3.Xsqlite3_table_column_metadata(c.tls, c.db, schema, t, col, 0, c.out, 0, 0, 0)
	if rc != sqlite3.SQLITE_OK {
		return ""
	}
	return cmem.String(*(*uintptr)(cmem.Pointer(c.out)))
}
