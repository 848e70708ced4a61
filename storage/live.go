package storage

// Snapshots, and the newest stamp of each table that was ever sent.

import (
	"fmt"

	"github.com/denrooms/den/storage/sqlite"
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

// Page gives the first n rows of a declared table, by id, whose id is above after, tombstones too; nil is
// below every id.
func (d *DB) Page(name string, after Value, n int) (*Rows, error) {
	return d.ofTable(name, func(t *table) (*statement, error) {
		slot, above := &t.page, fmt.Sprintf("WHERE %s > ?2", quote(t.columns[0]))
		if after == nil {
			slot, above = &t.first, ""
		}
		s, err := d.tableStatement(slot, func() string {
			return fmt.Sprintf("SELECT %s FROM %s %s ORDER BY %s LIMIT ?1", t.list(""), quote(t.name), above, quote(t.columns[0]))
		})
		if err != nil {
			return nil, err
		}
		args := []any{n, after}
		if after == nil {
			args = args[:1]
		}
		if err := s.Bind(args); err != nil {
			s.Release()
			return nil, failed(err)
		}
		return s, nil
	})
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
	rows.row.SetColumns(t.columns)
	return rows, nil
}

// loadHigh finds a table's running maximum where it is not in memory: in the newest
// row of the log, or where that is older than the table's floor in the table itself.
func (d *DB) loadHigh(t *table) error {
	if t.known {
		return nil
	}
	var newest logRow
	if d.ids.last > 0 {
		var err error
		if newest, err = d.logRow(d.ids.last); err != nil {
			return err
		}
	}
	high, err := highIn(newest.highs, t.id)
	if err != nil {
		return err
	}
	t.high, t.next, t.raised = high, nil, false
	if floor := max(d.floor, t.floor); floor > 0 && newest.last <= floor {
		t.next = append(t.next, t.high...) // the maximum never falls, also when the row that had it is gone
		if err := d.raiseToTable(t); err != nil {
			return err
		}
		t.high = append(t.high[:0], t.next...)
		t.raised = false
	}
	t.known = true
	t.next = append(t.next[:0], t.high...)
	return nil
}

// raiseToTable takes all stamps that stand in a table into the maximum.
func (d *DB) raiseToTable(t *table) error {
	up, del := quote(t.columns[t.updatedAt()]), quote(t.columns[t.deletedAt()])
	return d.each(fmt.Sprintf(`SELECT max(v) FROM (SELECT %s AS v FROM %s UNION ALL SELECT %s FROM %[2]s)
		WHERE typeof(v) IN ('integer', 'real', 'text')`, up, quote(t.name), del), func(r *Rows) { t.raise(r.row.Raw()) })
}

// raise takes a stamp into the maximum that the action will leave.
func (t *table) raise(stamp []byte) {
	if ty := Type(stamp[0]); ty == Null || ty == Blob {
		return
	}
	if len(t.next) == 0 || sqlite.Compare(stamp, t.next) > 0 {
		t.next = append(t.next[:0], stamp...)
		t.raised = true
	}
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
