package storage

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
)

// failing is an action that does not go through.
func TestInvariantAtomic(t *testing.T) {
	schema := []string{todosTable, `CREATE TABLE plain (x UNIQUE)`,
		`CREATE TRIGGER refuse BEFORE INSERT ON plain WHEN new.x = 'abort' BEGIN SELECT RAISE(ABORT, 'no'); END`,
		`CREATE TRIGGER refuse2 BEFORE INSERT ON plain WHEN new.x = 'fail' BEGIN SELECT RAISE(FAIL, 'no'); END`}
	for name, fn := range map[string]func(d *DB) error{
		"error":      func(d *DB) error { return errRefused },
		"constraint": func(d *DB) error { _, err := d.Exec(`INSERT INTO todos (id) VALUES ('old')`); return err },
		"or fail": func(d *DB) error {
			_, err := d.Exec(`INSERT OR FAIL INTO todos (id) VALUES ('n1'), ('old')`)
			return err
		},
		"abort":      func(d *DB) error { _, err := d.Exec(`INSERT INTO plain VALUES ('fine'), ('abort')`); return err },
		"raise fail": func(d *DB) error { _, err := d.Exec(`INSERT INTO plain VALUES ('fine'), ('fail')`); return err },
		"syntax":     func(d *DB) error { _, err := d.Exec(`SELEKT`); return err },
		"open rows": func(d *DB) error {
			r, err := d.Query(`SELECT id FROM todos UNION ALL SELECT 'x'`)
			if err != nil || !r.Next() {
				return fmt.Errorf("no row: %w", err)
			}
			return errRefused
		},
		"schema": func(d *DB) error {
			_, err := d.Exec(`CREATE TABLE more (x); DROP TABLE plain; ALTER TABLE todos RENAME COLUMN text TO words`)
			if err == nil {
				err = errRefused
			}
			return err
		},
		"internal too": func(d *DB) error {
			_, err := d.Internal().Exec(`INSERT INTO _den_mine VALUES (1)`)
			return errors.Join(err, errRefused)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTodos(t, schema...)
			if _, err := d.Internal().Exec(`CREATE TABLE _den_mine (x)`); err != nil {
				t.Fatal(err)
			}
			actSQL(t, d, 1, `INSERT INTO todos VALUES ('old','x',0,1,1,NULL)`)
			before := dump(t, d)
			b, err := d.Begin()
			if err != nil {
				t.Fatal(err)
			}
			first, err := b.Do(2, func() error { _, err := d.Exec(`INSERT INTO todos (id) VALUES ('first')`); return err })
			if err != nil || first.Seq != 2 {
				t.Fatal(first, err)
			}
			c, err := b.Do(3, func() error {
				if _, err := d.Exec(`UPDATE todos SET text = 'half'; INSERT INTO plain VALUES ('half')`); err != nil {
					return err
				}
				return fn(d)
			})
			if err == nil || c.Seq != 0 || c.Rows != nil {
				t.Fatalf("commit %+v, error %v", c, err)
			}
			last, err := b.Do(4, func() error { _, err := d.Exec(`DELETE FROM todos WHERE id = 'first'`); return err })
			if err != nil || last.Seq != 3 {
				t.Errorf("the next action: seq %d, %v", last.Seq, err)
			}
			if err := b.Commit(); err != nil {
				t.Fatal(err)
			}
			if after := dump(t, d); after != before {
				t.Errorf("something remained:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// dump writes the room's content, without the change log.
func dump(t *testing.T, d *DB) string {
	t.Helper()
	var s strings.Builder
	for _, row := range ownQuery(t, d, `SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name`) {
		fmt.Fprintln(&s, row...)
		if name := row[0].(string); !strings.HasPrefix(name, "_den_changes") && name != "_den_meta" {
			for _, r := range ownQuery(t, d, "SELECT * FROM "+sqlite.Quote(name)) {
				fmt.Fprintln(&s, " ", show(r))
			}
		}
	}
	return s.String()
}

func TestInvariantAtomicPanic(t *testing.T) {
	d := openTodos(t)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v", p)
			}
		}()
		b.Do(1, func() error {
			if _, err := d.Exec(twoTodos); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
		t.Error("Do came back from a panic")
	}()
	done := make(chan struct{})
	go func() { // ends when fn ends its goroutine
		defer close(done)
		b.Do(1, func() error {
			d.Exec(twoTodos)
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	c, err := b.Do(2, func() error { _, err := d.Exec(`INSERT INTO todos (id) VALUES ('c')`); return err })
	if err != nil || c.Seq != 1 {
		t.Fatal(c, err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := query(t, d, `SELECT id FROM todos`); len(got) != 1 {
		t.Errorf("rows %v", got)
	}
}

// A handler may look at a statement's error and go on: then what is sent is what
// the statement left, which differs with the kind of failure.
func TestHandlerGoesOnBehindAFailedStatement(t *testing.T) {
	for name, tc := range map[string]struct{ sql, want string }{
		"abort undoes the statement": {`INSERT INTO todos VALUES ('n1','x',0,1,1,NULL), ('b','x',0,1,1,NULL)`, ``},
		"fail keeps what came first": {`INSERT OR FAIL INTO todos VALUES ('n1','x',0,1,1,NULL), ('b','x',0,1,1,NULL)`, `todos: "n1" "x" 0 1 1 -`},
		"update that aborts":         {`UPDATE todos SET text = id || 'x', id = CASE id WHEN 'a' THEN 'q' ELSE 'q' END`, ``},
		"update or fail":             {`UPDATE OR FAIL todos SET id = 'q'`, `todos: "a" - - - 5 5;todos: "q" "one" 0 1 1 -`},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTodos(t)
			actSQL(t, d, 1, twoTodos)
			c, err := act(t, d, 5, func() error {
				if _, err := d.Exec(`UPDATE todos SET text = 'kept' WHERE id = 'b'`); err != nil {
					return err
				}
				_, err := d.Exec(tc.sql)
				wantError(t, err, ErrConstraint)
				_, err = d.Exec(`INSERT INTO todos VALUES ('last','x',0,1,1,NULL)`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{`todos: "b" "kept" 0 1 1 -`}
			if tc.want != "" {
				want = append(want, strings.Split(tc.want, ";")...)
			}
			wantRows(t, c, append(want, `todos: "last" "x" 0 1 1 -`)...)
		})
	}
}

func TestBatchLost(t *testing.T) {
	for name, sql := range map[string]string{
		"or rollback":    `INSERT OR ROLLBACK INTO todos (id) VALUES ('a')`,
		"raise rollback": `INSERT INTO plain VALUES (1)`,
	} {
		t.Run(name, func(t *testing.T) {
			d := openTodos(t, todosTable, `CREATE TABLE plain (x)`,
				`CREATE TRIGGER tr BEFORE INSERT ON plain BEGIN SELECT RAISE(ROLLBACK, 'no'); END`)
			actSQL(t, d, 1, twoTodos)
			before := dump(t, d)
			b, err := d.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Do(1, func() error { _, err := d.Exec(`DELETE FROM todos WHERE id = 'b'`); return err }); err != nil {
				t.Fatal(err)
			}
			_, err = b.Do(1, func() error {
				_, err := d.Exec(sql)
				wantError(t, err, ErrBatchLost, ErrConstraint)
				// Whatever the handler does now must not be written by itself.
				_, err = d.Exec(`INSERT INTO todos (id) VALUES ('stray')`)
				wantError(t, err, ErrBatchLost)
				_, err = d.Internal().Exec(`CREATE TABLE _den_stray (x)`)
				wantError(t, err, ErrBatchLost)
				return nil
			})
			wantError(t, err, ErrBatchLost, ErrConstraint)
			_, err = b.Do(1, func() error { t.Error("an action ran in a lost batch"); return nil })
			wantError(t, err, ErrBatchLost)
			if b.Changed() {
				t.Error("a lost batch has changes")
			}
			wantError(t, b.Commit(), ErrBatchLost)
			if err := b.Rollback(); err != nil {
				t.Error(err)
			}
			if after := dump(t, d); after != before {
				t.Errorf("something remained:\n%s\nbefore:\n%s", after, before)
			}
			if c := actSQL(t, d, 9, `DELETE FROM todos WHERE id = 'b'`); c.Seq != 2 {
				t.Errorf("seq %d", c.Seq)
			}
		})
	}
}

func TestBatchRollback(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	before := dump(t, d)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := b.Do(900, func() error {
			_, err := d.Exec(`UPDATE todos SET done = done + 1, updated_at = 900; ALTER TABLE todos ADD COLUMN x; ALTER TABLE todos DROP COLUMN x`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if d.Seq() != 4 || !b.Changed() {
		t.Errorf("seq %d, changed %v", d.Seq(), b.Changed())
	}
	if err := b.Rollback(); err != nil {
		t.Fatal(err)
	}
	if after := dump(t, d); after != before || d.Seq() != 1 {
		t.Errorf("seq %d, content %s", d.Seq(), after)
	}
	if seq, known := d.Table("todos").SeqAt(int64(900)); known {
		t.Errorf("a stamp that was rolled back is known, at %d", seq)
	}
	wantError(t, b.Commit(), ErrMisuse)
	_, err = b.Do(1, func() error { return nil })
	wantError(t, err, ErrMisuse)
}

func TestBatchChanged(t *testing.T) {
	d := openTodos(t)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		sql  string
		want bool
	}{{`SELECT * FROM todos`, false}, {`INSERT INTO todos (id) VALUES ('a')`, true}} {
		if _, err := b.Do(1, func() error { _, err := d.Exec(step.sql); return err }); err != nil {
			t.Fatal(err)
		}
		if b.Changed() != step.want {
			t.Errorf("changed after %s: %v", step.sql, b.Changed())
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestMisuse(t *testing.T) {
	d := openTodos(t)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Begin()
	wantError(t, err, ErrMisuse)
	wantError(t, d.Sync("todos"), ErrMisuse)
	_, err = b.Do(1, func() error {
		_, err := b.Do(2, func() error { return nil })
		wantError(t, err, ErrMisuse)
		wantError(t, b.Commit(), ErrMisuse)
		wantError(t, b.Rollback(), ErrMisuse)
		_, err = d.Exec(`INSERT INTO todos (id) VALUES (?)`)
		wantError(t, err, ErrMisuse)
		_, err = d.Exec(`DELETE FROM todos; DELETE FROM todos WHERE id = ?`, 1)
		wantError(t, err, ErrMisuse)
		_, err = d.Query(`SELECT 1; SELECT 2`)
		wantError(t, err, ErrMisuse)
		_, err = d.Query(` -- nothing`)
		wantError(t, err, ErrMisuse)
		_, err = d.Exec("SELECT 1\x00")
		wantError(t, err, ErrMisuse)
		_, err = d.Exec(`SELECT ?`, struct{}{})
		wantError(t, err, ErrMisuse)
		_, err = d.Table("nothing").Live()
		wantError(t, err, ErrMisuse)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	_, err = d.Query(`DELETE FROM todos RETURNING id`)
	wantError(t, err, ErrMisuse)
}

func TestExecOutsideOfAnAction(t *testing.T) {
	d := openTodos(t)
	mustExec(t, d, twoTodos)
	if d.Seq() != 1 {
		t.Errorf("seq %d", d.Seq())
	}
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, `DELETE FROM todos WHERE id = 'a'`)
	if d.Seq() != 2 {
		t.Errorf("seq %d", d.Seq())
	}
	if err := b.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Exec(`INSERT INTO todos (id) VALUES ('c'), ('a')`); !errors.Is(err, ErrConstraint) {
		t.Errorf("got %v", err)
	}
	r, err := d.Table("todos").Since(0)
	wantSet(t, all(t, r, err), []string{`"a" "one" 0 1 1 -`, `"b" "two" 0 1 1 -`})
	mustExec(t, d, `DELETE FROM todos WHERE id = 'a'`)
	r, err = d.Table("todos").Since(1)
	wantSet(t, all(t, r, err), []string{fmt.Sprintf(`"a" - - - %d %[1]d`, clock)})
}

func TestRowsEndWithTheirAction(t *testing.T) {
	d := openTodos(t)
	mustExec(t, d, twoTodos)
	outer, err := d.Query(`SELECT id FROM todos ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	var inner []*Rows
	actFn := func() error {
		for range 3 {
			r, err := d.Query(`SELECT id FROM todos ORDER BY id`)
			if err != nil {
				return err
			}
			inner = append(inner, r)
			r.Next()
		}
		return inner[1].Close()
	}
	if _, err := act(t, d, 1, actFn); err != nil {
		t.Fatal(err)
	}
	for i, r := range inner {
		if r.Next() || (i != 1) != errors.Is(r.Err(), ErrClosed) {
			t.Errorf("rows %d went on, or %v", i, r.Err())
		}
	}
	if got := all(t, outer, nil); len(got) != 2 {
		t.Errorf("rows from outside of the action: %v", got)
	}
}
