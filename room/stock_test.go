package room_test

// The published client of partysync: what it stores, and what it must not get before its answer.

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

func published(r *room.ConnectRequest) { r.Stock = true }

func ask(c *roomtest.Client, from any) {
	c.SendJSON(object{"channel": "items", "sync": true, "from": from})
}

func act(c *roomtest.Client, id, action string, payload any) {
	c.SendJSON(object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": payload}})
}

// kinds describes events by what they are and by the ids of their rows, a tombstone's in brackets.
func kinds(events []roomtest.Event) string {
	var all []string
	for _, e := range events {
		s := e.Kind
		for _, row := range e.Rows {
			if row.Deleted() {
				s += fmt.Sprintf(" (%v)", row.ID())
			} else {
				s += fmt.Sprint(" ", row.ID())
			}
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

func expect(t *testing.T, what string, c *roomtest.Client, want string) {
	t.Helper()
	if got := kinds(c.Received()); got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestStockHeld lets rows come before the answer to a sync: none leaves for the published client before
// the answer, which has them all. Others who are in the room get them.
func TestStockHeld(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	expect(t, "before its sync", bob, "")
	h.CrashRoom("shop", "r")
	mustSucceed(t, alice.Do("items", "add", object{"id": "2"}))
	expect(t, "before its sync, in another life", bob, "")
	act(bob, "own", "add", object{"id": "3"})
	expect(t, "its own action", bob, "")
	ask(bob, nil)
	expect(t, "the answer", bob, "sync 1 2 3; success 3")
	mustSucceed(t, alice.Do("items", "add", object{"id": "4"}))
	expect(t, "behind the answer", bob, "update 4")
	mustSucceed(t, bob.Do("items", "add", object{"id": "5"}))
	expect(t, "a reply behind the answer", bob, "")
}

// TestStockHeldReply lets a reply wait: for the answer, which may have newer rows than the
// reply, and no longer than 5 s.
func TestStockHeldReply(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	act(bob, "first", "add", object{"id": "1", "name": "old"})
	mustSucceed(t, alice.Do("items", "put", object{"id": "1", "name": "new"}))
	ask(bob, nil)
	expect(t, "rows that have changed since", bob, "sync 1; success")

	carol := h.Join("shop", "r", "carol", published)
	act(carol, "second", "add", object{"id": "2"})
	h.Advance(4 * time.Second)
	expect(t, "after 4 s", carol, "")
	h.Advance(time.Second)
	expect(t, "after 5 s", carol, "success")
	act(carol, "second", "add", object{"id": "2"})
	expect(t, "the same again", carol, "")
	h.Advance(5 * time.Second)
	expect(t, "after 10 s", carol, "update 2; success")
	bob.Received()
	act(carol, "none", "remove", object{"id": "nothing"})
	if got := carol.Received(); len(got) != 1 || got[0].Kind != "error" {
		t.Errorf("an error waits: %s", describe(got))
	}
}

// TestStockHoldEnds lets a connection that never asks have its rows after 10 s, and one that shows that
// it is no published client at once.
func TestStockHoldEnds(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	bob, carol, dave := h.Join("shop", "r", "bob", published), h.Join("shop", "r", "carol", published), h.Join("shop", "r", "dave", published)
	erin := h.Join("shop", "r", "erin", published)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	carol.SendJSON(object{"channel": "marks", "sync": true, "cursor": nil})
	expect(t, "by a cursor for another channel", carol, "update 1; sync")
	erin.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	expect(t, "by a cursor for the channel itself", erin, "sync 1")
	mustSucceed(t, dave.DoNumbered("phone", 1, "items", "add", object{"id": "2"}))
	expect(t, "by a number", dave, "update 1")
	expect(t, "one who waits", bob, "")
	h.SleepRoom("shop", "r")
	h.Advance(10 * time.Second)
	expect(t, "after 10 s", bob, "update 1 2")
	mustSucceed(t, alice.Do("items", "add", object{"id": "3"}))
	expect(t, "from then on", bob, "update 3")
}

// TestStockOwnRows gives a client the rows of the actions that it makes in the 30 s after it came back a second time, as an
// update: it may have given the reply up. No other client gets them twice.
func TestStockOwnRows(t *testing.T) {
	h, _ := open(t)
	bob := h.Join("shop", "r", "bob", published)
	ask(bob, nil)
	act(bob, "a", "add", object{"id": "1"})
	expect(t, "the first time", bob, "sync; success 1")
	bob.Confirm()
	bob.Leave()
	bob = h.Join("shop", "r", "bob", published)
	act(bob, "b", "add", object{"id": "2"})
	act(bob, "c", "sql", "DELETE FROM items WHERE id = '1'")
	act(bob, "d", "sql", "DELETE FROM items WHERE id = '1'")
	act(bob, "e", "add", object{"id": "3"})
	expect(t, "when it came back", bob, "success 2; success (1); success; success 3")
	h.Advance(time.Second)
	expect(t, "a second later", bob, "update (1) 2 3")
	act(bob, "e1", "add", object{"id": "a"})
	h.Advance(time.Second / 4)
	act(bob, "e2", "add", object{"id": "b"})
	h.Advance(time.Second / 2)
	act(bob, "e3", "add", object{"id": "c"})
	act(bob, "e4", "sql", "UPDATE items SET name = 'new' WHERE id = 'a'")
	expect(t, "while it goes on", bob, "success a; success b; success c; success a")
	h.Advance(time.Second / 4)
	expect(t, "without the row that it has just changed again", bob, "update b")
	h.Advance(time.Second)
	expect(t, "another second later", bob, "update a c")
	h.Advance(26 * time.Second)
	act(bob, "f", "add", object{"id": "4"})
	expect(t, "29 s after it came back", bob, "success 4")
	h.Advance(time.Second)
	expect(t, "30 s after it came back", bob, "update 4")
	act(bob, "g", "add", object{"id": "5"})
	h.Advance(time.Minute)
	expect(t, "from then on", bob, "success 5")
	stranger := h.Join("shop", "r", "bob", published, roomtest.As(room.Identity{Subject: "eve"}))
	act(stranger, "e", "add", object{"id": "6"})
	h.Advance(time.Second)
	expect(t, "another user of the same id", stranger, "")
}

// TestStockOrder has a first visit show the rows in the order in which they were created, in one frame:
// ties by rowid.
func TestStockOrder(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", `CREATE TABLE new (id TEXT PRIMARY KEY NOT NULL, name TEXT, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER);
		DROP TABLE items; ALTER TABLE new RENAME TO items`))
	for i, id := range []string{"m", "c", "x", "a", "k"} {
		mustSucceed(t, alice.Do("items", "sql", fmt.Sprintf(`INSERT INTO items VALUES ('%s', '', %d, %d, NULL)`, id, 100+i/3, 200-i)))
	}
	bob := h.Join("shop", "r", "bob", published)
	ask(bob, nil)
	expect(t, "a first visit", bob, "sync m c x a k")
	mustSucceed(t, alice.Do("items", "sql", `UPDATE items SET name = 'new' WHERE id = 'c'; INSERT INTO items VALUES ('b', '', 101, 300, NULL); DELETE FROM items WHERE id = 'a'`))
	carol := h.Join("shop", "r", "carol", published)
	ask(carol, nil)
	expect(t, "after changes", carol, "sync m c x k b")
	ask(carol, 299)
	expect(t, "from another room's stamp", carol, "delete-all; sync m c x k b")
}

// A store is what the published client keeps in the browser: one for all rooms.
type store map[string]storedRow

type storedRow struct {
	text    string
	deleted bool
	stamp   float64
}

func (s store) from() any {
	newest := any(nil)
	for _, r := range s {
		if newest == nil || r.stamp > newest.(float64) {
			newest = r.stamp
		}
	}
	return newest
}

// A stockVisit is a page that is open.
type stockVisit struct {
	client *roomtest.Client
	screen map[string]string
	store  store
	whole  bool // its answer has come
}

func newVisit(h *roomtest.Host, name, id string, kept store) *stockVisit {
	v := &stockVisit{client: h.Join("shop", name, id, published), screen: make(map[string]string), store: kept}
	for id, r := range kept {
		if !r.deleted {
			v.screen[id] = r.text
		}
	}
	ask(v.client, kept.from())
	return v
}

// take applies a frame as the published client does, and stores its rows.
func (v *stockVisit) take(e roomtest.Event) {
	if e.Kind == "delete-all" {
		clear(v.screen)
	}
	for _, row := range e.Rows {
		id := row.ID().(string)
		v.screen[id] = fmt.Sprint(row)
		if row.Deleted() && e.Kind != "sync" {
			delete(v.screen, id)
		}
		stamp, _ := row[len(row)-2].(float64)
		if at, gone := row[len(row)-1].(float64); gone {
			stamp = max(stamp, at)
		}
		v.store[id] = storedRow{fmt.Sprint(row), row.Deleted(), stamp}
	}
	v.whole = v.whole || e.Kind == "sync" && !e.More
}

// TestStockVisitsOfABusyRoom has a page opened and closed at any moment, between any two frames, while others write. The
// last visit, and each that gets its answer, shows what the room has.
func TestStockVisitsOfABusyRoom(t *testing.T) {
	for name, limit := range map[string]int{"one frame": 64 << 20, "a listing": 1500} {
		t.Run(name, func(t *testing.T) {
			pages := 0
			for seed := range uint64(4) {
				r := rand.New(rand.NewPCG(seed, 11))
				h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = limit })
				writer := h.Join("shop", "r", "writer")
				kept, n := make(store), 0
				for _, i := range r.Perm(300) { // each a commit of its own, with a stamp of its own
					h.Clock.Advance(time.Millisecond)
					act(writer, fmt.Sprint("f", i), "put", object{"id": fmt.Sprintf("%05d", i), "name": "first"})
				}
				writer.Received()
				write := func() {
					for range r.IntN(4) {
						n++
						h.Clock.Advance(time.Millisecond)
						id := fmt.Sprintf("%05d", r.IntN(300))
						if r.IntN(4) == 0 {
							act(writer, fmt.Sprint("w", n), "sql", fmt.Sprintf(`DELETE FROM items WHERE id = '%s'`, id))
						} else {
							act(writer, fmt.Sprint("w", n), "put", object{"id": id, "name": fmt.Sprint(n)})
						}
					}
				}
				for i := range 12 {
					v := newVisit(h, "r", fmt.Sprint("page", i), kept)
					for range r.IntN(6) {
						write()
						v.take(v.client.Next())
						pages++
						if v.whole {
							break
						}
					}
					write()
					v.client.Leave()
				}
				last := newVisit(h, "r", "last", kept)
				for !last.whole {
					last.take(last.client.Next())
				}
				for _, e := range last.client.Received() {
					last.take(e)
				}
				want := make(map[string]string)
				for _, row := range h.Join("shop", "r", "").Resume("items", nil) {
					for _, row := range row.Rows {
						want[row.ID().(string)] = fmt.Sprint(row)
					}
				}
				if !maps.Equal(last.screen, want) || len(want) == 0 {
					t.Errorf("seed %d: the page shows %d rows, and the room has %d", seed, len(last.screen), len(want))
				}
			}
			if pages < 30 {
				t.Errorf("%d frames: the test shows nothing", pages)
			}
		})
	}
}

// TestStockTwoRooms has one browser visit two rooms in turn: each visit ends with that room's rows and no others.
func TestStockTwoRooms(t *testing.T) {
	h, _ := open(t)
	writers := map[string]*roomtest.Client{"a": h.Join("shop", "a", "writer"), "b": h.Join("shop", "b", "writer")}
	add := func(name, id string) {
		h.Clock.Advance(time.Millisecond)
		mustSucceed(t, writers[name].Do("items", "add", object{"id": name + id}))
	}
	add("b", "1")
	add("a", "1")
	kept := make(store)
	for i, name := range []string{"a", "b", "b", "a", "b", "b", "a", "a"} {
		add(name, fmt.Sprint(i+2))
		v := newVisit(h, name, fmt.Sprint("page", i), kept)
		for _, e := range v.client.Received() {
			v.take(e)
		}
		want := writers[name].Sync("items")
		for _, row := range want {
			if v.screen[row.ID().(string)] == "" {
				t.Errorf("visit %d: %v is missing", i, row.ID())
			}
		}
		if len(v.screen) != len(want) {
			t.Errorf("visit %d of room %s: %d rows, and it has %d", i, name, len(v.screen), len(want))
		}
		v.client.Leave()
	}
}

// TestStockLateReply holds a room up for longer than the published client waits for a reply: the rows come once more as an update.
// They do not where the reply is in time, and for a client with cursors.
func TestStockLateReply(t *testing.T) {
	for held, want := range map[time.Duration]string{4 * time.Second: "success 1", 6 * time.Second: "success 1; update 1"} {
		h, p := open(t, func(o *room.Options) { o.ActionTimeout = time.Minute })
		alice, bob, carol := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published), h.Join("shop", "r", "carol", published)
		ask(bob, nil)
		bob.Received()
		carol.Resume("items", nil)
		act(alice, "hung", "hang", object{})
		within(t, p.entered, "the hook to begin")
		act(bob, "b", "add", object{"id": "1"})
		act(carol, "c", "add", object{"id": "2"})
		h.Clock.Advance(held)
		close(p.block)
		received := bob.Received()
		h.Advance(time.Second)
		var own []roomtest.Event
		for _, e := range append(received, bob.Received()...) {
			if e.ID == "b" || len(e.Rows) > 0 && e.Rows[0].ID() == "1" {
				own = append(own, e)
			}
		}
		if got := kinds(own); got != want {
			t.Errorf("after %v: %q, want %q", held, got, want)
		}
		n := 0
		for _, e := range carol.Received() {
			for _, row := range e.Rows {
				if row.ID() == "2" {
					n++
				}
			}
		}
		if n != 1 {
			t.Errorf("after %v the client with a cursor got its row %d times", held, n)
		}
	}
}

// TestStockLateReplyOfThePast has a row change again in the turn of a late reply: what follows the reply is the row as it
// is by then.
func TestStockLateReplyOfThePast(t *testing.T) {
	h, p := open(t, func(o *room.Options) { o.ActionTimeout = time.Minute })
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	ask(bob, nil)
	bob.Received()
	act(alice, "hung", "hang", object{})
	within(t, p.entered, "the hook to begin")
	act(bob, "b", "add", object{"id": "1"})
	act(bob, "c", "add", object{"id": "2"})
	act(alice, "d", "remove", object{"id": "1"})
	act(alice, "e", "add", object{"id": "3"}) // one message alone would come before all that bob has sent
	h.Clock.Advance(6 * time.Second)
	close(p.block)
	v := stockVisit{screen: make(map[string]string), store: make(store)}
	received := bob.Received()
	h.Advance(time.Second)
	for _, e := range append(received, bob.Received()...) {
		v.take(e)
	}
	if v.screen["1"] != "" || v.screen["2"] == "" {
		t.Errorf("the page shows %v", v.screen)
	}
}

// TestStockAwayDuringRestore has a restore of a backup that is older than a client's first visit, while the client is away.
// When it comes back it asks for nothing, and what it shows is replaced.
func TestStockAwayDuringRestore(t *testing.T) {
	for _, how := range []string{"restore", "import"} {
		t.Run(how, func(t *testing.T) {
			h, _ := open(t)
			alice := h.Join("shop", "r", "alice")
			mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
			backup := filepath.Join(t.TempDir(), "backup")
			var export bytes.Buffer
			if err := errors.Join(h.Backup(t.Context(), shopKey, backup), h.Export(t.Context(), shopKey, &export, room.LinesFormat)); err != nil {
				t.Fatal(err)
			}
			mustSucceed(t, alice.Do("items", "add", object{"id": "2"}))
			bob := h.Join("shop", "r", "bob", published)
			ask(bob, nil)
			expect(t, "the answer", bob, "sync 1 2")
			bob.Leave()
			var err error
			if how == "restore" {
				_, err = h.Restore(t.Context(), shopKey, backup)
			} else {
				_, err = h.ImportOver(t.Context(), shopKey, &export)
			}
			if err != nil {
				t.Fatal(err)
			}
			expect(t, "back again", h.Join("shop", "r", "bob", published), "delete-all; update 1")
		})
	}
}
