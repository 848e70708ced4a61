package storage

import (
	"fmt"
	"strings"
	"testing"
)

func TestSyncRefuses(t *testing.T) {
	for name, sql := range map[string]string{
		"no such table":     `CREATE TABLE todoz (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at)`,
		"other case":        `CREATE TABLE Todos (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at)`,
		"no key":            `CREATE TABLE todos (id TEXT, created_at, updated_at, deleted_at)`,
		"key not first":     `CREATE TABLE todos (x, id TEXT PRIMARY KEY, created_at, updated_at, deleted_at)`,
		"two keys":          `CREATE TABLE todos (id, x, created_at, updated_at, deleted_at, PRIMARY KEY (id, x))`,
		"unique and null":   `CREATE TABLE todos (id UNIQUE, created_at, updated_at, deleted_at)`,
		"partial index":     `CREATE TABLE todos (id NOT NULL, created_at, updated_at, deleted_at); CREATE UNIQUE INDEX i ON todos (id) WHERE id > 1`,
		"two-column index":  `CREATE TABLE todos (id NOT NULL, x, created_at, updated_at, deleted_at); CREATE UNIQUE INDEX i ON todos (id, x)`,
		"nocase":            `CREATE TABLE todos (id TEXT COLLATE NOCASE PRIMARY KEY, created_at, updated_at, deleted_at)`,
		"nocase column":     `CREATE TABLE todos (id TEXT COLLATE NOCASE NOT NULL, created_at, updated_at, deleted_at); CREATE UNIQUE INDEX i ON todos (id COLLATE BINARY)`,
		"no stamps":         `CREATE TABLE todos (id TEXT PRIMARY KEY, text)`,
		"stamps not last":   `CREATE TABLE todos (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at, text)`,
		"only stamps":       `CREATE TABLE todos (created_at PRIMARY KEY, updated_at, deleted_at)`,
		"virtual deletion":  `CREATE TABLE todos (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at AS (1))`,
		"a view":            `CREATE TABLE t (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at); CREATE VIEW todos AS SELECT * FROM t`,
		"a virtual table":   `CREATE VIRTUAL TABLE todos USING fts5 (id, created_at, updated_at, deleted_at)`,
		"a row without key": `CREATE TABLE todos (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at); INSERT INTO todos (id) VALUES (NULL)`,
	} {
		t.Run(name, func(t *testing.T) {
			d := openTest(t, testOptions(t))
			mustExec(t, d, sql)
			mustExec(t, d, `CREATE TABLE fine (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at)`)
			err := d.Sync("fine", "todos")
			wantError(t, err, ErrSchema)
			if err == nil || !strings.Contains(err.Error(), `"todos"`) {
				t.Errorf("no table in %v", err)
			}
			if len(d.Tables()) != 0 || d.Table("fine").Columns() != nil {
				t.Errorf("declared all the same: %v", d.Tables())
			}
		})
	}
	d := openTest(t, testOptions(t))
	wantError(t, d.Sync("_den_meta"), ErrSchema)
	wantError(t, d.Sync("sqlite_schema"), ErrSchema)
}

// wantForgotten checks that the log begins right after seq, and that the table as it
// is is what a client gets that has seen less.
func wantForgotten(t *testing.T, d *DB, seq Seq, live ...string) {
	t.Helper()
	_, err := d.Table("todos").Since(seq)
	wantError(t, err, ErrForgotten)
	r, err := d.Table("todos").Live()
	wantSet(t, all(t, r, err), live)
	r, err = d.Table("todos").Since(seq + 1)
	wantSet(t, all(t, r, err), nil)
}

// A table with rows that nobody followed counts as changed as a whole.
func TestSyncTakesUpRows(t *testing.T) {
	d := openTest(t, testOptions(t))
	mustExec(t, d, todosTable)
	mustExec(t, d, twoTodos)
	mustExec(t, d, `UPDATE todos SET deleted_at = 77 WHERE id = 'a'`)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	if d.Seq() != 3 {
		t.Errorf("seq %d", d.Seq())
	}
	wantForgotten(t, d, 2, `"b" "two" 0 1 1 -`)
	if seq, known := d.Table("todos").SeqAt(int64(77)); known {
		t.Errorf("SeqAt = %d, %v", seq, known)
	}
	actSQL(t, d, 50, `UPDATE todos SET done = 1, updated_at = 50`) // below the 77 that is in the table
	actSQL(t, d, 78, `UPDATE todos SET done = 2, updated_at = 78`)
	if seq, known := d.Table("todos").SeqAt(int64(60)); known {
		t.Errorf("SeqAt of a stamp from before = %d, %v", seq, known)
	}
	if seq, known := d.Table("todos").SeqAt(int64(78)); seq != 4 || !known {
		t.Errorf("SeqAt of a stamp from behind = %d, %v", seq, known)
	}
}

// A migration changes rows before Sync is called: that is indexed as well.
func TestChangesBeforeSyncAreIndexed(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, twoTodos)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openTest(t, o)
	if c := actSQL(t, d, 2, `UPDATE todos SET done = 5 WHERE id = 'a'`); c.Seq != 2 || len(c.Rows) != 0 {
		t.Errorf("commit %+v of a table that is not declared", c)
	}
	if _, err := d.Table("todos").Since(1); err == nil {
		t.Error("Since of a table that is not declared")
	}
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	r, err := d.Table("todos").Since(1)
	wantSet(t, all(t, r, err), []string{`"a" "one" 5 1 1 -`})
}

// A program that is not Den's makes a table unfit. When the room is opened, the table is given up, and the other tables
// keep their highest stamps, so that clients that name one still get only what changed after it.
func TestTableMadeUnfitWhileClosed(t *testing.T) {
	o := testOptions(t)
	o.Log = nil
	d := openTest(t, o)
	mustExec(t, d, strings.ReplaceAll(todosTable, "todos", "a_notes")+";"+todosTable)
	if err := d.Sync("a_notes", "todos"); err != nil {
		t.Fatal(err)
	}
	stamped(t, d, "a", 10)
	stamped(t, d, "b", 90)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	tamper(t, o.Path, `ALTER TABLE a_notes DROP COLUMN deleted_at`)
	d = openTest(t, o)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	wantError(t, d.Sync("a_notes"), ErrSchema)
	stamped(t, d, "c", 20) // below the highest stamp
	stamped(t, d, "d", 30)
	for stamp, want := range map[int64]Seq{10: 0, 90: 1} {
		if seq, known := d.Table("todos").SeqAt(stamp); seq != want || !known {
			t.Errorf("SeqAt(%d) = %d, %v; want %d", stamp, seq, known, want)
		}
	}
	if seq, known := d.Table("todos").SeqAt(int64(30)); known {
		t.Errorf("SeqAt(30) = %d: the highest stamp has fallen", seq)
	}
}

const rebuild = `CREATE TABLE todos2 (id TEXT PRIMARY KEY, title TEXT, created_at, updated_at, deleted_at);
	INSERT INTO todos2 SELECT id, text, created_at, updated_at, deleted_at FROM todos WHERE id <> 'b';
	DROP TABLE todos; ALTER TABLE todos2 RENAME TO todos`

// The usual dance of a migration: nothing of it is seen by the hook as what it is.
func TestRebuiltTableIsRebased(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	query(t, d, `SELECT * FROM todos`) // a cached statement with the old columns
	c := actSQL(t, d, 9, rebuild, `UPDATE todos SET title = 'new'`)
	wantRows(t, c)
	if c.Seq != 2 || fmt.Sprint(c.Rebased) != "[todos]" {
		t.Errorf("commit %+v", c)
	}
	if got := fmt.Sprint(d.Table("todos").Columns()); got != "[id title created_at updated_at deleted_at]" {
		t.Errorf("columns %s", got)
	}
	wantForgotten(t, d, 1, `"a" "new" 1 1 -`)
	if r, err := d.Query(`SELECT * FROM todos`); err != nil || len(r.Columns()) != 5 {
		t.Errorf("columns of a query: %v, %v", r.Columns(), err)
	} else {
		r.Close()
	}
	wantRows(t, actSQL(t, d, 9, `UPDATE todos SET title = 'newer'`), `todos: "a" "newer" 1 1 -`)
}

// The same table dropped and made again in one action, alike to the letter.
func TestRecreatedTableIsRebased(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	c := actSQL(t, d, 9, `DROP TABLE todos`, todosTable, `INSERT INTO todos (id) VALUES ('new')`)
	if fmt.Sprint(c.Rebased) != "[todos]" {
		t.Errorf("commit %+v", c)
	}
	wantForgotten(t, d, 1, `"new" - - - - -`)
}

func TestSchemaChangeThatBreaksASyncedTable(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	for _, sql := range []string{`DROP TABLE todos`, `ALTER TABLE todos RENAME TO others`, `ALTER TABLE todos ADD COLUMN last`, `ALTER TABLE todos RENAME COLUMN updated_at TO changed_at`} {
		_, err := act(t, d, 2, func() error { _, err := d.Exec(sql); return err })
		wantError(t, err, ErrSchema)
		wantRows(t, actSQL(t, d, 3, `UPDATE todos SET done = done + 1 WHERE id = 'a'`), fmt.Sprintf(`todos: "a" "one" %d 1 1 -`, d.Seq()-1))
	}
}

// A table that is not declared may become unfit; Sync takes it up again.
func TestStaleTable(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, twoTodos)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openTest(t, o)
	mustExec(t, d, `ALTER TABLE todos ADD COLUMN last`)
	mustExec(t, d, `DELETE FROM todos WHERE id = 'a'; UPDATE todos SET text = 'unseen'`)
	wantError(t, d.Sync("todos"), ErrSchema)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openTest(t, o)
	mustExec(t, d, `ALTER TABLE todos DROP COLUMN last`)
	seq := d.Seq()
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	if d.Seq() != seq+1 {
		t.Errorf("seq %d behind %d", d.Seq(), seq)
	}
	wantForgotten(t, d, seq, `"b" "unseen" 0 1 1 -`)
}

func TestIdleDDLChangesNothing(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	c := actSQL(t, d, 1, strings.Replace(todosTable, "TABLE", "TABLE IF NOT EXISTS", 1), `CREATE INDEX by_text ON todos (text)`, `ANALYZE`)
	if c.Seq != 0 || c.Rebased != nil {
		t.Errorf("commit %+v", c)
	}
	wantRows(t, actSQL(t, d, 1, `UPDATE todos SET done = 3 WHERE text = 'one'`), `todos: "a" "one" 3 1 1 -`)
}

func TestInvariantIsolationOfDensTables(t *testing.T) {
	d := openTodos(t)
	for _, sql := range []string{
		`BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT x`, `RELEASE action`, `ROLLBACK TO action`, `END`,
		`ATTACH ':memory:' AS x`, `DETACH main`,
		`PRAGMA foreign_keys = OFF`, `PRAGMA journal_mode = DELETE`, `PRAGMA user_version = 5`, `PRAGMA writable_schema = 1`, `PRAGMA synchronous = OFF`,
		`DELETE FROM _den_meta`, `UPDATE _DEN_META SET value = 0`, `INSERT INTO _den_changes DEFAULT VALUES`,
		`DROP TABLE _den_tables`, `ALTER TABLE _den_meta ADD COLUMN x`, `CREATE TABLE _den_x (y)`, `CREATE INDEX i ON _den_meta (value)`,
		`CREATE TRIGGER tr AFTER INSERT ON _den_changes BEGIN SELECT 1; END`, `CREATE TEMP TABLE x (y)`,
		`SELECT load_extension('x')`,
	} {
		_, err := act(t, d, 1, func() error { _, err := d.Exec(sql); return err })
		if sql == `SELECT load_extension('x')` && err != nil {
			continue // SQLite may not have it at all
		}
		wantError(t, err, ErrForbidden)
		if err == nil {
			t.Errorf("%s was allowed", sql)
		}
	}
	mustExec(t, d, `CREATE TABLE plain (x); CREATE TRIGGER tr AFTER INSERT ON plain BEGIN DELETE FROM _den_changes; END`)
	_, err := d.Exec(`INSERT INTO plain VALUES (1)`)
	wantError(t, err, ErrForbidden)
	for _, sql := range []string{`VACUUM`, `VACUUM INTO '` + d.o.Path + `2'`} {
		if _, err := d.Exec(sql); err == nil {
			t.Errorf("%s was allowed", sql)
		}
	}
	_, err = d.Exec(`UPDATE sqlite_schema SET sql = ''`)
	if err == nil {
		t.Error("sqlite_schema can be written")
	}
	if got := query(t, d, `SELECT name FROM pragma_table_info('todos')`); len(got) != 6 {
		t.Errorf("table_info %v", got)
	}
	if got := query(t, d, `PRAGMA table_info(todos)`); len(got) != 6 {
		t.Errorf("table_info %v", got)
	}
}

func TestFullTextSearch(t *testing.T) {
	d := openTodos(t, todosTable, `CREATE VIRTUAL TABLE words USING fts5 (text, content='todos')`,
		`CREATE TRIGGER ai AFTER INSERT ON todos BEGIN INSERT INTO words (rowid, text) VALUES (new.rowid, new.text); END`)
	wantRows(t, actSQL(t, d, 1, twoTodos), `todos: "a" "one" 0 1 1 -`, `todos: "b" "two" 0 1 1 -`)
	if got := query(t, d, `SELECT rowid FROM words WHERE words MATCH 'two'`); len(got) != 1 {
		t.Errorf("found %v", got)
	}
}

func TestInternal(t *testing.T) {
	d := openTodos(t)
	in := d.Internal()
	if _, err := in.Exec(`CREATE TABLE IF NOT EXISTS _den_marks (client TEXT PRIMARY KEY, n INTEGER)`); err != nil {
		t.Fatal(err)
	}
	c, err := act(t, d, 1, func() error {
		_, err := in.Exec(`INSERT INTO _den_marks VALUES (?, ?)`, "c", 1)
		return err
	})
	if err != nil || c.Seq != 0 {
		t.Errorf("commit %+v, %v: internal writes are nobody's change", c, err)
	}
	_, err = in.Query(`UPDATE _den_marks SET n = n + 1 RETURNING n`)
	wantError(t, err, ErrMisuse)
	_, err = act(t, d, 1, func() error {
		r, err := in.Query(`UPDATE _den_marks SET n = n + 1 RETURNING n`)
		if got := all(t, r, err); got[0][0] != int64(2) {
			t.Errorf("got %v", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`INSERT INTO todos (id) VALUES (1)`, `DELETE FROM _den_changes`, `UPDATE _den_meta SET value = 1`, `DROP TABLE _den_tables`, `BEGIN`, `CREATE TABLE mine (x)`} {
		_, err := in.Exec(sql)
		wantError(t, err, ErrForbidden)
	}
}
