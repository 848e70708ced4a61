package room_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// ward is a room that uses all of Den's own tables.
type ward struct {
	room.Base
	Items room.Table[item]
}

func (w *ward) Put(c *room.Context, in item) error { return w.Items.Upsert(c, in) }

func (w *ward) Panic(c *room.Context, in item) error {
	if err := w.Items.Upsert(c, in); err != nil {
		return err
	}
	panic("not today")
}

func (w *ward) Ring(c *room.Context, in item) error {
	return errors.Join(w.Items.Upsert(c, in), c.SetAlarm(in.ID, c.Now().Add(time.Hour)))
}

func (w *ward) Hush(c *room.Context, in item) (bool, error) {
	if err := w.Items.Upsert(c, in); err != nil {
		return false, err
	}
	return c.CancelAlarm("bell")
}

func (w *ward) Bells(c *room.Context, in item) (int, error) {
	bells, err := c.Alarms()
	return len(bells), errors.Join(err, w.Items.Upsert(c, in))
}

func (w *ward) OnAlarm(c *room.Context, a room.Alarm) error {
	return w.Items.Upsert(c, item{ID: "rung " + a.Name})
}

func (w *ward) OnClose(c *room.Context, _ int, _ string) error {
	return w.Items.Upsert(c, item{ID: "gone " + c.Conn().ID()})
}

// One of Den's own tables in a room's file is not there. What needs it is refused as a whole and says so, everything else goes on, and when
// the table is back so does that.
func TestMissingOwnTable(t *testing.T) {
	tables := []string{"_den_peers", "_den_replies", "_den_clients", "_den_tries", "_den_connections", "_den_alarms"}
	key := room.Key{Namespace: "wards", Room: "r"}
	type step struct {
		name  string
		needs string // the tables without which it fails
		means string // what it is refused with in any other case; "" if it is not
		do    func(h *roomtest.Host, alice *roomtest.Client, id string) (refused string)
	}
	code := func(e roomtest.Event) string {
		if e.Kind == "success" {
			return ""
		}
		return e.Code
	}
	client := strings.Repeat("c", 20)
	steps := []step{
		{"an action", "_den_replies", "", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.Do("items", "put", object{"id": id}))
		}},
		{"a numbered action", "_den_replies _den_clients", "", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.DoNumbered(client, 2, "items", "put", object{"id": id}))
		}},
		{"a numbered action of before", "_den_replies _den_clients", "", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.DoNumbered(client, 1, "items", "put", object{"id": "first"}))
		}},
		{"somebody's first number", "_den_replies _den_clients", "", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.DoNumbered("another", 1, "items", "put", object{"id": id}))
		}},
		{"a number that is too high", "_den_clients _den_tries", "unknown_client", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.DoNumbered("somebody", 3, "items", "put", object{"id": "never"}))
		}},
		{"a numbered action that panics", "_den_clients _den_tries", "aborted", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.DoNumbered(client, 2, "items", "panic", object{"id": "never"}))
		}},
		{"an alarm", "_den_replies _den_alarms", "", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.Do("items", "ring", object{"id": id}))
		}},
		{"an alarm's end", "_den_replies _den_alarms", "", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.Do("items", "hush", object{"id": id}))
		}},
		{"the alarms", "_den_replies _den_alarms", "", func(_ *roomtest.Host, alice *roomtest.Client, id string) string {
			return code(alice.Do("items", "bells", object{"id": id}))
		}},
		{"a newcomer", "_den_peers _den_replies", "", func(h *roomtest.Host, _ *roomtest.Client, id string) string {
			c, err := h.TryJoin("wards", "r", "new"+id)
			if err != nil {
				c, _ := room.ErrorCode(err)
				return string(c)
			}
			return code(c.Do("items", "put", object{"id": id}))
		}},
		{"one who comes back", "_den_peers _den_replies", "", func(h *roomtest.Host, _ *roomtest.Client, id string) string {
			c, err := h.TryJoin("wards", "r", "bob")
			if err != nil {
				c, _ := room.ErrorCode(err)
				return string(c)
			}
			return code(c.Do("items", "put", object{"id": id}))
		}},
		{"a question", "_den_peers _den_replies", "", func(h *roomtest.Host, alice *roomtest.Client, id string) string {
			alice.SendJSON(object{"channel": "items", "sync": true})
			for _, e := range alice.Received() {
				if e.Kind == "exception" {
					return e.Code
				}
			}
			return code(alice.Do("items", "put", object{"id": id}))
		}},
		{"a question with a cursor", "_den_peers _den_replies", "", func(h *roomtest.Host, alice *roomtest.Client, id string) string {
			alice.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
			for _, e := range alice.Received() {
				if e.Kind == "exception" {
					return e.Code
				}
			}
			return code(alice.Do("items", "put", object{"id": id}))
		}},
	}
	for _, s := range steps {
		for _, table := range append(tables, "") {
			t.Run(s.name+" without "+table, func(t *testing.T) {
				h := roomtest.New(t, func(h *room.Host) error {
					return h.Register("wards", func() room.Handler { return new(ward) }, room.Action("put", (*ward).Put), room.Action("panic", (*ward).Panic),
						room.Action("ring", (*ward).Ring), room.Call("hush", (*ward).Hush), room.Call("bells", (*ward).Bells))
				})
				alice, bob := h.Join("wards", "r", "alice"), h.Join("wards", "r", "bob")
				mustSucceed(t, alice.DoNumbered(client, 1, "items", "put", object{"id": "first"}))
				mustSucceed(t, alice.Do("items", "ring", object{"id": "bell"}))
				bob.Sync("items")
				bob.Leave()
				h.SleepRoom("wards", "r") // what it knows it has to read
				mustSucceed(t, alice.Do("items", "put", object{"id": "awake"}))
				if table != "" {
					if err := room.Internal(h.Host, key, "ALTER TABLE "+table+" RENAME TO "+table+"_away"); err != nil {
						t.Fatal(err)
					}
				}
				refused := s.do(h, alice, "done")
				want := s.means
				if table != "" && slices.Contains(strings.Fields(s.needs), table) {
					want = "action_failed"
				}
				if refused != want {
					t.Errorf("it was refused with %q, want %q", refused, want)
				}
				if table != "" {
					if err := room.Internal(h.Host, key, "DROP TABLE IF EXISTS "+table+"; ALTER TABLE "+table+"_away RENAME TO "+table); err != nil {
						t.Fatal(err)
					}
				}
				carol := h.Join("wards", "r", "carol")
				rows := strings.Fields(ids(carol.Sync("items")))
				if slices.Contains(rows, "never") {
					t.Errorf("rows %v", rows)
				}
				if done := slices.Contains(rows, "done"); done != (refused == "") && s.name != "a numbered action of before" {
					t.Errorf("it was refused with %q; it is there: %v", refused, done)
				}
				mustSucceed(t, carol.Do("items", "put", object{"id": "last"}))
				mustSucceed(t, carol.Do("items", "bells", object{"id": "last"}))
			})
		}
	}
}
