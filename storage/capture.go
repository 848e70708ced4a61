package storage

// The recorder: what the pre-update hook sees of an action, coalesced while it
// comes, one entry for each row that was touched.

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/denrooms/den/storage/sqlite"
)

// span is a piece of the recorder's memory; end 0 means that there is none.
type span struct{ start, end int }

func (s span) none() bool { return s.end == 0 }

// entry is one row of a synced table that an action touched.
type entry struct {
	table    *table
	key      span // column 0 as it was when first touched
	before   span // the row before the action; none: there was no such row
	after    span // the row now; none: it is gone
	full     span // after with its virtual columns, where the table has any
	doubtful bool // a statement failed in between: read the row again
	step     uint64
}

// recorder collects an action's changes. The DB's mutex protects it.
type recorder struct {
	maxRows, maxBytes int
	maxWritten        int // to the file
	written           int // by the batch when the action began

	on        bool   // inside of an action
	statement uint64 // number of the handler's statement in work
	unsynced  bool   // a row of some other table changed
	adds      bool   // it had a statement that does more than delete
	refused   error  // why the action cannot be committed whatever it does now
	entries   []entry
	mem       []byte
	byKey     map[string]int // table id + key → entry; only when there are many
	scratch   []byte
}

// few is how many entries are searched one by one.
const few = 8

// keepMemory is how much memory the recorder keeps between actions.
const keepMemory = 256 << 10

func (r *recorder) begin() { r.on = true }

func (r *recorder) end() {
	r.on, r.unsynced, r.adds, r.refused = false, false, false, nil
	clear(r.entries)
	r.entries, r.mem = r.entries[:0], r.mem[:0]
	if cap(r.mem) > keepMemory {
		r.mem, r.entries, r.byKey, r.scratch = nil, nil, nil, nil
	}
	if len(r.byKey) > 0 {
		clear(r.byKey)
	}
}

func (r *recorder) bytes(s span) []byte { return r.mem[s.start:s.end] }

// doubt marks what the failed statement touched: what stays of its changes
// depends on the kind of failure, so the rows are read again at the end.
func (r *recorder) doubt() {
	for i := range r.entries {
		if r.entries[i].step == r.statement {
			r.entries[i].doubtful = true
		}
	}
}

var (
	errTooManyRows = errors.New("the action changes more rows than Options.MaxChanges")
	errTooManyData = errors.New("the action changes more data than Options.MaxChangeBytes")
	errTooMuch     = errors.New("the action writes more than Options.MaxActionBytes")
	errNullID      = errors.New("a row of a synced table has NULL for its id")
)

func tooLarge(err error) error { return fmt.Errorf("storage: %w: %w", ErrTooLarge, err) }

// overwritten reports whether the action in work has written more than it may, and refuses it then.
func (d *DB) overwritten() bool {
	r := &d.rec
	if !r.on || d.wal == nil || d.wal.entry.Size()-r.written <= r.maxWritten {
		return false
	}
	if r.refused == nil {
		r.refused = tooLarge(errTooMuch)
	}
	return true
}

// capture is the pre-update hook's work: called before each row's change.
func (d *DB) capture(op sqlite.OpType, schema, name string) {
	r := &d.rec
	if !r.on || r.refused != nil || schema != "main" || d.overwritten() {
		return
	}
	t := d.tracked(name)
	if t == nil {
		if !internalName(name) {
			r.unsynced = true
		}
		return
	}
	if d.c.PreUpdateCount() != len(t.columns) {
		return // redefined in this action: the whole table is taken up at its end
	}
	switch op {
	case sqlite.OpInsert:
		e := d.touch(t, newRow)
		e.after = d.image(t, newRow)
	case sqlite.OpDelete:
		d.removed(t)
	case sqlite.OpUpdate:
		d.updated(t)
	}
	if len(r.mem) > r.maxBytes {
		r.refused = tooLarge(errTooManyData)
	} else if len(r.entries) > r.maxRows {
		r.refused = tooLarge(errTooManyRows)
	}
}

// side is one of the two rows that the pre-update hook offers.
type side uint8

const (
	oldRow side = iota
	newRow
)

// preUpdate appends column i of the row in the pre-update hook.
func (d *DB) preUpdate(dst []byte, of side, i int) []byte {
	if of == oldRow {
		return d.c.AppendPreUpdateOld(dst, i)
	}
	return d.c.AppendPreUpdateNew(dst, i)
}

func internalName(name string) bool {
	return strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, reserved)
}

func (d *DB) removed(t *table) {
	e := d.touchOld(t)
	e.after = span{}
}

func (d *DB) updated(t *table) {
	r := &d.rec
	r.scratch = d.preUpdate(r.scratch[:0], oldRow, 0)
	n := len(r.scratch)
	r.scratch = d.preUpdate(r.scratch, newRow, 0)
	moved := !bytes.Equal(sqlite.Canonical(r.scratch[:n]), sqlite.Canonical(r.scratch[n:]))
	e := d.touchOld(t)
	if moved {
		e.after = span{}
		e = d.touch(t, newRow)
	}
	e.after = d.image(t, newRow)
}

// touchOld finds the entry of the hook's old row; a first touch keeps the row.
func (d *DB) touchOld(t *table) *entry {
	r := &d.rec
	known := len(r.entries)
	e := d.touch(t, oldRow)
	if len(r.entries) > known {
		e.before = d.image(t, oldRow)
	}
	return e
}

// image keeps a side of the hook's row. A virtual generated column is not in the
// row, and SQLite would give something else for it: it counts as NULL here.
func (d *DB) image(t *table, of side) span {
	r := &d.rec
	start := len(r.mem)
	for i := range t.columns {
		if t.virtual != nil && t.virtual[i] {
			r.mem = append(r.mem, byte(Null))
		} else {
			r.mem = d.preUpdate(r.mem, of, i)
		}
	}
	return span{start, len(r.mem)}
}

// touch finds or makes the entry for the key on that side of the hook's row.
func (d *DB) touch(t *table, of side) *entry {
	r := &d.rec
	start := len(r.mem)
	r.mem = d.preUpdate(r.mem, of, 0)
	key := span{start, len(r.mem)}
	if Type(r.mem[start]) == Null {
		r.refused = &Error{Code: int(sqlite.ResultConstraintNotNull), Message: errNullID.Error() + ": " + t.name, kind: ErrConstraint}
	}
	if e := r.find(t, sqlite.Canonical(r.bytes(key))); e != nil {
		r.mem = r.mem[:start]
		e.step = r.statement
		return e
	}
	r.entries = append(r.entries, entry{table: t, key: key, step: r.statement})
	if len(r.entries) > few {
		r.remember()
	}
	return &r.entries[len(r.entries)-1]
}

func (r *recorder) find(t *table, key []byte) *entry {
	if len(r.entries) > few {
		r.scratch = mapKey(r.scratch[:0], t, key)
		if i, ok := r.byKey[string(r.scratch)]; ok {
			return &r.entries[i]
		}
		return nil
	}
	for i := range r.entries {
		e := &r.entries[i]
		if e.table == t && bytes.Equal(sqlite.Canonical(r.bytes(e.key)), key) {
			return e
		}
	}
	return nil
}

// remember puts the newest entry into the map, all of them the first time.
func (r *recorder) remember() {
	from := len(r.entries) - 1
	if from == few {
		from = 0
		if r.byKey == nil {
			r.byKey = make(map[string]int)
		}
	}
	for i := from; i < len(r.entries); i++ {
		e := &r.entries[i]
		r.scratch = mapKey(r.scratch[:0], e.table, sqlite.Canonical(r.bytes(e.key)))
		r.byKey[string(r.scratch)] = i
	}
}

func mapKey(dst []byte, t *table, key []byte) []byte {
	return append(sqlite.AppendInt64(dst, t.id), key...)
}
