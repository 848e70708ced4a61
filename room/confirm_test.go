package room_test

// The published client asks once: what is lost with its socket comes when it is back.

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// again leaves without reading and joins under the same id.
func again(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
	c.Leave()
	return h.Join("shop", "r", c.ID(), published)
}

// TestStockSyncLost has the socket of a page end before its sync has arrived: while the room is awake, while it sleeps,
// after it has slept, and where the room has not noticed the end.
func TestStockSyncLost(t *testing.T) {
	for name, back := range map[string]func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client{
		"awake": again,
		"asleep": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
			h.SleepRoom("shop", "r")
			return again(h, c)
		},
		"slept since": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
			c.Leave()
			h.SleepRoom("shop", "r")
			return h.Join("shop", "r", c.ID(), published)
		},
		"not noticed": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
			return h.Join("shop", "r", c.ID(), published)
		},
		"not noticed, and slept since": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
			h.Advance(30 * time.Second)
			return h.Join("shop", "r", c.ID(), published)
		},
		"a second time": func(h *roomtest.Host, c *roomtest.Client) *roomtest.Client {
			return again(h, again(h, c))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := open(t)
			alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
			mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
			mustSucceed(t, alice.Do("items", "add", object{"id": "2"}))
			first := bob
			bob = back(h, first)
			act(bob, "own", "add", object{"id": "3"})
			expect(t, "when it is back", bob, "delete-all; update 1 2; delete-all; success 3")
			h.Advance(time.Second)
			expect(t, "a second after its own action", bob, "update 3")
			first.Leave() // where it has not left before
			bob.Received()
			mustSucceed(t, alice.Do("items", "add", object{"id": "4"}))
			expect(t, "from then on", bob, "update 4")
			bob.Confirm()
			bob = again(h, bob)
			expect(t, "when it has been confirmed", bob, "")
		})
	}
}

// TestStockNeverAsks has a client that asks for nothing, and is alive: it gets nothing unasked when it is back.
func TestStockNeverAsks(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	h.Advance(10 * time.Second)
	expect(t, "after 10 s", bob, "update 1")
	bob.Confirm()
	bob = again(h, bob)
	expect(t, "when it is back", bob, "")

	carol := h.Join("shop", "r", "carol", published)
	mustSucceed(t, carol.DoNumbered("phone", 1, "items", "add", object{"id": "2"}))
	carol = again(h, carol)
	expect(t, "one that numbers its actions", carol, "")
}

// TestStockAnswerLost has the answer lost on its way, although a pong came for a ping from before
// it. What is confirmed is not sent again, from a stamp or not.
func TestStockAnswerLost(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	bob.Confirm()
	ask(bob, nil)
	expect(t, "the answer that is lost", bob, "sync 1")
	bob = again(h, bob)
	expect(t, "when it is back", bob, "delete-all; update 1")
	mustSucceed(t, alice.Do("items", "add", object{"id": "2"}))
	bob = again(h, bob)
	expect(t, "when that was lost too", bob, "delete-all; update 1 2")
	bob.Confirm()
	mustSucceed(t, alice.Do("items", "add", object{"id": "3"}))
	bob = again(h, bob)
	expect(t, "when it was confirmed", bob, "update 3")

	// A pong's news is written down while the client is there: a crash does not lose it.
	bob.Confirm()
	mustSucceed(t, alice.Do("items", "add", object{"id": "4"}))
	expect(t, "a commit", bob, "update 4")
	bob.Confirm()
	h.CrashRoom("shop", "r")
	mustSucceed(t, alice.Do("items", "add", object{"id": "5"}))
	bob = again(h, bob)
	expect(t, "after a crash", bob, "update 5")
}

// TestStockAnswerLostFromStamp has the answer to a sync from a stamp lost: what has changed since the stamp
// comes again.
func TestStockAnswerLostFromStamp(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	fill(t, alice, 4000)
	mustSucceed(t, alice.Do("items", "sql", `UPDATE items SET name = hex(zeroblob(60))`)) // over what is always sent as a whole
	h.Clock.Advance(time.Second)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	stamp := alice.Do("items", "put", object{"id": "1", "name": "new"}).Rows[0][3]
	h.Clock.Advance(time.Second)
	mustSucceed(t, alice.Do("items", "add", object{"id": "2"}))
	bob := h.Join("shop", "r", "bob", published)
	ask(bob, stamp)
	expect(t, "the answer that is lost", bob, "sync 1 2")
	bob = again(h, bob)
	expect(t, "when it is back", bob, "update 1 2")
}

// A fullLink is a link that takes no more after a number of frames, as a slow line does.
type fullLink struct {
	room.Link
	left atomic.Int32
}

func (l *fullLink) Send(frames ...*room.Frame) {
	l.left.Add(-int32(len(frames)))
	l.Link.Send(frames...)
}

func (l *fullLink) Waiting() int {
	if l.left.Load() > 0 {
		return 0
	}
	return 1 << 30
}

// TestStockAnswerHalfSent has the socket end between two frames of an answer, after a pong for the first of them.
func TestStockAnswerHalfSent(t *testing.T) {
	for _, stock := range []bool{true, false} {
		t.Run(fmt.Sprint("published ", stock), func(t *testing.T) {
			h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 1000 })
			alice := h.Join("shop", "r", "alice")
			fill(t, alice, 1000)
			join := func(frames int32) *roomtest.Client {
				return h.Join("shop", "r", "bob", func(r *room.ConnectRequest) {
					link := &fullLink{Link: r.Link}
					link.left.Store(frames)
					r.Stock, r.Link = stock, link
				})
			}
			bob := join(1)
			ask(bob, nil)
			if e := bob.Next(); e.Kind != "sync" || !e.More {
				t.Fatalf("got %s", e.Data)
			}
			bob.Confirm()
			bob.Leave()
			bob = join(1000)
			if e := bob.Next(); e.Kind != "delete-all" {
				t.Fatalf("got %s", e.Data)
			}
			shown := make(map[any]bool)
			for len(shown) < 1000 {
				for _, row := range bob.Next().Rows {
					shown[row.ID()] = true
				}
			}
		})
	}
}
