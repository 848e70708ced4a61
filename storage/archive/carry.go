package archive

// Tables that outlive a restore. What the room knows about its clients is of the clients and not of a moment: a client
// that was there before a restore is to be told that its rows are another time's, also where the backup is older than it.

import (
	"fmt"
	"strings"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// A table is one of a room's file as a restore finds it.
type table struct {
	name, sql string
	columns   int
	rows      [][]any
}

// Carry has a table of the room's file stay over the restore, with its rows, in place of the backup's. It is for
// the tables of Den's own packages. Where the file cannot be read, or the backup's table is defined otherwise, the backup's stays.
func (r *Replacement) Carry(table string) { r.carry = append(r.carry, table) }

// definition is the statement that gives a table's CREATE TABLE.
const definition = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1"

// readCarried reads the tables that are to stay. One that cannot be read does not: that may be why there is a restore.
func (r *Replacement) readCarried(d *storage.DB) {
	r.carried = nil
	for _, name := range r.carry {
		if t, err := readTable(d.Internal(), name); err == nil && t.sql != "" {
			r.carried = append(r.carried, t)
		}
	}
}

// readTable reads a table whole; without a definition where there is none.
func readTable(in *storage.Internal, name string) (table, error) {
	t := table{name: name}
	err := in.Each(definition, func(rows *storage.Rows) { t.sql = string(rows.Bytes(0)) }, name)
	if err != nil || t.sql == "" {
		return t, err
	}
	err = in.Each("SELECT * FROM "+sqlite.Quote(name), func(rows *storage.Rows) {
		t.columns = len(rows.Columns())
		t.rows = append(t.rows, rows.Values())
	})
	return t, err
}

// writeCarried puts the tables into the file that takes the room's place. A transaction is open.
func (r *Replacement) writeCarried(c roomfile.Conn) error {
	for _, t := range r.carried {
		if err := t.write(c); err != nil {
			return fmt.Errorf("keeping %s: %w", t.name, err)
		}
	}
	return nil
}

func (t table) write(c roomfile.Conn) error {
	sql := ""
	err := c.Each(definition, func(row *sqlite.Row) { sql = string(row.Bytes(0)) }, t.name)
	switch {
	case err != nil:
		return err
	case sql == "":
		err = c.Exec(t.sql)
	case sql != t.sql:
		return nil
	default:
		err = c.Exec("DELETE FROM " + sqlite.Quote(t.name))
	}
	if err != nil || t.columns == 0 {
		return err
	}
	insert := fmt.Sprintf("INSERT INTO %s VALUES (?%s)", sqlite.Quote(t.name), strings.Repeat(", ?", t.columns-1))
	for _, row := range t.rows {
		if err := c.Exec(insert, row...); err != nil {
			return err
		}
	}
	return nil
}
