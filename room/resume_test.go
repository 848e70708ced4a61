package room_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// An action that changes a synced table's definition gives everybody the channel again.
func TestSchemaChangeInAnAction(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	bob.Received()
	mustSucceed(t, alice.Do("items", "sql", `CREATE TABLE new (id TEXT PRIMARY KEY NOT NULL, name TEXT, price INTEGER, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER);
		INSERT INTO new SELECT id, name, 7, created_at, updated_at, deleted_at FROM items; DROP TABLE items; ALTER TABLE new RENAME TO items`))
	for _, c := range []*roomtest.Client{alice, bob} {
		got := c.Received()
		if len(got) != 2 || got[0].Kind != "delete-all" || got[1].Kind != "update" || len(got[1].Rows[0]) != 6 || got[1].Rows[0][2] != 7.0 {
			t.Errorf("%s got %s", c.ID(), describe(got))
		}
	}
}

// A client whose place in the room's history is forgotten gets the channel again, whether
// the room finds it by its id or it asks by a stamp.
func TestInvariantResumeForgottenHistory(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.History = 10 })
	bob, alice := h.Join("shop", "r", "bob"), h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "gone", "name": "x"}))
	stamp := bob.Sync("items")[0][3]
	bob.Confirm()
	bob.Leave()
	mustSucceed(t, alice.Do("items", "sql", `DELETE FROM items`))
	for i := range 1100 {
		h.Advance(time.Millisecond)
		mustSucceed(t, alice.Do("items", "put", object{"id": fmt.Sprint(i % 3), "name": fmt.Sprint(i)}))
	}
	got := h.Join("shop", "r", "bob").Received()
	if len(got) != 2 || got[0].Kind != "delete-all" || got[1].Kind != "update" || ids(got[1].Rows) != "2 0 1" { // by ascending stamp
		t.Errorf("by its id: %s", describe(got))
	}
	carol := h.Join("shop", "r", "carol")
	carol.SendJSON(object{"channel": "items", "sync": true, "from": stamp})
	got = carol.Received()
	if len(got) != 2 || got[0].Kind != "delete-all" || got[1].Kind != "sync" || ids(got[1].Rows) != "0 1 2" {
		t.Errorf("by a stamp: %s", describe(got))
	}
}

// A client that was away while more changed than is read in one turn gets it in pieces, and is let in all the same.
func TestInvariantResumeTooMuchMissed(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 3000 })
	bob, alice := h.Join("shop", "r", "bob"), h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "first"}))
	bob.Sync("items")
	bob.Confirm()
	bob.Leave()
	mustSucceed(t, alice.Do("items", "sql", `INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90)
		SELECT 'gone' || i, '', 1, 1, NULL FROM n`))
	mustSucceed(t, alice.Do("items", "sql", `DELETE FROM items; INSERT INTO items VALUES ('left', '', 1, 1, NULL)`))
	bob = h.Join("shop", "r", "bob")
	gone, left := 0, 0
	for gone < 91 || left == 0 {
		e := bob.Next()
		if e.Kind != "update" || len(e.Data) > 4000 {
			t.Fatalf("bob got %s", e.Data)
		}
		for _, row := range e.Rows {
			if row.Deleted() {
				gone++
			} else {
				left++
			}
		}
	}
	if got := bob.Received(); gone != 91 || left != 1 || len(got) != 0 {
		t.Errorf("%d tombstones, %d rows, then %s", gone, left, describe(got))
	}
}
