package storage

// Reading a whole table in parts, for an answer that is put together in memory, and reading
// chosen rows of it again.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/sqlite"
)

// rowidName gives a name of the table's rowid that none of its columns has.
func (t *table) rowidName() string {
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		if !slices.ContainsFunc(t.columns, func(c string) bool { return strings.EqualFold(c, name) }) {
			return name
		}
	}
	return ""
}

// Scan gives the first n rows of a declared table behind a place, tombstones too, in the
// order in which the table keeps them: that of its rowids, or of the first column where it
// has none. A place of nil is the beginning. Each row has one value more than it has
// columns, which is its place.
func (d *DB) Scan(name string, place Value, n int) (*Rows, error) {
	return d.ofTable(name, func(t *table) (*statement, error) {
		at := quote(t.columns[0])
		if t.rowid != "" {
			at = t.rowid
		}
		slot, behind := &t.scanOn, "WHERE "+at+" > ?2"
		if place == nil {
			slot, behind = &t.scan, ""
		}
		s, err := d.tableStatement(slot, func() string {
			return fmt.Sprintf("SELECT %s, %s FROM %s %s ORDER BY %[2]s LIMIT ?1", t.list(""), at, quote(t.name), behind)
		})
		if err != nil {
			return nil, err
		}
		args := []any{n, place}
		if place == nil {
			args = args[:1]
		}
		if err := s.Bind(args); err != nil {
			s.Release()
			return nil, failed(err)
		}
		return s, nil
	})
}

// ScansByRowid reports whether the place of a declared table's rows in a Scan is the
// rowid, which rises with each insertion in a table that nobody gives rowids to.
func (d *DB) ScansByRowid(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tables[name]
	return t != nil && t.rowid != ""
}

// Pick gives the rows of a declared table that have one of the given ids, tombstones too, as they
// are now and in the order of the ids. Rows that are not there are left out.
func (d *DB) Pick(name string, ids []Value) (*Rows, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	t := d.tables[name]
	if t == nil || !t.declared {
		return nil, fmt.Errorf("storage: %w: table %q is not synced", ErrMisuse, name)
	}
	there := sqlite.AppendValue(nil, nil)
	picked := make([]changedKey, len(ids))
	for i, id := range ids {
		picked[i] = changedKey{key: sqlite.AppendValue(nil, id), gone: there}
	}
	r := &Rows{d: d, row: sqlite.NewRow(t.columns), open: true, acting: d.rec.on, table: t, changed: picked}
	d.results = append(d.results, r)
	return r, nil
}
