package changes

// What changed after a seq, for a client that comes back.

import (
	"cmp"
	"errors"
	"fmt"
	"math"

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

// Since returns the rows and tombstones of a declared table that changed after seq, in the order of their last change, as
// they are now. A row that was deleted comes as the tombstone that a Commit had for it, and one with deleted_at set without
// its content. If the log does not reach back to seq, the error is ErrForgotten.
func (r *Recorder) Since(t *Table, seq Seq) (*Reader, error) {
	if err := r.log.forgotten(t, seq); err != nil {
		return nil, err
	}
	p := newPart(t, Place{Seq: seq}, math.MaxInt64)
	p.most.rows, p.most.bytes = math.MaxInt, math.MaxInt
	if err := r.log.collect(p); err != nil {
		return nil, err
	}
	return &Reader{statements: &r.statements, table: t, rows: p.changed()}, nil
}

// Pick returns the rows of a declared table that have one of the given ids, tombstones too, as they are now and in the order
// of the ids. Rows that do not exist are left out.
func (r *Recorder) Pick(t *Table, ids []sqlite.Value) *Reader {
	exists := sqlite.AppendValue(nil, nil)
	rows := make([]changedRow, len(ids))
	for i, id := range ids {
		rows[i] = changedRow{key: sqlite.AppendValue(nil, id), deleted: exists}
	}
	return &Reader{statements: &r.statements, table: t, rows: rows}
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

// Place returns where the part begins that follows the rows that Next has returned so far of a SincePart.
func (r *Reader) Place() Place { return r.place }

// AtEnd reports whether Next has returned all rows of a SincePart, and there is no change after them.
func (r *Reader) AtEnd() bool { return r.over && r.last }

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

// SeqAt answers for a client that knows no seq but the highest updated_at or deleted_at that it has seen: Since(seq) then has
// everything that the client may lack, and maybe some that it has. known is false if that cannot be told: for a stamp that the
// table's rows cannot be seen to have had (it may be of another database), for none at all (nil), and for one that lies so far
// back that the log has forgotten it. Such a client is to get everything.
//
// A client whose highest stamp is s has seen at least the first action after which the table's highest stamp was s or more.
func (r *Recorder) SeqAt(t *Table, stamp sqlite.Value) (seq Seq, known bool, err error) {
	l := &r.log
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

// hasStamp reports whether a row has a stamp now, or had it when it was deleted.
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
