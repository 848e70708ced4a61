package room_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// library is a room whose tables are made by migrations alone.
type library struct{ room.Base }

func (*library) OnAction(c *room.Context, _ string, a room.ActionRequest) (any, error) {
	var sql string
	if err := a.Decode(&sql); err != nil {
		return nil, err
	}
	if a.Type == "ask" {
		return room.Query[string](c, sql)
	}
	_, err := c.Exec(sql)
	return nil, err
}

const makeBooks = `CREATE TABLE books (id TEXT PRIMARY KEY, title TEXT NOT NULL,
	created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER) STRICT;
	INSERT INTO books VALUES ('1', 'Moby Dick', 1, 1, NULL)`

var errOutOfInk = errors.New("out of ink")

// shelves opens a host whose list of migrations can be changed between Reopens.
func shelves(t *testing.T, list ...room.Migration) (*roomtest.Host, *[]room.Migration) {
	t.Helper()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("library", func() room.Handler { return new(library) }, room.Migrations(list...), room.Synced("books"))
	})
	return h, &list
}

func libraryKey(name string) room.Key { return room.Key{Namespace: "library", Room: name} }

// dump is the logical content of a room's file, Den's own tables among it.
func dump(t *testing.T, h *roomtest.Host, name string) string {
	t.Helper()
	c := h.Join("library", name, "dumper")
	defer c.Leave()
	return string(mustSucceed(t, c.Do("books", "ask", `SELECT coalesce(sql, name) FROM sqlite_schema WHERE name NOT LIKE '\_den\_%' ESCAPE '\'
		UNION ALL SELECT id || title || updated_at FROM books
		UNION ALL SELECT version || name || applied_at FROM _den_migrations`)).Value)
}

func TestMigrationsRunOnceAndInOrder(t *testing.T) {
	runs := 0
	h, list := shelves(t,
		room.SQLMigration("make books", makeBooks),
		room.GoMigration("shout", func(c *room.Context) error {
			runs++
			_, err := c.Exec(`UPDATE books SET title = upper(title)`)
			return err
		}))
	before := dump(t, h, "r")
	if !strings.Contains(before, "MOBY DICK") || !strings.Contains(before, "1make books") || !strings.Contains(before, "2shout") {
		t.Fatalf("after the first wake: %s", before)
	}
	alice := h.Join("library", "r", "alice")
	alice.Sync("books")
	h.SleepRoom("library", "r")
	h.CrashRoom("library", "r")
	if after := dump(t, h, "r"); after != before || runs != 1 {
		t.Errorf("after %d runs: %s\nwant %s", runs, after, before)
	}

	*list = append(*list, room.SQLMigration("whisper", `UPDATE books SET title = lower(title), updated_at = 5`))
	h.Reopen()
	if rows := h.Join("library", "r", "alice").Sync("books"); len(rows) != 1 || rows[0][1] != "moby dick" {
		t.Errorf("after a third migration: %v", rows)
	}
	if runs != 1 {
		t.Errorf("the second ran %d times", runs)
	}
}

// TestInvariantAtomicMigration: a migration that fails leaves the file as it was, and an
// error for the operator; those before it stay.
func TestInvariantAtomicMigration(t *testing.T) {
	for name, c := range map[string]struct {
		bad  room.Migration
		want string
	}{
		"sql":   {room.SQLMigration("bad", `UPDATE books SET title = 'gone'; DROP TABLE books; SELECT nonsense()`), "nonsense"},
		"error": {room.GoMigration("bad", func(c *room.Context) error { c.Exec(`DELETE FROM books`); return errOutOfInk }), "out of ink"},
		"panic": {room.GoMigration("bad", func(c *room.Context) error { c.Exec(`DROP TABLE books`); panic("ink everywhere") }), "ink everywhere"},
		"fit":   {room.SQLMigration("bad", `INSERT INTO books VALUES ('2', NULL, 1, 1, NULL)`), "NOT NULL"},
	} {
		t.Run(name, func(t *testing.T) {
			h, list := shelves(t, room.SQLMigration("make books", makeBooks))
			before := dump(t, h, "r")
			*list = append(*list, c.bad)
			h.Reopen()

			_, err := h.TryJoin("library", "r", "alice")
			if code, message := room.ErrorCode(err); code != "room_unavailable" || strings.Contains(message, c.want) {
				t.Errorf("a client was told %s %s", code, message)
			}
			failures := h.Failures()
			var failed *room.MigrationError
			if len(failures) != 1 || failures[0].Key != libraryKey("r") || !errors.As(failures[0].Err, &failed) ||
				failed.Version != 2 || failed.Name != "bad" || !strings.Contains(failed.Error(), c.want) {
				t.Errorf("the operator sees %v", failures)
			}
			status, err := h.MigrationStatus(libraryKey("r"))
			if err != nil || !status.Pending() || len(status.Applied) != 1 || status.Known != 2 {
				t.Errorf("the status is %+v, %v", status, err)
			}

			*list = (*list)[:1]
			h.Reopen()
			if after := dump(t, h, "r"); after != before {
				t.Errorf("the file has become %s\nit was %s", after, before)
			}
			if failures := h.Failures(); len(failures) != 0 {
				t.Errorf("after a good start: %v", failures)
			}
		})
	}
}

// TestCrashBetweenMigrations: what was applied stays applied, and is not applied again.
func TestCrashBetweenMigrations(t *testing.T) {
	broken := true
	h, _ := shelves(t,
		room.SQLMigration("make books", makeBooks),
		room.SQLMigration("count", `UPDATE books SET title = title || '!'`),
		room.GoMigration("flaky", func(c *room.Context) error {
			if _, err := c.Exec(`UPDATE books SET title = title || '?'`); err != nil || !broken {
				return err
			}
			panic("crash")
		}))
	if _, err := h.TryJoin("library", "r", "alice"); err == nil {
		t.Fatal("the room started")
	}
	h.Reopen()
	broken = false
	if rows := h.Join("library", "r", "alice").Sync("books"); len(rows) != 1 || rows[0][1] != "Moby Dick!?" {
		t.Errorf("got %v", rows)
	}
}

func TestForeignMigrations(t *testing.T) {
	h, list := shelves(t, room.SQLMigration("make books", makeBooks), room.SQLMigration("two", `SELECT 1`))
	before := dump(t, h, "r")
	for name, other := range map[string][]room.Migration{
		"shorter": (*list)[:1:1],
		"renamed": {(*list)[0], room.SQLMigration("deux", `DELETE FROM books`)},
		"swapped": {(*list)[1], (*list)[0]},
		"none":    nil,
	} {
		good := *list
		*list = other
		h.Reopen()
		_, err := h.TryJoin("library", "r", "alice")
		failures := h.Failures()
		if err == nil || len(failures) != 1 || !errors.Is(failures[0].Err, room.ErrForeignMigrations) {
			t.Errorf("%s: %v, %v", name, err, failures)
		}
		if status, err := h.MigrationStatus(libraryKey("r")); err != nil || !errors.Is(status.Foreign, room.ErrForeignMigrations) {
			t.Errorf("%s: the status is %+v, %v", name, status, err)
		}
		*list = good
		h.Reopen()
		if after := dump(t, h, "r"); after != before {
			t.Errorf("%s: the file has become %s", name, after)
		}
	}
}

func TestBadMigrationLists(t *testing.T) {
	h := roomtest.New(t, func(*room.Host) error { return nil })
	ok := room.SQLMigration("a", "SELECT 1")
	for name, opts := range map[string][]room.Option{
		"twice":    {room.Migrations(ok, ok)},
		"unnamed":  {room.Migrations(room.SQLMigration("", "SELECT 1"))},
		"nothing":  {room.Migrations(room.GoMigration("a", nil))},
		"two list": {room.Migrations(ok), room.Migrations(ok)},
	} {
		if err := h.Register("n", func() room.Handler { return new(library) }, opts...); err == nil {
			t.Errorf("%s: was registered", name)
		}
	}
}

func TestMigrateManyRooms(t *testing.T) {
	h, list := shelves(t, room.SQLMigration("make books", makeBooks))
	names := map[string]bool{strings.Repeat("Long", 60): true, "Ärger/..": true, "con": true, "%41": true, "a~b": true}
	for i := range 100 {
		names[fmt.Sprint("Room ", i)] = true
	}
	for name := range names {
		if err := h.Migrate(t.Context(), libraryKey(name)); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	*list = append(*list, room.SQLMigration("more", `INSERT INTO books VALUES ('2', 'Dracula', 1, 1, NULL)`))
	h.Reopen()
	for key, err := range h.Rooms(t.Context(), "library") {
		if err != nil || !names[key.Room] {
			t.Fatalf("the room %v was listed: %v", key, err)
		}
		delete(names, key.Room)
		if status, err := h.MigrationStatus(key); err != nil || !status.Pending() {
			t.Errorf("%v before: %+v, %v", key, status, err)
		}
		if err := h.Migrate(t.Context(), key); err != nil {
			t.Errorf("%v: %v", key, err)
		}
		if status, err := h.MigrationStatus(key); err != nil || status.Pending() || len(status.Applied) != 2 {
			t.Errorf("%v after: %+v, %v", key, status, err)
		}
	}
	if len(names) != 0 {
		t.Errorf("not listed: %v", names)
	}
	if h.Awake() != 0 {
		t.Errorf("%d rooms were left awake", h.Awake())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for key, err := range h.Rooms(ctx, "library") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v, %v", key, err)
		}
	}
}

// TestMigrationOfManyRows: the limit on an action's rows is none of a migration's.
func TestMigrationOfManyRows(t *testing.T) {
	h, list := shelves(t, room.SQLMigration("make books", makeBooks))
	h.Join("library", "r", "alice")
	*list = append(*list, room.SQLMigration("fill", `WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
		INSERT INTO books SELECT i, 'copy', 1, 1, NULL FROM n`))
	h.Reopen()
	c := h.Join("library", "r", "alice")
	if rows := c.Sync("books"); len(rows) != 12000 {
		t.Errorf("%d rows", len(rows))
	}
	if e := c.Do("books", "tell", `UPDATE books SET title = 'x'`); e.Code != "too_large" {
		t.Errorf("an action of 12,000 rows: %s", e.Data)
	}
}

// TestMigrationTime: a migration has more time than an action, but not without end.
func TestMigrationTime(t *testing.T) {
	entered, goOn, early := make(chan bool), make(chan bool), make(chan error, 1)
	h, _ := shelves(t, room.SQLMigration("make books", makeBooks), room.GoMigration("slow", func(c *room.Context) error {
		entered <- true
		<-goOn
		early <- c.Err()
		entered <- true
		<-c.Done()
		return c.Err()
	}))
	joined := make(chan error, 1)
	go func() { // ends with the start
		_, err := h.TryJoin("library", "r", "alice")
		joined <- err
	}()
	within(t, entered, "the hook to begin")
	h.Clock.Advance(9 * time.Minute)
	goOn <- true
	if err := within(t, early, "the migration to look at its time"); err != nil {
		t.Errorf("after 9 minutes: %v", err)
	}
	within(t, entered, "the hook to begin")
	h.Clock.Advance(time.Minute)
	if err := within(t, joined, "the one who joins"); err == nil {
		t.Error("the room started")
	}
	failures := h.Failures()
	var failed *room.MigrationError
	if len(failures) != 1 || !errors.As(failures[0].Err, &failed) || failed.Version != 2 || !strings.Contains(failed.Error(), "MigrationTimeout") {
		t.Errorf("the operator sees %v", failures)
	}
}

// A starting room runs a hook of the test's.
type starting struct {
	room.Base
	hook func(*room.Context) error
}

func (s *starting) OnStart(c *room.Context) error { return s.hook(c) }

// TestStartAfterASlowMigration: what follows a migration that took long has the time of a hook again, from its own beginning.
func TestStartAfterASlowMigration(t *testing.T) {
	entered, goOn := make(chan bool), make(chan bool)
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("library", func() room.Handler {
			return &starting{hook: func(c *room.Context) error {
				entered <- true
				<-c.Done()
				return c.Err()
			}}
		}, room.Migrations(room.GoMigration("slow", func(*room.Context) error {
			entered <- true
			<-goOn
			return nil
		})))
	}, func(o *room.Options) { o.ActionTimeout = 5 * time.Second })
	joined := make(chan error, 1)
	go func() { // ends with the start
		_, err := h.TryJoin("library", "r", "alice")
		joined <- err
	}()
	within(t, entered, "the migration to begin")
	h.Clock.Advance(9 * time.Minute)
	goOn <- true
	within(t, entered, "OnStart to begin")
	h.Clock.Advance(5 * time.Second)
	if err := within(t, joined, "the one who joins"); err == nil {
		t.Error("the room started")
	}
}
