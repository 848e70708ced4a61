package storage

// Synced tables, as package changes records them and as clients read them.

import (
	"errors"
	"fmt"
	"slices"

	"github.com/denrooms/den/storage/changes"
)

type (
	// Seq is a room's commit number: 1, 2, 3 … without gaps; 0 is before the first.
	Seq = changes.Seq
	// Commit is what an action did.
	Commit = changes.Commit
	// Row is a changed row.
	Row = changes.Row
	// Cell is a column of a Row.
	Cell = changes.Cell
	// ChangePlace is a place in the changes of one table, see DB.SincePart.
	ChangePlace = changes.Place
)

var (
	// ErrSchema: a table cannot be synced as it is defined.
	ErrSchema = changes.ErrSchema
	// ErrForgotten: the log does not reach back that far any more, or a change of the table's definition lies between. The
	// table as it is, Live, is to replace what the client has.
	ErrForgotten = changes.ErrForgotten
)

var errTooMuch = errors.New("the action writes more than Options.MaxActionBytes")

// refused returns why the action in work cannot be committed, whatever it does now.
func (d *DB) refused() error {
	d.overwritten()
	err := d.sql.changes.Refused()
	if errors.Is(err, changes.ErrTooLarge) || err == errTooMuch {
		return fmt.Errorf("storage: %w: %w", ErrTooLarge, err)
	}
	return failed(err)
}

// overwritten reports whether the action in work has written more to the file than it may, and refuses it then.
func (d *DB) overwritten() bool {
	b := d.batch
	if b == nil || d.store.wal == nil || !d.sql.changes.InAction() || d.store.wal.entry.Size()-b.written <= b.maxWritten {
		return false
	}
	d.sql.changes.Refuse(errTooMuch)
	return true
}

// Sync declares tables as synced: their changed rows come with each Commit, and Live, Since and SeqAt serve them. A table must
// have a first column that is alone the PRIMARY KEY, or UNIQUE and NOT NULL, sorted as BINARY; and the last three columns
// created_at, updated_at, deleted_at. Names are compared exactly. The error (ErrSchema) names the table and what is wrong; then
// none of the tables is declared.
//
// A table that is synced for the first time, or again after its definition had become unfit, counts as changed as a whole by one
// commit. Sync may be called more than once, but not while a batch is open.
func (d *DB) Sync(names ...string) error {
	if err := d.sql.lock(); err != nil {
		return err
	}
	defer d.sql.mu.Unlock()
	if d.batch != nil {
		return fmt.Errorf("storage: %w: Sync while a batch is open", ErrMisuse)
	}
	fresh, err := d.sql.changes.Check(names...)
	if err != nil {
		return d.sql.recorded(err)
	}
	if len(fresh) > 0 {
		if err := d.track(fresh); err != nil {
			return err
		}
	}
	d.sql.changes.Declare(names...)
	return nil
}

// track has tables recorded that were not so far, in a commit of its own.
func (d *DB) track(tables []*changes.Table) error {
	if err := d.sql.do(d.sql.tx.begin); err != nil {
		return err
	}
	b := d.newBatch()
	b.wrote = true
	if err := d.sql.recorded(d.sql.changes.Track(tables)); err != nil {
		b.abort()
		d.batch = nil
		b.restore()
		return err
	}
	d.notes.noteDefinitions()
	return b.commit()
}

// Tables gives the declared tables, in the order of their declaration.
func (d *DB) Tables() []string {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	return d.sql.changes.Declared()
}

// Columns gives a declared table's columns, nil where it is none.
func (d *DB) Columns(name string) []string {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	if t := d.sql.changes.Table(name); t != nil {
		return slices.Clone(t.Columns())
	}
	return nil
}

// ScansByRowid reports whether the place of a declared table's rows in a Scan is the rowid, which rises with each insertion in
// a table that nobody gives rowids to.
func (d *DB) ScansByRowid(name string) bool {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	t := d.sql.changes.Table(name)
	return t != nil && t.HasRowid()
}

// lockTable is lock for a call that is about a declared table.
func (d *DB) lockTable(name string) (*changes.Table, error) {
	if err := d.sql.lock(); err != nil {
		return nil, err
	}
	t := d.sql.changes.Table(name)
	if t == nil {
		d.sql.mu.Unlock()
		return nil, fmt.Errorf("storage: %w: table %q is not synced", ErrMisuse, name)
	}
	return t, nil
}

// Live gives the live rows of a declared table, by id.
func (d *DB) Live(name string) (*Rows, error) { return d.read(name, changes.Live) }

// Page gives the first n rows of a declared table, by id, whose id is above after, tombstones too; nil is below every id.
func (d *DB) Page(name string, after Value, n int) (*Rows, error) {
	if after == nil {
		return d.read(name, changes.FirstPage, n)
	}
	return d.read(name, changes.NextPage, n, after)
}

// Scan gives the first n rows of a declared table behind a place, tombstones too, in the order in which the table keeps them:
// that of its rowids, or of the first column where it has none. A place of nil is the beginning. Each row has one value more than
// it has columns, which is its place.
func (d *DB) Scan(name string, place Value, n int) (*Rows, error) {
	if place == nil {
		return d.read(name, changes.FirstScan, n)
	}
	return d.read(name, changes.NextScan, n, place)
}

// read opens the rows of one of a table's queries.
func (d *DB) read(name string, q changes.Query, args ...any) (*Rows, error) {
	t, err := d.lockTable(name)
	if err != nil {
		return nil, err
	}
	defer d.sql.mu.Unlock()
	rows, err := d.sql.query(own, t.SQL(q), args)
	if err != nil {
		return nil, err
	}
	rows.row.SetColumns(t.Columns())
	return rows, nil
}

// Pick gives the rows of a declared table that have one of the given ids, tombstones too, as they are now and in the order of
// the ids. Rows that are not there are left out.
func (d *DB) Pick(name string, ids []Value) (*Rows, error) {
	t, err := d.lockTable(name)
	if err != nil {
		return nil, err
	}
	defer d.sql.mu.Unlock()
	return d.sql.changedRows(d.sql.changes.Pick(t, ids)), nil
}

// Since gives the rows and tombstones of a declared table that changed after seq, see changes.Recorder.Since. Where the log does
// not reach back to seq it is ErrForgotten.
func (d *DB) Since(name string, seq Seq) (*Rows, error) {
	t, err := d.lockTable(name)
	if err != nil {
		return nil, err
	}
	defer d.sql.mu.Unlock()
	changed, err := d.sql.changes.Since(t, seq)
	if err != nil {
		return nil, d.sql.recorded(err)
	}
	return d.sql.changedRows(changed), nil
}

// SincePart gives a part of what Since gives, see changes.Recorder.SincePart. Rows.Place is where the next part begins, and
// Rows.AtEnd reports whether there is none.
func (d *DB) SincePart(name string, from ChangePlace, until Seq) (*Rows, error) {
	t, err := d.lockTable(name)
	if err != nil {
		return nil, err
	}
	defer d.sql.mu.Unlock()
	changed, err := d.sql.changes.SincePart(t, from, until)
	if err != nil {
		return nil, d.sql.recorded(err)
	}
	return d.sql.changedRows(changed), nil
}

// Place is where the part behind the rows of a SincePart begins that Next has given so far.
func (r *Rows) Place() ChangePlace { return r.changed.Place() }

// AtEnd reports whether Next has given all rows of a SincePart, and no change lies behind them.
func (r *Rows) AtEnd() bool { return r.changed.AtEnd() }

// SeqAt answers for a client that knows no seq but the highest updated_at or deleted_at that it has seen, see
// changes.Recorder.SeqAt.
func (d *DB) SeqAt(name string, stamp Value) (seq Seq, known bool) {
	t, err := d.lockTable(name)
	if err != nil {
		return 0, false
	}
	defer d.sql.mu.Unlock()
	seq, known, err = d.sql.changes.SeqAt(t, stamp)
	_ = d.sql.recorded(err) // the answer is the same
	return seq, known
}
