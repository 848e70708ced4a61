package storage

// Results. A row is copied out of SQLite when Next gets to it, into memory that
// the Rows keeps: so its accessors need no lock, and a fenced life that still
// holds a Rows reads nothing that was given back.

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/denrooms/den/storage/sqlite"
)

// Rows is the result of a query. It closes itself behind the last row, on an
// error, and when the action ends in which it was made. It is used by the
// goroutine that made it. A write to a table that a Rows is reading may or may
// not show up in it.
type Rows struct {
	d      *DB
	s      *statement
	names  []string
	err    error
	wrong  error // a column had another type than the reader relied on
	open   bool
	acting bool // made inside of an action, and closed with it
	ahead  bool // the first row was fetched by the query itself
	mem    []byte
	starts []int // where the columns begin in mem

	// Of a Since, which has no statement of its own.

	table   *table
	changed []changedKey // those that are still to come
	part    *partEnd     // of a SincePart
}

// rows steps to the first row, so that a failing or writing statement does so
// in the call that made it.
func (d *DB) rows(s *statement) (*Rows, error) {
	r := &Rows{d: d, s: s, names: s.names, open: true, acting: d.rec.on, starts: make([]int, len(s.names))}
	row, err := d.step(s)
	if err != nil {
		d.release(s)
		return nil, err
	}
	if !row {
		d.release(s)
		r.open = false
		return r, nil
	}
	r.fetch()
	r.ahead = true
	d.results = append(d.results, r)
	return r, nil
}

// fetch copies the statement's row.
func (r *Rows) fetch() {
	c, p := r.d.c, r.s.p
	mem := r.mem[:0]
	for i := range r.starts {
		r.starts[i] = len(mem)
		mem = c.appendColumn(mem, p, i)
	}
	r.mem = mem
}

// Next goes to the next row.
func (r *Rows) Next() bool {
	if r.ahead {
		r.ahead = false
		return true
	}
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	return r.next()
}

// next is Next with the mutex held.
func (r *Rows) next() bool {
	if r.ahead {
		r.ahead = false
		return true
	}
	if !r.open {
		return false
	}
	if r.wrong != nil {
		r.finish()
		return false
	}
	if r.table != nil {
		row, err := r.nextChanged()
		if !row {
			r.err = err
			r.finish()
		}
		return row
	}
	row, err := r.d.step(r.s)
	if row {
		r.fetch()
		return true
	}
	r.err = err
	r.finish()
	return false
}

// finish gives the statement back. The DB's mutex is held.
func (r *Rows) finish() {
	if !r.open {
		return
	}
	r.open = false
	if r.s != nil {
		r.d.release(r.s)
	}
	list := r.d.results
	for i := range list {
		if list[i] == r {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			r.d.results = list[:len(list)-1]
			break
		}
	}
}

// Err is the error that ended the rows early, if one did. A Rows that was still
// open when its action or its DB ended has ErrClosed.
func (r *Rows) Err() error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	return r.failure()
}

// failure is Err with the mutex held.
func (r *Rows) failure() error {
	if r.err == nil {
		return r.wrong
	}
	return r.err
}

// Close ends the rows early. It may be called at any time, more than once.
func (r *Rows) Close() error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.ahead = false
	r.finish()
	return nil
}

// Columns gives the columns' names.
func (r *Rows) Columns() []string { return r.names }

// Type gives the storage class of column i of the row.
func (r *Rows) Type(i int) Type { return Type(r.mem[r.starts[i]]) }

// Int gives an Integer column. For a column of another type it gives 0, and the rows end with
// an error: ErrCorrupt in Den's own tables, otherwise ErrMisuse. So do Float and Bytes.
func (r *Rows) Int(i int) int64 {
	if t := r.Type(i); t != Integer {
		r.mistyped(i, Integer)
		return 0
	}
	return sqlite.Int64(r.mem[r.starts[i]:])
}

// Float gives a Float column.
func (r *Rows) Float(i int) float64 {
	if t := r.Type(i); t != Float {
		r.mistyped(i, Float)
		return 0
	}
	return sqlite.Float64(r.mem[r.starts[i]:])
}

// Bytes gives a Text or Blob column without a copy: it is valid until Next or
// Close, and must not be written to. For another column it gives nil, see Int.
func (r *Rows) Bytes(i int) []byte {
	v := r.mem[r.starts[i]:]
	if t := Type(v[0]); t != Text && t != Blob {
		r.mistyped(i, Text)
		return nil
	}
	n := sqlite.Size(v)
	return v[5:n:n]
}

// mistyped notes that a column does not have the type that the reader relies on.
func (r *Rows) mistyped(i int, want Type) {
	if r.wrong != nil {
		return
	}
	kind := ErrMisuse
	if r.s != nil && r.s.auth != handler {
		kind = ErrCorrupt
	}
	r.wrong = fmt.Errorf("storage: %w: column %q is %s, not %s", kind, r.names[i], r.Type(i), want)
}

// Values gives the whole row; it stays valid.
func (r *Rows) Values() []Value { return sqlite.Values(r.mem, len(r.starts)) }

// Value gives column i; it stays valid.
func (r *Rows) Value(i int) Value {
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

// Scan copies the row into dest, one for each column: pointers to the types that
// are taken as arguments, to named forms of them, to a pointer (nil for NULL), to
// any, or a sql.Scanner.
func (r *Rows) Scan(dest ...any) error {
	if len(dest) != len(r.starts) {
		return fmt.Errorf("storage: %w: Scan of %d columns into %d", ErrMisuse, len(r.starts), len(dest))
	}
	for i, to := range dest {
		if err := r.scan(i, to); err != nil {
			return fmt.Errorf("storage: column %q: %w", r.names[i], err)
		}
	}
	return nil
}

func (r *Rows) scan(i int, dest any) error {
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
		return fmt.Errorf("%w: cannot scan into %T", ErrMisuse, dest)
	}
	return r.scanInto(i, v.Elem())
}

func (r *Rows) scanBytes(i int, to *[]byte) error {
	switch r.Type(i) {
	case Null:
		*to = nil
	case Text, Blob:
		*to = append([]byte{}, r.Bytes(i)...)
	default:
		return fmt.Errorf("%w: a number does not fit bytes", ErrMisuse)
	}
	return nil
}

// scanInto is for what the fast cases of scan do not name.
func (r *Rows) scanInto(i int, v reflect.Value) error {
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
	return fmt.Errorf("%w: %s does not fit %s", ErrMisuse, t, v.Type())
}

// whole gives a number without a fraction as an integer.
func (r *Rows) whole(i int) (int64, bool) {
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
