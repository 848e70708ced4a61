package storage

// Synced tables: declaring them, and reading them for clients.

import (
	"fmt"
	"github.com/denrooms/den/storage/internal/session"
	"slices"

	"github.com/denrooms/den/storage/changes"
)

var (
	// ErrSchema: a table cannot be synced as it is defined.
	ErrSchema = changes.ErrSchema
	// ErrForgotten: the change log does not reach back that far, or the table's definition has changed since. The client must take
	// the table as it is (Table.Live) instead.
	ErrForgotten = changes.ErrForgotten
)

// Sync declares tables as synced: their changed rows come with each Commit, and Live, Since and SeqAt serve them. A table must
// have a first column that is alone the PRIMARY KEY, or UNIQUE and NOT NULL, sorted as BINARY; and the last three columns
// created_at, updated_at, deleted_at. Names are compared exactly. The error (ErrSchema) names the table and what is wrong; then
// none of the tables is declared.
//
// A table that is synced for the first time, or again after its definition had become unfit, counts as changed as a whole by one
// commit. Sync may be called more than once, but not while a batch is open.
func (d *DB) Sync(names ...string) error {
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	if d.batch != nil {
		return fmt.Errorf("storage: %w: Sync while a batch is open", ErrMisuse)
	}
	fresh, err := d.sql.Changes.Check(names...)
	if err != nil {
		return d.sql.Recorded(err)
	}
	if len(fresh) > 0 {
		if err := d.track(fresh); err != nil {
			return err
		}
	}
	d.sql.Changes.Declare(names...)
	return nil
}

// track begins to record tables, in a commit of its own.
func (d *DB) track(tables []*changes.Table) error {
	if err := d.sql.Do(session.Begin); err != nil {
		return err
	}
	b := d.newBatch()
	b.wrote = true
	if err := d.sql.Recorded(d.sql.Changes.Track(tables)); err != nil {
		b.abort()
		d.batch = nil
		b.restore()
		return err
	}
	d.notes.noteDefinitions()
	return b.commit()
}

// Tables returns the names of the declared tables, in the order of their declaration.
func (d *DB) Tables() []string {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	return d.sql.Changes.Declared()
}

// A Table is a declared table, for reading. Its calls fail with ErrMisuse if no table of that name is declared.
type Table struct {
	sql  *session.Session
	name string
}

// Table returns the declared table of a name.
func (d *DB) Table(name string) Table { return Table{&d.sql, name} }

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
		return nil, fmt.Errorf("storage: %w: table %q is not synced", ErrMisuse, t.name)
	}
	return declared, nil
}

// Live returns the live rows, by id.
func (t Table) Live() (*Rows, error) { return t.read(changes.Live) }

// Page returns the first n rows, by id, whose id is above after, tombstones too. nil is below every id.
func (t Table) Page(after Value, n int) (*Rows, error) {
	if after == nil {
		return t.read(changes.FirstPage, n)
	}
	return t.read(changes.NextPage, n, after)
}

// Scan returns the first n rows after a place, tombstones too, in the order in which the table keeps them: that of its rowids, or
// of the first column if it has none. A place of nil is the beginning. Each row has one value more than it has columns: its place.
func (t Table) Scan(place Value, n int) (*Rows, error) {
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
	return t.sql.QueryAs(declared.Columns(), declared.SQL(q), args)
}

// Pick returns the rows that have one of the given ids, tombstones too, as they are now and in the order of the ids. Rows that do
// not exist are left out.
func (t Table) Pick(ids []Value) (*Rows, error) {
	declared, err := t.lock()
	if err != nil {
		return nil, err
	}
	defer t.sql.Mu.Unlock()
	return t.sql.ChangedRows(t.sql.Changes.Pick(declared, ids)), nil
}

// Since returns the rows and tombstones that changed after seq, see changes.Recorder.Since. If the change log does not reach back
// to seq, the error is ErrForgotten.
func (t Table) Since(seq Seq) (*Rows, error) {
	declared, err := t.lock()
	if err != nil {
		return nil, err
	}
	defer t.sql.Mu.Unlock()
	changed, err := t.sql.Changes.Since(declared, seq)
	if err != nil {
		return nil, t.sql.Recorded(err)
	}
	return t.sql.ChangedRows(changed), nil
}

// SincePart returns a part of what Since returns, see changes.Recorder.SincePart. The next part begins at Rows.Place, and
// Rows.AtEnd reports whether there is none.
func (t Table) SincePart(from ChangePlace, until Seq) (*Rows, error) {
	declared, err := t.lock()
	if err != nil {
		return nil, err
	}
	defer t.sql.Mu.Unlock()
	changed, err := t.sql.Changes.SincePart(declared, from, until)
	if err != nil {
		return nil, t.sql.Recorded(err)
	}
	return t.sql.ChangedRows(changed), nil
}

// SeqAt answers for a client that knows no seq but the highest updated_at or deleted_at that it has seen, see
// changes.Recorder.SeqAt.
func (t Table) SeqAt(stamp Value) (seq Seq, known bool) {
	declared, err := t.lock()
	if err != nil {
		return 0, false
	}
	defer t.sql.Mu.Unlock()
	seq, known, err = t.sql.Changes.SeqAt(declared, stamp)
	_ = t.sql.Recorded(err) // the answer is the same
	return seq, known
}
