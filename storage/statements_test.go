package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/internal/session"
)

// broken has one of the statements that control transactions fail, until it is mended.
func broken(t *testing.T, d *DB, n session.Control) (mend func()) {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	s, err := d.sql.One(session.Own, `SELECT abs(-9223372036854775807 - 1)`)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	was := d.sql.Controls[n]
	d.sql.Controls[n] = s
	return func() { d.sql.Controls[n] = was }
}

// brokenLog has the change log refuse rows, until it is mended.
func brokenLog(t *testing.T, d *DB) (mend func()) {
	run := func(sql string) {
		d.sql.Mu.Lock()
		defer d.sql.Mu.Unlock()
		if _, err := d.sql.Exec(session.Own, sql, nil); err != nil {
			t.Error(err)
		}
	}
	run(`CREATE TEMP TRIGGER refuse BEFORE INSERT ON main._den_changes BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	return func() { run(`DROP TRIGGER IF EXISTS temp.refuse`) }
}

// A transaction's own statement fails: at its begin, around an action, at its end. Whoever asked is told, nothing of what was refused is
// there, and the next batch goes on as if nothing had been.
func TestTransactionStatementFails(t *testing.T) {
	insert := func(d *DB, id string) func() error {
		return func() error {
			_, err := d.Exec(`INSERT INTO todos (id, text) VALUES (?, hex(zeroblob(20000)))`, id)
			return err
		}
	}
	refuse := errors.New("refused")
	refused := func(d *DB, id string) func() error {
		return func() error { return errors.Join(insert(d, id)(), refuse) }
	}
	breaks := map[string]func(*DB) (mend func()){
		"begin":       func(d *DB) func() { return broken(t, d, session.Begin) },
		"commit":      func(d *DB) func() { return broken(t, d, session.Commit) },
		"savepoint":   func(d *DB) func() { return broken(t, d, session.Savepoint) },
		"release":     func(d *DB) func() { return broken(t, d, session.Release) },
		"rollback to": func(d *DB) func() { return broken(t, d, session.RollbackTo) },
		"log":         func(d *DB) func() { return brokenLog(t, d) },
	}
	for name, c := range map[string]struct {
		slot  string
		do    func(d *DB, breakIt func()) error // what fails
		lost  bool                              // the batch, its earlier actions too
		rows  string                            // that are there afterwards
		seqBy Seq                               // by how much seq has risen
	}{
		"begin a batch": {"begin", func(d *DB, breakIt func()) error {
			breakIt()
			_, err := d.Begin()
			return err
		}, false, "", 0},
		"an action alone": {"begin", func(d *DB, breakIt func()) error { breakIt(); return insert(d, "x")() }, false, "", 0},
		"begin again": {"begin", func(d *DB, breakIt func()) error { // after the first action, which was refused and had no savepoint
			b, err := d.Begin()
			if err != nil {
				return nil
			}
			breakIt()
			_, err = b.Do(1, refused(d, "x"))
			return errors.Join(err, b.Commit())
		}, true, "", 0},
		"begin an action": {"savepoint", func(d *DB, breakIt func()) error {
			b, err := d.Begin()
			if err != nil {
				return nil
			}
			if _, err = b.Do(1, insert(d, "x")); err != nil {
				return nil
			}
			breakIt()
			if _, err = b.Do(1, insert(d, "y")); err == nil {
				return nil
			}
			if b.Commit() != nil {
				return nil
			}
			return err
		}, false, "x", 1},
		"end an action": {"release", func(d *DB, breakIt func()) error {
			b, err := d.Begin()
			if err != nil {
				return nil
			}
			if _, err = b.Do(1, insert(d, "x")); err != nil {
				return nil
			}
			breakIt()
			_, err = b.Do(1, insert(d, "y"))
			return errors.Join(err, b.Commit())
		}, true, "", 0},
		"take an action back": {"rollback to", func(d *DB, breakIt func()) error {
			b, err := d.Begin()
			if err != nil {
				return nil
			}
			if _, err = b.Do(1, insert(d, "x")); err != nil {
				return nil
			}
			breakIt()
			if _, err = b.Do(1, refused(d, "y")); !errors.Is(err, refuse) {
				return nil
			}
			return errors.Join(err, b.Commit())
		}, true, "", 0},
		"release an action that was taken back": {"release", func(d *DB, breakIt func()) error {
			b, err := d.Begin()
			if err != nil {
				return nil
			}
			if _, err = b.Do(1, insert(d, "x")); err != nil {
				return nil
			}
			breakIt()
			_, err = b.Do(1, refused(d, "y"))
			return errors.Join(err, b.Commit())
		}, true, "", 0},
		"note the changes": {"log", func(d *DB, breakIt func()) error {
			b, err := d.Begin()
			if err != nil {
				return nil
			}
			if _, err = b.Do(1, insert(d, "x")); err != nil {
				return nil
			}
			breakIt()
			return b.Commit()
		}, false, "", 0},
		"commit": {"commit", func(d *DB, breakIt func()) error {
			b, err := d.Begin()
			if err != nil {
				return nil
			}
			if _, err = b.Do(1, insert(d, "x")); err != nil {
				return nil
			}
			breakIt()
			return b.Commit()
		}, false, "", 0},
		"Den's own alone": {"begin", func(d *DB, breakIt func()) error {
			breakIt()
			_, err := d.Internal().Exec(`CREATE TABLE _den_x (x)`)
			return err
		}, false, "", 0},
		"a table alone": {"begin", func(d *DB, breakIt func()) error { breakIt(); return d.Sync("notes") }, false, "", 0},
		"the note of a table": {"log", func(d *DB, breakIt func()) error {
			breakIt()
			err := d.Sync("notes")
			if len(d.Tables()) != 1 || d.Table("notes").Columns() != nil {
				return nil
			}
			return err
		}, false, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTodos(t, todosTable, `CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, created_at, updated_at, deleted_at)`)
			actSQL(t, d, 1, `INSERT INTO notes (id) VALUES ('n')`)
			seq := d.Seq()
			mend := func() {}
			err := c.do(d, func() { mend = breaks[c.slot](d) })
			mend()
			if err == nil || errors.Is(err, ErrBatchLost) != c.lost {
				t.Fatalf("error %v, want one that says that the batch is lost: %v", err, c.lost)
			}
			if d.Seq() != seq+c.seqBy || d.batch != nil || d.sql.Changes.InAction() || !d.sql.Conn.AutocommitEnabled() {
				t.Errorf("seq %d, want %d; open: batch %v, action %v, transaction %v", d.Seq(), seq+c.seqBy, d.batch != nil, d.sql.Changes.InAction(), !d.sql.Conn.AutocommitEnabled())
			}
			rows := ""
			for _, row := range query(t, d, `SELECT id FROM todos ORDER BY id`) {
				rows += fmt.Sprint(row[0])
			}
			if rows != c.rows {
				t.Errorf("rows %q, want %q", rows, c.rows)
			}
			if got := actSQL(t, d, 1, `INSERT INTO todos (id) VALUES ('next')`); got.Seq != seq+c.seqBy+1 {
				t.Errorf("the next action is %d, want %d", got.Seq, seq+c.seqBy+1)
			}
			if err := d.Sync("notes"); err != nil {
				t.Fatal(err)
			}
			r, err := d.Table("todos").Since(seq)
			if got := len(all(t, r, err)); got != len(c.rows)+1 {
				t.Errorf("%d changes, want %d", got, len(c.rows)+1)
			}
			if got := ownQuery(t, d, `SELECT name FROM sqlite_schema WHERE name = '_den_x'`); len(got) != 0 {
				t.Error("a table that was refused is there")
			}
		})
	}
}

// What a batch adds to the change log may be more than is kept in memory: then it is several rows of it, of the same transaction.
func TestBatchOfManyChanges(t *testing.T) {
	d := openTodos(t)
	before := d.Seq()
	change := func(i int) func() error {
		return func() error {
			_, err := d.Exec(fmt.Sprintf(`INSERT OR REPLACE INTO todos (id, updated_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
				SELECT 'a key that is long enough to fill the memory for the entries of the log ' || i, %d FROM n`, i))
			return err
		}
	}
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if _, err := b.Do(int64(i), change(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	rows := ownQuery(t, d, `SELECT count(*), count(DISTINCT number), max(last) - min(first) FROM _den_changes WHERE last > ?1`, int64(before))
	if n := rows[0][0].(int64); n < 2 || n > 6 || rows[0][1] != int64(1) || rows[0][2] != int64(5) {
		t.Errorf("rows, transactions, and actions but one: %v", rows[0])
	}
	for i := range Seq(6) {
		r, err := d.Table("todos").Since(before + i)
		if got := len(all(t, r, err)); got != 500 {
			t.Errorf("after action %d: %d rows", i, got)
		}
	}
	if seq, known := d.Table("todos").SeqAt(int64(3)); !known || seq > before+4 || seq < before {
		t.Errorf("the stamp of the fourth action: %d, %v", seq, known)
	}

	// If they cannot be written before an action, that does not begin, and the others stand.
	if b, err = d.Begin(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := b.Do(10, change(10+i)); err != nil {
			t.Fatal(err)
		}
	}
	mend := brokenLog(t, d)
	began := false
	_, err = b.Do(10, func() error { began = true; return nil })
	mend()
	if err == nil || began {
		t.Errorf("error %v; the action began: %v", err, began)
	}
	if err := b.Commit(); err != nil || d.Seq() != before+8 {
		t.Errorf("%v, seq %d", err, d.Seq())
	}
}

// Every call on a room that is closed says so.
func TestClosedAnswers(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	b, err := archived.begin(d, filepath.Join(t.TempDir(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := batch.Do(1, func() error { _, err := d.Exec(`INSERT INTO todos (id) VALUES ('never')`); return err }); err != nil {
		t.Fatal(err)
	}
	rows, err := d.Query(`SELECT id FROM todos ORDER BY id`)
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if rows.Next() || !errors.Is(rows.Err(), ErrClosed) {
		t.Errorf("the rows of before: %v", rows.Err())
	}
	if d.Seq() != 1 {
		t.Errorf("seq %d: the batch that was open counts", d.Seq())
	}
	dir := t.TempDir()
	for name, call := range map[string]func() error{
		"Commit":         batch.Commit,
		"Do":             func() error { _, err := batch.Do(1, func() error { t.Error("it ran"); return nil }); return err },
		"Begin":          func() error { _, err := d.Begin(); return err },
		"Exec":           func() error { _, err := d.Exec(`SELECT 1`); return err },
		"Query":          func() error { _, err := d.Query(`SELECT 1`); return err },
		"Internal.Exec":  func() error { _, err := d.Internal().Exec(`CREATE TABLE _den_x (x)`); return err },
		"Internal.Query": func() error { _, err := d.Internal().Query(`SELECT 1`); return err },
		"Sync":           func() error { return d.Sync("todos") },
		"Live":           func() error { _, err := d.Table("todos").Live(); return err },
		"Page":           func() error { _, err := d.Table("todos").Page(nil, 1); return err },
		"Scan":           func() error { _, err := d.Table("todos").Scan(nil, 1); return err },
		"Pick":           func() error { _, err := d.Table("todos").Pick(nil); return err },
		"Since":          func() error { _, err := d.Table("todos").Since(0); return err },
		"SincePart":      func() error { _, err := d.Table("todos").SincePart(ChangePlace{}, 1); return err },
		"Checkpoint":     d.Checkpoint,
		"Keep":           d.Keep,
		"Backup":         func() error { _, err := archived.begin(d, filepath.Join(dir, "b")); return err },
		"WriteBackup":    func() error { return archived.write(d, filepath.Join(dir, "b")) },
		"WriteStateAt":   func() error { return archived.writeAt(d, filepath.Join(dir, "b"), Point{}) },
		"CopyAt":         func() error { return d.CopyAt(filepath.Join(dir, "b"), Point{}) },
		"Backup.Step":    func() error { _, err := b.Step(1); return err },
		"Backup.Finish":  b.Finish,
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.CompactDue() || batch.Changed() || batch.Rollback() != nil || b.Close() != nil || d.Close() != nil {
		t.Error("what is over has something to do")
	}
	if names := dirNames(t, dir); names != "" {
		t.Errorf("made: %s", names)
	}
	d = openTest(t, d.o)
	if got := query(t, d, `SELECT id FROM todos WHERE id = 'never'`); len(got) != 0 {
		t.Error("a batch that was open when the room was closed is there")
	}
}

// A query may change the schema, as any statement of an action.
func TestQueryThatChangesTheSchema(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	c, err := act(t, d, 1, func() error {
		rows, err := d.Query(`ALTER TABLE todos RENAME COLUMN text TO words`)
		if err == nil && rows.Next() {
			t.Error("it has rows")
		}
		return err
	})
	if err != nil || fmt.Sprint(c.Rebased) != "[todos]" || strings.Join(d.Table("todos").Columns(), " ") != "id words done created_at updated_at deleted_at" {
		t.Errorf("%v: rebased %v, columns %v", err, c.Rebased, d.Table("todos").Columns())
	}
	_, err = d.Query(`CREATE TABLE x (x)`)
	wantError(t, err, ErrMisuse)
}

// An action has a limit for what its changed rows take in memory, old and new.
func TestTooManyChangeBytes(t *testing.T) {
	o := testOptions(t)
	o.MaxChangeBytes = 10_000
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	for n, fits := range map[int]bool{4000: true, 9900: true, 9990: false, 20_000: false} {
		_, err := act(t, d, 1, func() error {
			_, err := d.Exec(`INSERT OR REPLACE INTO todos (id, text) VALUES ('x', ?)`, strings.Repeat("x", n))
			return err
		})
		if fits != (err == nil) || !fits && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes: %v", n, err)
		}
		mustExec(t, d, `DROP TABLE IF EXISTS kept`) // in no synced table nothing is counted
		actSQL(t, d, 1, fmt.Sprintf(`CREATE TABLE kept AS SELECT hex(zeroblob(%d)) AS x`, n))
		if _, err := act(t, d, 1, func() error { _, err := d.Exec(`DELETE FROM todos`); return err }); err != nil {
			t.Errorf("deleting: %v", err)
		}
	}
}

// What is left to copy is told as of the last step.
func TestBackupLeft(t *testing.T) {
	d := openTodos(t)
	fillTodos(t, d, 1, 30)
	b, err := archived.begin(d, filepath.Join(t.TempDir(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if left, of := b.Left(); left != 0 || of != 0 {
		t.Errorf("before the first step: %d of %d", left, of)
	}
	done, err := b.Step(3)
	left, of := b.Left()
	if err != nil || done || of < 20 || left != of-3 {
		t.Errorf("after three pages: %d of %d, done %v, %v", left, of, done, err)
	}
	for range 2 { // once more when it is done
		if done, err = b.Step(-1); err != nil || !done {
			t.Errorf("the rest: done %v, %v", done, err)
		}
	}
	if left, was := b.Left(); left != 0 || was != of {
		t.Errorf("at the end: %d of %d", left, was)
	}
	if err := b.Finish(); err != nil {
		t.Error(err)
	}
}

// A finding is a line that names the room, or where there is none the file.
func TestFindingString(t *testing.T) {
	f := Finding{Path: "/data/x", Check: "log", Err: errors.New("torn")}
	if got := f.String(); got != "note: /data/x: log: torn" {
		t.Error(got)
	}
	f.Namespace, f.Room, f.Severity = "n", "r", Problem
	if got := f.String(); got != "problem: n/r: log: torn" {
		t.Error(got)
	}
}
