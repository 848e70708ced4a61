package session

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
	ses    *Session
	s      *statement
	row    sqlite.Row
	err    error
	open   bool
	acting bool // made inside of an action, and closed with it
	ahead  bool // the first row was fetched by the query itself

	changed *changes.Reader // of rows that changed, which has no statement of its own; nil: there is s
}

// rows steps to the first row, so that a failing or writing statement does so in the call that made it.
func (ses *Session) rows(s *statement) (*Rows, error) {
	r := &Rows{ses: ses, s: s, row: sqlite.NewRow(s.Columns()), open: true, acting: ses.Changes.InAction()}
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
	ses.Results = append(ses.Results, r)
	return r, nil
}

// changedRows is rows for rows that changed.
func (ses *Session) changedRows(changed *changes.Reader) *Rows {
	r := &Rows{ses: ses, changed: changed, row: sqlite.NewRow(changed.Columns()), open: true, acting: ses.Changes.InAction()}
	ses.Results = append(ses.Results, r)
	return r
}

// queryAs is Query with other names for the columns.
func (ses *Session) queryAs(columns []string, sql string, args []any) (*Rows, error) {
	rows, err := ses.Query(Own, sql, args)
	if err == nil {
		rows.row.SetColumns(columns)
	}
	return rows, err
}

// Each calls do for each row of one of Den's own queries. The mutex is held.
func (ses *Session) Each(sql string, do func(*Rows), args ...any) error {
	rows, err := ses.Query(Own, sql, args)
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
	if r.ahead { // without the lock
		return r.next()
	}
	r.ses.Mu.Lock()
	defer r.ses.Mu.Unlock()
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
		return row, r.ses.Recorded(err)
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
	list := r.ses.Results
	for i := range list {
		if list[i] == r {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			r.ses.Results = list[:len(list)-1]
			break
		}
	}
}

// Err returns the error that ended the rows early, if one did. It is ErrClosed if the action or the DB ended first.
func (r *Rows) Err() error {
	r.ses.Mu.Lock()
	defer r.ses.Mu.Unlock()
	return r.failure()
}

// failure is Err with the mutex held.
func (r *Rows) failure() error {
	if r.err == nil && r.row.Err() != nil {
		kind := roomfile.ErrMisuse
		if r.s != nil && r.s.Info.auth != Handler {
			kind = roomfile.ErrCorrupt
		}
		return fmt.Errorf("storage: %w: %s", kind, roomfile.ErrorOf(r.row.Err()).Message)
	}
	return r.err
}

// Close ends the rows early. It may be called at any time, more than once.
func (r *Rows) Close() error {
	r.ses.Mu.Lock()
	defer r.ses.Mu.Unlock()
	r.ahead = false
	r.finish()
	return nil
}

// Place returns where the part after the rows begins that Next has given, of a Table.SincePart.
func (r *Rows) Place() changes.Place { return r.changed.Place() }

// AtEnd reports whether Next has given all rows of a SincePart, and no change lies after them.
func (r *Rows) AtEnd() bool { return r.changed.AtEnd() }

// Columns returns the columns' names.
func (r *Rows) Columns() []string { return r.row.Columns() }

// Type returns the storage class of column i.
func (r *Rows) Type(i int) sqlite.Type { return r.row.Type(i) }

// Int returns an Integer column. For a column of another type it returns 0, and the rows end with an error: ErrCorrupt in Den's own
// tables, otherwise ErrMisuse. The same holds for Float and Bytes.
func (r *Rows) Int(i int) int64 { return r.row.Int(i) }

// Float returns a Float column; see Int.
func (r *Rows) Float(i int) float64 { return r.row.Float(i) }

// Bytes returns a Text or Blob column without a copy, or nil for another column; see Int. The bytes are valid until Next or Close
// and must not be changed.
func (r *Rows) Bytes(i int) []byte { return r.row.Bytes(i) }

// Values returns the whole row. The values stay valid.
func (r *Rows) Values() []sqlite.Value { return r.row.Values() }

// Value returns column i. The value stays valid.
func (r *Rows) Value(i int) sqlite.Value { return r.row.Value(i) }

// Scan copies the row into dest, one for each column: a pointer to a type that Exec takes as an argument, to a named form of one, to
// a pointer (nil for NULL), or to any; or a sql.Scanner.
func (r *Rows) Scan(dest ...any) error { return roomfile.Failed(r.row.Scan(dest...)) }

// Query opens the rows of one statement. A handler's statement that writes must be in an action.
func (ses *Session) Query(auth Authority, sql string, args []any) (*Rows, error) {
	s, err := ses.One(auth, sql)
	if err != nil {
		return nil, err
	}
	if auth == Handler && !s.ReadOnly() && !ses.Changes.InAction() {
		s.Release()
		return nil, fmt.Errorf("storage: %w: a query that writes, outside of an action", roomfile.ErrMisuse)
	}
	if err := s.Bind(args); err != nil {
		s.Release()
		return nil, roomfile.Failed(err)
	}
	ses.recording(s)
	rows, err := ses.rows(s)
	if err == nil && s.Info.schema {
		ses.schemaChanged()
	}
	return rows, err
}

// EndResults ends all Rows with ErrClosed.
func (ses *Session) EndResults() {
	for len(ses.Results) > 0 {
		ses.Results[0].err = roomfile.ErrClosed
		ses.Results[0].finish()
	}
}

// CloseResults closes the Rows that the action left open; older ones stay.
func (ses *Session) CloseResults() {
	for i := len(ses.Results) - 1; i >= 0; i-- {
		if r := ses.Results[i]; r.acting {
			r.err = roomfile.ErrClosed
			r.finish() // moves the last one, which was looked at, to i
		}
	}
}

// PageCount returns how many pages the database has, with what the open transaction has done.
func (ses *Session) PageCount() (pages int64, err error) {
	err = ses.Each("PRAGMA page_count", func(r *Rows) { pages = r.Int(0) })
	return pages, err
}

// HasVirtualTables reports whether there are tables that have a memory of their own beneath SQLite.
func (ses *Session) HasVirtualTables() (found bool) {
	err := ses.Each("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND coalesce(rootpage, 0) = 0 LIMIT 1", func(*Rows) { found = true })
	return found || err != nil
}

// Expect returns ErrCorrupt if the row's columns have other types than those given. It checks one row; Int, Float, Bytes and Err
// report a wrong type as well.
func (r *Rows) Expect(types ...sqlite.Type) error {
	if len(types) != len(r.Columns()) {
		return fmt.Errorf("storage: %w: Expect of %d columns in a row of %d", roomfile.ErrMisuse, len(types), len(r.Columns()))
	}
	if err := r.row.Expect(types...); err != nil {
		return fmt.Errorf("storage: %w: %v", roomfile.ErrCorrupt, err)
	}
	return nil
}
