package storage

// Synced tables: declaring them, and reading them for clients.

import (
	"fmt"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/internal/session"
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

// Table returns the declared table of a name.
func (d *DB) Table(name string) Table { return session.TableOf(&d.sql, name) }
