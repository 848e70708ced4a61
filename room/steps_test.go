package room_test

// Answers that are read in steps are whole wherever a step's limit stands: at exactly as many rows as one step takes,
// one fewer, one more.

import (
	"fmt"
	"slices"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A ladder is a room whose items are 1, 2, 3 … up to a number that a test raises and lowers.
type ladder struct {
	t    *testing.T
	h    *roomtest.Host
	c    *roomtest.Client
	rows int
}

func newLadder(t *testing.T, opts ...roomtest.Option) *ladder {
	h, _ := open(t, opts...)
	return &ladder{t: t, h: h, c: h.Join("shop", "r", "writer")}
}

// to makes the room hold so many rows.
func (l *ladder) to(rows int) {
	l.t.Helper()
	for l.rows < rows {
		next := min(rows, l.rows+10_000)
		mustSucceed(l.t, l.c.Do("items", "sql", fmt.Sprintf(`INSERT INTO items WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT printf('%%05d', i), '', 1, 1, NULL FROM n`, l.rows+1, next)))
		l.rows = next
	}
}

// whole fails the test unless an answer holds each row once.
func (l *ladder) whole(what string, got []roomtest.Row) {
	l.t.Helper()
	all := make([]string, len(got))
	for i, row := range got {
		all[i] = row.ID().(string)
	}
	slices.Sort(all)
	for i, id := range all {
		if id != fmt.Sprintf("%05d", i+1) {
			l.t.Fatalf("of %d rows %s gives %d; number %d of them is %s", l.rows, what, len(all), i+1, id)
		}
	}
	if len(all) != l.rows {
		l.t.Fatalf("of %d rows %s gives %d", l.rows, what, len(all))
	}
}

// check asks for all rows in every way, as a client of its own each.
func (l *ladder) check() {
	l.t.Helper()
	taker := l.h.Join("shop", "r", "")
	var rows []roomtest.Row
	for _, e := range taker.Resume("items", nil) {
		rows = append(rows, e.Rows...)
	}
	l.whole("a sync by cursor", rows)
	taker.Leave()
	stock := l.h.Join("shop", "r", "")
	l.whole("a sync without a cursor", stock.Sync("items"))
	stock.Leave()
}

// TestInvariantResumeSnapshotAtTheRowLimit has rooms with as many short rows as are read in one turn.
func TestInvariantResumeSnapshotAtTheRowLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("40,000 rows take some seconds")
	}
	l := newLadder(t)
	for _, limit := range []int{room.ScanRows, room.SnapshotRows, 2 * room.SnapshotRows} {
		for rows := limit - 1; rows <= limit+1; rows++ {
			l.to(rows)
			l.h.SleepRoom("shop", "r") // the next life has read nothing yet
			l.check()
		}
	}
}

// TestInvariantResumeSnapshotAtTheByteLimit has rooms with about as many rows as fit into a step by their bytes, and as many
// as are read of a large channel at once.
func TestInvariantResumeSnapshotAtTheByteLimit(t *testing.T) {
	l := newLadder(t, func(o *room.Options) { o.MaxSnapshotBytes = 500 })
	for _, rows := range []int{0, 1, 2, room.PickRows - 1, room.PickRows, room.PickRows + 1, 2 * room.PickRows, 2*room.PickRows + 1} {
		l.to(rows)
		l.h.SleepRoom("shop", "r")
		l.check()
	}
	for rows := 20; rows < 30; rows++ { // 500 bytes are some 22 rows
		l := newLadder(t, func(o *room.Options) { o.MaxSnapshotBytes = 500 })
		l.to(rows)
		l.check()
	}
}
