package room_test

import (
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

type note struct {
	ID   string
	Text string
	room.Stamps
}

type noteRoom struct {
	room.Base
	Notes room.Table[note]
}

func (r *noteRoom) Add(c *room.Context, id string) error {
	return r.Notes.Insert(c, note{ID: id, Text: "x"})
}
func (r *noteRoom) Remove(c *room.Context, id string) error { return r.Notes.Delete(c, id) }

// Stored counts the rows that are in the table itself, whatever their stamps.
func (r *noteRoom) Stored(c *room.Context, _ struct{}) (int, error) {
	var n int
	err := c.QueryRow(`SELECT count(*) FROM notes`, nil, &n)
	return n, err
}

// Clients counts the clients whose numbers the room knows.
func (r *noteRoom) Clients(c *room.Context, _ struct{}) (int, error) {
	var n int
	err := c.QueryRow(`SELECT count(*) FROM _den_clients`, nil, &n)
	return n, err
}

func registerNotes(h *room.Host) error {
	return h.Register("notes", func() room.Handler { return new(noteRoom) },
		room.Action("add", (*noteRoom).Add), room.Action("remove", (*noteRoom).Remove),
		room.Call("stored", (*noteRoom).Stored), room.Call("clients", (*noteRoom).Clients))
}

// A row that is deleted is gone at once, and its tombstone stays as long as the retention says. Then it goes, and a
// client from before is told that its cursor is too old, and does not keep the row.
func TestInvariantNoResurrectionAfterThePurge(t *testing.T) {
	const retention = 7 * 24 * time.Hour
	h := roomtest.New(t, registerNotes)
	a := h.Join("notes", "r", "a")
	for _, id := range []string{"one", "two", "three"} {
		a.Do("notes", "add", id)
	}
	before := a.Resume("notes", nil)
	cursor := before[len(before)-1].Cursor
	for _, id := range []string{"one", "two"} {
		a.Do("notes", "remove", id)
	}
	if got := string(a.Do("notes", "stored", nil).Value); got != "1" {
		t.Errorf("%s rows in the table, want 1", got)
	}

	h.Advance(retention - time.Hour)
	a.Do("notes", "add", "later")
	events := a.Resume("notes", cursor)
	if gone := tombstones(events); gone != 2 || events[0].Reset != "" {
		t.Errorf("a cursor within the retention got %d tombstones, reset %q", gone, events[0].Reset)
	}

	h.Advance(2 * time.Hour)
	a.Do("notes", "add", "later still") // each turn forgets some
	a.Do("notes", "add", "and later")
	events = a.Resume("notes", cursor)
	rows := 0
	for _, e := range events {
		rows += len(e.Rows)
	}
	if events[0].Reset != "floor" || rows != 4 || tombstones(events) != 0 {
		t.Errorf("a cursor from before the purge got %d rows, reset %q: %+v", rows, events[0].Reset, events)
	}
}

func tombstones(events []roomtest.Event) (n int) {
	for _, e := range events {
		for _, row := range e.Rows {
			if row[len(row)-1] != nil {
				n++
			}
		}
	}
	return n
}
