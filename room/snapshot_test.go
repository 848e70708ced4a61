package room_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// fill gives the shop's items rows with even keys.
func fill(t *testing.T, c *roomtest.Client, rows int) {
	t.Helper()
	mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT printf('%%05d', 2 * i), 'filled', 1, 1, NULL FROM n`, rows)))
}

// A snapshot that is read in steps while others write, insert and delete, before and
// behind the place where it stands, is exact at its end: for a client that takes cursors,
// from nothing or over what it had, and for one that merges as the published one does.
func TestInvariantResumeSnapshotWhileOthersWrite(t *testing.T) {
	between := 0
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 3))
		h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 1500 })
		writer := h.Join("shop", "r", "writer")
		fill(t, writer, 300)
		taker := follow(t, "taker", "items")
		if seed%2 == 1 { // a cursor that the room cannot continue from
			taker.channels["items"].cursor = "AAAAAAAAAAA.1"
			taker.channels["items"].rows["old"] = "x"
		}
		taker.connect(h)
		stock := h.Join("shop", "r", "stock")
		stock.SendJSON(object{"channel": "items", "sync": true, "from": nil})
		for step := range 100 {
			h.Clock.Advance(time.Millisecond)
			id := fmt.Sprintf("%05d", r.IntN(700))
			action := object{"type": "put", "payload": object{"id": id, "name": fmt.Sprint(step)}}
			if r.IntN(3) == 0 {
				action = object{"type": "sql", "payload": fmt.Sprintf(`DELETE FROM items WHERE id > '%s' AND id < '%[1]s9' OR id = '%[1]s'`, id)}
			}
			writer.SendJSON(object{"id": fmt.Sprint("w", seed, step), "channel": "items", "rpc": true, "action": action})
		}
		taker.equals(h)
		shown, pages := make(map[any]string), 0
		for done := false; !done; {
			e := stock.Next()
			if e.Kind == "sync" {
				pages++
			}
			for _, row := range e.Rows {
				shown[row.ID()] = fmt.Sprint(row)
				if row.Deleted() {
					delete(shown, row.ID())
				}
			}
			if done = e.Kind == "sync" && !e.More; e.Kind == "update" {
				between++
			}
		}
		for _, e := range stock.Received() {
			for _, row := range e.Rows {
				shown[row.ID()] = fmt.Sprint(row)
				if row.Deleted() {
					delete(shown, row.ID())
				}
			}
		}
		if !maps.Equal(shown, taker.channels["items"].rows) {
			t.Errorf("seed %d: the clients differ: %d rows and %d", seed, len(shown), len(taker.channels["items"].rows))
		}
		if pages < 3 { // how many updates come between them depends on who is quicker
			t.Errorf("seed %d: the snapshot came in %d pages", seed, pages)
		}
	}
	if between == 0 {
		t.Error("no update came between the pages: the test shows nothing")
	}
}

// However large a channel is, one turn reads a part of it, and others are served
// meanwhile.
func TestInvariantBoundedSnapshot(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 1000 })
	alice := h.Join("shop", "r", "alice")
	fill(t, alice, 2000)
	bob := h.Join("shop", "r", "bob")
	bob.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	mustSucceed(t, alice.Do("items", "remove", object{"id": "04000"})) // the last of them
	rows, early := 0, false
	for done := false; !done; {
		e := bob.Next()
		if len(e.Data) > 1300 {
			t.Errorf("a frame of %d bytes", len(e.Data))
		}
		switch e.Kind {
		case "update":
			early = early || len(e.Rows) == 1 && e.Rows[0].Deleted()
		case "sync":
			rows, done = rows+len(e.Rows), !e.More
		}
	}
	if rows != 1999 || !early {
		t.Errorf("%d rows; alice was served meanwhile: %v", rows, early)
	}
}

// A snapshot goes on over the room's end, and ends with its client.
func TestInvariantResumeSnapshotOverARestart(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 1000 })
	alice, bob, carol := h.Join("shop", "r", "alice"), follow(t, "bob", "items"), h.Join("shop", "r", "carol")
	fill(t, alice, 1000)
	bob.connect(h)
	carol.SendJSON(object{"channel": "items", "sync": true, "from": nil})
	h.SleepRoom("shop", "r")
	carol.Leave()
	mustSucceed(t, alice.Do("items", "put", object{"id": "00001", "name": "while"}))
	bob.equals(h)
	// carol was not sent all: it lacks everything, and gets it unasked.
	carol = h.Join("shop", "r", "carol")
	if e := carol.Next(); e.Kind != "delete-all" {
		t.Errorf("carol got %s first", e.Data)
	}
	shown := make(map[any]bool)
	for len(shown) < 1001 {
		e := carol.Next()
		if e.Kind != "update" {
			t.Fatalf("carol got %s", e.Data)
		}
		for _, row := range e.Rows {
			shown[row.ID()] = true
		}
	}
}
