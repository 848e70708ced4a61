package changes

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
)

// The table in the package's doc: what several changes of one row come to, in the Commit and in the log.
func TestCoalesce(t *testing.T) {
	const insert, row = `INSERT INTO todos VALUES ('a','x',1,1,NULL);`, "todos: a x 1 1 -"
	const bury = `UPDATE todos SET deleted_at = 7;`
	for name, c := range map[string]struct {
		before, action string
		want           []string // the Commit's rows
		since          []string // what a client gets that was away
		seq            Seq      // by how much it rises
	}{
		"no row":             {"", insert + `DELETE FROM todos`, nil, nil, 0},
		"a row":              {"", insert, []string{row}, []string{"a x 1 1 -"}, 1},
		"the same":           {insert, `UPDATE todos SET text = 'y'; UPDATE todos SET text = 'x'`, nil, nil, 0},
		"the same again":     {insert, `DELETE FROM todos;` + insert, nil, nil, 0},
		"another":            {insert, `UPDATE todos SET text = 'y'; UPDATE todos SET text = 'z'`, []string{"todos: a z 1 1 -"}, []string{"a z 1 1 -"}, 1},
		"deleted":            {insert, `UPDATE todos SET text = 'y'; DELETE FROM todos`, []string{"todos: a - - 50 50"}, []string{"a - - 50 50"}, 1},
		"deleted softly":     {insert, bury, []string{"todos: a - 1 1 7"}, []string{"a - 1 1 7"}, 1},
		"a tombstone purged": {insert + bury, `DELETE FROM todos`, nil, []string{"a - - 7 7"}, 1},
		"a tombstone back":   {insert + bury, `UPDATE todos SET deleted_at = NULL`, []string{row}, []string{"a x 1 1 -"}, 1},
		"another key":        {insert, `UPDATE todos SET id = 'b'`, []string{"todos: a - - 50 50", "todos: b x 1 1 -"}, []string{"a - - 50 50", "b x 1 1 -"}, 1},
		"there and back":     {insert, `UPDATE todos SET id = 'b'; UPDATE todos SET id = 'a'`, nil, nil, 0},
		"an equal key":       {insert, `UPDATE todos SET id = 'a', text = 'y'`, []string{"todos: a y 1 1 -"}, []string{"a y 1 1 -"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, todos, "todos")
			if c.before != "" {
				r.act(1, c.before)
			}
			seq := r.Seq()
			got := r.act(50, c.action)
			if !slices.Equal(shown(got.Rows), c.want) || r.Seq() != seq+c.seq || (got.Seq != 0) != (c.seq != 0) {
				t.Errorf("rows %q, want %q; seq %d after %d, the action's %d", shown(got.Rows), c.want, r.Seq(), seq, got.Seq)
			}
			table := r.Table("todos")
			if since := r.rows(r.Since(table, seq)); !slices.Equal(since, c.since) {
				t.Errorf("since: %q, want %q", since, c.since)
			}
		})
	}
}

// The rows that a failed statement has touched are read again, because INSERT OR FAIL keeps some of its changes.
func TestFailedStatement(t *testing.T) {
	r := newRig(t, todos, "todos")
	r.act(1, `INSERT INTO todos VALUES ('b','x',1,1,NULL)`)
	r.transaction(func() {
		c, err := r.action(2, func() error {
			if r.run(`INSERT OR FAIL INTO todos VALUES ('a','x',1,1,NULL), ('b','y',1,1,NULL), ('c','y',1,1,NULL)`) == nil {
				t.Error("the second row was inserted")
			}
			if r.run(`UPDATE todos SET text = CASE id WHEN 'a' THEN 'y' ELSE abs(-9223372036854775807 - 1) END`) == nil {
				t.Error("the second row was updated")
			}
			return nil
		})
		if got, want := shown(c.Rows), []string{"todos: a x 1 1 -"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("rows %q, want %q; %v", got, want, err)
		}
	})
}

// More rows than are searched one by one: each is still one change, also in tables that have the same keys.
func TestManyRows(t *testing.T) {
	r := newRig(t, todos+";"+strings.ReplaceAll(todos, "todos", "notes"), "todos", "notes")
	numbers := fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)", 3*few)
	insert := numbers + ` INSERT INTO %s SELECT i, 'x', 1, 1, NULL FROM n;`
	c := r.act(1, fmt.Sprintf(insert, "todos"), fmt.Sprintf(insert, "notes"), `UPDATE todos SET text = 'y'; UPDATE notes SET id = id || '!' WHERE id < '2'`)
	if len(c.Rows) != 6*few {
		t.Errorf("%d rows, want %d", len(c.Rows), 6*few)
	}
	for i, row := range c.Rows {
		if v := row.Values(); (row.Table == "todos") != (i < 3*few) || row.Table == "todos" && (v[0] != fmt.Sprint(i+1) || v[1] != "y") {
			t.Errorf("row %d of %s is %v", i, row.Table, v)
		}
	}
}

// An action that changes too much, or gives a row no id, is refused, and says so at once.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want func(error) bool
	}{
		"too many rows":  {`INSERT INTO todos (id) VALUES ('a'), ('b'), ('c'), ('d')`, func(err error) bool { return errors.Is(err, ErrTooLarge) }},
		"too many bytes": {`INSERT INTO todos (id, text) VALUES ('a', hex(zeroblob(600)))`, func(err error) bool { return errors.Is(err, ErrTooLarge) }},
		"no id": {`INSERT INTO todos (id) VALUES (NULL)`, func(err error) bool {
			e, is := errors.AsType[*sqlite.Error](err)
			return is && e.Code == sqlite.ResultConstraintNotNull
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, todos, "todos")
			r.Limit(3, 1000)
			r.transaction(func() {
				_, err := r.action(1, func() error {
					r.must(r.run(c.sql))
					if !c.want(r.Refused()) {
						t.Errorf("refused: %v", r.Refused())
					}
					r.Refuse(errors.New("another reason"))
					return nil
				})
				if !c.want(err) {
					t.Errorf("error %v", err)
				}
			})
			if c := r.act(1, `INSERT INTO todos (id) VALUES ('a'), ('b'), ('c')`); c.Seq != 1 || len(c.Rows) != 3 {
				t.Errorf("after it: %v", c)
			}
		})
	}
}

// An action that is undone leaves nothing: no entry, no seq, no stamp.
func TestUndoAction(t *testing.T) {
	r := newRig(t, todos, "todos")
	r.act(1, `INSERT INTO todos VALUES ('a','x',1,10,NULL)`)
	refuse := errors.New("refused")
	r.transaction(func() {
		for _, id := range []string{"b", "c", "d"} {
			_, err := r.action(2, func() error {
				return errors.Join(r.run(fmt.Sprintf(`INSERT INTO todos VALUES ('%s','x',1,90,NULL)`, id)), map[string]error{"c": refuse}[id])
			})
			if errors.Is(err, refuse) != (id == "c") {
				t.Error(err)
			}
			if id == "b" {
				continue
			}
			if got, want := r.rows(r.Since(r.Table("todos"), 1)), map[string]int{"c": 1, "d": 2}[id]; len(got) != want {
				t.Errorf("after %s: %q", id, got)
			}
		}
	})
	if r.Seq() != 3 {
		t.Errorf("seq %d", r.Seq())
	}
}

// A transaction that is rolled back leaves nothing, also if it has written rows of the log and has begun to track a table.
func TestRollback(t *testing.T) {
	r := newRig(t, todos+";"+strings.ReplaceAll(todos, "todos", "notes")+`; INSERT INTO notes VALUES ('n','x',1,1,NULL)`, "todos")
	r.act(1, `INSERT INTO todos VALUES ('a','x',1,10,NULL)`)
	r.sql("BEGIN")
	r.Begin(r.number+1, 1)
	many := `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO todos SELECT 'a long key of the log ' || i, 'x', 1, 90, NULL FROM n`
	for range 2 {
		if _, err := r.action(2, func() error { return r.run(many, `UPDATE todos SET id = id || 'x'`) }); err != nil {
			t.Fatal(err)
		}
	}
	fresh, err := r.Check("notes")
	r.must(err)
	r.must(r.Track(fresh))
	if r.Seq() != 4 {
		t.Errorf("seq %d, want 4", r.Seq())
	}
	r.sql("ROLLBACK")
	r.Rollback()
	if r.Seq() != 1 || r.tables.tracked("notes") != nil {
		t.Errorf("seq %d, want 1; notes is %v", r.Seq(), r.tables.tracked("notes"))
	}
	if c := r.act(3, `INSERT INTO todos VALUES ('b','x',1,20,NULL); UPDATE notes SET text = 'y'`); c.Seq != 2 || len(c.Rows) != 1 {
		t.Errorf("after it: %v", c)
	}
	if seq, known, err := r.SeqAt(r.Table("todos"), int64(20)); seq != 1 || !known || err != nil {
		t.Errorf("SeqAt(20) = %d, %v, %v: the highest stamp is one that was rolled back", seq, known, err)
	}
	if n := cap(r.log.entries.bytes); n > 4*flushBytes {
		t.Errorf("%d bytes for entries are kept", n)
	}
}

// What an action has in memory is given back if it was much.
func TestMemory(t *testing.T) {
	r := newRig(t, todos, "todos")
	r.act(1, `INSERT INTO todos (id, text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i || hex(zeroblob(50)), hex(zeroblob(50)) FROM n`)
	if n := cap(r.log.entries.bytes); n > 4*flushBytes {
		t.Errorf("%d bytes for entries are kept", n)
	}
	if n := cap(r.capture.memory); n > keepMemory || r.capture.byKey != nil {
		t.Errorf("%d bytes for rows are kept, and %d keys", n, len(r.capture.byKey))
	}
}

// An action that fails after some of its stamps were taken into their tables' highest ones leaves these as they were.
func TestStampsOfAnActionThatFails(t *testing.T) {
	r := newRig(t, todos+";"+strings.ReplaceAll(todos, "todos", "notes"), "todos", "notes")
	r.act(1, `INSERT INTO todos VALUES ('x','x',1,50,NULL)`)
	r.tables.byName["notes"].highest.known = false // it is read again, and cannot be
	r.transaction(func() {
		r.sql("ALTER TABLE _den_changes RENAME TO away")
		_, err := r.action(2, func() error {
			return r.run(`INSERT INTO todos VALUES ('y','x',1,900,NULL); INSERT INTO notes VALUES ('n','x',1,1,NULL)`)
		})
		if err == nil {
			t.Error("the action was finished without the log")
		}
		r.sql("ALTER TABLE away RENAME TO _den_changes")
		_, err = r.action(3, func() error { return r.run(`INSERT INTO todos VALUES ('z','x',1,60,NULL)`) })
		r.must(err)
	})
	if got := r.highest("todos"); got != "60" {
		t.Errorf("the highest stamp is %s, want 60", got)
	}
}

// highest is a table's highest stamp, as the newest row of the log has it.
func (r *rig) highest(table string) string {
	r.t.Helper()
	newest, err := r.log.row(r.log.last)
	r.must(err)
	stamp, err := highestIn(newest.highs, r.tables.byName[table].id)
	r.must(err)
	if stamp == nil {
		return "none"
	}
	return show(sqlite.Values(stamp, 1))
}

// The highest stamp never falls, also where the log reaches back no further than the change of a schema and the row that had
// the stamp is gone.
func TestHighestStampNeverFalls(t *testing.T) {
	r := newRig(t, todos, "todos")
	r.act(1, `INSERT INTO todos VALUES ('stays','x',1,10,NULL), ('goes','x',1,50,NULL)`)
	r.act(1, `DELETE FROM todos WHERE id = 'goes'`)
	r.transaction(func() {
		c, err := r.action(1, func() error {
			r.Redefining("todos")
			r.SchemaChanged()
			return r.run(`ALTER TABLE todos DROP COLUMN text`)
		})
		if err != nil || !slices.Equal(c.Rebased, []string{"todos"}) || c.Seq != 3 || c.Rows != nil {
			t.Errorf("%+v, %v", c, err)
		}
	})
	table := r.Table("todos")
	if table.floor != 3 || len(table.columns) != 4 {
		t.Errorf("floor %d, columns %v", table.floor, table.columns)
	}
	for _, how := range []string{"in memory", "read from the file"} {
		if got := r.highest("todos"); got != "50" || !bytes.Equal(table.highest.stamp, value(int64(50))) {
			t.Errorf("%s, the highest stamp is %s and % x, want 50", how, got, table.highest.stamp)
		}
		table.highest = highest{}
		r.must(r.log.loadHighest(table))
	}
	if _, err := r.Since(table, 2); !errors.Is(err, ErrForgotten) {
		t.Errorf("before the change of the schema: %v", err)
	}
}

// A table that is not declared may become unfit: its changes are not recorded until it is declared again, which counts as a
// change of the whole table. A declared one may not.
func TestUnfitTable(t *testing.T) {
	const drop, restore = `ALTER TABLE todos DROP COLUMN deleted_at`, `ALTER TABLE todos ADD COLUMN deleted_at`
	r := newRig(t, todos, "todos")
	r.act(1, `INSERT INTO todos VALUES ('a','x',1,10,NULL)`)
	alter := func(sql string) func() error {
		return func() error { r.Redefining("todos"); r.SchemaChanged(); return r.run(sql) }
	}
	r.transaction(func() {
		if _, err := r.action(2, alter(drop)); !errors.Is(err, ErrSchema) {
			t.Errorf("error %v", err)
		}
		_, _, err := r.LoadTables(nil)
		r.must(err)
	})
	r.Recorder = r.Renew()
	r.load(0)
	r.transaction(func() {
		_, err := r.action(2, alter(drop))
		r.must(err)
	})
	if c := r.act(3, `UPDATE todos SET text = 'y'`); c.Rows != nil || r.tables.tracked("todos") != nil {
		t.Errorf("%+v of a table that was given up", c)
	}
	r.transaction(func() {
		_, err := r.action(4, alter(restore))
		r.must(err)
	})
	seq := r.Seq()
	r.declare("todos")
	if r.Seq() != seq+1 || r.Table("todos").floor != seq+1 {
		t.Errorf("seq %d after %d, floor %d", r.Seq(), seq, r.Table("todos").floor)
	}
	if c := r.act(5, `UPDATE todos SET text = 'z'`); !slices.Equal(shown(c.Rows), []string{"todos: a z 1 10 -"}) {
		t.Errorf("%q", shown(c.Rows))
	}
}

// A table that another program has made unfit while the database was closed is told of; its changes are not recorded.
func TestLoadTablesUnfit(t *testing.T) {
	r := newRig(t, todos, "todos")
	r.sql(`ALTER TABLE todos DROP COLUMN deleted_at`)
	r.Recorder = r.Renew()
	_, err := r.Load(0)
	r.must(err)
	unfit, fresh, err := r.LoadTables(nil)
	if len(unfit) != 1 || unfit[0].name != "todos" || fresh || err != nil {
		t.Fatalf("%v, %v, %v", unfit, fresh, err)
	}
	r.transaction(func() { r.must(r.GiveUp(unfit[0])) })
	if unfit, _, err = r.LoadTables(nil); len(unfit) != 0 || err != nil {
		t.Errorf("told of again: %v, %v", unfit, err)
	}
}

// Definitions that are known are not read again, and their digest is that of the tables.
func TestDefinitions(t *testing.T) {
	r := newRig(t, todos, "todos")
	known, digest := r.Definitions()
	r.sql("ALTER TABLE todos RENAME TO away")
	r.Recorder = r.Renew()
	if _, fresh, err := r.LoadTables(known); fresh || err != nil {
		t.Errorf("read again: %v, %v", fresh, err)
	}
	if _, again := r.Definitions(); again != digest || len(digest) != 32 {
		t.Errorf("digest %s, then %s", digest, again)
	}
	r.sql("ALTER TABLE away RENAME TO todos; ALTER TABLE todos RENAME COLUMN text TO title")
	if _, fresh, err := r.LoadTables(nil); !fresh || err != nil {
		t.Errorf("not read: %v, %v", fresh, err)
	}
	if _, other := r.Definitions(); other == digest {
		t.Errorf("another definition has the same digest %s", digest)
	}
}

// The statements of a connection are compiled once, for all of its databases, and what was used is told.
func TestRenew(t *testing.T) {
	r := newRig(t, todos, "todos")
	r.act(1, `INSERT INTO todos VALUES ('a','x',1,10,NULL)`)
	r.rows(r.Since(r.Table("todos"), 0))
	used := r.Used()
	if !slices.Contains(used, r.Table("todos").SQL(current)) {
		t.Errorf("used: %q", used)
	}
	kept := r.cache.Len()
	r.Recorder = r.Renew()
	if len(r.Used()) != 0 || r.cache.Len() != kept || r.Seq() != 0 {
		t.Errorf("used %q, %d statements of %d, seq %d", r.Used(), r.cache.Len(), kept, r.Seq())
	}
	r.load(0)
	other := newRig(t, todos, "todos")
	other.Recorder = other.Renew()
	other.Prepare(append(used, "SELECT nothing"))
	if got := other.Used(); len(got) != len(used) {
		t.Errorf("prepared: %d of %d", len(got), len(used))
	}
	other.load(0)
}

// The log forgets what is too far back or too old, but not the newest row.
func TestPrune(t *testing.T) {
	r := newRig(t, todos, "todos")
	const keep = 10
	insert := func(i int) {
		r.keeping(keep, func() {
			_, err := r.action(int64(i), func() error { return r.run(fmt.Sprintf(`INSERT INTO todos VALUES ('%d','x',1,%[1]d,NULL)`, i)) })
			r.must(err)
		})
	}
	for i := 1; i <= keep+pruneRows-1; i++ {
		insert(i)
	}
	if r.Floor() != 0 {
		t.Errorf("after %d actions, floor %d", r.Seq(), r.Floor())
	}
	insert(keep + pruneRows)
	if r.Floor() != pruneRows-1 || r.log.first != pruneRows+1 { // the first of the rows is the declaration's
		t.Errorf("after %d actions, floor %d, first row %d", r.Seq(), r.Floor(), r.log.first)
	}
	table := r.Table("todos")
	if _, err := r.Since(table, pruneRows-2); !errors.Is(err, ErrForgotten) {
		t.Errorf("below the floor: %v", err)
	}
	if got := r.rows(r.Since(table, pruneRows-1)); len(got) != keep+1 {
		t.Errorf("%d rows, want %d", len(got), keep+1)
	}
	r.reload()
	r.sql("BEGIN")
	r.Begin(r.number+1, 1<<50)
	r.must(r.Finish(1<<40, 1))
	r.sql("COMMIT")
	r.Commit()
	r.number++
	if r.log.first != r.log.last || r.Floor() != r.Seq() {
		t.Errorf("all is too old: rows %d to %d, floor %d of %d", r.log.first, r.log.last, r.Floor(), r.Seq())
	}
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		a, b Place
		want bool
	}{
		{Place{1, 0}, Place{1, 0}, false},
		{Place{1, 1}, Place{1, 0}, true},
		{Place{1, 0}, Place{1, 1}, false},
		{Place{2, 0}, Place{1, 5}, true},
		{Place{1, 5}, Place{2, 0}, false},
	} {
		if got := c.a.after(c.b); got != c.want {
			t.Errorf("%v after %v: %v", c.a, c.b, got)
		}
	}
}

func TestInternalTables(t *testing.T) {
	for name, want := range map[string]bool{"sqlite_": true, "sqlite": false, "_den_": true, "_den": false, "x": false, "": false, "_den_meta": true, "den_": false} {
		if internal(name) != want {
			t.Errorf("%q is Den's or SQLite's: %v", name, !want)
		}
	}
}

// Entries and highest stamps are read as they were written. What is cut short, or not theirs, is ErrCorrupt.
func TestEncoding(t *testing.T) {
	want := []entry{{1, 0, value("key"), null}, {300, 7, value(int64(5)), value(int64(9))}, {1, 1 << 40, value([]byte{}), value("then")}}
	var all []byte
	starts := map[int]bool{}
	for _, e := range want {
		starts[len(all)] = true
		all = appendEntry(all, e)
	}
	var got []entry
	for rest := all; len(rest) > 0; {
		e, next, ok := cutEntry(rest)
		if !ok {
			t.Fatalf("% x", rest)
		}
		got, rest = append(got, e), next
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	n := 0
	if err := eachEntry(all, 1, func(entry) { n++ }); err != nil || n != 2 {
		t.Errorf("%d entries of table 1, %v", n, err)
	}
	for end := range len(all) {
		if err := eachEntry(all[:end], 1, func(entry) {}); errors.Is(err, ErrCorrupt) == starts[end] {
			t.Errorf("the first %d bytes: %v", end, err)
		}
	}
	highs := appendHighest(appendHighest(nil, 1, value("a")), 300, value(2.5))
	for table, want := range map[int64][]byte{1: value("a"), 300: value(2.5), 2: nil} {
		if stamp, err := highestIn(highs, table); !bytes.Equal(stamp, want) || err != nil {
			t.Errorf("table %d: % x, %v", table, stamp, err)
		}
	}
	for _, bad := range [][]byte{{0x80}, {1}, {1, 9}, {1, byte(sqlite.Text), 1, 0, 0, 0}, highs[:len(highs)-1]} {
		if _, err := highestIn(bad, 5); !errors.Is(err, ErrCorrupt) {
			t.Errorf("% x: %v", bad, err)
		}
	}
}
