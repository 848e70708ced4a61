package room_test

import (
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

const secret = "my password is 1234"

// A vault deletes rows in each way that there is.
type vault struct {
	room.Base
	Notes room.Table[note]
}

func (v *vault) Post(c *room.Context, in note) error   { return v.Notes.Insert(c, in) }
func (v *vault) Put(c *room.Context, in note) error    { return v.Notes.Upsert(c, in) }
func (v *vault) Drop(c *room.Context, id string) error { return v.Notes.Delete(c, id) }
func (v *vault) Hard(c *room.Context, id string) error {
	_, err := c.Exec(`DELETE FROM notes WHERE id = ?`, id)
	return err
}
func (v *vault) Soft(c *room.Context, id string) error {
	now := c.Now().UnixMilli()
	_, err := c.Exec(`UPDATE notes SET deleted_at = ?, updated_at = ? WHERE id = ?`, now, now, id)
	return err
}

// Texts are what the table has for an id, whatever its stamps.
func (v *vault) Texts(c *room.Context, id string) ([]string, error) {
	return room.Query[string](c, `SELECT text FROM notes WHERE id = ?`, id)
}

func openVault(t *testing.T) *roomtest.Host {
	return roomtest.New(t, func(h *room.Host) error {
		return h.Register("vault", func() room.Handler { return new(vault) }, room.Action("post", (*vault).Post), room.Action("put", (*vault).Put),
			room.Action("drop", (*vault).Drop), room.Action("hard", (*vault).Hard), room.Action("soft", (*vault).Soft), room.Call("texts", (*vault).Texts))
	})
}

// Whichever way a row is deleted, a tombstone has its id and stamps and a null for each other column. That holds for
// the reply, for the broadcast, and for who comes back and never had the row.
func TestTombstonesHaveNoContent(t *testing.T) {
	h := openVault(t)
	early := h.Join("vault", "r", "early")
	answer := early.Resume("notes", nil)
	cursor := answer[len(answer)-1].Cursor
	early.Leave()
	a, b := h.Join("vault", "r", "a"), h.Join("vault", "r", "b")
	check := func(where string, want int, events ...roomtest.Event) {
		t.Helper()
		seen := 0
		for _, e := range events {
			for _, r := range e.Rows {
				if !r.Deleted() {
					continue
				}
				seen++
				if len(r) != 5 || r[0] == nil || r[1] != nil || r[3] == nil {
					t.Errorf("%s: the tombstone %v", where, r)
				}
			}
		}
		if seen != want {
			t.Errorf("%s: %d tombstones, want %d", where, seen, want)
		}
	}
	for _, how := range []string{"drop", "hard", "soft"} {
		mustSucceed(t, a.Do("notes", "post", object{"id": how, "text": secret}))
		b.Received()
		h.Advance(time.Second)
		check(how+" to its sender", 1, mustSucceed(t, a.Do("notes", how, how)))
		check(how+" to others", 1, b.Received()...)
	}
	check("to who never had them", 3, h.Join("vault", "r", "early").Resume("notes", cursor)...)
	for how, want := range map[string]string{"drop": "null", "hard": "null", "soft": `["` + secret + `"]`} {
		got := string(mustSucceed(t, a.Do("notes", "texts", how)).Value)
		if got == "[]" {
			got = "null"
		}
		if got != want {
			t.Errorf("%s: the table has %s, want %s", how, got, want)
		}
	}
}

// A room's own mark of deletion is never taken away by Den, however old it is.
func TestSoftDeletedRowsStay(t *testing.T) {
	h := openVault(t)
	a := h.Join("vault", "r", "a")
	mustSucceed(t, a.Do("notes", "post", object{"id": "1", "text": secret}))
	mustSucceed(t, a.Do("notes", "soft", "1"))
	for range 3 {
		h.Advance(31 * 24 * time.Hour)
		mustSucceed(t, a.Do("notes", "post", object{"id": h.Clock.Now().String(), "text": "later"}))
	}
	if got := string(mustSucceed(t, a.Do("notes", "texts", "1")).Value); got != `["`+secret+`"]` {
		t.Errorf("the table has %s", got)
	}
}

// After a deletion of any kind the id is free: the row that is created under it is a new one.
func TestCreateAfterDelete(t *testing.T) {
	h := openVault(t)
	a, b := h.Join("vault", "r", "a"), h.Join("vault", "r", "b")
	if e := a.Do("notes", "post", object{"id": "drop", "text": "first"}); e.Kind != "success" {
		t.Fatal(string(e.Data))
	}
	if e := a.Do("notes", "post", object{"id": "drop", "text": "twice"}); e.Code != "conflict" {
		t.Errorf("the id of a live row: %s", e.Data)
	}
	mustSucceed(t, a.Do("notes", "drop", "drop"))
	for _, how := range []string{"drop", "hard", "soft"} {
		for _, create := range []string{"post", "put"} {
			mustSucceed(t, a.Do("notes", "post", object{"id": how, "text": "before"}))
			h.Advance(time.Second)
			mustSucceed(t, a.Do("notes", how, how))
			h.Advance(time.Second)
			b.Received()
			now := float64(h.Clock.Now().UnixMilli())
			mustSucceed(t, a.Do("notes", create, object{"id": how, "text": "after"}))
			got := b.Received()
			if len(got) != 1 || len(got[0].Rows) != 1 {
				t.Fatalf("%s after %s: others got %v", create, how, got)
			}
			if r := got[0].Rows[0]; r.Deleted() || r[1] != "after" || r[2] != now || r[3] != now {
				t.Errorf("%s after %s at %v: %v", create, how, now, r)
			}
			mustSucceed(t, a.Do("notes", "hard", how))
		}
	}
}

// TestBuriedRows: of a table that an earlier version made, the rows that Table.Delete had kept there go, but for those
// that others refer to. Clients are told nothing new, and get no content either way.
func TestBuriedRows(t *testing.T) {
	v := newVersions(t)
	c, err := become[task](v, nil)
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "sql", `CREATE TABLE kids (id INTEGER, task TEXT REFERENCES tasks); CREATE INDEX den_tasks_gone ON tasks (deleted_at) WHERE deleted_at IS NOT NULL;
		INSERT INTO tasks VALUES ('live', 'x', 1, 2, NULL), ('dead', 'x', 1, 3, 3), ('parent', 'x', 1, 3, 3); INSERT INTO kids VALUES (1, 'parent')`))
	start := c.Resume("tasks", nil)
	c, err = become(v, func(c *room.Context, tasks *room.Table[task]) (any, error) {
		return room.Query[string](c, `SELECT id FROM tasks UNION ALL SELECT name FROM sqlite_schema WHERE name LIKE 'den%'`)
	})
	must(t, c, err)
	for _, e := range c.Resume("tasks", start[len(start)-1].Cursor) {
		for _, r := range e.Rows {
			if !r.Deleted() || r[1] != nil {
				t.Errorf("who comes back got %v", r)
			}
		}
	}
	if e := mustSucceed(t, c.Do("tasks", "hook", nil)); string(e.Value) != `["live","parent"]` {
		t.Errorf("the file has %s", e.Value)
	}
}
