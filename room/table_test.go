package room_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A row in versions, as a program's struct changes.
type (
	point struct{ X, Y int }

	task struct {
		ID   string
		Text string
		room.Stamps
	}
	taskWide struct {
		ID     string
		Done   bool
		Text   string  `den:",check=length(text) < 20"`
		Note   *string `den:",index"`
		State  string  `den:",default='open',index=by_state"`
		Rank   int     `den:",index=by_state"`
		Ratio  float64
		Raw    []byte
		Due    time.Time
		Labels []string `den:",json"`
		At     *point   `den:",json"`
		Mail   *string  `den:"email,unique"`
		room.Stamps
	}
)

// tasks is a room with one table of any row type.
type tasks[T any] struct {
	room.Base
	Tasks room.Table[T]
	hook  func(*room.Context, *room.Table[T]) (any, error)
}

func (r *tasks[T]) OnAction(c *room.Context, _ string, a room.ActionRequest) (any, error) {
	if a.Type == "hook" {
		return r.hook(c, &r.Tasks)
	}
	var sql string
	if err := a.Decode(&sql); err != nil {
		return nil, err
	}
	_, err := c.Exec(sql)
	return nil, err
}

// versions is a host whose namespace "tasks" can become another version of itself.
type versions struct {
	*roomtest.Host
	t        *testing.T
	register func(*room.Host) error
}

func newVersions(t *testing.T) *versions {
	v := &versions{t: t, register: func(*room.Host) error { return nil }}
	v.Host = roomtest.New(t, func(h *room.Host) error { return v.register(h) })
	return v
}

// become opens the host again with T for rows. It gives a client, or why the room does not start.
func become[T any](v *versions, hook func(*room.Context, *room.Table[T]) (any, error), list ...room.Migration) (*roomtest.Client, error) {
	v.t.Helper()
	v.register = func(h *room.Host) error {
		return h.Register("tasks", func() room.Handler { return &tasks[T]{hook: hook} }, room.Migrations(list...))
	}
	v.Reopen()
	c, err := v.TryJoin("tasks", "r", "alice")
	if err != nil {
		failures := v.Failures()
		if len(failures) != 1 {
			v.t.Fatalf("the operator sees %v", failures)
		}
		return nil, failures[0].Err
	}
	return c, nil
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestStructGrows(t *testing.T) {
	v := newVersions(t)
	c, err := become[task](v, nil)
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "sql", `INSERT INTO tasks VALUES ('a', 'old', 1, 2, NULL), ('b', 'dead', 1, 3, 3);
		CREATE TRIGGER loud AFTER INSERT ON tasks BEGIN UPDATE tasks SET text = upper(text) WHERE id = new.id; END;
		CREATE INDEX mine ON tasks (text)`))
	c, err = become(v, func(c *room.Context, tasks *room.Table[taskWide]) (any, error) {
		row, err := tasks.Get(c, "a")
		if err != nil {
			return nil, err
		}
		want := taskWide{ID: "a", Text: "old", State: "open", Raw: []byte{}, Stamps: room.Stamps{CreatedAt: 1, UpdatedAt: 2}}
		if !row.Due.IsZero() {
			return nil, fmt.Errorf("due at %v", row.Due)
		}
		if row.Due = (time.Time{}); !reflect.DeepEqual(row, want) {
			return nil, fmt.Errorf("got %+v\nwant %+v", row, want)
		}
		return room.Query[string](c, `SELECT name FROM sqlite_schema WHERE tbl_name = 'tasks' AND sql IS NOT NULL ORDER BY name`)
	})
	must(t, c, err)
	e := mustSucceed(t, c.Do("tasks", "hook", nil))
	if got := string(e.Value); got != `["den_tasks_by_state","den_tasks_email_unique","den_tasks_note","loud","mine","tasks"]` {
		t.Errorf("the table has %s", got)
	}
	rows := c.Sync("tasks")
	if len(rows) != 1 || len(rows[0]) != 15 || rows[0][1] != 0.0 || rows[0][2] != "old" || rows[0][4] != "open" {
		t.Errorf("on the wire: %v", rows)
	}
	mustSucceed(t, c.Do("tasks", "sql", `INSERT INTO tasks (id, done, text, state, rank, ratio, raw, due, labels, created_at, updated_at) VALUES ('c', 1, 'new', 'x', 1, 1, x'', 0, '[]', 1, 1)`))
	for what, sql := range map[string]string{
		"check": `UPDATE tasks SET text = 'much longer than it may be'`, "bool": `UPDATE tasks SET done = 2`, "json": `UPDATE tasks SET labels = '[' `,
		"unique": `UPDATE tasks SET email = 'a@example.org' WHERE deleted_at IS NULL`, "type": `UPDATE tasks SET rank = 'first'`,
	} {
		if e := c.Do("tasks", "sql", sql); e.Code != "conflict" {
			t.Errorf("%s: %s", what, e.Data)
		}
	}

	// Back to the first struct: fields are gone, and that needs a migration.
	_, err = become[task](v, nil)
	for _, want := range []string{"the column done INTEGER NOT NULL", "no field", "write a migration"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	drop := room.SQLMigration("narrow", `CREATE TABLE t2 AS SELECT id, text, created_at, updated_at, deleted_at FROM tasks; DROP TABLE tasks;
		CREATE TABLE tasks (id TEXT NOT NULL PRIMARY KEY, text TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER) STRICT;
		INSERT INTO tasks SELECT * FROM t2; DROP TABLE t2`).Altering("tasks")
	c, err = become[task](v, nil, drop)
	must(t, c, err)
	if rows := c.Sync("tasks"); len(rows) != 2 || len(rows[0]) != 5 {
		t.Errorf("after the migration: %v", rows)
	}
	if _, err := v.TryJoin("tasks", "fresh", "alice"); err != nil {
		t.Errorf("a new room, which never had the table: %v, %v", err, v.Failures())
	}
}

// TestGrownTableReachesWhoWasAway: a client that was away gets the table as it is now, also
// what was deleted.
func TestGrownTableReachesWhoWasAway(t *testing.T) {
	v := newVersions(t)
	c, err := become[task](v, nil)
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "sql", `INSERT INTO tasks VALUES ('a', 'old', 1, 2, NULL)`))
	c.Sync("tasks")
	type grown struct {
		ID   string
		More int
		Text string
		room.Stamps
	}
	c, err = become[grown](v, nil)
	must(t, c, err)
	var row roomtest.Row
	for _, e := range c.Received() {
		for _, r := range e.Rows {
			row = r
		}
	}
	if len(row) != 6 || row[1] != 0.0 || row[2] != "old" {
		t.Errorf("who came back under its id got %v", row)
	}
}

func TestMismatches(t *testing.T) {
	type number struct {
		ID   string
		Text int
		room.Stamps
	}
	type nullable struct {
		ID   string
		Text *string
		room.Stamps
	}
	type otherKey struct {
		Key  string
		Text string
		room.Stamps
	}
	type numberKey struct {
		ID   int
		Text string
		room.Stamps
	}
	type shouting struct {
		ID   string
		Text string `den:"TEXT"`
		room.Stamps
	}
	type strict struct {
		ID   string
		Text string `den:",check=text <> 'old'"`
		room.Stamps
	}
	v := newVersions(t)
	c, err := become[task](v, nil)
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "sql", `INSERT INTO tasks VALUES ('a', 'old', 1, 2, NULL)`))
	try := func(what string, err error, wants ...string) {
		t.Helper()
		for _, want := range append(wants, "tasks", "room_test.") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in: %v", what, want, err)
			}
		}
	}
	_, err = become[number](v, nil)
	try("type", err, "field Text int wants the column text INTEGER NOT NULL", "the file has text TEXT NOT NULL", "write a migration")
	_, err = become[nullable](v, nil)
	try("null", err, "Text *string may be nil", "the file has text TEXT NOT NULL")
	_, err = become[otherKey](v, nil)
	try("key", err, "the field Key string", "the file's first column is id TEXT")
	_, err = become[numberKey](v, nil)
	try("key's type", err, "field ID int wants the column id INTEGER NOT NULL", "the file has id TEXT NOT NULL")
	_, err = become[shouting](v, nil)
	try("case", err, "the file has the column text TEXT NOT NULL", "TEXT TEXT NOT NULL", "case only")
	_, err = become[strict](v, nil)
	try("rows", err, "do not fit", "write a migration")
	c, err = become[task](v, nil)
	must(t, c, err)
	if rows := c.Sync("tasks"); len(rows) != 1 || rows[0][1] != "old" {
		t.Errorf("after all that: %v", rows)
	}
	mustSucceed(t, c.Do("tasks", "sql", `CREATE TABLE kids (id INTEGER, task TEXT REFERENCES tasks (id) ON DELETE CASCADE); INSERT INTO kids VALUES (1, 'a')`))
	_, err = become[taskWide](v, nil)
	try("cascade", err, "kids", "ON DELETE CASCADE", "write a migration")
}

func TestBadStructs(t *testing.T) {
	type twice struct {
		room.Base
		Items room.Table[item]
		More  room.Table[item] `den:"ITEMS"`
	}
	type columns struct {
		ID    string
		Name  string
		Other string `den:"NAME"`
		room.Stamps
	}
	type option struct {
		ID string
		A  string `den:",uniqe"`
		room.Stamps
	}
	type kind struct {
		ID string
		A  []string
		room.Stamps
	}
	type reserved struct {
		ID        string
		DeletedAt string
		room.Stamps
	}
	h := roomtest.New(t, func(*room.Host) error { return nil })
	for want, err := range map[string]error{
		`"items" and "ITEMS" differ by case only`: h.Register("a", func() room.Handler { return new(twice) }),
		"upper case from lower":                   h.Register("b", func() room.Handler { return new(tasks[columns]) }),
		`no option "uniqe"`:                       h.Register("c", func() room.Handler { return new(tasks[option]) }),
		`den:",json"`:                             h.Register("d", func() room.Handler { return new(tasks[kind]) }),
		"of room.Stamps":                          h.Register("e", func() room.Handler { return new(tasks[reserved]) }),
		`"tasks" and "Tasks" differ`:              h.Register("f", func() room.Handler { return new(tasks[task]) }, room.Synced("Tasks")),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestTypedRows(t *testing.T) {
	v := newVersions(t)
	due := time.UnixMilli(1_700_000_000_123)
	note, mail := "note", "a@example.org"
	full := taskWide{ID: "a", Done: true, Text: "t", Note: &note, State: "s", Rank: -7, Ratio: 0.5, Raw: []byte{0, 1}, Due: due,
		Labels: []string{"x", "\x00"}, At: &point{1, 2}, Mail: &mail}
	c, err := become(v, func(c *room.Context, tasks *room.Table[taskWide]) (any, error) {
		if err := tasks.Insert(c, full); err != nil {
			return nil, err
		}
		if err := tasks.Insert(c, taskWide{ID: "b", Rank: 3}); err != nil {
			return nil, err
		}
		if err := tasks.Insert(c, taskWide{ID: "c", Rank: 5, State: "s"}); err != nil {
			return nil, err
		}
		got, err := tasks.Get(c, "a")
		if err != nil {
			return nil, err
		}
		want := full
		want.Stamps = got.Stamps
		if !reflect.DeepEqual(got, want) || got.UpdatedAt != c.Now().UnixMilli() {
			return nil, fmt.Errorf("got %+v\nwant %+v", got, want)
		}
		if err := tasks.Patch(c, "b", map[string]any{"at": &point{3, 4}, "email": "b@example.org", "labels": []string{"p"}, "rank": 9}); err != nil {
			return nil, err
		}
		for _, set := range []map[string]any{{}, {"id": "z"}, {"nothing": 1}, {"rank": "x"}, {"rank": nil}} {
			if err := tasks.Patch(c, "b", set); err == nil {
				return nil, fmt.Errorf("Patch took %v", set)
			}
		}
		if err := tasks.Patch(c, "nobody", map[string]any{"rank": 1}); err != room.ErrNotFound {
			return nil, err
		}
		n, err := tasks.Count(c, "state = ?", "s")
		if all, _ := tasks.Count(c, ""); err != nil || n != 2 || all != 3 {
			return nil, fmt.Errorf("counted %d and %d, %v", n, all, err)
		}
		page, err := tasks.Select(c, room.Selection{OrderBy: "rank DESC", Limit: 1, Offset: 1})
		if err != nil || len(page) != 1 || page[0].ID != "c" {
			return nil, fmt.Errorf("the page is %+v, %v", page, err)
		}
		first, err := tasks.First(c, "rank > ?", 0)
		if err != nil || first.ID != "b" || *first.At != (point{3, 4}) || *first.Mail != "b@example.org" {
			return nil, fmt.Errorf("the first is %+v, %v", first, err)
		}
		if _, err := tasks.First(c, "FALSE"); err != room.ErrNotFound {
			return nil, fmt.Errorf("no first: %v", err)
		}
		type pair struct {
			task
			Other  *string
			Labels []string `den:",json"`
		}
		pairs, err := room.Query[pair](c, `SELECT a.id, a.text, a.labels, b.id AS other, a.deleted_at FROM tasks a LEFT JOIN tasks b ON b.rank = a.rank + 4 ORDER BY 1`)
		if err != nil || len(pairs) != 3 || *pairs[2].Other != "b" || pairs[0].Other != nil || pairs[0].Labels[0] != "x" {
			return nil, fmt.Errorf("joined: %+v, %v", pairs, err)
		}
		if _, err := room.Query[pair](c, `SELECT a.id, b.id FROM tasks a, tasks b`); err == nil {
			return nil, fmt.Errorf("two columns of one name were taken")
		}
		if _, err := room.Query[pair](c, `SELECT rank FROM tasks`); err == nil {
			return nil, fmt.Errorf("a column without a field was taken")
		}
		times, err := room.Query[time.Time](c, `SELECT due FROM tasks WHERE id = 'a'`)
		if err != nil || !times[0].Equal(due) {
			return nil, fmt.Errorf("the times are %v, %v", times, err)
		}
		// A row that was deleted takes no name away; a live row does.
		if err := tasks.Insert(c, taskWide{ID: "d", Mail: &mail}); err == nil {
			return nil, fmt.Errorf("two rows have one mail")
		}
		if err := tasks.Delete(c, "a"); err != nil {
			return nil, err
		}
		return nil, tasks.Insert(c, taskWide{ID: "d", Mail: &mail})
	})
	must(t, c, err)
	if e := c.Do("tasks", "hook", nil); e.Kind != "success" {
		t.Errorf("the hook failed: %s", e.Data)
	}
}

// TestReferences: a table that others refer to can be made again, and a row without what it
// refers to is refused.
func TestReferences(t *testing.T) {
	type child struct {
		ID   string
		Task string `den:",references=tasks"`
		room.Stamps
	}
	type family[T any] struct {
		tasks[T]
		Children room.Table[child]
	}
	v := newVersions(t)
	open := func(create func() room.Handler) *roomtest.Client {
		v.register = func(h *room.Host) error { return h.Register("tasks", create) }
		v.Reopen()
		c, err := v.TryJoin("tasks", "r", "alice")
		if err != nil {
			t.Fatal(err, v.Failures())
		}
		return c
	}
	c := open(func() room.Handler { return new(family[task]) })
	mustSucceed(t, c.Do("tasks", "sql", `INSERT INTO children VALUES ('k', 'a', 1, 1, NULL); INSERT INTO tasks VALUES ('a', 'parent', 1, 1, NULL)`))
	c = open(func() room.Handler { return new(family[taskWide]) })
	if rows := c.Sync("tasks"); len(rows) != 1 || rows[0][2] != "parent" {
		t.Errorf("the parents are %v", rows)
	}
	if rows := c.Sync("children"); len(rows) != 1 || rows[0][1] != "a" {
		t.Errorf("the children are %v", rows)
	}
	if e := c.Do("tasks", "sql", `INSERT INTO children VALUES ('l', 'nobody', 1, 1, NULL)`); e.Code != "conflict" {
		t.Errorf("an orphan: %s", e.Data)
	}
}

// TestLargeTableGrows: the limit on an action's rows is none for a table that is made again, and
// none of its rows is lost, nor those that are marked as deleted.
func TestLargeTableGrows(t *testing.T) {
	type checked struct {
		ID   string
		Text string `den:",check=text <> ''"`
		room.Stamps
	}
	const rows = 30_000
	v := newVersions(t)
	fill := room.SQLMigration("fill", fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO tasks SELECT i, 'text', 1, 2, iif(i %% 2, NULL, %d) FROM n`, rows, v.Clock.Now().UnixMilli())).Altering("tasks")
	c, err := become[task](v, nil)
	must(t, c, err)
	c, err = become[task](v, nil, fill)
	must(t, c, err)
	began := time.Now()
	c, err = become(v, func(c *room.Context, tasks *room.Table[checked]) (any, error) {
		return room.Query[int](c, `SELECT count(*) FROM tasks WHERE deleted_at IS NULL UNION ALL SELECT count(*) FROM tasks`)
	}, fill)
	must(t, c, err)
	t.Logf("%d rows: %v", rows, time.Since(began))
	if e := mustSucceed(t, c.Do("tasks", "hook", nil)); string(e.Value) != fmt.Sprintf("[%d,%d]", rows/2, rows) {
		t.Errorf("there are %s rows", e.Value)
	}
}
