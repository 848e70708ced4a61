package sim

// Actions that are larger than a segment of the log, and migrations: what writes more than a few rows.

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/denrooms/den/room"
)

// big has a client act: with a row that is large, or with many rows.
func (w *world) big(key room.Key, rng *rand.Rand) {
	c := w.clients[w.in(key.Room, rng)]
	a := c.newAction()
	if a == nil {
		return
	}
	size := 1000 << rng.IntN(9) // up to 256,000 bytes
	size += rng.IntN(size)
	if w.large {
		size *= 8
	}
	o := order{By: a.name, Key: fmt.Sprintf("k%d", rng.IntN(9)), Many: 1 + size/900}
	t := template{"bulk", "journal", 1}
	if rng.IntN(4) == 0 {
		t = template{"put", "items", 1}
		o.Text = strings.Repeat(string(rune('a'+rng.IntN(26))), size/4)
	}
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	c.begin(a, t, data)
}

// in draws one of the clients in a room; there is one in each.
func (w *world) in(name string, rng *rand.Rand) int {
	var in []int
	for i, c := range w.clients {
		if c.room == name {
			in = append(in, i)
		}
	}
	return in[rng.IntN(len(in))]
}

// bulk writes many rows of a table that no client sees. The table is made by the first that needs it.
func (l *ledger) bulk(c *room.Context, o order, n int64) error {
	if _, err := c.Exec(`CREATE TABLE IF NOT EXISTS bulk (n INTEGER NOT NULL, i INTEGER NOT NULL, rows INTEGER NOT NULL, data BLOB)`); err != nil {
		return err
	}
	_, err := c.Exec(`WITH RECURSIVE i (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < ?2)
		INSERT INTO bulk SELECT ?1, i, ?2, randomblob(860) FROM i`, n, o.Many)
	return err
}

// A bulk is what an action of that name has left.
type bulk struct{ N, Rows, Wanted int64 }

// fillBulk reads what there is of large actions, and compares it with the journal: each is there whole or not at all.
func (t *truth) fillBulk(db *sql.DB) error {
	if there, err := exists(db, "bulk"); err != nil || !there {
		return err
	}
	rows, err := db.Query(`SELECT n, count(*), max(rows) FROM bulk GROUP BY n ORDER BY n`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b bulk
		if err := rows.Scan(&b.N, &b.Rows, &b.Wanted); err != nil {
			return err
		}
		if t.bulk = append(t.bulk, b); b.Rows != b.Wanted || t.by[b.N] == "" {
			return fmt.Errorf("of the action with number %d, %q, %d rows are there and not %d", b.N, t.by[b.N], b.Rows, b.Wanted)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var alone int
	err = db.QueryRow(`SELECT count(*) FROM journal WHERE kind = 'bulk' AND id NOT IN (SELECT n FROM bulk)`).Scan(&alone)
	if err == nil && alone > 0 {
		err = fmt.Errorf("%d actions are in the journal, and what they wrote is not there", alone)
	}
	return err
}

func exists(db *sql.DB, table string) (there bool, err error) {
	err = db.QueryRow(`SELECT count(*) > 0 FROM sqlite_schema WHERE name = ?`, table).Scan(&there)
	return there, err
}

// migrations are those of a version of the program. They come in groups of four: one makes a table, one alters it, one
// fills it, after a failure, with more than fits into a segment of the log, and one puts another in its place.
func migrations(version int, outside *outside) (list []room.Migration) {
	for i := range version {
		name, group := fmt.Sprintf("step %d", i), i/4
		switch i % 4 {
		case 0:
			list = append(list, room.SQLMigration(name, fmt.Sprintf(`CREATE TABLE book_%d (id INTEGER PRIMARY KEY, v TEXT)`, group)))
		case 1:
			list = append(list, room.SQLMigration(name, fmt.Sprintf(`ALTER TABLE book_%[1]d ADD COLUMN w INTEGER; CREATE INDEX book_%[1]d_w ON book_%[1]d (w)`, group)))
		case 2:
			list = append(list, room.GoMigration(name, func(c *room.Context) error {
				_, err := c.Exec(fmt.Sprintf(`WITH RECURSIVE i (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 60)
					INSERT INTO book_%d SELECT i, hex(randomblob(300)), i * 2 FROM i`, group))
				if err == nil && outside.first(name+" of "+c.Key().Room) {
					err = errors.New("the migration fails the first time")
				}
				return err
			}))
		default:
			list = append(list, room.SQLMigration(name, fmt.Sprintf(`CREATE TABLE shelf_%[1]d AS SELECT id, v FROM book_%[1]d; DROP TABLE book_%[1]d`, group)))
		}
	}
	return list
}

// fillMigrations reads which migrations a file has been through, and whether it looks like that.
func (t *truth) fillMigrations(db *sql.DB) error {
	if there, err := exists(db, "_den_migrations"); err != nil || !there {
		return err
	}
	if err := db.QueryRow(`SELECT count(*) FROM _den_migrations`).Scan(&t.applied); err != nil {
		return err
	}
	for group := range (t.applied + 3) / 4 {
		table, rows := fmt.Sprintf("book_%d", group), 0
		done := t.applied - group*4
		if done >= 3 {
			rows = 60
		}
		if done >= 4 {
			table = fmt.Sprintf("shelf_%d", group)
		}
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil || n != rows {
			return fmt.Errorf("after %d migrations %s has %d rows instead of %d: %w", t.applied, table, n, rows, err)
		}
	}
	return nil
}
