package sqlite

import (
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// Stmt is a prepared statement. It has the C memory of its arguments: SQLite is told that this is
// static, which is true until the next Bind, and gets no Go memory.
type Stmt struct {
	c        *Conn
	p        uintptr
	sql      string
	columns  []string
	params   int
	readOnly bool

	args     uintptr // C memory of the bound texts and blobs
	argsCap  int
	argsUsed int
}

// Prepare compiles the first statement of sql and returns what follows it. The statement is nil if
// there are only space and comments.
func (c *Conn) Prepare(sql string, flags PrepareFlags) (s *Stmt, trailing string, err error) {
	if strings.IndexByte(sql, 0) >= 0 {
		return nil, "", &Error{Code: ResultMisuse, Message: "NUL in an SQL text", SQL: sql}
	}
	text := cmem.CString(c.tls, sql)
	defer cmem.Free(c.tls, text)
	rc := sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, text, int32(len(sql)+1), uint32(flags), c.out, c.out+8)
	p, used := c.outPointer(0), int(c.outPointer(8)-text)
	if rc != sqlite3.SQLITE_OK {
		return nil, "", c.failure(rc, sql)
	}
	if p == 0 {
		return nil, sql[used:], nil
	}
	s = &Stmt{
		c: c, p: p, sql: sql[:used],
		params:   int(sqlite3.Xsqlite3_bind_parameter_count(c.tls, p)),
		readOnly: sqlite3.Xsqlite3_stmt_readonly(c.tls, p) != 0,
		columns:  make([]string, sqlite3.Xsqlite3_column_count(c.tls, p)),
	}
	for i := range s.columns {
		s.columns[i] = cmem.String(sqlite3.Xsqlite3_column_name(c.tls, p, int32(i)))
	}
	return s, sql[used:], nil
}

// SQL returns the statement's text.
func (s *Stmt) SQL() string { return s.sql }

// Columns returns the names of the result's columns.
func (s *Stmt) Columns() []string { return s.columns }

// ReadOnly reports whether the statement does not write.
func (s *Stmt) ReadOnly() bool { return s.readOnly }

// Step runs the statement to its next row and reports whether there is one.
func (s *Stmt) Step() (row bool, err error) {
	switch rc := sqlite3.Xsqlite3_step(s.c.tls, s.p); rc {
	case sqlite3.SQLITE_ROW:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	default:
		return false, s.c.failure(rc, s.sql)
	}
}

// AppendColumn appends column i of the row that Step has reached.
func (s *Stmt) AppendColumn(dst []byte, i int) []byte {
	return s.c.appendValue(dst, sqlite3.Xsqlite3_column_value(s.c.tls, s.p, int32(i)))
}

// appendValue appends a sqlite3_value.
func (c *Conn) appendValue(dst []byte, v uintptr) []byte {
	switch sqlite3.Xsqlite3_value_type(c.tls, v) {
	case sqlite3.SQLITE_INTEGER:
		return AppendInt64(dst, sqlite3.Xsqlite3_value_int64(c.tls, v))
	case sqlite3.SQLITE_FLOAT:
		return AppendFloat64(dst, sqlite3.Xsqlite3_value_double(c.tls, v))
	case sqlite3.SQLITE_TEXT:
		p := sqlite3.Xsqlite3_value_text(c.tls, v)
		return AppendBytes(dst, Text, cmem.Bytes(p, int(sqlite3.Xsqlite3_value_bytes(c.tls, v))))
	case sqlite3.SQLITE_BLOB:
		p := sqlite3.Xsqlite3_value_blob(c.tls, v)
		return AppendBytes(dst, Blob, cmem.Bytes(p, int(sqlite3.Xsqlite3_value_bytes(c.tls, v))))
	}
	return append(dst, byte(Null))
}

// keepArgs is how much memory for arguments a statement keeps that does not run.
const keepArgs = 16 << 10

// Reset ends the run of the statement, which can then be bound and run again. Arguments stay bound as long as they are not large.
func (s *Stmt) Reset() {
	sqlite3.Xsqlite3_reset(s.c.tls, s.p)
	if s.argsCap > keepArgs {
		sqlite3.Xsqlite3_clear_bindings(s.c.tls, s.p)
		s.dropArgs()
	}
}

// Finalize gives all back that the statement has. A statement may be finalized more than once.
func (s *Stmt) Finalize() {
	if s.p != 0 {
		sqlite3.Xsqlite3_finalize(s.c.tls, s.p)
		s.p = 0
	}
	s.dropArgs()
}

func (s *Stmt) dropArgs() {
	cmem.Free(s.c.tls, s.args)
	s.args, s.argsCap, s.argsUsed = 0, 0, 0
}

// Quote returns a name as SQL writes it, whatever it contains.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Blank reports whether an SQL text has only space, semicolons and comments.
func Blank(sql string) bool {
	for {
		sql = strings.TrimLeft(sql, " \t\r\n\f;")
		switch {
		case sql == "":
			return true
		case strings.HasPrefix(sql, "--"):
			i := strings.IndexByte(sql, '\n')
			if i < 0 {
				return true
			}
			sql = sql[i:]
		case strings.HasPrefix(sql, "/*"):
			i := strings.Index(sql[2:], "*/")
			if i < 0 {
				return true
			}
			sql = sql[i+4:]
		default:
			return false
		}
	}
}
