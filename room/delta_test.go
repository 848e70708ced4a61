package room_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A shelf is what the published client stores: each row of each frame, as it comes.
type shelf struct {
	rows   map[any]string
	newest float64 // the highest stamp
	fell   bool    // a lower stamp came in an answer
	bytes  int
}

func (s *shelf) put(e roomtest.Event) {
	if s.bytes += len(e.Data); s.rows == nil || e.Kind == "delete-all" {
		s.rows = make(map[any]string)
	}
	for _, r := range e.Rows {
		stamp, _ := r[len(r)-2].(float64)
		if deleted, is := r[len(r)-1].(float64); is {
			stamp = max(stamp, deleted)
		}
		s.fell = s.fell || stamp < s.newest
		s.newest = max(s.newest, stamp)
		if s.rows[r.ID()] = fmt.Sprint(r); r.Deleted() {
			delete(s.rows, r.ID())
		}
	}
}

// equals compares with what the room has.
func (s *shelf) equals(t *testing.T, h *roomtest.Host) {
	t.Helper()
	fresh := h.Join("shop", "r", "")
	want := make(map[any]string)
	for _, e := range fresh.Resume("items", nil) {
		for _, r := range e.Rows {
			want[r.ID()] = fmt.Sprint(r)
		}
	}
	fresh.Leave()
	for id, row := range want {
		if s.rows[id] != row {
			t.Errorf("row %v is %.60q, want %.60q", id, s.rows[id], row)
		}
	}
	if len(s.rows) != len(want) {
		t.Errorf("%d rows, want %d", len(s.rows), len(want))
	}
}

// stampedRows changes rows of 8 KB each under rising stamps, and deletes some.
func stampedRows(t *testing.T, h *roomtest.Host, c *roomtest.Client, from, to int) {
	t.Helper()
	h.Advance(time.Millisecond)
	stamp := h.Clock.Now().UnixMilli()
	mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`INSERT OR REPLACE INTO items WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT printf('%%05d', i), hex(randomblob(4000)), 1, %d, NULL FROM n`, from, to-1, stamp)))
	h.Advance(time.Millisecond)
	mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`DELETE FROM items WHERE id >= '%05d' AND id < '%05d'`, from, from+3)))
}

// TestStockManyChanges: the published client asks from a stamp after which more has changed than a turn reads. It gets that
// by ascending stamp, in pieces, with others served between, and no row before its turn; then it has what the room has.
func TestStockManyChanges(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	stampedRows(t, h, alice, 0, 300)
	stamp := h.Clock.Now().UnixMilli()
	var store shelf
	for _, e := range alice.Resume("items", nil) {
		store.put(e)
	}
	store.newest = 0
	for i := range 4 {
		stampedRows(t, h, alice, 100*i, 100*i+200)
	}
	bob := h.Join("shop", "r", "bob", published)
	store.bytes = 0
	ask(bob, stamp)
	for i := range 5 {
		h.Advance(time.Millisecond)
		act(alice, fmt.Sprint("while", i), "put", object{"id": fmt.Sprintf("%05d", 450+10*i), "name": "while"})
	}
	for done := false; !done; {
		e := bob.Next()
		store.put(e)
		if done = e.Kind == "sync" && !e.More; e.Kind == "delete-all" {
			t.Error("what it had was dropped")
		}
	}
	if store.fell || store.bytes > 6<<20 {
		t.Errorf("a lower stamp came later: %v; %d bytes", store.fell, store.bytes)
	}
	for _, e := range bob.Received() {
		store.put(e)
	}
	store.equals(t, h)
}

// TestStockMissedMuch: a client that comes back, and has missed more than a turn reads, is caught up in pieces. Others are
// served between, and no row of the channel comes before.
func TestStockMissedMuch(t *testing.T) {
	h, p := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	stampedRows(t, h, alice, 0, 50)
	ask(bob, nil)
	var store shelf
	for _, e := range bob.Received() {
		store.put(e)
	}
	bob.Confirm()
	bob.Leave()
	for i := range 4 {
		stampedRows(t, h, alice, 30*i, 30*i+150)
	}
	store.newest, store.bytes = 0, 0
	bob = h.Join("shop", "r", "bob", published)
	act(alice, "h", "hang", object{})
	<-p.entered
	for i := range 5 {
		act(alice, fmt.Sprint("while", i), "put", object{"id": fmt.Sprint("while", i)})
	}
	close(p.block)
	h.Advance(time.Millisecond)
	mustSucceed(t, alice.Do("items", "put", object{"id": "last"}))
	for store.rows["last"] == "" {
		e := bob.Next()
		store.put(e)
		if e.Kind == "delete-all" {
			t.Error("what it had was dropped")
		}
	}
	if store.fell || store.bytes > 6<<20 {
		t.Errorf("a lower stamp came later: %v; %d bytes", store.fell, store.bytes)
	}
	store.equals(t, h)
}

// TestRetriesReadOnce: an action that comes again is followed by what has become of its channel. Of 50 such actions in
// one batch all are followed by the same. Where it follows in pieces the replies have no rows: they would be old ones, and the
// connection may be lost before the first piece.
func TestRetriesReadOnce(t *testing.T) {
	h, p := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	act(bob, "again", "put", object{"id": "1"})
	bob.Received()
	stampedRows(t, h, alice, 0, 500)
	mustSucceed(t, alice.Do("items", "put", object{"id": "1", "name": "new"}))
	bob.Received()
	act(alice, "h", "hang", object{})
	<-p.entered
	for range 50 {
		act(bob, "again", "put", object{"id": "1"})
	}
	close(p.block)
	bytes, replies, rows := 0, 0, make(map[any]bool)
	for replies < 50 || len(rows) < 499 {
		e := bob.Next()
		bytes += len(e.Data)
		if e.Kind == "success" {
			replies++
		}
		for _, r := range e.Rows {
			if rows[r.ID()] = true; r.ID() == "1" && r[1] != "new" {
				t.Fatalf("an old row came: %v", r)
			}
		}
	}
	for _, e := range bob.Received() {
		bytes += len(e.Data)
	}
	if bytes > 10<<20 {
		t.Errorf("%d bytes", bytes)
	}
}

// TestStockAsksWhileItIsCaughtUp: a client that is being caught up asks for the channel itself, from the newest stamp that it has,
// which is not the newest that it lacks. The answer is confirmed, and then the client is cut off. When it comes back it gets the rest.
func TestStockAsksWhileItIsCaughtUp(t *testing.T) {
	for _, stock := range []bool{true, false} {
		t.Run(fmt.Sprint("published ", stock), func(t *testing.T) {
			h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 64 << 10 }) // a turn reads so much
			alice := h.Join("shop", "r", "alice")
			stampedRows(t, h, alice, 0, 20)
			var store shelf
			take := func(events ...roomtest.Event) {
				for _, e := range events {
					store.put(e)
				}
			}
			var link *fullLink
			join := func(frames int32) *roomtest.Client {
				return h.Join("shop", "r", "bob", func(r *room.ConnectRequest) {
					link = &fullLink{Link: r.Link}
					link.left.Store(frames)
					r.Stock, r.Link = stock, link
				})
			}
			bob := join(1000)
			ask(bob, nil)
			take(bob.Next())
			bob.Confirm()
			bob.Leave()
			for i := range 4 {
				stampedRows(t, h, alice, 10*i, 10*i+12)
			}
			bob = join(1)
			take(bob.Next()) // the first piece has come, and no other follows before the clock moves
			link.left.Store(1000)
			h.Advance(time.Millisecond)
			mustSucceed(t, alice.Do("items", "put", object{"id": "live"}))
			take(bob.Received()...)
			ask(bob, store.newest)
			for done := false; !done; {
				e := bob.Next()
				take(e)
				done = e.Kind == "sync"
			}
			bob.Confirm()
			mustSucceed(t, alice.Do("items", "put", object{"id": "between"}))
			take(bob.Received()...)
			bob.Leave()
			h.Advance(time.Millisecond)
			mustSucceed(t, alice.Do("items", "put", object{"id": "last"}))
			bob = join(1000)
			for store.rows["last"] == "" {
				take(bob.Next())
			}
			store.equals(t, h)
		})
	}
}

// TestStockHoldEndsInPieces: a client that was held shows, by a cursor for another channel, that it is no published one. What was kept
// back is more than a turn reads: it follows in pieces, the whole of it once, and then what is live.
func TestStockHoldEndsInPieces(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 20 << 10 }) // a turn reads so much
	alice, carol := h.Join("shop", "r", "alice"), h.Join("shop", "r", "carol", published)
	stampedRows(t, h, alice, 0, 3)
	for i := range 20 {
		stampedRows(t, h, alice, 10+10*i, 16+10*i)
	}
	for range 2 {
		carol.SendJSON(object{"channel": "marks", "sync": true, "cursor": nil})
	}
	mustSucceed(t, alice.Do("items", "put", object{"id": "last"}))
	var store shelf
	pieces, most := 0, 0
	for store.rows["last"] == "" {
		e := carol.Next()
		if e.Kind == "update" {
			pieces, most = pieces+1, max(most, len(e.Data))
		}
		if e.Kind == "delete-all" || e.Kind == "exception" {
			t.Fatalf("got %.200s", e.Data)
		}
		store.put(e)
	}
	if pieces < 5 || most > 40<<10 || store.bytes > 2*60*8100 {
		t.Errorf("%d updates, the largest of %d bytes, %d bytes in all", pieces, most, store.bytes)
	}
	store.equals(t, h)
	carol.Received()
	mustSucceed(t, alice.Do("items", "put", object{"id": "live"}))
	if got := kinds(carol.Received()); got != "update live" {
		t.Errorf("afterwards it got %q", got)
	}
}

// TestStockHoldEndsWhereItIsTooMuch: what was kept back is more than can be sent at all. The client is told so once, and gets what is live.
func TestStockHoldEndsWhereItIsTooMuch(t *testing.T) {
	h, _ := open(t)
	room.MaxSnapshotRows(h.Host, 17_000)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	for i := range 2 { // more than a delta may have, too
		mustSucceed(t, alice.Do("items", "sql", fmt.Sprintf(`INSERT INTO items WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT i, '', 1, 1, NULL FROM n`, 10_000*i, 10_000*(i+1)-1)))
	}
	h.Advance(10 * time.Second)
	e := bob.Next()
	for e.Kind != "exception" {
		e = bob.Next()
	}
	if e.Code != "too_large" {
		t.Errorf("got %s", e.Data)
	}
	mustSucceed(t, alice.Do("items", "put", object{"id": "live"}))
	if got := kinds(bob.Received()); got != "update live" {
		t.Errorf("afterwards it got %q", got)
	}
	h.Advance(2 * time.Minute)
	if got := kinds(bob.Received()); got != "" {
		t.Errorf("later it got %q", got)
	}
}
