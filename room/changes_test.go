package room_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/denrooms/den/room/roomtest"
)

// widen changes rows of the shop's items, 8 KB each, in one action.
func widen(t *testing.T, c *roomtest.Client, from, to int) {
	t.Helper()
	mustSucceed(t, c.Do("items", "sql", fmt.Sprintf(`INSERT OR REPLACE INTO items WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT printf('%%05d', i), hex(randomblob(4000)), 1, 1, NULL FROM n`, from, to-1)))
}

// untilAnswered gives what comes up to the last frame of an answer.
func untilAnswered(c *roomtest.Client) (events []roomtest.Event) {
	for {
		e := c.Next()
		if events = append(events, e); e.Kind == "sync" && !e.More {
			return events
		}
	}
}

// pieces are the frames of an answer by its turns: how much comes between two frames of others.
func pieces(events []roomtest.Event) (sizes []int) {
	size := 0
	for _, e := range events {
		if e.Kind == "sync" {
			size += len(e.Data)
		} else if size > 0 {
			sizes, size = append(sizes, size), 0
		}
	}
	return append(sizes, size)
}

// TestChangesWhileOthersWrite: a client comes back from far away while others are at work. What it lacks comes in
// pieces, others are served between them, and at the end it has what the room has: over a crash of the room, too.
func TestChangesWhileOthersWrite(t *testing.T) {
	h, _ := open(t)
	writer, taker := h.Join("shop", "r", "writer"), follow(t, "taker", "items")
	widen(t, writer, 0, 100)
	taker.connect(h)
	taker.equals(h)
	taker.c.Leave()
	widen(t, writer, 50, 600)
	mustSucceed(t, writer.Do("items", "sql", `DELETE FROM items WHERE id < '00030'`))
	r := rand.New(rand.NewPCG(1, 5))
	taker.connect(h)
	for step := range 40 {
		id := fmt.Sprintf("%05d", r.IntN(700))
		action := object{"type": "put", "payload": object{"id": id, "name": fmt.Sprint(step)}}
		if r.IntN(3) == 0 {
			action = object{"type": "remove", "payload": object{"id": id}}
		}
		writer.SendJSON(object{"id": fmt.Sprint("w", step), "channel": "items", "rpc": true, "action": action})
	}
	h.CrashRoom("shop", "r")
	widen(t, writer, 0, 10)
	taker.equals(h)
	if taker.resets != 0 {
		t.Errorf("%d answers replaced what the client had", taker.resets)
	}
}

// TestChangesInTurns: the pieces of an answer are 1 MiB and a page at the most, and actions that come
// later than the question are served between them.
func TestChangesInTurns(t *testing.T) {
	h, p := open(t)
	writer, taker := h.Join("shop", "r", "writer"), h.Join("shop", "r", "taker")
	cursor := taker.Resume("items", nil)[0].Cursor
	widen(t, writer, 0, 600) // 4.8 MB
	taker.Received()
	writer.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{}}})
	<-p.entered
	taker.SendJSON(object{"channel": "items", "sync": true, "cursor": cursor})
	writer.SendJSON(object{"id": "w", "channel": "items", "rpc": true, "action": object{"type": "add", "payload": object{"id": "between"}}})
	close(p.block)
	got := untilAnswered(taker)
	sizes := pieces(got)
	if len(sizes) < 2 || sizes[0] > 1<<20+300<<10 {
		t.Errorf("pieces of %v bytes", sizes)
	}
	if last := got[len(got)-1]; last.Kind != "sync" || last.More || len(got) < 5 {
		t.Errorf("%d frames, the last one %.200s", len(got), last.Data)
	}
}

// TestManySyncs: 250 questions of one client for one channel, which share a batch with an action of
// another one's, are one answer, whether they ask for the same or not. Each of them would be 5 MB.
func TestManySyncs(t *testing.T) {
	for name, question := range map[string]func(cursors []string, i int) any{
		"the same":  func(cursors []string, i int) any { return cursors[0] },
		"different": func(cursors []string, i int) any { return cursors[i%len(cursors)] },
		"all":       func(cursors []string, i int) any { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			h, p := open(t)
			writer, taker := h.Join("shop", "r", "writer"), h.Join("shop", "r", "taker")
			cursors := []string{taker.Resume("items", nil)[0].Cursor}
			for i := range 3 {
				mustSucceed(t, writer.Do("items", "put", object{"id": fmt.Sprint(i)}))
				cursors = append(cursors, taker.Next().Cursor)
			}
			widen(t, writer, 0, 600)
			taker.Received()
			writer.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{}}})
			<-p.entered
			for i := range 250 {
				taker.SendJSON(object{"channel": "items", "sync": true, "cursor": question(cursors, i)})
			}
			writer.SendJSON(object{"id": "w", "channel": "items", "rpc": true, "action": object{"type": "add", "payload": object{"id": "between"}}})
			close(p.block)
			got := append(untilAnswered(taker), taker.Received()...)
			whole, bytes, before := 0, 0, 0
			for _, e := range got {
				bytes += len(e.Data)
				switch {
				case e.Kind == "update":
					before = bytes
				case e.Kind == "sync" && !e.More:
					whole++
				}
			}
			if whole != 1 || bytes > 8<<20 {
				t.Errorf("%d answers, %d bytes", whole, bytes)
			}
			if before == 0 || before > 2<<20 {
				t.Errorf("another client's action was served after %d bytes", before)
			}
			if last := got[len(got)-1]; last.Kind != "sync" || last.More {
				t.Errorf("the last frame is %.200s", last.Data)
			}
			if again := taker.Resume("items", got[len(got)-1].Cursor); len(again) != 1 || len(again[0].Rows) != 0 {
				t.Errorf("asked again: %s", describe(again))
			}
		})
	}
}

// TestResumeAnotherQuestion: a question by a cursor that takes the place of one for everything, of which the client has a
// part already, is answered with everything, from the beginning.
func TestResumeAnotherQuestion(t *testing.T) {
	h, p := open(t)
	writer, taker := h.Join("shop", "r", "writer"), h.Join("shop", "r", "taker")
	widen(t, writer, 0, 400)
	cursor := writer.Resume("items", nil)
	taker.Received()
	writer.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{}}})
	<-p.entered
	taker.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	taker.SendJSON(object{"channel": "items", "sync": true, "cursor": cursor[len(cursor)-1].Cursor})
	close(p.block)
	rows := make(map[any]bool)
	reset := false
	for done := false; !done; {
		e := taker.Next()
		if e.Reset != "" {
			reset = true
			clear(rows)
		}
		for _, row := range e.Rows {
			rows[row.ID()] = true
		}
		done = e.Kind == "sync" && !e.More
	}
	if len(rows) != 401 && len(rows) != 400 || !reset {
		t.Errorf("%d rows, a reset: %v", len(rows), reset)
	}
}

// TestResumeForgottenBeforeARow: the table is redefined after a part of the answer that had no row. The client, which
// takes no notice of what comes before its answer, gets a reset and every live row.
func TestResumeForgottenBeforeARow(t *testing.T) {
	h, p := open(t)
	alice, taker := h.Join("shop", "r", "alice"), follow(t, "taker", "marks")
	mustSucceed(t, alice.Do("items", "sql", `INSERT INTO marks VALUES (1, 'old', 1, 1, NULL), (2, 'old', 1, 1, NULL)`))
	taker.connect(h)
	taker.equals(h)
	for i := range 30 { // a log that takes several parts
		mustSucceed(t, alice.Do("items", "sql", fmt.Sprintf(`INSERT OR REPLACE INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
			SELECT 'a rather long name of a row of another channel ' || i, '%d', 1, 1, NULL FROM n`, i)))
	}
	taker.c.Leave()
	taker.connect(h)
	mustSucceed(t, alice.Do("items", "sql", `DELETE FROM marks WHERE id = 1; ALTER TABLE marks RENAME TO x; ALTER TABLE x RENAME TO marks`))
	taker.equals(h)
	if p.starts.Load() != 1 {
		t.Error("the room failed")
	}
}
