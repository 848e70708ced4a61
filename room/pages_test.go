package room_test

// What goes out in several frames says only with the last of them up to where its client has everything: a line that
// breaks between two of them must not lose the rest.

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/room/roomtest"
)

// pagesOf is SQL that inserts rows of one megabyte, which are four frames.
func pagesOf(name string) string {
	return fmt.Sprintf(`INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
		SELECT printf('%s%%04d', i), hex(zeroblob(500)), 1, 1, NULL FROM n`, name)
}

// lastHasCursor fails the test unless some events are several, and the last of them alone has a cursor.
func lastHasCursor(t *testing.T, what string, events []roomtest.Event) {
	t.Helper()
	if len(events) < 3 {
		t.Fatalf("%s are %d frames: the test shows nothing", what, len(events))
	}
	for i, e := range events {
		if last := i == len(events)-1; (e.Cursor != "") != last {
			t.Errorf("%s: frame %d of %d has the cursor %q", what, i+1, len(events), e.Cursor)
		}
	}
}

// cutAnywhere has a client that had a cursor lose its line after each of some frames, and come back: it has all rows then.
func cutAnywhere(t *testing.T, h *roomtest.Host, cursor string, had []roomtest.Row, events []roomtest.Event) {
	t.Helper()
	want := make(map[any]string)
	for _, row := range h.Join("shop", "r", "").Sync("items") {
		want[row.ID()] = fmt.Sprint(row)
	}
	for cut := range len(events) + 1 {
		have, at := make(map[any]string), cursor
		merge := func(rows []roomtest.Row) {
			for _, row := range rows {
				if have[row.ID()] = fmt.Sprint(row); row.Deleted() {
					delete(have, row.ID())
				}
			}
		}
		merge(had)
		for _, e := range events[:cut] {
			if e.Kind == "delete-all" {
				clear(have)
			}
			merge(e.Rows)
			if e.Cursor != "" {
				at = e.Cursor
			}
		}
		for i, e := range h.Join("shop", "r", "").Resume("items", at) {
			if e.Reset != "" && i == 0 {
				clear(have)
			}
			merge(e.Rows)
		}
		if len(have) != len(want) {
			t.Fatalf("cut behind frame %d of %d, and back: %d rows, the room has %d", cut, len(events), len(have), len(want))
		}
		for id, row := range want {
			if have[id] != row {
				t.Fatalf("cut behind frame %d of %d, and back: row %v is %.80s, in the room it is %.80s", cut, len(events), id, have[id], row)
			}
		}
	}
}

// TestInvariantResumeCutBetweenPages cuts the line of a client that takes cursors between the frames of an action that
// changes much, of one that redefines its table, and of what it is sent when it comes back.
func TestInvariantResumeCutBetweenPages(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "add", object{"id": "0", "name": "x"}))
	answer := bob.Resume("items", nil)
	had, cursor := answer[0].Rows, answer[len(answer)-1].Cursor
	bob.Received()

	mustSucceed(t, alice.Do("items", "sql", pagesOf("a")))
	pages := bob.Received()
	lastHasCursor(t, "the updates of a large action", pages)
	cutAnywhere(t, h, cursor, had, pages)
	for _, e := range pages {
		had = append(had, e.Rows...)
	}

	before := pages[len(pages)-1].Cursor
	missed := h.Join("shop", "r", "").Resume("items", cursor)
	if len(missed) < 3 {
		t.Fatalf("what was missed came in %d frames: the test shows nothing", len(missed))
	}
	cutAnywhere(t, h, cursor, answer[0].Rows, missed)

	mustSucceed(t, alice.Do("items", "sql", `ALTER TABLE items RENAME COLUMN name TO title; ALTER TABLE items RENAME COLUMN title TO name`))
	pages = bob.Received()
	lastHasCursor(t, "a redefined table", pages)
	cutAnywhere(t, h, before, had, pages)
}

// TestInvariantOrderedCursorOfTheSender has an action change two channels, one of them by several frames: its sender's own
// cursor comes with the reply, after all of them.
func TestInvariantOrderedCursorOfTheSender(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "add", object{"id": "0", "name": "x"}))
	bob.Received()
	reply := mustSucceed(t, alice.Do("marks", "sql", pagesOf("a")+`; INSERT INTO marks VALUES (1, 'x', 1, 1, NULL)`))
	if ids(reply.Rows) != "1" || reply.Cursor == "" {
		t.Errorf("the reply is %.300s", reply.Data)
	}
	before := alice.Received()
	if len(before) < 3 {
		t.Fatalf("the other channel's rows came in %d frames: the test shows nothing", len(before))
	}
	for i, e := range before {
		if e.Channel != "items" || e.Cursor != "" {
			t.Errorf("frame %d in front of the reply is of %s and has the cursor %q", i+1, e.Channel, e.Cursor)
		}
	}
	lastHasCursor(t, "what the other got", bob.Received())
}
