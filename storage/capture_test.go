package storage

import (
	"errors"
	"fmt"
	"testing"
)

// captureCase is an action on a prepared room and the rows that must come of it.
type captureCase struct {
	name   string
	schema string   // besides todos
	before []string // actions that come first
	action []string
	want   []string
	seq    Seq // expected number of the action; 0: it changes nothing
}

const twoTodos = `INSERT INTO todos VALUES ('a','one',0,1,1,NULL), ('b','two',0,1,1,NULL)`

var captureCases = []captureCase{
	{name: "insert", action: []string{`INSERT INTO todos VALUES ('a','x',1,5,5,NULL)`},
		want: []string{`todos: "a" "x" 1 5 5 -`}, seq: 1},
	{name: "insert of several rows", action: []string{twoTodos},
		want: []string{`todos: "a" "one" 0 1 1 -`, `todos: "b" "two" 0 1 1 -`}, seq: 1},
	{name: "insert select", before: []string{twoTodos},
		action: []string{`INSERT INTO todos SELECT id || '2', text, done, 7, 7, NULL FROM todos`},
		want:   []string{`todos: "a2" "one" 0 7 7 -`, `todos: "b2" "two" 0 7 7 -`}, seq: 2},
	{name: "update of several rows", before: []string{twoTodos}, action: []string{`UPDATE todos SET done = 1, updated_at = 9`},
		want: []string{`todos: "a" "one" 1 1 9 -`, `todos: "b" "two" 1 1 9 -`}, seq: 2},
	{name: "update to the same values", before: []string{twoTodos}, action: []string{`UPDATE todos SET done = 0`}, seq: 0},
	{name: "update there and back", before: []string{twoTodos},
		action: []string{`UPDATE todos SET text = 'other' WHERE id = 'a'`, `UPDATE todos SET text = 'one' WHERE id = 'a'`}, seq: 0},
	{name: "upsert that inserts", action: []string{`INSERT INTO todos VALUES ('a','x',0,1,1,NULL) ON CONFLICT DO UPDATE SET text = 'y'`},
		want: []string{`todos: "a" "x" 0 1 1 -`}, seq: 1},
	{name: "upsert that updates", before: []string{twoTodos},
		action: []string{`INSERT INTO todos VALUES ('a','x',0,1,1,NULL) ON CONFLICT DO UPDATE SET text = 'y'`},
		want:   []string{`todos: "a" "y" 0 1 1 -`}, seq: 2},
	{name: "upsert that does nothing", before: []string{twoTodos},
		action: []string{`INSERT INTO todos VALUES ('a','x',0,1,1,NULL) ON CONFLICT DO NOTHING`}, seq: 0},
	{name: "replace", before: []string{twoTodos}, action: []string{`REPLACE INTO todos VALUES ('a','x',0,2,2,NULL)`},
		want: []string{`todos: "a" "x" 0 2 2 -`}, seq: 2},
	{name: "replace with another victim", schema: `CREATE UNIQUE INDEX texts ON todos (text)`, before: []string{twoTodos},
		action: []string{`REPLACE INTO todos VALUES ('c','two',0,2,2,NULL)`},
		want:   []string{`todos: "b" - - - 100 100`, `todos: "c" "two" 0 2 2 -`}, seq: 2},
	{name: "update or replace", before: []string{twoTodos}, action: []string{`UPDATE OR REPLACE todos SET id = 'b' WHERE id = 'a'`},
		want: []string{`todos: "b" "one" 0 1 1 -`, `todos: "a" - - - 100 100`}, seq: 2},
	{name: "hard delete", before: []string{twoTodos}, action: []string{`DELETE FROM todos WHERE id = 'a'`},
		want: []string{`todos: "a" - - - 100 100`}, seq: 2},
	{name: "hard delete where stamps are texts", before: []string{`INSERT INTO todos VALUES ('a','x',0,'2001-01-01 00:00:00','2001-01-01 00:00:00',NULL)`},
		action: []string{`DELETE FROM todos`}, want: []string{`todos: "a" - - - "1970-01-01 00:00:00" "1970-01-01 00:00:00"`}, seq: 2},
	{name: "delete without where", before: []string{twoTodos}, action: []string{`DELETE FROM todos`},
		want: []string{`todos: "a" - - - 100 100`, `todos: "b" - - - 100 100`}, seq: 2},
	{name: "soft delete", before: []string{twoTodos}, action: []string{`UPDATE todos SET deleted_at = 50 WHERE id = 'a'`},
		want: []string{`todos: "a" - - 1 1 50`}, seq: 2},
	{name: "insert of a tombstone", action: []string{`INSERT INTO todos VALUES ('a','x',0,1,5,5)`},
		want: []string{`todos: "a" - - 1 5 5`}, seq: 1},
	{name: "update of a tombstone", before: []string{twoTodos, `UPDATE todos SET deleted_at = 50 WHERE id = 'a'`},
		action: []string{`UPDATE todos SET text = 'more' WHERE id = 'a'`}, want: []string{`todos: "a" - - 1 1 50`}, seq: 3},
	{name: "soft delete with a virtual column", schema: `ALTER TABLE todos RENAME TO old; CREATE TABLE todos (id TEXT PRIMARY KEY, text TEXT, up AS (upper(text)) VIRTUAL, created_at, updated_at, deleted_at)`,
		before: []string{`INSERT INTO todos VALUES ('a','x',1,1,NULL)`}, action: []string{`UPDATE todos SET deleted_at = 50`},
		want: []string{`todos: "a" - - 1 1 50`}, seq: 2},
	{name: "hard delete of a tombstone", before: []string{twoTodos, `UPDATE todos SET deleted_at = 50 WHERE id = 'a'`},
		action: []string{`DELETE FROM todos WHERE id = 'a'`}, seq: 3},
	{name: "tombstone comes back to life", before: []string{twoTodos, `UPDATE todos SET deleted_at = 50 WHERE id = 'a'`},
		action: []string{`UPDATE todos SET deleted_at = NULL WHERE id = 'a'`}, want: []string{`todos: "a" "one" 0 1 1 -`}, seq: 3},
	{name: "soft then hard delete", before: []string{twoTodos},
		action: []string{`UPDATE todos SET deleted_at = 50 WHERE id = 'a'`, `DELETE FROM todos WHERE id = 'a'`},
		want:   []string{`todos: "a" - - - 100 100`}, seq: 2},
	{name: "insert and delete again", action: []string{twoTodos, `DELETE FROM todos`}, seq: 0},
	{name: "delete and insert again", before: []string{twoTodos},
		action: []string{`DELETE FROM todos WHERE id = 'b'`, `INSERT INTO todos VALUES ('b','new',0,1,1,NULL)`},
		want:   []string{`todos: "b" "new" 0 1 1 -`}, seq: 2},
	{name: "several changes of one row, in order of the first", before: []string{twoTodos},
		action: []string{`UPDATE todos SET text = 'x' WHERE id = 'b'`, `UPDATE todos SET text = 'y' WHERE id = 'a'`, `UPDATE todos SET done = 1 WHERE id = 'b'`},
		want:   []string{`todos: "b" "x" 1 1 1 -`, `todos: "a" "y" 0 1 1 -`}, seq: 2},
	{name: "changed key", before: []string{twoTodos}, action: []string{`UPDATE todos SET id = 'z' WHERE id = 'a'`},
		want: []string{`todos: "a" - - - 100 100`, `todos: "z" "one" 0 1 1 -`}, seq: 2},
	{name: "keys that change places", before: []string{twoTodos},
		action: []string{`UPDATE todos SET id = 'c' WHERE id = 'a'`, `UPDATE todos SET id = 'a' WHERE id = 'b'`, `UPDATE todos SET id = 'b' WHERE id = 'c'`},
		want:   []string{`todos: "a" "two" 0 1 1 -`, `todos: "b" "one" 0 1 1 -`}, seq: 2},
	{name: "text with NUL, empty text, empty blob", action: []string{`INSERT INTO todos VALUES ('a' || char(0) || 'b','',x'',1,1,NULL)`},
		want: []string{`todos: "a\x00b" "" x'' 1 1 -`}, seq: 1},
	{name: "returning", before: []string{twoTodos}, action: []string{`DELETE FROM todos WHERE id = 'b' RETURNING text`},
		want: []string{`todos: "b" - - - 100 100`}, seq: 2},
	{name: "after trigger", schema: `CREATE TRIGGER tr AFTER INSERT ON todos BEGIN UPDATE todos SET updated_at = 77 WHERE id = new.id; END`,
		action: []string{`INSERT INTO todos VALUES ('a','x',0,1,1,NULL)`}, want: []string{`todos: "a" "x" 0 1 77 -`}, seq: 1},
	{name: "before trigger on another row", schema: `CREATE TRIGGER tr BEFORE UPDATE OF text ON todos BEGIN UPDATE todos SET done = 9 WHERE id <> new.id; END`,
		before: []string{twoTodos}, action: []string{`UPDATE todos SET text = 'x' WHERE id = 'a'`},
		want: []string{`todos: "b" "two" 9 1 1 -`, `todos: "a" "x" 0 1 1 -`}, seq: 2},
	{name: "before trigger on the same row", schema: `CREATE TRIGGER tr BEFORE UPDATE OF text ON todos BEGIN UPDATE todos SET done = 9 WHERE id = new.id; END`,
		before: []string{twoTodos}, action: []string{`UPDATE todos SET text = 'x' WHERE id = 'a'`},
		want: []string{`todos: "a" "x" 9 1 1 -`}, seq: 2},
	{name: "trigger from a table that is not synced", schema: `CREATE TABLE plain (x); CREATE TRIGGER tr AFTER INSERT ON plain BEGIN INSERT INTO todos VALUES (new.x, 't', 0, 1, 1, NULL); END`,
		action: []string{`INSERT INTO plain VALUES ('q')`}, want: []string{`todos: "q" "t" 0 1 1 -`}, seq: 1},
	{name: "a table that is not synced", schema: `CREATE TABLE plain (x)`, action: []string{`INSERT INTO plain VALUES (1)`}, seq: 1},
	{name: "no rows matched", before: []string{twoTodos}, action: []string{`DELETE FROM todos WHERE id = 'nobody'`}, seq: 0},
	{name: "rowid moves, key stays", before: []string{twoTodos}, action: []string{`UPDATE todos SET rowid = rowid + 100 WHERE id = 'a'`}, seq: 0},
}

func TestCapture(t *testing.T) {
	for _, tc := range captureCases {
		t.Run(tc.name, func(t *testing.T) {
			d := openTodos(t, todosTable, tc.schema)
			start := d.Seq()
			for _, sql := range tc.before {
				actSQL(t, d, 10, sql)
			}
			c := actSQL(t, d, 100, tc.action...)
			wantRows(t, c, tc.want...)
			if tc.seq == 0 && c.Seq != 0 || tc.seq != 0 && c.Seq != start+tc.seq {
				t.Errorf("seq %d after %d, want +%d", c.Seq, start, tc.seq)
			}
			// What a client that was away gets is what the others were sent.
			var want []string
			for _, r := range c.Rows {
				want = append(want, show(r.Values()))
			}
			if c.Seq != 0 && tc.name != "hard delete of a tombstone" { // that is told once more
				r, err := d.Table("todos").Since(c.Seq - 1)
				wantSet(t, all(t, r, err), want)
			}
		})
	}
}

// wantSet compares rows without their order: rows of one commit share a seq.
func wantSet(t *testing.T, got [][]Value, want []string) {
	t.Helper()
	count := map[string]int{}
	for _, w := range want {
		count[w]++
	}
	for _, g := range got {
		count[show(g)]--
	}
	for row, n := range count {
		if n != 0 {
			t.Errorf("row %s: %+d", row, -n)
		}
	}
}

// TestCaptureTables: the forms that a table can have.
func TestCaptureTables(t *testing.T) {
	for name, tc := range map[string]struct{ table, insert, inserted, updated string }{
		"without rowid": {`CREATE TABLE todos (id TEXT PRIMARY KEY, text, created_at, updated_at, deleted_at) WITHOUT ROWID`,
			`INSERT INTO todos VALUES ('a','x',1,1,NULL)`, `"a" "x" 1 1 -`, `"a" "y" 1 1 -`},
		"rowid alias": {`CREATE TABLE todos (id INTEGER PRIMARY KEY, text, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos (text, created_at, updated_at) VALUES ('x',1,1)`, `1 "x" 1 1 -`, `1 "y" 1 1 -`},
		"autoincrement": {`CREATE TABLE todos (id INTEGER PRIMARY KEY AUTOINCREMENT, text, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos (text, created_at, updated_at) VALUES ('x',1,1)`, `1 "x" 1 1 -`, `1 "y" 1 1 -`},
		"real key": {`CREATE TABLE todos (id REAL PRIMARY KEY, text REAL, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos VALUES (1, 2, 1, 1, NULL)`, `1f 2f 1 1 -`, `1f "y" 1 1 -`},
		"blob key": {`CREATE TABLE todos (id BLOB PRIMARY KEY, text, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos VALUES (x'00ff', 'x', 1, 1, NULL)`, `x'00ff' "x" 1 1 -`, `x'00ff' "y" 1 1 -`},
		"empty blob key": {`CREATE TABLE todos (id BLOB PRIMARY KEY, text, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos VALUES (x'', 'x', 1, 1, NULL)`, `x'' "x" 1 1 -`, `x'' "y" 1 1 -`},
		"unique not null": {`CREATE TABLE todos (id TEXT NOT NULL UNIQUE, text, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos VALUES ('a','x',1,1,NULL)`, `"a" "x" 1 1 -`, `"a" "y" 1 1 -`},
		"strict": {`CREATE TABLE todos (id TEXT PRIMARY KEY, text TEXT, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER) STRICT`,
			`INSERT INTO todos VALUES ('a','x',1,1,NULL)`, `"a" "x" 1 1 -`, `"a" "y" 1 1 -`},
		"stored generated": {`CREATE TABLE todos (id TEXT PRIMARY KEY, up AS (upper(text)) STORED, text, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos (id,text,created_at,updated_at) VALUES ('a','x',1,1)`, `"a" "X" "x" 1 1 -`, `"a" "Y" "y" 1 1 -`},
		"virtual generated": {`CREATE TABLE todos (id TEXT PRIMARY KEY, up AS (upper(text)) VIRTUAL, text, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos (id,text,created_at,updated_at) VALUES ('a','x',1,1)`, `"a" "X" "x" 1 1 -`, `"a" "Y" "y" 1 1 -`},
		"virtual without rowid": {`CREATE TABLE todos (up AS (upper(text)) VIRTUAL, id TEXT PRIMARY KEY, text, created_at, updated_at, deleted_at) WITHOUT ROWID`, ``, ``, ``},
		"datetime columns": {`CREATE TABLE todos (id TEXT PRIMARY KEY, text DATETIME, created_at DATETIME, updated_at DATETIME, deleted_at DATETIME)`,
			`INSERT INTO todos VALUES ('a','2001-02-03 04:05:06',1,1,NULL)`, `"a" "2001-02-03 04:05:06" 1 1 -`, `"a" "y" 1 1 -`},
		"strange names": {`CREATE TABLE todos ("i""d" TEXT PRIMARY KEY, text, "select" DEFAULT 3, created_at, updated_at, deleted_at)`,
			`INSERT INTO todos ("i""d", text, created_at, updated_at) VALUES ('a','x',1,1)`, `"a" "x" 3 1 1 -`, `"a" "y" 3 1 1 -`},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTest(t, testOptions(t))
			mustExec(t, d, tc.table)
			err := d.Sync("todos")
			if tc.insert == "" {
				wantError(t, err, ErrSchema)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantRows(t, actSQL(t, d, 5, tc.insert), "todos: "+tc.inserted)
			wantRows(t, actSQL(t, d, 5, `UPDATE todos SET text = 'y'`), "todos: "+tc.updated)
			wantRows(t, actSQL(t, d, 5, `UPDATE todos SET text = 'y'`))
			live, err := d.Table("todos").Live()
			wantSet(t, all(t, live, err), []string{tc.updated})
			since, err := d.Table("todos").Since(0)
			wantSet(t, all(t, since, err), []string{tc.updated})
			id := query(t, d, `SELECT * FROM todos`)[0][0]
			c := actSQL(t, d, 5, `DELETE FROM todos`)
			if len(c.Rows) != 1 || show(c.Rows[0].Values()[:1]) != show([]Value{id}) || c.Rows[0].Values()[1] != nil {
				t.Errorf("delete gave %v", c.Rows)
			}
		})
	}
}

func TestCaptureColumnAddedLater(t *testing.T) {
	d := openTodos(t, `CREATE TABLE todos (id INTEGER PRIMARY KEY, a, created_at, updated_at, deleted_at)`,
		`INSERT INTO todos VALUES (1, 'x', 1, 1, NULL)`)
	mustExec(t, d, `ALTER TABLE todos RENAME COLUMN a TO b`)
	wantRows(t, actSQL(t, d, 9, `UPDATE todos SET b = 'y'`), `todos: 1 "y" 1 1 -`)
	if got := fmt.Sprint(d.Table("todos").Columns()); got != "[id b created_at updated_at deleted_at]" {
		t.Errorf("columns %s", got)
	}
}

const listsAndTodos = `CREATE TABLE lists (id INTEGER PRIMARY KEY, created_at, updated_at, deleted_at);
	CREATE TABLE todos (id INTEGER PRIMARY KEY, list REFERENCES lists %s, created_at, updated_at, deleted_at)`

func TestCaptureForeignKeys(t *testing.T) {
	for action, want := range map[string]string{
		"ON DELETE CASCADE":  `todos: 10 - - 7 7`,
		"ON DELETE SET NULL": `todos: 10 - 1 1 -`,
	} {
		d := openTodos(t, fmt.Sprintf(listsAndTodos, action))
		if err := d.Sync("lists"); err != nil {
			t.Fatal(err)
		}
		actSQL(t, d, 1, `INSERT INTO lists VALUES (1,1,1,NULL), (2,1,1,NULL)`, `INSERT INTO todos VALUES (10,1,1,1,NULL), (20,2,1,1,NULL)`)
		c := actSQL(t, d, 7, `DELETE FROM lists WHERE id = 1`)
		wantRows(t, c, `lists: 1 - 7 7`, want)
	}
	d := openTodos(t, fmt.Sprintf(listsAndTodos, "ON UPDATE CASCADE"))
	actSQL(t, d, 1, `INSERT INTO lists VALUES (1,1,1,NULL)`, `INSERT INTO todos VALUES (10,1,1,1,NULL)`)
	wantRows(t, actSQL(t, d, 7, `UPDATE lists SET id = 3`), `todos: 10 3 1 1 -`)
}

func TestDeferredForeignKey(t *testing.T) {
	d := openTodos(t, fmt.Sprintf(listsAndTodos, "DEFERRABLE INITIALLY DEFERRED"))
	_, err := act(t, d, 1, func() error {
		_, err := d.Exec(`INSERT INTO todos VALUES (10, 99, 1, 1, NULL)`)
		return err
	})
	wantError(t, err, ErrConstraint)
	if got := query(t, d, `SELECT * FROM todos`); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	// Violated in between and right at the end is fine.
	wantRows(t, actSQL(t, d, 1, `INSERT INTO todos VALUES (10, 99, 1, 1, NULL)`, `INSERT INTO lists VALUES (99, 1, 1, NULL)`),
		`todos: 10 99 1 1 -`)
}

func TestNullIDRefused(t *testing.T) {
	d := openTodos(t)
	_, err := act(t, d, 1, func() error {
		_, err := d.Exec(`INSERT INTO todos VALUES (NULL, 'x', 0, 1, 1, NULL)`)
		return err
	})
	wantError(t, err, ErrConstraint)
}

func TestTooManyChanges(t *testing.T) {
	o := testOptions(t)
	o.MaxChanges = 10
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	insert := `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO todos SELECT 'k' || i, '', 0, 1, 1, NULL FROM n`
	_, err := act(t, d, 1, func() error {
		if _, err := d.Exec(fmt.Sprintf(insert, 11)); err != nil {
			return err
		}
		_, err := d.Exec(`INSERT INTO todos VALUES ('one more', '', 0, 1, 1, NULL)`)
		wantError(t, err, ErrTooLarge)
		return nil
	})
	wantError(t, err, ErrTooLarge)
	if got := query(t, d, `SELECT * FROM todos`); len(got) != 0 {
		t.Errorf("left behind: %d rows", len(got))
	}
	if c := actSQL(t, d, 1, fmt.Sprintf(insert, 10)); len(c.Rows) != 10 || c.Seq != 1 {
		t.Errorf("%d rows, seq %d", len(c.Rows), c.Seq)
	}
}

func TestNumericKeysThatAreEqual(t *testing.T) {
	d := openTodos(t, `CREATE TABLE todos (id PRIMARY KEY, text, created_at, updated_at, deleted_at)`)
	actSQL(t, d, 1, `INSERT INTO todos VALUES (1, 'x', 1, 1, NULL)`)
	c := actSQL(t, d, 1, `REPLACE INTO todos VALUES (1.0, 'y', 1, 1, NULL)`)
	wantRows(t, c, `todos: 1f "y" 1 1 -`)
}

var errRefused = errors.New("refused by the handler")
