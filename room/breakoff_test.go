package room_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// slow joins the shop by a link that takes a number of frames, and no more until the test opens it.
func slow(h *roomtest.Host, name string, frames int32) (*roomtest.Client, *fullLink) {
	full := new(fullLink)
	full.left.Store(frames)
	c := h.Join("shop", "r", name, func(r *room.ConnectRequest) { full.Link, r.Link = r.Link, full })
	return c, full
}

const redefinition = `ALTER TABLE items RENAME TO x; ALTER TABLE x RENAME TO items`

// rowsOnce fails the test unless the events are frames of a sync with each of the rows once, and reports whether the
// last one ends the answer.
func rowsOnce(t *testing.T, seen map[any]bool, events ...roomtest.Event) (done bool) {
	t.Helper()
	for _, e := range events {
		if e.Kind != "sync" || done {
			t.Fatalf("in or after the answer came %.300s", e.Data)
		}
		for _, row := range e.Rows {
			if seen[row.ID()] {
				t.Fatalf("the row %v came twice, in %.300s", row.ID(), e.Data)
			}
			seen[row.ID()] = true
		}
		done = !e.More
	}
	return done
}

// TestInvariantResumeAnswerEndsWithAnException: a table is redefined while an answer is on its way in pieces, and is too
// large to be sent again at once. The client asks again, as the exception tells it to. Nothing of the first answer follows.
func TestInvariantResumeAnswerEndsWithAnException(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 1000 })
	alice := h.Join("shop", "r", "alice")
	fill(t, alice, 300)
	taker, link := slow(h, "taker", 1)
	taker.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	if e := taker.Next(); e.Kind != "sync" || !e.More {
		t.Fatalf("the first frame is %s", e.Data)
	}
	mustSucceed(t, alice.Do("items", "sql", redefinition))
	if e := taker.Next(); e.Kind != "exception" || e.Code != "too_large" {
		t.Fatalf("the redefinition came as %s", e.Data)
	}
	taker.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	link.left.Store(1 << 30)
	seen := make(map[any]bool)
	for done := rowsOnce(t, seen, taker.Received()...); !done; {
		h.Advance(5 * time.Millisecond)
		done = rowsOnce(t, seen, taker.Received()...)
	}
	h.Advance(time.Second)
	if after := taker.Received(); len(seen) != 300 || len(after) > 0 {
		t.Errorf("%d rows, and after them %s", len(seen), describe(after))
	}
}

// TestInvariantResumeRedefinedAnswerGoesOn: a client without cursors, which never asks again, is being sent a channel
// when its table is redefined. The answer begins again, with a delete-all.
func TestInvariantResumeRedefinedAnswerGoesOn(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 1000 })
	alice := h.Join("shop", "r", "alice")
	fill(t, alice, 300)
	taker, link := slow(h, "taker", 1)
	ask(taker, nil)
	if e := taker.Next(); e.Kind != "sync" || !e.More {
		t.Fatalf("the first frame is %s", e.Data)
	}
	mustSucceed(t, alice.Do("items", "sql", redefinition+`; UPDATE items SET name = 'new'`))
	link.left.Store(1 << 30)
	shown, empties := make(map[any]string), 0
	for done := false; !done; {
		h.Advance(5 * time.Millisecond)
		for _, e := range taker.Received() {
			if e.Kind == "delete-all" {
				empties++
				clear(shown)
			}
			for _, row := range e.Rows {
				shown[row.ID()] = fmt.Sprint(row[1])
			}
			done = done || e.Kind == "sync" && !e.More
		}
	}
	if len(shown) != 300 || empties != 1 {
		t.Errorf("%d rows, emptied %d times", len(shown), empties)
	}
	for id, name := range shown {
		if name != "new" {
			t.Errorf("the client shows %q of %v", name, id)
		}
	}
}

// TestInvariantResumeDeleteAllAlone: an answer to a cursor gets too long and goes on with every live row. The delete-all is
// all that comes of one turn, and other frames come between it and the rows.
func TestInvariantResumeDeleteAllAlone(t *testing.T) {
	const size = 18*len(`["00002","filled",1,1,null],`) - 1 // of eighteen rows: a piece that is no byte too long
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = size })
	alice, taker := h.Join("shop", "r", "alice"), follow(t, "taker", "items")
	taker.connect(h)
	taker.equals(h)
	taker.c.Leave()
	fill(t, alice, 30)
	c, link := slow(h, "taker", 1)
	taker.resume(c)
	alone := false
	for step := 0; taker.channels["items"].asked; step++ {
		mustSucceed(t, alice.Do("items", "put", object{"id": fmt.Sprint("between ", step)}))
		link.left.Store(1)
		h.Advance(5 * time.Millisecond)
		taker.take(-1)
		alone = alone || len(taker.parts) == 1 && taker.parts[0].Kind == "delete-all"
		if step > 100 {
			t.Fatal("the answer does not end")
		}
	}
	taker.equals(h)
	if !alone {
		t.Error("no delete-all came alone: the test shows nothing")
	}
}
