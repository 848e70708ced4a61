package storage

// Arguments of statements: which Go types they may have, and how they get into
// SQLite with one copy and no allocation.

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
)

// bind binds args, all of them: a statement keeps what was bound before.
func (d *DB) bind(s *statement, args []any) error {
	if len(args) != s.params {
		return fmt.Errorf("storage: %w: %d arguments for %d parameters in %q", ErrMisuse, len(args), s.params, s.sql)
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
	d.reserve(s, need)
	for i, a := range args {
		if err := d.bindArg(s, i+1, a); err != nil {
			return err
		}
	}
	return nil
}

// reserve makes room for n bytes of texts and blobs, and forgets the last ones.
func (d *DB) reserve(s *statement, n int) {
	s.argsUsed = 0
	if s.args != 0 && n <= s.argsCap {
		return
	}
	d.dropArgs(s)
	s.argsCap = max(256, n)
	s.args = d.c.malloc(s.argsCap)
}

// place copies n bytes into the statement's memory; there is room for them. The
// address is never 0, so that an empty text or blob is not taken for NULL.
func (s *statement) place(n int) (uintptr, []byte) {
	p := s.args + uintptr(s.argsUsed)
	s.argsUsed += n
	return p, cmem.Bytes(p, n)
}

func (d *DB) bindArg(s *statement, i int, a any) error {
	switch a := a.(type) {
	case nil:
		return d.bindNull(s, i)
	case string:
		p, b := s.place(len(a))
		copy(b, a)
		return d.bindText(s, i, p, len(a))
	case int64:
		return d.bindInt(s, i, a)
	case int:
		return d.bindInt(s, i, int64(a))
	case bool:
		if a {
			return d.bindInt(s, i, 1)
		}
		return d.bindInt(s, i, 0)
	case float64:
		return d.bindFloat(s, i, a)
	case []byte:
		if a == nil {
			return d.bindNull(s, i)
		}
		p, b := s.place(len(a))
		copy(b, a)
		return d.bindBlob(s, i, p, len(a))
	case json.RawMessage:
		if a == nil {
			return d.bindNull(s, i)
		}
		p, b := s.place(len(a))
		copy(b, a)
		return d.bindText(s, i, p, len(a))
	case time.Time:
		return d.bindInt(s, i, a.UnixMilli())
	}
	return d.bindOther(s, i, a)
}

// bindOther takes the rarer types: other numbers, named types, driver.Valuer.
func (d *DB) bindOther(s *statement, i int, a any) error {
	if v, ok := a.(driver.Valuer); ok {
		got, err := v.Value()
		if err != nil {
			return fmt.Errorf("storage: argument %d: %w", i, err)
		}
		return d.bindLate(s, i, got)
	}
	v := reflect.ValueOf(a)
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return d.bindNull(s, i)
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int, reflect.Int64:
		return d.bindInt(s, i, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return fmt.Errorf("storage: %w: argument %d: %d is beyond 64-bit integers", ErrMisuse, i, v.Uint())
		}
		return d.bindInt(s, i, int64(v.Uint()))
	case reflect.Float32, reflect.Float64:
		return d.bindFloat(s, i, v.Float())
	case reflect.Bool:
		return d.bindLate(s, i, v.Bool())
	case reflect.String:
		return d.bindLate(s, i, v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return d.bindLate(s, i, v.Bytes())
		}
	}
	return fmt.Errorf("storage: %w: argument %d has type %T", ErrMisuse, i, a)
}

// bindLate binds a value whose bytes were not reserved: SQLite copies them.
func (d *DB) bindLate(s *statement, i int, a any) error {
	switch a := a.(type) {
	case string:
		p := d.c.cstring(a)
		defer d.c.free(p)
		return d.bound(s, sqlite3.Xsqlite3_bind_text64(d.c.tls, s.p, int32(i), p, uint64(len(a)), transient, sqlite3.SQLITE_UTF8))
	case []byte:
		if a == nil {
			return d.bindNull(s, i)
		}
		p := d.c.malloc(len(a) + 1)
		defer d.c.free(p)
		copy(cmem.Bytes(p, len(a)), a)
		return d.bound(s, sqlite3.Xsqlite3_bind_blob64(d.c.tls, s.p, int32(i), p, uint64(len(a)), transient))
	case nil, int64, int, bool, float64, time.Time:
		return d.bindArg(s, i, a)
	}
	return fmt.Errorf("storage: %w: argument %d has type %T", ErrMisuse, i, a)
}

// What SQLite is told of a text's or blob's memory.
const (
	static    = 0           // stays until the statement is bound again
	transient = ^uintptr(0) // must be copied
)

func (d *DB) bound(s *statement, rc int32) error {
	if rc != sqlite3.SQLITE_OK {
		return d.c.failure(rc, s.sql)
	}
	return nil
}

func (d *DB) bindNull(s *statement, i int) error {
	return d.bound(s, sqlite3.Xsqlite3_bind_null(d.c.tls, s.p, int32(i)))
}

func (d *DB) bindInt(s *statement, i int, v int64) error {
	return d.bound(s, sqlite3.Xsqlite3_bind_int64(d.c.tls, s.p, int32(i), v))
}

func (d *DB) bindFloat(s *statement, i int, v float64) error {
	return d.bound(s, sqlite3.Xsqlite3_bind_double(d.c.tls, s.p, int32(i), v))
}

func (d *DB) bindText(s *statement, i int, p uintptr, n int) error {
	return d.bound(s, sqlite3.Xsqlite3_bind_text64(d.c.tls, s.p, int32(i), p, uint64(n), static, sqlite3.SQLITE_UTF8))
}

func (d *DB) bindBlob(s *statement, i int, p uintptr, n int) error {
	return d.bound(s, sqlite3.Xsqlite3_bind_blob64(d.c.tls, s.p, int32(i), p, uint64(n), static))
}

// bindImage binds a value in the form of package sqlite. Its bytes were reserved.
func (d *DB) bindImage(s *statement, i int, v []byte) error {
	switch Type(v[0]) {
	case Integer:
		return d.bindInt(s, i, sqlite.Int64(v))
	case Float:
		return d.bindFloat(s, i, sqlite.Float64(v))
	case Text, Blob:
		raw := v[5:sqlite.Size(v)]
		p, b := s.place(len(raw))
		copy(b, raw)
		if Type(v[0]) == Text {
			return d.bindText(s, i, p, len(raw))
		}
		return d.bindBlob(s, i, p, len(raw))
	}
	return d.bindNull(s, i)
}
