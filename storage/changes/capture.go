package changes

// What SQLite's pre-update hook reports of an action, coalesced at once to one change for each row.

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/sqlite"
)

// ErrTooLarge: an action changes more rows or bytes than Recorder.Limit allows.
var ErrTooLarge = errors.New("the action changes too much")

// A span is a range of a capture's memory. An end of 0 means that there is none.
type span struct{ start, end int }

func (s span) none() bool { return s.end == 0 }

// A change is what an action has done to one row so far.
type change struct {
	table     *Table
	key       span   // column 0 when the row was touched first
	before    span   // the row before the action; none: it did not exist
	after     span   // the row now; none: it does not exist
	full      span   // after with its virtual columns, if the table has any
	statement uint64 // the last one that touched it
	uncertain bool   // that statement failed, so after has to be read from the table
}

// A capture has the changes of the action in work.
type capture struct {
	conn              *sqlite.Conn
	tables            *tables
	maxRows, maxBytes int

	on        bool   // there is an action
	statement uint64 // the statement in work
	untracked bool   // a row of a table that is not tracked has changed
	refused   error  // why the action cannot be committed, whatever it does now
	changes   []change
	memory    []byte
	byKey     map[string]int // table and key → index in changes; used if there are more than few
	scratch   []byte
}

const (
	few        = 8         // changes that are searched one by one
	keepMemory = 256 << 10 // bytes that are kept from one action to the next
)

func (c *capture) end() {
	c.on, c.untracked, c.refused = false, false, nil
	clear(c.changes)
	c.changes, c.memory = c.changes[:0], c.memory[:0]
	if cap(c.memory) > keepMemory {
		c.memory, c.changes, c.byKey, c.scratch = nil, nil, nil, nil
	}
	if len(c.byKey) > 0 {
		clear(c.byKey)
	}
}

func (c *capture) bytes(s span) []byte { return c.memory[s.start:s.end] }

// A hook is a capture as SQLite calls it.
type hook capture

// PreUpdate is called before each change of a row.
func (h *hook) PreUpdate(op sqlite.OpType, database, table string) {
	(*capture)(h).row(op, database, table)
}

// row records the row that SQLite is about to change.
func (c *capture) row(op sqlite.OpType, database, name string) {
	if !c.on || c.refused != nil || database != "main" {
		return
	}
	t := c.tables.tracked(name)
	if t == nil {
		c.untracked = c.untracked || !internal(name)
		return
	}
	if c.conn.PreUpdateCount() != len(t.columns) {
		return // redefined in this action: FinishAction takes the whole table
	}
	switch op {
	case sqlite.OpInsert:
		ch := c.touch(t, newRow)
		ch.after = c.image(t, newRow)
	case sqlite.OpDelete:
		ch := c.touchOld(t)
		ch.after = span{}
	case sqlite.OpUpdate:
		c.updated(t)
	}
	if len(c.memory) > c.maxBytes {
		c.refused = fmt.Errorf("%w: more than %d bytes, old and new rows together", ErrTooLarge, c.maxBytes)
	} else if len(c.changes) > c.maxRows {
		c.refused = fmt.Errorf("%w: more than %d rows", ErrTooLarge, c.maxRows)
	}
}

// A side is one of the two rows that the hook offers.
type side uint8

const (
	oldRow side = iota
	newRow
)

func (c *capture) column(dst []byte, of side, i int) []byte {
	if of == oldRow {
		return c.conn.AppendPreUpdateOld(dst, i)
	}
	return c.conn.AppendPreUpdateNew(dst, i)
}

func (c *capture) updated(t *Table) {
	c.scratch = c.column(c.scratch[:0], oldRow, 0)
	n := len(c.scratch)
	c.scratch = c.column(c.scratch, newRow, 0)
	moved := !bytes.Equal(sqlite.Canonical(c.scratch[:n]), sqlite.Canonical(c.scratch[n:]))
	ch := c.touchOld(t)
	if moved {
		ch.after = span{}
		ch = c.touch(t, newRow)
	}
	ch.after = c.image(t, newRow)
}

// touchOld is touch for the old row, which is kept if the action has not touched it before.
func (c *capture) touchOld(t *Table) *change {
	known := len(c.changes)
	ch := c.touch(t, oldRow)
	if len(c.changes) > known {
		ch.before = c.image(t, oldRow)
	}
	return ch
}

// image copies the hook's row. A virtual generated column is not in the row, and SQLite would give something else for it:
// it is NULL here.
func (c *capture) image(t *Table, of side) span {
	start := len(c.memory)
	for i := range t.columns {
		if t.virtual != nil && t.virtual[i] {
			c.memory = append(c.memory, byte(sqlite.Null))
		} else {
			c.memory = c.column(c.memory, of, i)
		}
	}
	return span{start, len(c.memory)}
}

// touch finds or makes the change of the row whose key the hook's row has. It is valid until the next touch.
func (c *capture) touch(t *Table, of side) *change {
	start := len(c.memory)
	c.memory = c.column(c.memory, of, 0)
	key := span{start, len(c.memory)}
	if isNull(c.memory[start:]) {
		c.refused = &sqlite.Error{Code: sqlite.ResultConstraintNotNull, Message: "a row of a synced table has NULL for its id: " + t.name}
	}
	if ch := c.find(t, sqlite.Canonical(c.bytes(key))); ch != nil {
		c.memory = c.memory[:start]
		ch.statement = c.statement
		return ch
	}
	c.changes = append(c.changes, change{table: t, key: key, statement: c.statement})
	if len(c.changes) > few {
		c.index()
	}
	return &c.changes[len(c.changes)-1]
}

func (c *capture) find(t *Table, key []byte) *change {
	if len(c.changes) > few {
		c.scratch = mapKey(c.scratch[:0], t, key)
		if i, ok := c.byKey[string(c.scratch)]; ok {
			return &c.changes[i]
		}
		return nil
	}
	for i := range c.changes {
		ch := &c.changes[i]
		if ch.table == t && bytes.Equal(sqlite.Canonical(c.bytes(ch.key)), key) {
			return ch
		}
	}
	return nil
}

// index puts the newest change into byKey, and all of them the first time.
func (c *capture) index() {
	from := len(c.changes) - 1
	if from == few {
		from = 0
		if c.byKey == nil {
			c.byKey = make(map[string]int)
		}
	}
	for i := from; i < len(c.changes); i++ {
		ch := &c.changes[i]
		c.scratch = mapKey(c.scratch[:0], ch.table, sqlite.Canonical(c.bytes(ch.key)))
		c.byKey[string(c.scratch)] = i
	}
}

func mapKey(dst []byte, t *Table, key []byte) []byte {
	return append(sqlite.AppendInt64(dst, t.id), key...)
}

// An outcome is the effect of a change.
type outcome uint8

const (
	unchanged outcome = iota
	written           // the row exists, with other content than before
	deleted           // the row is gone, and was no tombstone
	purged            // the row is gone, and was a tombstone
)

func (c *capture) outcome(ch *change) outcome {
	switch {
	case ch.table.rebased:
		return unchanged
	case ch.before.none() && ch.after.none():
		return unchanged
	case ch.after.none():
		if ch.table.deleted(c.bytes(ch.before)) {
			return purged
		}
		return deleted
	case ch.before.none(), !bytes.Equal(c.bytes(ch.before), c.bytes(ch.after)):
		return written
	}
	return unchanged
}

// reread reads a row from the table if the hook's report is not enough: after a failed statement, and for virtual
// generated columns.
func (c *capture) reread(s *statements, ch *change) error {
	t := ch.table
	if t.rebased || !ch.uncertain && (t.virtual == nil || ch.after.none()) {
		return nil
	}
	p, found, err := s.find(t, c.bytes(ch.key))
	if err != nil {
		return err
	}
	ch.after, ch.full = span{}, span{}
	if !found {
		return nil
	}
	defer p.Release()
	start := len(c.memory)
	for i := range t.columns {
		c.memory = p.AppendColumn(c.memory, i)
	}
	ch.full = span{start, len(c.memory)}
	ch.after = ch.full
	if t.virtual != nil {
		ch.after = c.withoutVirtual(t, ch.full)
	}
	return nil
}

// withoutVirtual copies a row in the form that image has.
func (c *capture) withoutVirtual(t *Table, row span) span {
	start, from := len(c.memory), row.start
	for i := range t.columns {
		n := sqlite.Size(c.memory[from:])
		if t.virtual[i] {
			c.memory = append(c.memory, byte(sqlite.Null))
		} else {
			c.memory = append(c.memory, c.memory[from:from+n]...)
		}
		from += n
	}
	return span{start, len(c.memory)}
}
