package changes

// The form and the range of each value in this package's tables, and how they go together.

import (
	"slices"

	"github.com/denrooms/den/storage/sqlite"
)

// A Complaint is called with each problem. Its arguments are those of fmt.Errorf.
type Complaint func(format string, args ...any)

// Verify checks _den_tables and _den_changes: each value, and that the rows of the log follow each other without a gap and
// lead to the newest action and to the transaction with a number. floor is what Load was given, nil if it is not known.
func (r *Recorder) Verify(number uint64, floor sqlite.Value, complain Complaint) error {
	v := &verifier{Recorder: r, complain: complain, tables: make(map[int64]bool)}
	if err := v.checkTables(); err != nil {
		return err
	}
	return v.checkLog(number, floor)
}

type verifier struct {
	*Recorder
	complain Complaint
	tables   map[int64]bool // the ids in _den_tables
}

func (v *verifier) checkTables() error {
	return v.each("SELECT id, name, stale, floor FROM _den_tables", func(r *sqlite.Row) {
		if err := r.Expect(sqlite.Integer, sqlite.Text, sqlite.Integer, sqlite.Integer); err != nil {
			v.complain("_den_tables, row %v: %w", r.Value(0), err)
			return
		}
		name, stale, floor := r.Bytes(1), r.Int(2), r.Int(3)
		switch {
		case stale != 0 && stale != 1:
			v.complain("_den_tables: stale of %q is %d", name, stale)
		case floor < 0 || Seq(floor) > v.Seq():
			v.complain("_den_tables: the floor of %q is %d, the room's seq is %d", name, floor, v.Seq())
		}
		v.tables[r.Int(0)] = true
	})
}

// A wholeRow is a row of _den_changes that has the right types.
type wholeRow struct {
	id, number, at, first, last int64
	highs, entries              []byte
}

func (v *verifier) checkLog(number uint64, floor sqlite.Value) error {
	var before *wholeRow
	var highs map[int64][]byte
	var begins sqlite.Value
	err := v.each("SELECT id, number, at, first, last, highs, entries FROM _den_changes ORDER BY id", func(r *sqlite.Row) {
		if begins == nil {
			begins = r.Value(3)
		}
		if err := r.Expect(sqlite.Integer, sqlite.Integer, sqlite.Integer, sqlite.Integer, sqlite.Integer, sqlite.Blob, sqlite.Blob); err != nil {
			v.complain("_den_changes, row %v: %w", r.Value(0), err)
			before = nil
			return
		}
		row := &wholeRow{r.Int(0), r.Int(1), r.Int(2), r.Int(3), r.Int(4), r.Bytes(5), r.Bytes(6)}
		v.checkOrder(before, row)
		v.checkEntries(row)
		highs = v.checkHighs(row, highs)
		row.highs, row.entries = nil, nil
		before = row
	})
	if err != nil || before == nil {
		return err
	}
	if Seq(before.last) != v.Seq() || uint64(before.number) != number {
		v.complain("_den_changes ends with seq %d and transaction %d, the room is at %d and %d", before.last, before.number, v.Seq(), number)
	}
	up, known := floor.(int64)
	if known && up > before.last {
		v.complain("_den_meta: the floor is %d, the room's seq is %d", up, before.last)
	}
	if first, is := begins.(int64); is && known && first != up+1 {
		v.complain("_den_changes begins with action %d, the floor is %d", first, up)
	}
	return nil
}

// checkOrder compares a row with the one before it, nil if that is not known.
func (v *verifier) checkOrder(before, row *wholeRow) {
	if row.number < 1 || row.first < 1 || row.last < row.first-1 {
		v.complain("_den_changes: row %d is transaction %d, actions %d to %d", row.id, row.number, row.first, row.last)
	}
	switch {
	case before == nil:
	case row.id != before.id+1:
		v.complain("_den_changes: row %d follows row %d", row.id, before.id)
	case row.first != before.last+1:
		v.complain("_den_changes: row %d begins with action %d, the one before ends with %d", row.id, row.first, before.last)
	case row.number != before.number && row.number != before.number+1:
		v.complain("_den_changes: row %d is transaction %d, the one before %d", row.id, row.number, before.number)
	}
}

func (v *verifier) checkEntries(row *wholeRow) {
	offset := uint64(0)
	for rest := row.entries; len(rest) > 0; {
		e, after, ok := cutEntry(rest)
		if !ok {
			v.complain("_den_changes: the entries of row %d cannot be read", row.id)
			return
		}
		stamp := sqlite.Type(e.deleted[0])
		switch {
		case !v.tables[e.table]:
			v.complain("_den_changes: row %d has an entry of table %d, which is not in _den_tables", row.id, uint64(e.table))
		case e.offset < offset || e.offset > uint64(max(row.last-row.first, 0)):
			v.complain("_den_changes: row %d, actions %d to %d, has an entry of action %d+%d", row.id, row.first, row.last, row.first, e.offset)
		case stamp != sqlite.Null && stamp != sqlite.Integer && stamp != sqlite.Text:
			v.complain("_den_changes: row %d has a tombstone whose stamp is of type %d", row.id, stamp)
		}
		offset, rest = e.offset, after
	}
}

// checkHighs takes the highest stamps apart, and returns them by the tables' ids. None is below what the row before has of its
// table.
func (v *verifier) checkHighs(row *wholeRow, before map[int64][]byte) map[int64][]byte {
	highs := make(map[int64][]byte)
	for rest := row.highs; len(rest) > 0; {
		id, stamp, after, ok := cutHighest(rest)
		if !ok || id < 0 {
			v.complain("_den_changes: the maxima of row %d cannot be read", row.id)
			return nil
		}
		rest = after
		if !v.tables[id] {
			v.complain("_den_changes: row %d has a maximum of table %d, which is not in _den_tables", row.id, id)
		}
		if low := before[id]; low != nil && sqlite.Compare(stamp, low) < 0 {
			v.complain("_den_changes: the maximum of table %d falls at row %d", id, row.id)
		}
		highs[id] = slices.Clone(stamp)
	}
	return highs
}
