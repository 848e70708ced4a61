package room_test

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/room"
)

// A room that has reached its largest size says so with a code of its own, uses the number up, lets
// what only deletes pass, by Table.Delete and by SQL, and takes rows again when there is room.
func TestExactlyOnceRoomFull(t *testing.T) {
	for _, durability := range []room.Durability{room.Durable, room.DurableFiles} {
		t.Run(fmt.Sprint(durability), func(t *testing.T) {
			h, _ := open(t, func(o *room.Options) { o.MaxRoomBytes, o.Durability = 1<<20, durability })
			alice := h.Join("shop", "r", "alice")
			const row = `INSERT INTO items VALUES (hex(randomblob(8)), hex(randomblob(%d)), 1, 1, NULL)`
			mustSucceed(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "first", "name": "x"}))
			n := uint64(1)
			for size := 50_000; size > 0; size /= 10 { // to the last page
				for {
					n++
					e := alice.DoNumbered("c", n, "items", "sql", fmt.Sprintf(row, size))
					if e.Kind == "success" {
						continue
					}
					if mustRefuse(t, e, "room_full"); e.Number != "used" {
						t.Fatalf("a full room: %s", e.Data)
					}
					break
				}
			}
			// Far over the limit, and over the reserve.
			n++
			mustRefuse(t, alice.DoNumbered("c", n, "items", "sql", `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
				INSERT INTO items SELECT hex(randomblob(8)), hex(randomblob(200000)), 1, 1, NULL FROM n`), "room_full")
			n++
			mustSucceed(t, alice.DoNumbered("c", n, "items", "remove", object{"id": "first"}))
			for range 200 { // deletes pass, each with its tombstone, its answer and its number
				n++
				mustSucceed(t, alice.DoNumbered("c", n, "items", "sql", `DELETE FROM items WHERE id = (SELECT min(id) FROM items WHERE length(name) < 600)`))
			}
			n++
			mustSucceed(t, alice.DoNumbered("c", n, "items", "sql", `DELETE FROM items`))
			n++
			mustSucceed(t, alice.DoNumbered("c", n, "items", "sql", fmt.Sprintf(row, 50_000)))
		})
	}
}
