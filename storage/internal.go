package storage

import (
	"fmt"

	"github.com/denrooms/den/storage/internal/session"
)

// Internal is the database for Den's other packages: for their own tables, named _den_…, which handlers cannot write and whose
// changes are not captured. A write within an action is a part of the action, and one within a batch a part of the batch. Any other
// write is a transaction of its own.
type Internal struct{ d *DB }

// Internal returns access to the tables of Den's other packages.
func (d *DB) Internal() *Internal { return &Internal{d} }

// Exec is DB.Exec for tables named _den_….
func (in *Internal) Exec(sql string, args ...any) (Result, error) {
	d := in.d
	if err := d.sql.Lock(); err != nil {
		return Result{}, err
	}
	defer d.sql.Mu.Unlock()
	if d.batch != nil && d.batch.dead != nil {
		return Result{}, d.batch.dead
	}
	var res Result
	err := d.alone(func() (err error) {
		res, err = d.sql.Exec(session.Peer, sql, args)
		return err
	})
	return res, err
}

// Query is DB.Query for tables named _den_…. It may write while a batch is open.
func (in *Internal) Query(sql string, args ...any) (*Rows, error) {
	d := in.d
	if err := d.sql.Lock(); err != nil {
		return nil, err
	}
	defer d.sql.Mu.Unlock()
	if d.batch != nil && d.batch.dead != nil {
		return nil, d.batch.dead
	}
	readOnly, err := d.sql.ReadOnly(session.Peer, sql)
	switch {
	case err != nil:
		return nil, err
	case readOnly:
	case d.batch == nil:
		return nil, fmt.Errorf("storage: %w: a query that writes, outside of a batch", ErrMisuse)
	default:
		d.batch.wrote = true
	}
	return d.sql.Query(session.Peer, sql, args)
}

// First calls read with the first row of a query, and reports whether there is one. The row is valid during the call;
// read may be nil.
func (in *Internal) First(read func(*Rows), sql string, args ...any) (found bool, err error) {
	rows, err := in.Query(sql, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if found = rows.Next(); found && read != nil {
		read(rows)
	}
	return found, rows.Err()
}

// Each calls do with each row of a query. The row is valid during the call.
func (in *Internal) Each(sql string, do func(*Rows), args ...any) error {
	rows, err := in.Query(sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		do(rows)
	}
	return rows.Err()
}

// HasTable reports whether the file has a table. One that an earlier version of Den made may lack some of Den's own.
func (in *Internal) HasTable(name string) (bool, error) {
	return in.First(nil, `SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?`, name)
}
