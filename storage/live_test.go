package storage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/internal/session"
)

// stamped inserts or updates a row with a stamp, as an action of its own.
func stamped(t *testing.T, d *DB, key string, stamp any) Seq {
	t.Helper()
	c, err := act(t, d, 1, func() error {
		_, err := d.Exec(`INSERT INTO todos (id, created_at, updated_at) VALUES (?1, ?2, ?2) ON CONFLICT DO UPDATE SET updated_at = ?2, done = ifnull(done, 0) + 1`, key, stamp)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Seq
}

func TestSeqAt(t *testing.T) {
	type write struct {
		key   string
		stamp any
	}
	type ask struct {
		stamp any
		seq   Seq
		known bool
	}
	for name, tc := range map[string]struct {
		writes []write
		asks   []ask
	}{
		"rising": {[]write{{"a", 10}, {"b", 20}, {"c", 30}},
			[]ask{{int64(10), 0, true}, {int64(15), 0, false}, {int64(20), 1, true}, {int64(30), 2, true}, {int64(31), 0, false}, {20.0, 1, true}, {19.5, 0, false}}},
		"same tick": {[]write{{"a", 10}, {"b", 10}, {"c", 10}, {"d", 11}},
			[]ask{{int64(10), 0, true}, {int64(11), 3, true}}},
		"stepping back": {[]write{{"a", 100}, {"b", 50}, {"c", 60}, {"d", 101}},
			[]ask{{int64(100), 0, true}, {int64(60), 0, false}, {int64(101), 3, true}, {int64(102), 0, false}}},
		"texts": {[]write{{"a", "2024-01-01 00:00:00"}, {"b", "2024-01-01 00:00:00"}, {"c", "2024-01-02 00:00:00"}},
			[]ask{{"2024-01-01 00:00:00", 0, true}, {"2024-01-02 00:00:00", 2, true}, {"2025", 0, false}, {int64(5), 0, false}}},
		"floats": {[]write{{"a", 1.5}, {"b", 2.5}}, []ask{{2.5, 1, true}, {int64(2), 0, false}, {int64(3), 0, false}}},
		"a row written again": {[]write{{"a", 10}, {"b", 20}, {"a", 30}},
			[]ask{{int64(10), 0, true}, {int64(20), 1, true}, {int64(30), 2, true}}},
		"no stamps":  {[]write{{"a", nil}}, []ask{{int64(0), 0, false}, {nil, 0, false}}},
		"nothing":    {nil, []ask{{int64(0), 0, false}, {"x", 0, false}}},
		"other type": {[]write{{"a", 1}}, []ask{{true, 0, false}, {"x", 0, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTodos(t)
			for _, w := range tc.writes {
				stamped(t, d, w.key, w.stamp)
			}
			for range 2 {
				for _, a := range tc.asks {
					if seq, known := d.Table("todos").SeqAt(a.stamp); seq != a.seq || known != a.known {
						t.Errorf("SeqAt(%v) = %d, %v; want %d, %v", a.stamp, seq, known, a.seq, a.known)
					}
				}
				forgetHighest(t, d)
			}
		})
	}
}

// TestSeqAtWithinABatch names stamps that lie between those of two batches: those that a row
// of the batch still has, or has in its tombstone, are this room's; any other may be another
// room's, and is not known.
func TestSeqAtWithinABatch(t *testing.T) {
	d := openTodos(t)
	stamped(t, d, "first", 10)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for stamp, want := range map[int64]bool{10: true, 19: false, 20: true, 21: false, 30: false, 40: true, 41: false, 50: true, 51: false} {
			if _, known := d.Table("todos").SeqAt(stamp); known != want {
				t.Errorf("%s: stamp %d known: %v, want %v", when, stamp, known, want)
			}
		}
		if seq, _ := d.Table("todos").SeqAt(int64(40)); seq != 1 {
			t.Errorf("%s: SeqAt(40) = %d, want 1", when, seq)
		}
	}
	for _, sql := range []string{
		`INSERT INTO todos (id, updated_at) VALUES ('kept', 20)`,
		`INSERT INTO todos (id, updated_at) VALUES ('changed', 30)`,
		`UPDATE todos SET updated_at = 35, deleted_at = 40 WHERE id = 'kept'; UPDATE todos SET updated_at = 20 WHERE id = 'kept'`,
		`UPDATE todos SET updated_at = 50 WHERE id = 'changed'`,
	} {
		if _, err := b.Do(1, func() error { _, err := d.Exec(sql); return err }); err != nil {
			t.Fatal(err)
		}
	}
	check("in the batch")
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	check("behind it")
}

// TestSeqAtManySeqs lets the search go over more than a few seqs, with gaps of
// another table's commits in between.
func TestSeqAtManySeqs(t *testing.T) {
	d := openTodos(t, todosTable, `CREATE TABLE plain (x)`)
	want := map[int64]Seq{}
	for i := range 300 {
		b, err := d.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Do(1, func() error {
			var err error
			if i%3 == 0 {
				want[int64(i)] = d.Seq()
				_, err = d.Exec(`INSERT INTO todos (id, updated_at) VALUES (?, ?)`, fmt.Sprint(i), i)
			} else {
				_, err = d.Exec(`INSERT INTO plain VALUES (1)`)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	for stamp, seq := range want {
		if got, known := d.Table("todos").SeqAt(stamp); got != seq || !known {
			t.Errorf("SeqAt(%d) = %d, %v; want %d", stamp, got, known, seq)
		}
	}
}

func TestSeqAtCountsDeletions(t *testing.T) {
	d := openTodos(t)
	stamped(t, d, "a", 10)
	actSQL(t, d, 500, `DELETE FROM todos`)
	if seq, known := d.Table("todos").SeqAt(int64(500)); seq != 1 || !known {
		t.Errorf("hard delete: %d, %v", seq, known)
	}
	stamped(t, d, "b", 10)
	actSQL(t, d, 1, `UPDATE todos SET deleted_at = 900`)
	if seq, known := d.Table("todos").SeqAt(int64(900)); seq != 3 || !known {
		t.Errorf("soft delete: %d, %v", seq, known)
	}
}

func TestInvariantNoResurrectionOfPurgedTombstones(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	actSQL(t, d, 2, `UPDATE todos SET deleted_at = 50 WHERE id = 'a'`)
	actSQL(t, d, 3, `DELETE FROM todos WHERE id = 'a'`) // nobody is told now
	r, err := d.Table("todos").Since(1)
	wantSet(t, all(t, r, err), []string{`"a" - - - 50 50`})
	r, err = d.Table("todos").Since(2) // told once more, which does no harm
	wantSet(t, all(t, r, err), []string{`"a" - - - 50 50`})
	r, err = d.Table("todos").Since(3)
	wantSet(t, all(t, r, err), nil)
	actSQL(t, d, 4, `INSERT INTO todos (id) VALUES ('a')`)
	r, err = d.Table("todos").Since(2)
	wantSet(t, all(t, r, err), []string{`"a" - - - - -`})
}

func TestLiveAndSinceOrder(t *testing.T) {
	d := openTodos(t)
	for _, key := range []string{"c", "a", "b"} {
		stamped(t, d, key, 1)
	}
	actSQL(t, d, 1, `UPDATE todos SET deleted_at = 5 WHERE id = 'b'`, `UPDATE todos SET done = 1 WHERE id = 'c'`)
	ids := func(r *Rows, err error) string {
		s := ""
		for _, row := range all(t, r, err) {
			s += row[0].(string)
		}
		return s
	}
	if got := ids(d.Table("todos").Live()); got != "ac" {
		t.Errorf("live %s", got)
	}
	if got := ids(d.Table("todos").Since(0)); got != "abc" && got != "acb" {
		t.Errorf("since %s", got)
	}
	// Two of them at once, each with its own statement.
	one, err := d.Table("todos").Since(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(d.Table("todos").Since(2)); len(got) != 2 {
		t.Errorf("the second one gave %s", got)
	}
	if got := all(t, one, nil); len(got) != 3 {
		t.Errorf("the first one gave %v", got)
	}
	if got := fmt.Sprint(one.Columns()); got != "[id text done created_at updated_at deleted_at]" {
		t.Errorf("columns %s", got)
	}
}

// The log keeps Options.History actions, and says so to who is further back, also after
// a restart.
func TestInvariantBoundedHistory(t *testing.T) {
	o := testOptions(t)
	o.History, o.Retention = 100, 200*365*24*time.Hour
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	const pruned = 1024 // actions by which the log may be too long
	const writes = 3 * pruned
	for i := range writes {
		actSQL(t, d, int64(i), fmt.Sprintf(`INSERT OR REPLACE INTO todos (id, updated_at) VALUES ('%d', %d)`, i%7, i))
	}
	check := func(d *DB) {
		t.Helper()
		for _, seq := range []Seq{0, 1, writes - 100 - pruned - 2} {
			_, err := d.Table("todos").Since(seq)
			wantError(t, err, ErrForgotten)
			if got, known := d.Table("todos").SeqAt(int64(seq)); known {
				t.Errorf("SeqAt(%d) = %d", seq, got)
			}
		}
		r, err := d.Table("todos").Since(writes - 100)
		if got := all(t, r, err); len(got) != 7 {
			t.Errorf("the last 100 actions changed %d rows", len(got))
		}
		if seq, known := d.Table("todos").SeqAt(int64(writes - 50)); seq != d.Seq()-50 || !known {
			t.Errorf("SeqAt = %d, %v at %d", seq, known, d.Seq())
		}
		if rows := ownQuery(t, d, "SELECT count(*) FROM _den_changes")[0][0].(int64); rows > 100+pruned {
			t.Errorf("the log has %d rows", rows)
		}
	}
	check(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openTest(t, o)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	check(d)
}

// TestPage reads a table by its ids, a page at a time, tombstones too.
func TestPage(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, `INSERT INTO todos (id, deleted_at) VALUES ('c', NULL), ('a', NULL), ('d', 1), ('b', NULL), ('', NULL)`)
	for size, want := range map[int]string{1: "|a|b|c|d", 2: ",a|b,c|d", 4: ",a,b,c|d", 5: ",a,b,c,d", 9: ",a,b,c,d"} {
		var pages []string
		for after := Value(nil); ; {
			r, err := d.Table("todos").Page(after, size)
			rows := all(t, r, err)
			if len(rows) == 0 {
				break
			}
			var ids []string
			for _, row := range rows {
				ids, after = append(ids, fmt.Sprint(row[0])), row[0]
			}
			pages = append(pages, strings.Join(ids, ","))
		}
		if got := strings.Join(pages, "|"); got != want {
			t.Errorf("pages of %d: %q, want %q", size, got, want)
		}
	}
	_, err := d.Table("nothing").Page(nil, 1)
	wantError(t, err, ErrMisuse)
	for range 3 { // a value that cannot be bound leaves the statement free for the next
		if _, err := d.Table("todos").Page(struct{}{}, 1); err == nil {
			t.Error("a struct was taken for an id")
		}
		if _, err := d.Table("todos").Scan(struct{}{}, 1); err == nil {
			t.Error("a struct was taken for a place")
		}
	}
	for s := range d.sql.Caches[session.Own].All() {
		if s.InUse() {
			t.Errorf("in use: %s", s.SQL())
		}
	}
}
