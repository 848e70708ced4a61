package storage

// Whether a stamp is one of this room's. A client that keeps the rows of several rooms in one
// store names the newest stamp among them, and that may be another room's.

import (
	"cmp"

	"github.com/denrooms/den/storage/sqlite"
)

// given reports whether a table's rows had a stamp, want, in a row of the log: the first at whose
// end the table's maximum reaches it. The maximum there says so at once. Of the stamps below it, which the
// actions of one batch had, those are found that a row still has. So given can be false for a
// stamp that was sent, which costs its client an answer that is longer than it need be.
func (d *DB) given(t *table, row logRow, want []byte) (bool, error) {
	high, entries := t.high, d.log.entries
	if row.id != 0 {
		var err error
		if high, err = highIn(row.highs, t.id); err != nil {
			return false, err
		}
	}
	if len(high) > 0 && sqlite.Compare(high, want) == 0 {
		return true, nil
	}
	if row.id != 0 {
		entries = nil
		err := d.each("SELECT entries FROM _den_changes WHERE id = ?1", func(r *Rows) {
			entries = append(entries, r.Bytes(0)...)
		}, row.id)
		if err != nil {
			return false, err
		}
	}
	found := false
	var failed error
	damaged := eachEntry(entries, t.id, func(_ Seq, c changedKey) {
		if found || failed != nil {
			return
		}
		found, failed = d.hasStamp(t, c, want)
	})
	return found, cmp.Or(failed, damaged)
}

// hasStamp reports whether a row has a stamp now, or had it as it was deleted.
func (d *DB) hasStamp(t *table, c changedKey, want []byte) (bool, error) {
	if Type(c.gone[0]) != Null {
		return sqlite.Compare(c.gone, want) == 0, nil
	}
	r := &Rows{d: d, row: sqlite.NewRow(t.columns), table: t}
	there, err := r.current(c.key)
	if !there || err != nil {
		return false, err
	}
	for _, i := range []int{t.updatedAt(), t.deletedAt()} {
		if sqlite.Compare(sqlite.Column(r.row.Raw(), i), want) == 0 {
			return true, nil
		}
	}
	return false, nil
}
