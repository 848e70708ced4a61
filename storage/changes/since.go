package changes

// What changed after a seq, for a client that comes back.

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/sqlite"
)

// ErrForgotten: the log does not reach back that far any more, or a change of the table's definition lies between. The
// table as it is, Live, is to replace what the client has.
var ErrForgotten = errors.New("the changes since then are forgotten")

// A changedRow is the last change of a row.
type changedRow struct {
	key, deleted []byte // values; deleted is NULL if the row exists
	place        Place  // after the change, in a part
}

// A Reader reads rows that changed, each as it is when Next gets to it. It is valid as long as its Recorder.
type Reader struct {
	*statements
	table *Table
	rows  []changedRow // those that are still to come

	part  bool
	place Place // after the row that was read last
	end   Place // after all that was looked at
	last  bool  // nothing lies after end
	over  bool  // all rows were read
}

// Columns returns the names of the rows' columns.
func (r *Reader) Columns() []string { return r.table.columns }

// Next makes row the next row, and reports whether there is one.
func (r *Reader) Next(row *sqlite.Row) (bool, error) {
	for len(r.rows) > 0 {
		c := r.rows[0]
		r.rows, r.place = r.rows[1:], c.place
		gone := !isNull(c.deleted)
		if !gone || r.part { // a part may lack that the row was inserted again
			found, err := r.current(row, c.key)
			if found || err != nil {
				return found, err
			}
		}
		if gone {
			row.Set(r.table.tombstone(c.key, c.deleted))
			return true, nil
		}
	}
	r.place, r.over = r.end, true
	return false, nil
}

// current reads the row with a key as clients may see it.
func (r *Reader) current(row *sqlite.Row, key []byte) (bool, error) {
	p, found, err := r.find(r.table, key)
	if !found || err != nil {
		return false, err
	}
	row.Read(p.Stmt)
	p.Release()
	if raw := row.Raw(); r.table.deleted(raw) {
		row.Set(r.table.public(raw))
	}
	return true, nil
}

// forgotten returns ErrForgotten if the log does not reach back to seq.
func (l *log) forgotten(t *Table, seq Seq) error {
	if seq < max(l.floor, t.floor) && !bug.On("floor") {
		return fmt.Errorf("table %q after %d: %w", t.name, seq, ErrForgotten)
	}
	return nil
}

// since returns the rows of a table that changed after seq, each once, in the order of their last changes.
func (l *log) since(t *Table, seq Seq) ([]changedRow, error) {
	var list []changedRow
	place := make(map[string]int)
	var damaged error
	add := func(first Seq, entries []byte) {
		damaged = cmp.Or(damaged, eachEntry(entries, t.id, func(e entry) {
			if first+Seq(e.offset) <= seq {
				return
			}
			name := string(sqlite.Canonical(e.key))
			if at, there := place[name]; there {
				list[at].key = nil
			}
			place[name] = len(list)
			list = append(list, changedRow{key: bytes.Clone(e.key), deleted: bytes.Clone(e.deleted)})
		}))
	}
	start, found, err := l.search(func(r logRow) bool { return r.last > seq })
	if err == nil && found {
		err = l.each("SELECT first, entries FROM _den_changes WHERE id >= ?1 ORDER BY id",
			func(r *sqlite.Row) { add(Seq(r.Int(0)), r.Bytes(1)) }, start.id)
	}
	if err != nil {
		return nil, err
	}
	add(l.entries.first, l.entries.bytes)
	if damaged != nil {
		return nil, damaged
	}
	return slices.DeleteFunc(list, func(c changedRow) bool { return c.key == nil }), nil
}

// seqAt is Recorder.SeqAt.
func (l *log) seqAt(t *Table, stamp sqlite.Value) (seq Seq, known bool, err error) {
	if stamp == nil {
		return 0, false, nil
	}
	if err := l.loadHighest(t); err != nil {
		return 0, false, err
	}
	want, highest := sqlite.AppendValue(nil, stamp), t.highest.stamp
	if len(highest) == 0 || isNull(want) || sqlite.Compare(highest, want) < 0 {
		return 0, false, nil
	}
	row, oldest, err := l.firstReaching(t, want)
	floor := max(l.floor, t.floor)
	if err != nil || row.first == 0 || row.first-1 < floor || oldest && floor > 0 {
		return 0, false, err
	}
	if known, err = l.hadStamp(t, row, want); err != nil || !known {
		return 0, false, err
	}
	return row.first - 1, true, nil
}

// firstReaching finds the first row of the log at whose end a table's highest stamp is at least want, and reports whether it
// is the oldest that there is. What the open transaction has not written yet comes last.
func (l *log) firstReaching(t *Table, want []byte) (found logRow, oldest bool, err error) {
	var damaged error
	found, there, err := l.search(func(r logRow) bool {
		stamp, err := highestIn(r.highs, t.id)
		damaged = cmp.Or(damaged, err)
		return stamp != nil && sqlite.Compare(stamp, want) >= 0
	})
	if err = cmp.Or(err, damaged); err != nil {
		return logRow{}, false, err
	}
	if p := &l.entries; !there && len(p.bytes) > 0 {
		found = logRow{first: p.first, last: p.last}
	}
	return found, there && found.id == l.first, nil
}

// hadStamp reports whether one of a table's rows had a stamp within the row of the log that firstReaching found. A client
// that keeps the rows of several rooms in one store names the newest stamp among them, and that may be another room's.
//
// If it is the highest stamp at the row's end, it is this table's. Of the stamps below it, which the actions of one
// transaction had, those are found that a row still has. So hadStamp can be false for a stamp that was sent, which costs
// its client an answer that is longer than it need be.
func (l *log) hadStamp(t *Table, row logRow, want []byte) (bool, error) {
	highest, entries := t.highest.stamp, l.entries.bytes
	if row.id != 0 {
		var err error
		if highest, err = highestIn(row.highs, t.id); err != nil {
			return false, err
		}
	}
	if len(highest) > 0 && sqlite.Compare(highest, want) == 0 {
		return true, nil
	}
	if row.id != 0 {
		entries = nil
		err := l.each("SELECT entries FROM _den_changes WHERE id = ?1", func(r *sqlite.Row) {
			entries = append(entries, r.Bytes(0)...)
		}, row.id)
		if err != nil {
			return false, err
		}
	}
	found := false
	var failed error
	damaged := eachEntry(entries, t.id, func(e entry) {
		if !found && failed == nil {
			found, failed = l.hasStamp(t, e, want)
		}
	})
	return found, cmp.Or(failed, damaged)
}

// hasStamp reports whether a row has a stamp now, or had it as it was deleted.
func (l *log) hasStamp(t *Table, e entry, want []byte) (bool, error) {
	if !isNull(e.deleted) {
		return sqlite.Compare(e.deleted, want) == 0, nil
	}
	r, row := Reader{statements: l.statements, table: t}, sqlite.NewRow(t.columns)
	found, err := r.current(&row, e.key)
	if !found || err != nil {
		return false, err
	}
	updated, deleted := t.stamps(row.Raw())
	return sqlite.Compare(updated, want) == 0 || sqlite.Compare(deleted, want) == 0, nil
}
