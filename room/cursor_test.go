package room_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/syncproto"
)

// A follower is a client that takes cursors, as PROTOCOL.md says how one is written.
type follower struct {
	t        *testing.T
	name     string
	c        *roomtest.Client
	channels map[string]*followed
	resets   int
	latest   string           // the latest cursor or at of this connection
	parts    []roomtest.Event // the first frames of a commit, the others of which have not come yet
}

type followed struct {
	cursor   any // nil: it has nothing
	rows     map[any]string
	asked    bool            // the answer to sync is not complete
	begun    bool            // its first frame has come
	fresh    map[any]string  // what is to replace rows
	versions map[string]bool // every version of a row that was ever applied
	pages    bool            // every live row comes in this answer, after a delete-all: one that changes may come twice
}

func follow(t *testing.T, name string, channels ...string) *follower {
	f := &follower{t: t, name: name, channels: make(map[string]*followed)}
	for _, ch := range channels {
		f.channels[ch] = &followed{rows: make(map[any]string), versions: make(map[string]bool)}
	}
	return f
}

func (f *follower) connect(h *roomtest.Host) { f.resume(h.Join("shop", "r", f.name)) }

// resume goes on over a connection.
func (f *follower) resume(c *roomtest.Client) {
	f.c, f.latest, f.parts = c, "", nil
	for name, ch := range f.channels {
		ch.asked, ch.begun, ch.pages = true, false, false
		f.c.SendJSON(object{"channel": name, "sync": true, "cursor": ch.cursor})
	}
}

// act sends an action of the follower's own: over one channel, over two, or with another
// channel redefined.
func (f *follower) act(r *rand.Rand, step int) {
	script := fmt.Sprintf(`INSERT OR REPLACE INTO items VALUES ('%d', 'own %d', 1, %[2]d, NULL)`, r.IntN(5), step+1)
	switch r.IntN(4) {
	case 0:
		script += fmt.Sprintf(`; INSERT INTO marks VALUES (%d, 'own', 1, 1, NULL)`, 1000+step)
	case 1:
		script += `; ALTER TABLE marks RENAME TO x; ALTER TABLE x RENAME TO marks`
	}
	channel := []string{"items", "marks"}[r.IntN(2)]
	f.c.SendJSON(object{"id": fmt.Sprint(step), "channel": channel, "rpc": true, "action": object{"type": "sql", "payload": script}})
}

// take applies the first n of what has come, or all for -1; the others are lost. Of a
// commit it applies all frames or none: what has come of one that is not whole waits for the rest.
func (f *follower) take(n int) {
	f.t.Helper()
	events := append(f.parts, f.c.Received()...)
	f.parts = nil
	if n >= 0 && n < len(events) {
		events = events[:n]
	}
	whole := len(events)
	for whole > 0 && events[whole-1].Kind != "sync" && events[whole-1].Kind != "exception" && events[whole-1].Cursor == "" {
		whole--
	}
	events, f.parts = events[:whole], slices.Clone(events[whole:])
	for _, e := range events {
		if ch := f.channels[e.Channel]; ch != nil {
			f.apply(ch, e)
		}
		for _, place := range []string{e.Cursor, e.At} {
			if place != "" && (f.latest == "" || later(f.t, place, f.latest)) {
				f.latest = place
			}
		}
		if e.Cursor == "" || e.Kind == "sync" {
			continue
		}
		for _, ch := range f.channels {
			if !ch.asked && (ch.cursor == nil || later(f.t, e.Cursor, ch.cursor.(string))) {
				ch.cursor = e.Cursor
			}
		}
	}
}

// settle takes all there is, until every answer is complete.
func (f *follower) settle() {
	f.t.Helper()
	open := func() bool {
		for _, ch := range f.channels {
			if ch.asked {
				return true
			}
		}
		return false
	}
	for tries := 0; tries == 0 || open(); tries++ {
		if f.take(-1); tries > 10_000 {
			f.t.Fatalf("%s: an answer does not end", f.name)
		}
	}
}

func later(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := syncproto.ParseCursor(a)
	y, err2 := syncproto.ParseCursor(b)
	if err != nil || err2 != nil || x.Epoch != y.Epoch {
		t.Fatalf("cursors %s and %s", a, b)
	}
	return x.Seq > y.Seq
}

func (f *follower) apply(ch *followed, e roomtest.Event) {
	f.t.Helper()
	switch e.Kind {
	case "sync":
		if !ch.begun && (ch.cursor == nil || e.Reset != "") {
			ch.fresh = make(map[any]string)
		}
		if e.Reset != "" {
			f.resets++
		}
		ch.begun = true
		f.merge(ch, e)
		if !e.More {
			if ch.fresh != nil {
				ch.rows, ch.fresh = ch.fresh, nil
			}
			ch.asked, ch.pages, ch.cursor = false, false, e.Cursor
		}
	case "delete-all":
		if ch.begun || !ch.asked {
			clear(ch.target())
			clear(ch.versions) // all of them come again
			ch.pages = ch.asked
		}
	case "update":
		if ch.begun || !ch.asked {
			f.merge(ch, e)
		}
	case "success":
		if (ch.begun || !ch.asked) && (f.latest == "" || later(f.t, e.Cursor, f.latest)) {
			f.merge(ch, e)
		}
	case "exception": // too much at once: all of it in pages
		if e.Code != "too_large" {
			f.t.Fatalf("%s got %s", f.name, e.Data)
		}
		ch.cursor, ch.asked, ch.begun = nil, true, false
		f.c.SendJSON(object{"channel": e.Channel, "sync": true, "cursor": nil})
	case "error":
		f.t.Fatalf("%s got %s", f.name, e.Data)
	}
}

func (ch *followed) target() map[any]string {
	if ch.fresh != nil {
		return ch.fresh
	}
	return ch.rows
}

func (f *follower) merge(ch *followed, e roomtest.Event) {
	f.t.Helper()
	for _, r := range e.Rows {
		version := fmt.Sprint(r)
		if ch.fresh == nil && !ch.pages {
			if ch.versions[version] {
				f.t.Errorf("%s got %s once more, in %s", f.name, version, e.Data)
			}
		}
		ch.versions[version] = true
		if r.Deleted() {
			delete(ch.target(), r.ID())
		} else {
			ch.target()[r.ID()] = version
		}
	}
}

func (f *follower) equals(h *roomtest.Host) {
	f.t.Helper()
	f.settle()
	fresh := h.Join("shop", "r", "")
	for name, ch := range f.channels {
		want := make(map[any]string)
		for _, e := range fresh.Resume(name, nil) { // Sync leaves out the rows that come as updates, where a tombstone follows them
			for _, r := range e.Rows {
				want[r.ID()] = fmt.Sprint(r)
			}
		}
		if !maps.Equal(ch.rows, want) {
			f.t.Errorf("%s has of %s %v, the room %v", f.name, name, ch.rows, want)
		}
	}
	fresh.Leave()
}

// Clients that lose frames and connections at random, in a room that restarts, crashes and
// changes its schema, have what the room has whenever they are connected; and what they
// continue from a cursor brings no row twice.
func TestInvariantResumeByCursor(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			h, _ := open(t, func(o *room.Options) {
				o.History = 400
				if seed%2 == 1 {
					o.MaxSnapshotBytes = 500 // snapshots in steps
				}
			})
			writer := h.Join("shop", "r", "writer")
			followers := []*follower{follow(t, "a", "items", "marks"), follow(t, "b", "items", "marks"), follow(t, "c", "items")}
			for step := range 150 {
				h.Advance(time.Millisecond)
				f := followers[r.IntN(len(followers))]
				switch n := r.IntN(40); {
				case n < 20:
					change(t, r, writer, step)
				case n < 24 && f.c != nil: // an action of its own
					f.act(r, step)
				case n < 28 && f.c != nil:
					f.take(-1)
				case n < 32 && f.c != nil: // what it did not read is lost
					f.take(r.IntN(4))
					f.c.Leave()
					f.c = nil
				case n < 36 && f.c == nil:
					f.connect(h)
				case n == 36:
					h.CrashRoom("shop", "r")
				case n == 37:
					h.SleepRoom("shop", "r")
				case n == 38:
					h.Reopen()
					writer = h.Join("shop", "r", "writer")
					for _, f := range followers {
						if f.c != nil {
							f.connect(h)
						}
					}
				case n == 39 && r.IntN(4) == 0:
					mustSucceed(t, writer.Do("items", "sql", `ALTER TABLE items RENAME TO x; ALTER TABLE x RENAME TO items`))
				}
			}
			for _, f := range followers {
				if f.c == nil {
					f.connect(h)
				}
				f.equals(h)
			}
		})
	}
}

// change is a random change of the shop, no two of which are alike.
func change(t *testing.T, r *rand.Rand, c *roomtest.Client, step int) {
	t.Helper()
	id, stamp := fmt.Sprint(r.IntN(5)), step+1
	switch r.IntN(6) {
	case 0:
		mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`DELETE FROM items WHERE id = '%s'`, id)))
	case 1: // soft
		mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`UPDATE items SET deleted_at = %d, updated_at = %[1]d WHERE id = '%s'`, stamp, id)))
	case 2: // two channels; the sender's is not the last that it touches
		mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`INSERT OR REPLACE INTO items VALUES ('%s', 'two %d', 1, %[2]d, NULL);
			INSERT INTO marks VALUES (%[2]d, '%[1]s', 1, %[2]d, NULL)`, id, stamp)))
	case 3:
		mustSucceed(t, c.Do("marks", "sql", fmt.Sprintf(`DELETE FROM marks WHERE id < %d; UPDATE items SET updated_at = %d WHERE id = '%s'`, stamp-9, stamp, id)))
	default:
		mustSucceed(t, c.Do("items", "put", object{"id": id, "name": fmt.Sprint("put ", step)}))
	}
}

// A cursor that the room cannot continue from is told so, in front of a snapshot that
// replaces; one that is no cursor is refused; none of them does the room harm.
func TestInvariantResumeForeignCursors(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.History = 10 })
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
	answer := alice.Resume("items", nil)
	first := answer[0].Cursor
	if len(answer) != 1 || ids(answer[0].Rows) != "1" || first == "" || answer[0].Reset != "" {
		t.Fatalf("from null: %s", describe(answer))
	}
	if got := alice.Resume("items", first); len(got) != 1 || len(got[0].Rows) != 0 || got[0].Cursor != first || got[0].Reset != "" {
		t.Errorf("with nothing changed: %s", describe(got))
	}
	here, err := syncproto.ParseCursor(first)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1100 {
		mustSucceed(t, alice.Do("items", "put", object{"id": "1", "name": fmt.Sprint(i)}))
	}
	other := h.Join("shop", "other", "alice")
	mustSucceed(t, other.Do("items", "add", object{"id": "1", "name": "x"}))
	for text, why := range map[string]string{
		other.Resume("items", nil)[0].Cursor:                         "epoch",
		syncproto.Cursor{Epoch: "AAAAAAAAAAA", Seq: 1}.String():      "epoch",
		syncproto.Cursor{Epoch: here.Epoch, Seq: 1102}.String():      "ahead",
		syncproto.Cursor{Epoch: here.Epoch, Seq: 1<<63 - 1}.String(): "ahead",
		first: "floor",
	} {
		got := alice.Resume("items", text)
		if len(got) != 2 || got[0].Reset != why || len(got[0].Rows) != 0 || got[1].Reset != "" || ids(got[1].Rows) != "1" ||
			got[1].Cursor != (syncproto.Cursor{Epoch: here.Epoch, Seq: 1101}).String() {
			t.Errorf("%s: %s, want a reset for %s", text, describe(got), why)
		}
	}
	for _, garbage := range []any{1, true, object{}, "", ".", here.Epoch, here.Epoch + ".", here.Epoch + ".01", here.Epoch + ".A", here.Epoch + ".-1",
		here.Epoch + ".1 ", "x" + first, here.Epoch + ".1y2p0ij32e8e8", strings.Repeat("x", 1<<20), "'; DROP TABLE items; --"} {
		alice.SendJSON(object{"channel": "items", "sync": true, "cursor": garbage})
		got := alice.Received()
		if last := got[len(got)-1]; last.Kind != "exception" || last.Code != "bad_message" || last.Channel != "items" || len(last.Data) > 300 {
			t.Errorf("%.50v: %s", garbage, describe(got))
		}
	}
	alice.SendJSON(object{"channel": "private", "sync": true, "cursor": first})
	if got := alice.Next(); got.Code != "unknown_channel" {
		t.Errorf("a table that is no channel: %s", got.Data)
	}
}

// More changes than may be sent at once are a reset, too.
func TestInvariantResumeTooMuchSinceACursor(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 3000 })
	alice := h.Join("shop", "r", "alice")
	cursor := alice.Resume("items", nil)[0].Cursor
	for range 2 {
		mustSucceed(t, alice.Do("items", "sql", `INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90)
			SELECT abs(random()), '', 1, 1, NULL FROM n`))
	}
	mustSucceed(t, alice.Do("items", "sql", `DELETE FROM items; INSERT INTO items VALUES ('left', '', 1, 1, NULL)`))
	got := alice.Resume("items", cursor)
	if len(got) != 2 || got[0].Reset != "size" || ids(got[1].Rows) != "left" {
		t.Errorf("got %s", describe(got))
	}
}

// A client that asks by a cursor is not caught up unasked, also where it did not take
// cursors before under the same id.
func TestInvariantResumeNothingUnasked(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	bob.Sync("items")
	bob.Resume("items", nil)
	bob.Leave()
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
	if got := h.Join("shop", "r", "bob").Received(); len(got) != 0 {
		t.Errorf("bob got %s", describe(got))
	}
}
