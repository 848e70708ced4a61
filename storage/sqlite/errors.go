package sqlite

import (
	"fmt"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// Error is an error that SQLite returned.
type Error struct {
	Code    ResultCode // extended
	Message string     // SQLite's text
	SQL     string     // the statement, "" if there is none
}

func (e *Error) Error() string { return fmt.Sprintf("sqlite: %s (%d)", e.Message, e.Code) }

// ResultCode is a result code of SQLite's, see sqlite.org/rescode.html. An extended code has its
// primary code in the lowest eight bits.
type ResultCode int32

// Primary returns the primary code of an extended one.
func (r ResultCode) Primary() ResultCode { return r & 0xff }

// String returns SQLite's English text for the code.
func (r ResultCode) String() string {
	tls := libc.NewTLS()
	defer tls.Close()
	return cmem.String(sqlite3.Xsqlite3_errstr(tls, int32(r)))
}

// ErrorOf returns the error of a code that no connection has given.
func ErrorOf(code ResultCode) *Error { return &Error{Code: code, Message: code.String()} }

// failure makes the error of a call that returned rc.
func (c *Conn) failure(rc int32, sql string) *Error {
	e := &Error{Code: ResultCode(rc), SQL: sql}
	if c.db != 0 {
		e.Message = cmem.String(sqlite3.Xsqlite3_errmsg(c.tls, c.db))
	} else {
		e.Message = e.Code.String()
	}
	if c.explain != nil {
		if more := c.explain(e.Code); more != "" {
			e.Message += ": " + more
		}
	}
	return e
}

// Explain sets a function that says more about an error than SQLite does, for its Message; "": nothing.
func (c *Conn) Explain(more func(ResultCode) string) { c.explain = more }

// check is failure where rc may be SQLITE_OK.
func (c *Conn) check(rc int32) error {
	if rc == sqlite3.SQLITE_OK {
		return nil
	}
	return c.failure(rc, "")
}
