package sqlite

// Results. A row is copied out of SQLite, so that it can be read when the statement is gone.

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"
)

// Row is a copy of a row of a result. The columns that its methods take are counted from 0.
type Row struct {
	columns []string
	raw     []byte
	starts  []int // where the columns begin in raw
	err     error
}

// NewRow makes a row of columns with these names, which has no values yet.
func NewRow(columns []string) Row { return Row{columns: columns, starts: make([]int, len(columns))} }

// Read makes r the row that s has reached.
func (r *Row) Read(s *Stmt) {
	raw := r.raw[:0]
	for i := range r.starts {
		r.starts[i] = len(raw)
		raw = s.AppendColumn(raw, i)
	}
	r.raw = raw
}

// Set makes r a row that is given as bytes, without a copy.
func (r *Row) Set(raw []byte) {
	r.raw = raw
	at := 0
	for i := range r.starts {
		r.starts[i] = at
		at += Size(raw[at:])
	}
}

// Raw returns the row as bytes, which are valid until Read or Set.
func (r *Row) Raw() []byte { return r.raw }

// Columns returns the columns' names.
func (r *Row) Columns() []string { return r.columns }

// SetColumns gives the columns other names.
func (r *Row) SetColumns(columns []string) { r.columns = columns }

// Err returns an error with ResultMismatch if Int, Float or Bytes was called for a column of another type.
func (r *Row) Err() error { return r.err }

// Type returns the storage class of column i.
func (r *Row) Type(i int) Type { return Type(r.raw[r.starts[i]]) }

// Int returns an Integer column. For a column of another type it returns 0, and Err an error. So do Float and Bytes.
func (r *Row) Int(i int) int64 {
	if t := r.Type(i); t != Integer {
		r.mistyped(i, Integer)
		return 0
	}
	return Int64(r.raw[r.starts[i]:])
}

// Float returns a Float column.
func (r *Row) Float(i int) float64 {
	if t := r.Type(i); t != Float {
		r.mistyped(i, Float)
		return 0
	}
	return Float64(r.raw[r.starts[i]:])
}

// Bytes returns a Text or Blob column without a copy: it is valid until Read or Set, and must not be written to.
func (r *Row) Bytes(i int) []byte {
	v := r.raw[r.starts[i]:]
	if t := Type(v[0]); t != Text && t != Blob {
		r.mistyped(i, Text)
		return nil
	}
	n := Size(v)
	return v[5:n:n]
}

// Expect returns an error with ResultMismatch unless the columns have these types.
func (r *Row) Expect(types ...Type) error {
	if len(types) != len(r.starts) {
		return misuse("Expect of %d columns in a row of %d", len(types), len(r.starts))
	}
	for i, want := range types {
		if got := r.Type(i); got != want {
			return &Error{Code: ResultMismatch, Message: fmt.Sprintf("column %q is %s, not %s", r.columns[i], got, want)}
		}
	}
	return nil
}

// mistyped notes that a column does not have the type that the reader relies on.
func (r *Row) mistyped(i int, want Type) {
	if r.err == nil {
		r.err = &Error{Code: ResultMismatch, Message: fmt.Sprintf("column %q is %s, not %s", r.columns[i], r.Type(i), want)}
	}
}

// Values returns a copy of the row.
func (r *Row) Values() []Value { return Values(r.raw, len(r.starts)) }

// Value returns a copy of column i.
func (r *Row) Value(i int) Value {
	switch r.Type(i) {
	case Integer:
		return r.Int(i)
	case Float:
		return r.Float(i)
	case Text:
		return string(r.Bytes(i))
	case Blob:
		return append([]byte{}, r.Bytes(i)...)
	}
	return nil
}

// Scan copies the row into dest, one for each column: pointers to the types that Stmt.Bind takes, to
// named forms of them, to a pointer (nil for NULL), to any, or a sql.Scanner.
func (r *Row) Scan(dest ...any) error {
	if len(dest) != len(r.starts) {
		return misuse("Scan of %d columns into %d", len(r.starts), len(dest))
	}
	for i, to := range dest {
		if err := r.scan(i, to); err != nil {
			if e, is := err.(*Error); is {
				return misuse("column %q: %s", r.columns[i], e.Message)
			}
			return fmt.Errorf("sqlite: column %q: %w", r.columns[i], err)
		}
	}
	return nil
}

func (r *Row) scan(i int, dest any) error {
	t := r.Type(i)
	switch to := dest.(type) {
	case *any:
		*to = r.Value(i)
		return nil
	case *string:
		if t == Text || t == Blob {
			*to = string(r.Bytes(i))
			return nil
		}
	case *int64:
		if t == Integer {
			*to = r.Int(i)
			return nil
		}
	case *[]byte:
		return r.scanBytes(i, to)
	case *json.RawMessage:
		return r.scanBytes(i, (*[]byte)(to))
	case *time.Time:
		if t == Integer {
			*to = time.UnixMilli(r.Int(i))
			return nil
		}
	case sql.Scanner:
		return to.Scan(r.Value(i))
	}
	v := reflect.ValueOf(dest)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return misuse("cannot scan into %T", dest)
	}
	return r.scanInto(i, v.Elem())
}

func (r *Row) scanBytes(i int, to *[]byte) error {
	switch r.Type(i) {
	case Null:
		*to = nil
	case Text, Blob:
		*to = append([]byte{}, r.Bytes(i)...)
	default:
		return misuse("a number does not fit bytes")
	}
	return nil
}

// scanInto is for what the fast cases of scan do not name.
func (r *Row) scanInto(i int, v reflect.Value) error {
	t := r.Type(i)
	switch v.Kind() {
	case reflect.Pointer:
		if t == Null {
			v.SetZero()
			return nil
		}
		to := reflect.New(v.Type().Elem())
		if err := r.scan(i, to.Interface()); err != nil {
			return err
		}
		v.Set(to)
		return nil
	case reflect.String:
		if t == Text || t == Blob {
			v.SetString(string(r.Bytes(i)))
			return nil
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			var b []byte
			err := r.scanBytes(i, &b)
			v.SetBytes(b)
			return err
		}
	case reflect.Bool:
		if t == Integer {
			v.SetBool(r.Int(i) != 0)
			return nil
		}
	default:
		if n, ok := r.whole(i); ok && setNumber(v, n) {
			return nil
		}
		if t == Float && v.CanFloat() {
			v.SetFloat(r.Float(i))
			return nil
		}
	}
	return misuse("%s does not fit %s", t, v.Type())
}

// whole gives a number without a fraction as an integer.
func (r *Row) whole(i int) (int64, bool) {
	switch r.Type(i) {
	case Integer:
		return r.Int(i), true
	case Float:
		f := r.Float(i)
		return int64(f), f == math.Trunc(f) && math.Abs(f) < 1<<63
	}
	return 0, false
}

func setNumber(v reflect.Value, n int64) bool {
	switch {
	case v.CanInt() && !v.OverflowInt(n):
		v.SetInt(n)
	case v.CanUint() && n >= 0 && !v.OverflowUint(uint64(n)):
		v.SetUint(uint64(n))
	case v.CanFloat():
		v.SetFloat(float64(n))
	default:
		return false
	}
	return true
}
