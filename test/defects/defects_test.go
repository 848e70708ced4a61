// Package defects holds a test for each of the nine things that the reference
// server of the partysync wire gets wrong. Each test fails against the behaviour
// that its comment describes.
package defects

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// notes is a room of the plain kind: SQL, and a clock that the room reads itself.
type notes struct {
	room.Base
	applied int
}

func (n *notes) OnStart(c *room.Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS notes (
		id TEXT PRIMARY KEY NOT NULL, text TEXT,
		created_at INTEGER, updated_at INTEGER, deleted_at INTEGER);
		CREATE TABLE IF NOT EXISTS secrets (id TEXT PRIMARY KEY NOT NULL, text TEXT);
		INSERT OR IGNORE INTO secrets VALUES ('1', 'hush')`)
	return err
}

func (n *notes) OnAction(c *room.Context, channel string, a room.ActionRequest) (any, error) {
	var in struct{ ID, Text string }
	if err := a.Decode(&in); err != nil {
		return nil, err
	}
	n.applied++
	now := c.Now()
	switch a.Type {
	case "put":
		_, err := c.Exec(`INSERT INTO notes VALUES (?, ?, ?, ?, NULL)
			ON CONFLICT (id) DO UPDATE SET text = excluded.text, updated_at = excluded.updated_at`, in.ID, in.Text, now, now)
		return nil, err
	case "append":
		_, err := c.Exec(`UPDATE notes SET text = text || ?, updated_at = ? WHERE id = ?`, in.Text, now, in.ID)
		return nil, err
	case "remove": // a hard delete
		_, err := c.Exec(`DELETE FROM notes WHERE id = ?`, in.ID)
		return nil, err
	case "halfway":
		if _, err := c.Exec(`INSERT INTO notes VALUES (?, 'half', ?, ?, NULL)`, in.ID, now, now); err != nil {
			return nil, err
		}
		return nil, errors.New("open /srv/den/secret.key: no such file")
	case "fill":
		_, err := c.Exec(`INSERT INTO notes WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
			SELECT 'n' || i, ?, ?, ?, NULL FROM n`, strings.Repeat("x", 600), now, now)
		return nil, err
	case "broken":
		_, err := c.Exec(`INSERT INTO no_such_table VALUES (1)`)
		return nil, err
	}
	return n.Base.OnAction(c, channel, a)
}

func open(t *testing.T) *roomtest.Host {
	return roomtest.New(t, func(h *room.Host) error {
		if err := todo.Register(h); err != nil {
			return err
		}
		return h.Register("notes", func() room.Handler { return new(notes) }, room.Synced("notes"))
	})
}

type object = map[string]any

// view is what a client that behaves as the published one does has on its screen:
// sync merges, update and replies merge and drop tombstones.
type view map[any]roomtest.Row

func (v view) merge(events ...roomtest.Event) view {
	for _, e := range events {
		switch e.Kind {
		case "delete-all":
			clear(v)
		case "sync":
			for _, r := range e.Rows {
				v[r.ID()] = r // a tombstone in here would stay on the screen
			}
		case "update", "success":
			for _, r := range e.Rows {
				if r.Deleted() {
					delete(v, r.ID())
				} else {
					v[r.ID()] = r
				}
			}
		}
	}
	return v
}

func (v view) texts() map[any]any {
	texts := make(map[any]any, len(v))
	for id, r := range v {
		texts[id] = r[1]
	}
	return texts
}

func (v view) want(t *testing.T, want map[any]any) {
	t.Helper()
	if got := v.texts(); !reflect.DeepEqual(got, want) {
		t.Errorf("the client shows %v, want %v", got, want)
	}
}

// highest is the stamp that the published client sends as `from`.
func highest(rows view) float64 {
	var high float64
	for _, r := range rows {
		for _, stamp := range r[len(r)-2:] {
			if n, ok := stamp.(float64); ok {
				high = max(high, n)
			}
		}
	}
	return high
}

// Reference: `sync` with `from` leaves out tombstones, so that a client which was
// away keeps deleted rows for ever.
func TestDefect1SyncFromSendsTombstones(t *testing.T) {
	h := open(t)
	alice := h.Join("notes", "r", "alice")
	for _, id := range []string{"soft", "hard", "stays"} {
		alice.Do("notes", "put", object{"id": id, "text": id})
	}
	away := h.Join("notes", "r", "bob")
	shown := view{}.merge(roomtest.Event{Kind: "sync", Rows: away.Sync("notes")})
	away.Leave()
	h.Advance(time.Second)
	alice.Do("notes", "remove", object{"id": "hard"})

	back := h.Join("notes", "r", "bob, on another page") // no memory of this id: all depends on from
	rows := back.SyncFrom("notes", highest(shown))
	for _, r := range rows {
		if r.Deleted() {
			t.Errorf("the tombstone %v came in a sync frame, where the published client would show it", r)
		}
	}
	shown.merge(back.Received()...).merge(roomtest.Event{Kind: "sync", Rows: rows})
	shown.want(t, map[any]any{"soft": "soft", "stays": "stays"})

	list := h.Join("todos", "r", "carol")
	list.Do("todos", "create", object{"id": "1", "text": "milk", "completed": 0})
	seen := view{}.merge(roomtest.Event{Kind: "sync", Rows: list.Sync("todos")})
	h.Advance(time.Second)
	h.Join("todos", "r", "dave").Do("todos", "delete", object{"id": "1"})
	later := h.Join("todos", "r", "erin")
	rows = later.SyncFrom("todos", highest(seen))
	seen.merge(later.Received()...).merge(roomtest.Event{Kind: "sync", Rows: rows})
	seen.want(t, map[any]any{})
}

// Reference: `from` is a clock; of two changes in the same tick, or after a step
// back of the clock, one is lost.
func TestDefect2FromIsNotAClock(t *testing.T) {
	h := open(t)
	alice := h.Join("notes", "r", "alice")
	alice.Do("notes", "put", object{"id": "a", "text": "first"})
	bob := h.Join("notes", "r", "bob")
	shown := view{}.merge(roomtest.Event{Kind: "sync", Rows: bob.Sync("notes")})
	from := highest(shown)

	alice.Do("notes", "put", object{"id": "b", "text": "in the same tick"})
	h.Clock.Step(-time.Hour)
	alice.Do("notes", "put", object{"id": "c", "text": "an hour earlier"})
	alice.Do("notes", "put", object{"id": "a", "text": "changed an hour earlier"})
	alice.Do("notes", "remove", object{"id": "b"})

	carol := h.Join("notes", "r", "carol")
	rows := carol.SyncFrom("notes", from)
	shown.merge(carol.Received()...).merge(roomtest.Event{Kind: "sync", Rows: rows})
	shown.want(t, map[any]any{"a": "changed an hour earlier", "c": "an hour earlier"})
}

// Reference: the channel is pasted into the SQL text, so that any table can be
// read, and more.
func TestDefect3ChannelIsNotSQL(t *testing.T) {
	h := open(t)
	alice := h.Join("notes", "r", "alice")
	alice.Do("notes", "put", object{"id": "1", "text": "here"})
	for _, channel := range []string{
		"secrets", "sqlite_master", "_den_meta", "_den_changes", "notes; drop table notes", "notes WHERE 1 --",
		"(SELECT * FROM secrets)", "NOTES", "main.notes", `"notes"`,
	} {
		alice.SendJSON(object{"channel": channel, "sync": true, "from": nil})
		alice.SendJSON(object{"id": "x" + channel, "channel": channel, "rpc": true, "action": object{"type": "put", "payload": object{"id": "2"}}})
		events := alice.Received()
		if len(events) != 2 || events[0].Kind != "exception" || events[1].Kind != "error" {
			t.Fatalf("channel %q: got %s", channel, describe(events))
		}
		for _, e := range events {
			if e.Code != "unknown_channel" || strings.Contains(string(e.Data), "hush") {
				t.Errorf("channel %q: got %s", channel, e.Data)
			}
		}
	}
	if rows := alice.Sync("notes"); len(rows) != 1 || rows[0].ID() != "1" {
		t.Errorf("after all that the channel holds %v", rows)
	}
}

// Reference: nothing is sent after a reconnect, and the published client does not
// ask again.
func TestDefect4ReconnectCatchesUp(t *testing.T) {
	for _, death := range []string{"socket", "room", "host"} {
		t.Run(death, func(t *testing.T) {
			h := open(t)
			bob := h.Join("notes", "r", "bob")
			alice := h.Join("notes", "r", "alice")
			alice.Do("notes", "put", object{"id": "old", "text": "old"})
			shown := view{}.merge(roomtest.Event{Kind: "sync", Rows: bob.Sync("notes")})
			alice.Do("notes", "put", object{"id": "seen", "text": "seen"})
			shown.merge(bob.Received()...)
			bob.Confirm()
			switch death {
			case "socket":
				bob.Leave()
			case "room":
				bob.Leave()
				h.CrashRoom("notes", "r")
			case "host":
				h.Reopen()
				alice = h.Join("notes", "r", "alice")
			}
			alice.Do("notes", "remove", object{"id": "old"})
			alice.Do("notes", "put", object{"id": "missed", "text": "missed"})

			back := h.Join("notes", "r", "bob") // and it sends nothing
			events := back.Received()
			for _, e := range events {
				if e.Kind != "update" {
					t.Errorf("unasked came a %s", e.Kind)
				}
			}
			shown.merge(events...)
			shown.want(t, map[any]any{"seen": "seen", "missed": "missed"})
		})
	}
}

// Reference: an action that is sent again, because its reply was lost, is applied
// again.
func TestDefect5RepeatedActionAppliesOnce(t *testing.T) {
	h := open(t)
	bob := h.Join("notes", "r", "bob")
	alice := h.Join("notes", "r", "alice")
	alice.Do("notes", "put", object{"id": "1", "text": "a"})
	first := alice.DoAs("once", "notes", "append", object{"id": "1", "text": "b"})
	again := alice.DoAs("once", "notes", "append", object{"id": "1", "text": "b"})
	if string(first.Data) != string(again.Data) {
		t.Errorf("the repetition was answered with %s, the first with %s", again.Data, first.Data)
	}
	alice.Leave()
	alice = h.Join("notes", "r", "alice")
	third := alice.DoAs("once", "notes", "append", object{"id": "1", "text": "b"})
	if string(first.Data) != string(third.Data) {
		t.Errorf("after a reconnect the repetition was answered with %s, the first with %s", third.Data, first.Data)
	}
	view{}.merge(bob.Received()...).want(t, map[any]any{"1": "ab"})

	other := alice.DoAs("once", "notes", "append", object{"id": "1", "text": "something else"})
	if other.Kind != "error" || other.Code != "duplicate_id" {
		t.Errorf("another action under the same id: got %s", other.Data)
	}
	bob.Received()
	for i, stranger := range []*roomtest.Client{bob, h.Join("notes", "r", "alice", roomtest.As(room.Identity{Subject: "eve"}))} {
		e := stranger.DoAs("once", "notes", "append", object{"id": "1", "text": "b"}) // the same action under the same id
		if e.Kind != "success" || len(e.Rows) != 1 || e.Rows[0][1] != "ab"+strings.Repeat("b", i+1) {
			t.Errorf("the same action from another connection, and from another user: got %s", e.Data)
		}
	}
}

// Reference: the order between a snapshot and concurrent broadcasts is not defined.
func TestDefect6SnapshotThenLive(t *testing.T) {
	h := open(t)
	const writes = 400
	done := make(chan error)
	go func() {
		writer := h.Join("notes", "r", "writer")
		for i := range writes {
			data, _ := json.Marshal(object{"id": fmt.Sprint("w", i), "channel": "notes", "rpc": true,
				"action": object{"type": "put", "payload": object{"id": fmt.Sprint(i % 7), "text": fmt.Sprint(i)}}})
			if err := writer.Send(data); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	reader := h.Join("notes", "r", "reader")
	var seen []roomtest.Event
	for range 20 {
		reader.SendJSON(object{"channel": "notes", "sync": true, "from": nil})
		seen = append(seen, reader.Received()...)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	reader.SendJSON(object{"channel": "notes", "sync": true, "from": nil})
	newest, shown := make(map[any]int), view{}
	for _, e := range append(seen, reader.Received()...) {
		shown.merge(e)
		for _, r := range e.Rows {
			var n int
			fmt.Sscan(r[1].(string), &n)
			if n < newest[r.ID()] {
				t.Fatalf("row %v came with the older value %d behind %d, in a %s", r.ID(), n, newest[r.ID()], e.Kind)
			}
			newest[r.ID()] = n
		}
	}
	want := make(map[any]any)
	for i := writes - 7; i < writes; i++ { // the last write of each row
		want[fmt.Sprint(i%7)] = fmt.Sprint(i)
	}
	shown.want(t, want)
	fresh := view{}.merge(roomtest.Event{Kind: "sync", Rows: h.Join("notes", "r", "last").Sync("notes")})
	fresh.want(t, want)
}

// Reference: the whole table goes out in one frame, whatever its size. Here more than 4 MiB comes in pages.
func TestDefect7SnapshotComesInPages(t *testing.T) {
	h := open(t)
	alice := h.Join("notes", "r", "alice")
	if e := alice.Do("notes", "fill", object{}); e.Kind != "success" {
		t.Fatalf("filling: %s", e.Data)
	}
	bob := h.Join("notes", "r", "bob")
	bob.SendJSON(object{"channel": "notes", "sync": true, "from": nil})
	pages := []roomtest.Event{bob.Next()}
	for pages[len(pages)-1].More {
		pages = append(pages, bob.Next())
	}
	if len(pages) < 5 {
		t.Fatalf("6 MB of rows came in %d frames", len(pages))
	}
	shown := view{}
	for i, e := range pages {
		if e.Kind != "sync" || e.More != (i < len(pages)-1) {
			t.Errorf("page %d of %d is a %s with more = %v", i, len(pages), e.Kind, e.More)
		}
		if len(e.Data) > 300<<10 {
			t.Errorf("page %d has %d bytes", i, len(e.Data))
		}
		shown.merge(e)
	}
	if len(shown) != 9000 {
		t.Errorf("the pages hold %d rows, want 9000", len(shown))
	}
}

// Reference: a failed action leaves the writes behind that it had made.
func TestDefect8FailedActionLeavesNothing(t *testing.T) {
	h := open(t)
	alice, bob := h.Join("notes", "r", "alice"), h.Join("notes", "r", "bob")
	if e := alice.Do("notes", "halfway", object{"id": "half"}); e.Kind != "error" {
		t.Fatalf("the action that fails: %s", e.Data)
	}
	if got := bob.Received(); len(got) != 0 {
		t.Errorf("the others got %s", describe(got))
	}
	if rows := alice.Sync("notes"); len(rows) != 0 {
		t.Errorf("the failed action left %v", rows)
	}
}

// Reference: an exception's text goes to the client as it is.
func TestDefect9NothingLeaks(t *testing.T) {
	h := open(t)
	alice := h.Join("notes", "r", "alice")
	for _, action := range []string{"halfway", "broken"} {
		e := alice.Do("notes", action, object{"id": "1"})
		if e.Code != "action_failed" || e.Message != "The action failed." {
			t.Errorf("%s: got %s", action, e.Data)
		}
	}
	if err := alice.Send([]byte(`{"id":"1","channel":"notes","rpc":true,"action":`)); err != nil {
		t.Fatal(err)
	}
	for _, e := range alice.Received() {
		for _, secret := range []string{"/srv", "secret", "no_such_table", "SQL", "goroutine", ".go:"} {
			if strings.Contains(string(e.Data), secret) {
				t.Errorf("%q leaks in %s", secret, e.Data)
			}
		}
	}
}

func describe(events []roomtest.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s; ", e.Data)
	}
	return b.String()
}
