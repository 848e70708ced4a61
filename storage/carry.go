package storage

// Tables that outlive a restore. What the room knows about its clients is of the clients and not of a moment: a client
// that was there before a restore is to be told that its rows are another time's, also where the backup is older than it.

import (
	"fmt"

	"github.com/denrooms/den/storage/sqlite"
)

// A keptTable is a table of a room's file as a restore finds it.
type keptTable struct {
	name, sql string
	columns   int
	rows      [][]any
}

// Carry has a table of the room's file stay over the restore, with its rows, in place of the backup's. It is for
// the tables of Den's own packages. Where the file cannot be read, or the backup's table is defined otherwise, the backup's stays.
func (r *Replacement) Carry(table string) { r.carry = append(r.carry, table) }

// readCarried reads the tables that are to stay. One that cannot be read does not: that may be why there is a restore.
func (r *Replacement) readCarried(d *DB) {
	r.carried = nil
	for _, name := range r.carry {
		if t, err := readTable(d, name); err == nil && t.sql != "" {
			r.carried = append(r.carried, t)
		}
	}
}

// readTable reads a table whole; without a definition where there is none.
func readTable(d *DB, name string) (keptTable, error) {
	t := keptTable{name: name}
	var err error
	if t.sql, err = definedAs(d, name); err != nil || t.sql == "" {
		return t, err
	}
	err = d.each("SELECT * FROM "+sqlite.Quote(name), func(rows *Rows) {
		t.columns = len(rows.Columns())
		t.rows = append(t.rows, rows.Values())
	})
	return t, err
}

// definedAs is a table's CREATE TABLE; "" where there is none.
func definedAs(d *DB, name string) (sql string, err error) {
	err = d.each("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1", func(rows *Rows) { sql = string(rows.Bytes(0)) }, name)
	return sql, err
}

// write puts the table into the file that takes the room's place. A transaction is open.
func (t keptTable) write(d *DB) error {
	sql, err := definedAs(d, t.name)
	switch {
	case err != nil:
		return err
	case sql == "":
		_, err = d.exec(own, t.sql, nil)
	case sql != t.sql:
		return nil
	default:
		_, err = d.exec(own, "DELETE FROM "+sqlite.Quote(t.name), nil)
	}
	if err != nil {
		return err
	}
	insert := fmt.Sprintf("INSERT INTO %s VALUES (%s)", sqlite.Quote(t.name), places(t.columns))
	for _, row := range t.rows {
		if _, err := d.exec(own, insert, row); err != nil {
			return err
		}
	}
	return nil
}

// places are so many parameters of a statement.
func places(n int) (list string) {
	for i := range n {
		if i > 0 {
			list += ", "
		}
		list += fmt.Sprintf("?%d", i+1)
	}
	return list
}
