package room_test

// The order in which the published client gets a channel that takes more than one turn, and what a channel is that is asked for
// again and again.

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// fallingStamps writes rows of 8 KB in commits of their own, each with a lower stamp and a later creation than the one before.
func fallingStamps(t *testing.T, c *roomtest.Client, n, stamp int) {
	t.Helper()
	for i := range n {
		mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`INSERT OR REPLACE INTO items VALUES ('%03d', hex(randomblob(4000)), %d, %d, NULL)`, i, i, stamp-i)))
	}
}

// answerTo collects what a client gets until its sync is answered as a whole.
func answerTo(c *roomtest.Client) (store shelf, pieces int) {
	for {
		e := c.Next()
		pieces++
		if store.put(e); e.Kind == "sync" && !e.More {
			return store, pieces
		}
	}
}

// TestStockLargeChannelByStamp: a channel that is too large for one answer comes by ascending stamp, whatever the order in which its
// rows were created, so that a client that gets half of it asks for the rest.
func TestStockLargeChannelByStamp(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 20 << 10 }) // a turn reads so much
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	fallingStamps(t, alice, 12, 1000)
	ask(bob, nil)
	store, pieces := answerTo(bob)
	if store.fell || pieces < 3 {
		t.Errorf("a lower stamp came later: %v; %d pieces", store.fell, pieces)
	}
	store.equals(t, h)
}

// TestStockManyChangesByStamp: so do changes that are more than a turn reads, whatever the order in which they were made.
func TestStockManyChangesByStamp(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 20 << 10 })
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	mustSucceed(t, alice.Do("items", "sql", fmt.Sprintf(`INSERT INTO items VALUES ('old', '%s', 1, 5, NULL)`, strings.Repeat("x", 30<<10))))
	fallingStamps(t, alice, 12, 1000)
	ask(bob, 5)
	store, pieces := answerTo(bob)
	if store.fell || pieces < 3 || len(store.rows) < 12 {
		t.Errorf("a lower stamp came later: %v; %d pieces, %d rows", store.fell, pieces, len(store.rows))
	}
}

// TestStockAskedAgain: a channel that is asked for after each change comes as it is, however much has changed since the first answer.
func TestStockAskedAgain(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	mustSucceed(t, alice.Do("items", "put", object{"id": "stays", "name": "as it is"}))
	for i := range 12 {
		name := fmt.Sprint(i, strings.Repeat("x", 20<<10))
		mustSucceed(t, alice.Do("items", "put", object{"id": "changes", "name": name}))
		ask(bob, nil)
		store, _ := answerTo(bob)
		if len(store.rows) != 2 {
			t.Fatalf("after %d changes: %d rows", i, len(store.rows))
		}
		store.equals(t, h)
	}
}

// TestStockAnswerThatTakesLong: what changes while a long answer is under way comes after it, even if that is when nobody would be
// held any more who had not asked.
func TestStockAnswerThatTakesLong(t *testing.T) {
	h, p := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 20 << 10 })
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	fallingStamps(t, alice, 12, 1000)
	act(alice, "first", "hang", object{})
	within(t, p.entered, "the hook to begin")
	ask(bob, nil)
	act(alice, "second", "hang", object{})
	p.block <- struct{}{}
	within(t, p.entered, "the hook to begin that comes after the answer's first piece")
	act(alice, "live", "put", object{"id": "live"})
	h.Clock.Advance(time.Minute)
	close(p.block)
	store, pieces := answerTo(bob)
	if store.fell || pieces < 3 {
		t.Errorf("a lower stamp came later: %v; %d pieces", store.fell, pieces)
	}
	for _, e := range bob.Received() {
		store.put(e)
	}
	store.equals(t, h)
}
