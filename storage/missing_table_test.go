package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/denrooms/den/storage/internal/session"
)

// What is done with a room whose tables are not there: SQLite refuses each statement that needs one. The error comes to whoever asked,
// nothing stays open, and with the table back the same succeeds.
func TestMissingTable(t *testing.T) {
	const changes, tables, meta, todos = "_den_changes", "_den_tables", "_den_meta", "todos"
	read := func(rows *Rows, err error) error {
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		return rows.Err()
	}
	action := func(sql string) func(*testing.T, *DB) error {
		return func(_ *testing.T, d *DB) error {
			b, err := d.Begin()
			if err != nil {
				return err
			}
			if _, err = b.Do(clock, func() error { _, err := d.Exec(sql); return err }); err != nil {
				return errors.Join(err, b.Rollback())
			}
			return b.Commit()
		}
	}
	unknown := errors.New("the stamp is not known")
	for _, c := range []struct {
		name  string
		needs []string // tables without which it fails
		do    func(*testing.T, *DB) error
	}{
		{"an action", []string{changes, todos}, action(`UPDATE todos SET text = text || 'x'`)},
		{"an action that deletes", []string{changes, todos}, action(`DELETE FROM todos WHERE id = (SELECT max(id) FROM todos)`)},
		{"an action that changes a definition", []string{changes, tables, todos}, action(`ALTER TABLE todos ADD COLUMN more; ALTER TABLE todos DROP COLUMN more`)},
		{"a statement alone", []string{changes, todos}, func(_ *testing.T, d *DB) error { _, err := d.Exec(`UPDATE todos SET text = text || 'y'`); return err }},
		{"Den's own", []string{changes}, func(_ *testing.T, d *DB) error {
			_, err := d.Internal().Exec(`CREATE TABLE IF NOT EXISTS _den_more (x); INSERT INTO _den_more VALUES (1)`)
			return err
		}},
		{"a note", []string{changes, meta, todos}, func(t *testing.T, d *DB) error {
			d.NoteAlarm(d.LastMaintenance() + 1)
			d.NoteMaintenance(d.LastMaintenance() + 1)
			return action(`UPDATE todos SET text = text || 'z'`)(t, d)
		}},
		{"another synced table", []string{changes, tables, todos}, func(_ *testing.T, d *DB) error {
			name := fmt.Sprintf("notes%d", len(d.Tables()))
			if _, err := d.Exec(`CREATE TABLE IF NOT EXISTS ` + name + ` (id TEXT PRIMARY KEY NOT NULL, created_at, updated_at, deleted_at)`); err != nil {
				return err
			}
			err := d.Sync(name)
			if err != nil && slices.Contains(d.Tables(), name) {
				err = nil // it must not be declared
			}
			return err
		}},
		{"live rows", []string{todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").Live()) }},
		{"a page", []string{todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").Page("a", 10)) }},
		{"the first page", []string{todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").Page(nil, 10)) }},
		{"a scan", []string{todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").Scan(int64(1), 10)) }},
		{"a scan from the beginning", []string{todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").Scan(nil, 10)) }},
		{"picked rows", []string{todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").Pick([]Value{"a"})) }},
		{"changes", []string{changes, todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").Since(1)) }},
		{"a part of the changes", []string{changes, todos}, func(_ *testing.T, d *DB) error { return read(d.Table("todos").SincePart(ChangePlace{Seq: 1}, d.Seq())) }},
		{"the changes before the last", []string{changes, todos}, func(_ *testing.T, d *DB) error {
			return read(d.Table("todos").SincePart(ChangePlace{Seq: 1}, d.Seq()-1))
		}},
		{"a stamp", []string{changes}, func(t *testing.T, d *DB) error {
			forgetHighest(t, d)
			if _, known := d.Table("todos").SeqAt(int64(20)); !known {
				return unknown
			}
			return nil
		}},
		{"a stamp of a row", []string{changes, todos}, func(_ *testing.T, d *DB) error {
			if _, known := d.Table("todos").SeqAt(int64(30)); !known {
				return unknown
			}
			return nil
		}},
		{"a backup", []string{changes, meta}, func(t *testing.T, d *DB) error { return archived.write(d, filepath.Join(t.TempDir(), "copy")) }},
		{"a state", []string{changes, meta}, func(t *testing.T, d *DB) error {
			return archived.writeAt(d, filepath.Join(t.TempDir(), "copy"), Point{Seq: d.Seq()})
		}},
		{"the life after", []string{changes, meta, tables}, func(t *testing.T, d *DB) error {
			next, err := Open(Options{Path: copyOf(t, d), Namespace: d.o.Namespace, Room: d.o.Room, Now: d.o.Now})
			if err != nil {
				return err
			}
			return next.Close()
		}},
	} {
		for _, table := range []string{changes, tables, meta, todos} {
			t.Run(c.name+" without "+table, func(t *testing.T) {
				d := openWithoutLog(t)
				if err := c.do(t, d); err != nil {
					t.Fatal(err)
				}
				rename(t, d, table, table+"_away")
				seq := d.Seq()
				err := c.do(t, d)
				if want := slices.Contains(c.needs, table); want != (err != nil) {
					t.Fatalf("error %v, want one: %v", err, want)
				}
				if err != nil && d.Seq() != seq {
					t.Errorf("seq %d after the error, before it %d", d.Seq(), seq)
				}
				if d.batch != nil || d.sql.Changes.InAction() || len(d.sql.Results) > 0 {
					t.Errorf("left open: batch %v, action %v, %d results", d.batch != nil, d.sql.Changes.InAction(), len(d.sql.Results))
				}
				rename(t, d, table+"_away", table)
				if err := c.do(t, d); err != nil {
					t.Errorf("with the table back: %v", err)
				}
			})
		}
	}
}

// openWithoutLog opens a room whose own tables a test can take away.
func openWithoutLog(t *testing.T) *DB {
	t.Helper()
	o := testOptions(t)
	o.Log = nil
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, clock, `INSERT INTO todos (id, updated_at) VALUES ('a', 10)`)
	actSQL(t, d, clock, `INSERT INTO todos (id, updated_at) VALUES ('b', 20), ('c', 20)`)
	actSQL(t, d, clock, `INSERT INTO todos (id, updated_at) VALUES ('d', 30), ('e', 40)`)
	return d
}

// rename renames a table, as nothing that Den runs would.
func rename(t *testing.T, d *DB, from, to string) {
	t.Helper()
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	if _, err := d.sql.Exec(session.Own, `ALTER TABLE `+from+` RENAME TO `+to, nil); err != nil {
		t.Fatal(err)
	}
}

// copyOf copies a room's file.
func copyOf(t *testing.T, d *DB) string {
	t.Helper()
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := copyTo(&d.sql, d.o.FS, path); err != nil {
		t.Fatal(err)
	}
	return path
}
