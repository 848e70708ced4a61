package session

// Reading the declared tables for clients.

import (
	"fmt"
	"slices"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// A Table is a declared table, for reading. Its calls fail with roomfile.ErrMisuse if no table of that name is declared.
type Table struct {
	sql  *Session
	name string
}

// TableOf returns the declared table of a name.
func TableOf(ses *Session, name string) Table { return Table{ses, name} }

// Columns returns the table's columns, or nil if the table is not declared.
func (t Table) Columns() []string {
	t.sql.Mu.Lock()
	defer t.sql.Mu.Unlock()
	if declared := t.sql.Changes.Table(t.name); declared != nil {
		return slices.Clone(declared.Columns())
	}
	return nil
}

// ScansByRowid reports whether the place of the rows in a Scan is the rowid, which rises with each insertion in a table that
// nobody gives rowids to.
func (t Table) ScansByRowid() bool {
	t.sql.Mu.Lock()
	defer t.sql.Mu.Unlock()
	declared := t.sql.Changes.Table(t.name)
	return declared != nil && declared.HasRowid()
}

// lock begins a call.
func (t Table) lock() (*changes.Table, error) {
	if err := t.sql.Lock(); err != nil {
		return nil, err
	}
	declared := t.sql.Changes.Table(t.name)
	if declared == nil {
		t.sql.Mu.Unlock()
		return nil, fmt.Errorf("storage: %w: table %q is not synced", roomfile.ErrMisuse, t.name)
	}
	return declared, nil
}

// Live returns the live rows, by id.
func (t Table) Live() (*Rows, error) { return t.read(changes.Live) }

// Page returns the first n rows, by id, whose id is above after, tombstones too. nil is below every id.
func (t Table) Page(after sqlite.Value, n int) (*Rows, error) {
	if after == nil {
		return t.read(changes.FirstPage, n)
	}
	return t.read(changes.NextPage, n, after)
}

// Scan returns the first n rows after a place, tombstones too, in the order in which the table keeps them: that of its rowids, or
// of the first column if it has none. A place of nil is the beginning. Each row has one value more than it has columns: its place.
func (t Table) Scan(place sqlite.Value, n int) (*Rows, error) {
	if place == nil {
		return t.read(changes.FirstScan, n)
	}
	return t.read(changes.NextScan, n, place)
}

// read opens the rows of one of the table's queries.
func (t Table) read(q changes.Query, args ...any) (*Rows, error) {
	declared, err := t.lock()
	if err != nil {
		return nil, err
	}
	defer t.sql.Mu.Unlock()
	return t.sql.queryAs(declared.Columns(), declared.SQL(q), args)
}

// Pick returns the rows that have one of the given ids, tombstones too, as they are now and in the order of the ids. Rows that do
// not exist are left out.
func (t Table) Pick(ids []sqlite.Value) (*Rows, error) {
	declared, err := t.lock()
	if err != nil {
		return nil, err
	}
	defer t.sql.Mu.Unlock()
	return t.sql.changedRows(t.sql.Changes.Pick(declared, ids)), nil
}

// Since returns the rows and tombstones that changed after seq, see changes.Recorder.Since. If the change log does not reach back
// to seq, the error is ErrForgotten.
func (t Table) Since(seq changes.Seq) (*Rows, error) {
	declared, err := t.lock()
	if err != nil {
		return nil, err
	}
	defer t.sql.Mu.Unlock()
	changed, err := t.sql.Changes.Since(declared, seq)
	if err != nil {
		return nil, t.sql.Recorded(err)
	}
	return t.sql.changedRows(changed), nil
}

// SincePart returns a part of what Since returns, see changes.Recorder.SincePart. The next part begins at Rows.Place, and
// Rows.AtEnd reports whether there is none.
func (t Table) SincePart(from changes.Place, until changes.Seq) (*Rows, error) {
	declared, err := t.lock()
	if err != nil {
		return nil, err
	}
	defer t.sql.Mu.Unlock()
	changed, err := t.sql.Changes.SincePart(declared, from, until)
	if err != nil {
		return nil, t.sql.Recorded(err)
	}
	return t.sql.changedRows(changed), nil
}

// SeqAt answers for a client that knows no seq but the highest updated_at or deleted_at that it has seen, see
// changes.Recorder.SeqAt.
func (t Table) SeqAt(stamp sqlite.Value) (seq changes.Seq, known bool) {
	declared, err := t.lock()
	if err != nil {
		return 0, false
	}
	defer t.sql.Mu.Unlock()
	seq, known, err = t.sql.Changes.SeqAt(declared, stamp)
	_ = t.sql.Recorded(err) // the answer is the same
	return seq, known
}
