package archive

// Tables that survive a restore. What the room knows about its clients belongs to the clients and not to a moment. After a
// restore a client must be told that its rows are of another time, even if the backup is older than the client.

import (
	"fmt"
	"strings"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// A table is a table of the room's file before the restore.
type table struct {
	name, sql string
	columns   int
	rows      [][]any
}

// Carry keeps a table of the room's file, with its rows, instead of the backup's. It is for the tables of Den's own
// packages. If the file cannot be read, or the backup's table has another definition, the backup's table stays.
func (r *Replacement) Carry(table string) { r.carry = append(r.carry, table) }

// definition is the query for a table's CREATE TABLE.
const definition = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1"

// readCarried reads the tables to keep. A table that cannot be read is not kept: that may be the reason for the restore.
func (r *Replacement) readCarried(d *storage.DB) {
	r.carried = nil
	for _, name := range r.carry {
		if t, err := readTable(d.Internal(), name); err == nil && t.sql != "" {
			r.carried = append(r.carried, t)
		}
	}
}

// readTable reads a whole table. Its definition is "" if there is none of this name.
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

// writeCarried writes the tables into the replacement. A transaction is open.
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
