package storage

// Results. Next copies a row out of SQLite. So a row's accessors need no lock, and a fenced DB's Rows reads no memory that SQLite
// has freed.

import (
	"fmt"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// Rows is the result of a query. It closes itself after the last row, after an error, and when the action in which it was made
// ends. Only the goroutine that made it uses it. A write to a table that a Rows is reading may or may not show up in it.
type Rows struct {
	ses    *session
	s      *statement
	row    sqlite.Row
	err    error
	open   bool
	acting bool // made inside of an action, and closed with it
	ahead  bool // the first row was fetched by the query itself

	changed *changes.Reader // of rows that changed, which has no statement of its own; nil: there is s
}

// rows steps to the first row, so that a failing or writing statement does so in the call that made it.
func (ses *session) rows(s *statement) (*Rows, error) {
	r := &Rows{ses: ses, s: s, row: sqlite.NewRow(s.Columns()), open: true, acting: ses.changes.InAction()}
	row, err := ses.step(s)
	if err != nil {
		s.Release()
		return nil, err
	}
	if !row {
		s.Release()
		r.open = false
		return r, nil
	}
	r.row.Read(s.Stmt)
	r.ahead = true
	ses.results = append(ses.results, r)
	return r, nil
}

// changedRows is rows for rows that changed.
func (ses *session) changedRows(changed *changes.Reader) *Rows {
	r := &Rows{ses: ses, changed: changed, row: sqlite.NewRow(changed.Columns()), open: true, acting: ses.changes.InAction()}
	ses.results = append(ses.results, r)
	return r
}

// each calls do for each row of one of Den's own queries. The mutex is held.
func (ses *session) each(sql string, do func(*Rows), args ...any) error {
	rows, err := ses.query(own, sql, args)
	if err != nil {
		return err
	}
	for rows.next() {
		do(rows)
	}
	return rows.failure()
}

// Next goes to the next row.
func (r *Rows) Next() bool {
	if r.ahead {
		r.ahead = false
		return true
	}
	r.ses.mu.Lock()
	defer r.ses.mu.Unlock()
	return r.next()
}

// next is Next with the mutex held.
func (r *Rows) next() bool {
	if r.ahead {
		r.ahead = false
		return true
	}
	if !r.open {
		return false
	}
	if r.row.Err() != nil {
		r.finish()
		return false
	}
	row, err := r.step()
	if !row {
		r.err = err
		r.finish()
	}
	return row
}

// step makes the next row the row.
func (r *Rows) step() (bool, error) {
	if r.changed != nil {
		row, err := r.changed.Next(&r.row)
		return row, r.ses.recorded(err)
	}
	row, err := r.ses.step(r.s)
	if row {
		r.row.Read(r.s.Stmt)
	}
	return row, err
}

// finish releases the statement. The DB's mutex is held.
func (r *Rows) finish() {
	if !r.open {
		return
	}
	r.open = false
	if r.s != nil {
		r.s.Release()
	}
	list := r.ses.results
	for i := range list {
		if list[i] == r {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			r.ses.results = list[:len(list)-1]
			break
		}
	}
}

// Err returns the error that ended the rows early, if one did. It is ErrClosed if the action or the DB ended first.
func (r *Rows) Err() error {
	r.ses.mu.Lock()
	defer r.ses.mu.Unlock()
	return r.failure()
}

// failure is Err with the mutex held.
func (r *Rows) failure() error {
	if r.err == nil && r.row.Err() != nil {
		kind := ErrMisuse
		if r.s != nil && r.s.Info.auth != handler {
			kind = ErrCorrupt
		}
		return fmt.Errorf("storage: %w: %s", kind, roomfile.ErrorOf(r.row.Err()).Message)
	}
	return r.err
}

// Close ends the rows early. It may be called at any time, more than once.
func (r *Rows) Close() error {
	r.ses.mu.Lock()
	defer r.ses.mu.Unlock()
	r.ahead = false
	r.finish()
	return nil
}

// Place returns where the part after the rows begins that Next has given, of a Table.SincePart.
func (r *Rows) Place() ChangePlace { return r.changed.Place() }

// AtEnd reports whether Next has given all rows of a SincePart, and no change lies after them.
func (r *Rows) AtEnd() bool { return r.changed.AtEnd() }

// Columns returns the columns' names.
func (r *Rows) Columns() []string { return r.row.Columns() }

// Type returns the storage class of column i.
func (r *Rows) Type(i int) Type { return r.row.Type(i) }

// Int returns an Integer column. For a column of another type it returns 0, and the rows end with an error: ErrCorrupt in Den's own
// tables, otherwise ErrMisuse. The same holds for Float and Bytes.
func (r *Rows) Int(i int) int64 { return r.row.Int(i) }

// Float returns a Float column; see Int.
func (r *Rows) Float(i int) float64 { return r.row.Float(i) }

// Bytes returns a Text or Blob column without a copy, or nil for another column; see Int. The bytes are valid until Next or Close
// and must not be changed.
func (r *Rows) Bytes(i int) []byte { return r.row.Bytes(i) }

// Values returns the whole row. The values stay valid.
func (r *Rows) Values() []Value { return r.row.Values() }

// Value returns column i. The value stays valid.
func (r *Rows) Value(i int) Value { return r.row.Value(i) }

// Scan copies the row into dest, one for each column: a pointer to a type that Exec takes as an argument, to a named form of one, to
// a pointer (nil for NULL), or to any; or a sql.Scanner.
func (r *Rows) Scan(dest ...any) error { return failed(r.row.Scan(dest...)) }

func (ses *session) query(auth authority, sql string, args []any) (*Rows, error) {
	s, err := ses.one(auth, sql)
	if err != nil {
		return nil, err
	}
	if auth == handler && !s.ReadOnly() && !ses.changes.InAction() {
		s.Release()
		return nil, fmt.Errorf("storage: %w: a query that writes, outside of an action", ErrMisuse)
	}
	if err := s.Bind(args); err != nil {
		s.Release()
		return nil, failed(err)
	}
	ses.recording(s)
	rows, err := ses.rows(s)
	if err == nil && s.Info.schema {
		ses.schemaChanged()
	}
	return rows, err
}

// closeResults closes the Rows that the action left open; older ones stay.
func (ses *session) closeResults() {
	for i := len(ses.results) - 1; i >= 0; i-- {
		if r := ses.results[i]; r.acting {
			r.err = ErrClosed
			r.finish() // moves the last one, which was looked at, to i
		}
	}
}

// pageCount returns how many pages the database has, with what the open transaction has done.
func (ses *session) pageCount() (pages int64, err error) {
	err = ses.each("PRAGMA page_count", func(r *Rows) { pages = r.Int(0) })
	return pages, err
}

// hasVirtualTables reports whether there are tables that have a memory of their own beneath SQLite.
func (ses *session) hasVirtualTables() (found bool) {
	err := ses.each("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND coalesce(rootpage, 0) = 0 LIMIT 1", func(*Rows) { found = true })
	return found || err != nil
}

// Expect returns ErrCorrupt if the row's columns have other types than those given. It checks one row; Int, Float, Bytes and Err
// report a wrong type as well.
func (r *Rows) Expect(types ...Type) error {
	if len(types) != len(r.Columns()) {
		return fmt.Errorf("storage: %w: Expect of %d columns in a row of %d", ErrMisuse, len(types), len(r.Columns()))
	}
	if err := r.row.Expect(types...); err != nil {
		return fmt.Errorf("storage: %w: %v", ErrCorrupt, err)
	}
	return nil
}
