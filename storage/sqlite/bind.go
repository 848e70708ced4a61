package sqlite

// Arguments of statements: which Go types they may have, and how they get into SQLite with one copy and no allocation.

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// Bind binds all parameters. An argument may be nil, a bool, a number, a string, []byte (nil is NULL), json.RawMessage (a text),
// time.Time (Unix milliseconds), a named form of these, or a driver.Valuer. It is copied. NaN becomes NULL.
func (s *Stmt) Bind(args []any) error {
	if len(args) != s.params {
		return misuse("%d arguments for %d parameters in %q", len(args), s.params, s.sql)
	}
	need := 0
	for _, a := range args {
		switch a := a.(type) {
		case string:
			need += len(a)
		case []byte:
			need += len(a)
		case json.RawMessage:
			need += len(a)
		}
	}
	s.Reserve(need)
	for i, a := range args {
		if err := s.bindArg(i+1, a); err != nil {
			return err
		}
	}
	return nil
}

// Reserve makes room for n bytes of texts and blobs that BindRaw will bind. What was bound before is lost.
func (s *Stmt) Reserve(n int) {
	s.argsUsed = 0
	if s.args != 0 && n <= s.argsCap {
		return
	}
	s.dropArgs()
	s.argsCap = max(256, n)
	s.args = cmem.Malloc(s.c.tls, s.argsCap)
}

// place copies n bytes into the statement's memory; there is room for them. The
// address is never 0, so that an empty text or blob is not taken for NULL.
func (s *Stmt) place(n int) (uintptr, []byte) {
	p := s.args + uintptr(s.argsUsed)
	s.argsUsed += n
	return p, cmem.Bytes(p, n)
}

func (s *Stmt) bindArg(i int, a any) error {
	switch a := a.(type) {
	case nil:
		return s.bindNull(i)
	case string:
		p, b := s.place(len(a))
		copy(b, a)
		return s.bindText(i, p, len(a))
	case int64:
		return s.BindInt64(i, a)
	case int:
		return s.BindInt64(i, int64(a))
	case bool:
		if a {
			return s.BindInt64(i, 1)
		}
		return s.BindInt64(i, 0)
	case float64:
		return s.bindFloat(i, a)
	case []byte:
		if a == nil {
			return s.bindNull(i)
		}
		p, b := s.place(len(a))
		copy(b, a)
		return s.bindBlob(i, p, len(a))
	case json.RawMessage:
		if a == nil {
			return s.bindNull(i)
		}
		p, b := s.place(len(a))
		copy(b, a)
		return s.bindText(i, p, len(a))
	case time.Time:
		return s.BindInt64(i, a.UnixMilli())
	}
	return s.bindOther(i, a)
}

// bindOther takes the rarer types: other numbers, named types, driver.Valuer.
func (s *Stmt) bindOther(i int, a any) error {
	if v, ok := a.(driver.Valuer); ok {
		got, err := v.Value()
		if err != nil {
			return fmt.Errorf("sqlite: argument %d: %w", i, err)
		}
		return s.bindLate(i, got)
	}
	v := reflect.ValueOf(a)
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return s.bindNull(i)
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int, reflect.Int64:
		return s.BindInt64(i, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return misuse("argument %d: %d is beyond 64-bit integers", i, v.Uint())
		}
		return s.BindInt64(i, int64(v.Uint()))
	case reflect.Float32, reflect.Float64:
		return s.bindFloat(i, v.Float())
	case reflect.Bool:
		return s.bindLate(i, v.Bool())
	case reflect.String:
		return s.bindLate(i, v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return s.bindLate(i, v.Bytes())
		}
	}
	return misuse("argument %d has type %T", i, a)
}

// bindLate binds a value whose bytes were not reserved: SQLite copies them.
func (s *Stmt) bindLate(i int, a any) error {
	switch a := a.(type) {
	case string:
		p := cmem.CString(s.c.tls, a)
		defer cmem.Free(s.c.tls, p)
		return s.bound(sqlite3.Xsqlite3_bind_text64(s.c.tls, s.p, int32(i), p, uint64(len(a)), transient, sqlite3.SQLITE_UTF8))
	case []byte:
		if a == nil {
			return s.bindNull(i)
		}
		p := cmem.Malloc(s.c.tls, len(a)+1)
		defer cmem.Free(s.c.tls, p)
		copy(cmem.Bytes(p, len(a)), a)
		return s.bound(sqlite3.Xsqlite3_bind_blob64(s.c.tls, s.p, int32(i), p, uint64(len(a)), transient))
	case nil, int64, int, bool, float64, time.Time:
		return s.bindArg(i, a)
	}
	return misuse("argument %d has type %T", i, a)
}

// What SQLite is told of a text's or blob's memory.
const (
	static    = 0           // stays until the statement is bound again
	transient = ^uintptr(0) // must be copied
)

func misuse(format string, args ...any) error {
	return &Error{Code: ResultMisuse, Message: fmt.Sprintf(format, args...)}
}

func (s *Stmt) bound(rc int32) error {
	if rc != sqlite3.SQLITE_OK {
		return s.c.failure(rc, s.sql)
	}
	return nil
}

func (s *Stmt) bindNull(i int) error {
	return s.bound(sqlite3.Xsqlite3_bind_null(s.c.tls, s.p, int32(i)))
}

// BindInt64 binds an integer to parameter i; the first one is 1.
func (s *Stmt) BindInt64(i int, v int64) error {
	return s.bound(sqlite3.Xsqlite3_bind_int64(s.c.tls, s.p, int32(i), v))
}

func (s *Stmt) bindFloat(i int, v float64) error {
	return s.bound(sqlite3.Xsqlite3_bind_double(s.c.tls, s.p, int32(i), v))
}

func (s *Stmt) bindText(i int, p uintptr, n int) error {
	return s.bound(sqlite3.Xsqlite3_bind_text64(s.c.tls, s.p, int32(i), p, uint64(n), static, sqlite3.SQLITE_UTF8))
}

func (s *Stmt) bindBlob(i int, p uintptr, n int) error {
	return s.bound(sqlite3.Xsqlite3_bind_blob64(s.c.tls, s.p, int32(i), p, uint64(n), static))
}

// BindRaw binds a value that is given as bytes, for which Reserve has made room.
func (s *Stmt) BindRaw(i int, v []byte) error {
	switch Type(v[0]) {
	case Integer:
		return s.BindInt64(i, Int64(v))
	case Float:
		return s.bindFloat(i, Float64(v))
	case Text, Blob:
		raw := v[5:Size(v)]
		p, b := s.place(len(raw))
		copy(b, raw)
		if Type(v[0]) == Text {
			return s.bindText(i, p, len(raw))
		}
		return s.bindBlob(i, p, len(raw))
	}
	return s.bindNull(i)
}
