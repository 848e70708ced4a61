package storage

// What clients that were away ask of the change index.

import (
	"fmt"
	"strings"
)

// Live gives the live rows of a declared table, by id.
func (d *DB) Live(name string) (*Rows, error) {
	return d.ofTable(name, func(t *table) (*statement, error) {
		return d.tableStatement(&t.live, func() string {
			return fmt.Sprintf("SELECT %s FROM %s WHERE %s IS NULL ORDER BY %s",
				t.list(""), quote(t.name), quote(t.columns[t.deletedAt()]), quote(t.columns[0]))
		})
	})
}

// Since gives the rows and tombstones of a declared table that changed after
// seq, in the order of their last change. A row that was deleted comes as the
// tombstone that Commit had for it.
func (d *DB) Since(name string, seq Seq) (*Rows, error) {
	return d.ofTable(name, func(t *table) (*statement, error) {
		s, err := d.tableStatement(&t.since, t.sinceSQL)
		if err != nil {
			return nil, err
		}
		if err := d.bindInt(s, 1, t.id); err != nil {
			return nil, err
		}
		return s, d.bindInt(s, 2, int64(seq))
	})
}

func (t *table) sinceSQL() string {
	out := make([]string, len(t.columns))
	for i, c := range t.columns {
		out[i] = "t." + quote(c)
	}
	gone := "CASE WHEN c.gone_at IS NULL THEN %s ELSE c.gone_at END"
	out[0] = fmt.Sprintf("coalesce(%s, c.key)", out[0])
	out[t.updatedAt()] = fmt.Sprintf(gone, out[t.updatedAt()])
	out[t.deletedAt()] = fmt.Sprintf(gone, out[t.deletedAt()])
	return fmt.Sprintf(`SELECT %s FROM _den_changes AS c LEFT JOIN %s AS t ON t.%s = c.key
		WHERE c.tab = ?1 AND c.seq > ?2 ORDER BY c.seq`,
		strings.Join(out, ", "), quote(t.name), quote(t.columns[0]))
}

// ofTable opens the rows of a statement that make prepares for a declared table.
func (d *DB) ofTable(name string, make func(*table) (*statement, error)) (*Rows, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	t := d.tables[name]
	if t == nil || !t.declared {
		return nil, fmt.Errorf("storage: %w: table %q is not synced", ErrMisuse, name)
	}
	s, err := make(t)
	if err != nil {
		return nil, err
	}
	rows, err := d.rows(s)
	if err != nil {
		return nil, err
	}
	rows.names = t.columns
	return rows, nil
}

// SeqAt answers for a client that knows no seq but the highest updated_at or
// deleted_at that it has seen: Since(seq) then holds everything it may lack, and
// maybe some that it has. known is false for a stamp above all that were ever
// sent, or none at all (nil): such a client is to get everything.
//
// Stamps may repeat, fall, and be texts: the index holds the running maximum of
// what was sent, which does none of that. A client whose highest stamp is s has
// seen at least the first commit at which the maximum reached s.
func (d *DB) SeqAt(name string, stamp Value) (seq Seq, known bool) {
	if err := d.lock(); err != nil {
		return 0, false
	}
	defer d.mu.Unlock()
	t := d.tables[name]
	if t == nil || !t.declared || stamp == nil || d.loadHigh(t) != nil {
		return 0, false
	}
	want := appendGo(nil, stamp)
	if t.high == nil || Type(want[0]) == Null || compare(t.high, want) < 0 {
		return 0, false
	}
	first, err := d.firstSeqWith(t, want)
	if err != nil || first == 0 {
		return 0, false
	}
	return first - 1, true
}

// firstSeqWith searches the lowest seq in the index whose maximum reaches want.
func (d *DB) firstSeqWith(t *table, want []byte) (Seq, error) {
	lo, hi := Seq(1), d.Seq() // the answer is in lo … hi, if there is one
	found := Seq(0)
	for lo <= hi {
		mid := lo + (hi-lo)/2
		seq, high, err := d.indexFrom(t, mid)
		if err != nil {
			return 0, err
		}
		if seq == 0 || seq > hi { // nothing in mid … hi
			hi = mid - 1
			continue
		}
		if compare(high, want) >= 0 {
			found, hi = seq, mid-1
		} else {
			lo = seq + 1
		}
	}
	return found, nil
}

// indexFrom gives the first seq at or above from and the maximum there; 0 where
// there is none.
func (d *DB) indexFrom(t *table, from Seq) (Seq, []byte, error) {
	s, err := d.one(own, "SELECT seq, high FROM _den_changes WHERE tab = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1")
	if err != nil {
		return 0, nil, err
	}
	return d.indexRow(s, t, int64(from))
}

func (d *DB) indexRow(s *statement, t *table, seq int64) (Seq, []byte, error) {
	defer d.release(s)
	if err := d.bindInt(s, 1, t.id); err != nil {
		return 0, nil, err
	}
	if err := d.bindInt(s, 2, seq); err != nil {
		return 0, nil, err
	}
	row, err := d.step(s)
	if err != nil || !row {
		return 0, nil, err
	}
	at := d.c.appendColumn(nil, s.p, 0)
	return Seq(intOf(at)), d.c.appendColumn(nil, s.p, 1), nil
}

// loadHigh reads a table's running maximum where it is not in memory.
func (d *DB) loadHigh(t *table) error {
	if t.known {
		return nil
	}
	s, err := d.one(own, "SELECT seq, high FROM _den_changes WHERE tab = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1")
	if err != nil {
		return err
	}
	_, high, err := d.indexRow(s, t, 1<<62)
	if err != nil {
		return err
	}
	if len(high) > 0 && Type(high[0]) == Null {
		high = nil
	}
	t.high, t.known = high, true
	t.next = append(t.next[:0], high...)
	return nil
}

// raise takes a stamp into the maximum that the action will leave.
func (t *table) raise(stamp []byte) {
	if ty := Type(stamp[0]); ty == Null || ty == Blob {
		return
	}
	if len(t.next) == 0 || compare(stamp, t.next) > 0 {
		t.next = append(t.next[:0], stamp...)
		t.raised = true
	}
}

// highest is the maximum as the action will leave it, NULL where there is none.
func (t *table) highest() []byte {
	if len(t.next) == 0 {
		return nullImage
	}
	return t.next
}

// keepHighs and dropHighs end the maxima's part in an action.
func (d *DB) keepHighs() {
	for _, t := range d.tables {
		if t.raised {
			t.high = append(t.high[:0], t.next...)
			t.raised = false
		}
	}
}

func (d *DB) dropHighs() {
	for _, t := range d.tables {
		if t.raised {
			t.next = append(t.next[:0], t.high...)
			t.raised = false
		}
	}
}
