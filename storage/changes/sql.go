package changes

import (
	"fmt"

	"github.com/denrooms/den/storage/sqlite"
)

// A statement is one of the package's own. Its Info reports whether it was used since the connection has this database.
type statement = sqlite.CachedStmt[bool]

// maxStatements is how many compiled statements a connection keeps: five, and some for each table.
const maxStatements = 256

// statements are the package's own statements of a connection, compiled once.
type statements struct {
	conn  *sqlite.Conn
	cache *sqlite.Cache[bool]
}

// prepare returns a statement, which is in use until its Release.
func (s *statements) prepare(sql string) (*statement, error) {
	if p := s.cache.Get(sql); p != nil {
		p.Info = true
		return p, nil
	}
	stmt, _, err := s.conn.Prepare(sql, sqlite.PreparePersistent)
	if err != nil {
		return nil, err
	}
	p := &statement{Stmt: stmt, Info: true}
	p.Use()
	s.cache.Put(sql, p)
	return p, nil
}

// exec runs a statement without rows. The rows that it changes are not recorded.
func (s *statements) exec(sql string, args ...any) error {
	return s.query(sql, func(*sqlite.Row) bool { return true }, args...)
}

func (s *statements) each(sql string, do func(*sqlite.Row), args ...any) error {
	return s.query(sql, func(row *sqlite.Row) bool { do(row); return true }, args...)
}

// query calls do for each row of a statement until do returns false. A column of a type that do does not expect is ErrCorrupt.
func (s *statements) query(sql string, do func(*sqlite.Row) (more bool), args ...any) error {
	p, err := s.prepare(sql)
	if err != nil {
		return err
	}
	defer p.Release()
	if err := p.Bind(args); err != nil {
		return err
	}
	if !p.ReadOnly() {
		s.conn.SetPreUpdateHook(nil)
	}
	row := sqlite.NewRow(p.Columns())
	for {
		there, err := p.Step()
		if !there || err != nil {
			return err
		}
		row.Read(p.Stmt)
		more := do(&row)
		if err := row.Err(); err != nil {
			return fmt.Errorf("%w: %v", ErrCorrupt, err)
		}
		if !more {
			return nil
		}
	}
}

// find steps a query of a table to the row with an id. found is false if there is none; otherwise the caller releases p
// after it has read the row.
func (s *statements) find(t *Table, key []byte) (p *statement, found bool, err error) {
	if p, err = s.prepare(t.SQL(current)); err != nil {
		return nil, false, err
	}
	p.Reserve(len(key))
	if err = p.BindRaw(1, key); err == nil {
		found, err = p.Step()
	}
	if !found {
		p.Release()
	}
	return p, found, err
}
