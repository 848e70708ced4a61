package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The random histories' schema: each form of key, keys that depend on each other,
// and triggers that write.
const randomSchema = `
	CREATE TABLE texts (id TEXT PRIMARY KEY, a, b UNIQUE, created_at, updated_at, deleted_at);
	CREATE TABLE numbers (id INTEGER PRIMARY KEY, a REAL, b AS (a * 2) VIRTUAL, created_at, updated_at, deleted_at);
	CREATE TABLE flat (id PRIMARY KEY, a, c AS (a || 'x') STORED, b, created_at, updated_at, deleted_at) WITHOUT ROWID;
	CREATE TABLE children (id TEXT NOT NULL UNIQUE, a REFERENCES texts ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED,
		b REFERENCES numbers ON DELETE SET NULL ON UPDATE CASCADE, created_at, updated_at, deleted_at);
	CREATE TABLE plain (id, a, b, created_at, updated_at, deleted_at);
	CREATE TRIGGER t1 AFTER INSERT ON plain BEGIN
		INSERT OR IGNORE INTO texts VALUES (new.id, new.a, NULL, 1, new.updated_at, NULL);
		UPDATE flat SET b = new.a WHERE id < new.id;
	END;
	CREATE TRIGGER t2 BEFORE DELETE ON numbers WHEN old.id % 3 = 0 BEGIN DELETE FROM flat WHERE id = old.id; END;
	CREATE TRIGGER t3 AFTER UPDATE OF b ON flat WHEN new.b = 13 BEGIN SELECT RAISE(ABORT, 'thirteen'); END;
	CREATE TRIGGER t4 AFTER INSERT ON numbers WHEN new.id = 7 BEGIN SELECT RAISE(ROLLBACK, 'seven'); END;
	CREATE TRIGGER t5 AFTER UPDATE ON texts WHEN new.a = 5 BEGIN SELECT RAISE(FAIL, 'five'); END`

var randomTables = []string{"texts", "numbers", "flat", "children"}

// content is what a client holds: live rows of each table, by id.
type content map[string]map[string]string

func newContent() content {
	c := content{}
	for _, name := range randomTables {
		c[name] = map[string]string{}
	}
	return c
}

func (c content) clone() content {
	out := content{}
	for name, rows := range c {
		out[name] = maps.Clone(rows)
	}
	return out
}

// id is a row's id as a client's map has it: 1 and 1.0 are the same in SQLite.
func id(v Value) string {
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		v = int64(f)
	}
	return show([]Value{v})
}

func (c content) apply(table string, row []Value) {
	if row[len(row)-1] != nil {
		delete(c[table], id(row[0]))
		return
	}
	c[table][id(row[0])] = show(row)
}

// client is one that saw the room at some seq and was away since.
type client struct {
	rows  content
	seq   Seq
	stamp map[string]Value // the highest it saw, by table
}

type randomHistory struct {
	t       *testing.T
	rnd     *rand.Rand
	d       *DB
	o       Options
	now     int64
	live    content // made of the commits alone
	clients []client
	log     []string
	done    int
}

func TestRandomHistories(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -seed)", seed)
	histories, batches := shorter(20, 4), 60
	for i := range histories {
		h := &randomHistory{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(i))), live: newContent(), now: 1000}
		h.o = testOptions(t)
		h.o.Synchronous = Off
		h.run(batches)
		if t.Failed() {
			t.Fatalf("history %d of seed %d, its end:\n%s", i, seed, strings.Join(h.log[max(0, len(h.log)-30):], "\n"))
		}
	}
}

func (h *randomHistory) run(batches int) {
	h.open()
	defer func() { checkConsistent(h.t, h.d); h.d.Close() }()
	mustExec(h.t, h.d, randomSchema)
	if err := h.d.Sync(randomTables...); err != nil {
		h.t.Fatal(err)
	}
	for range batches {
		h.batch()
		if h.rnd.IntN(4) == 0 {
			h.check()
		}
		if h.rnd.IntN(15) == 0 {
			h.reopen()
		}
		if h.t.Failed() {
			return
		}
	}
	h.check()
	if h.done == 0 {
		h.t.Error("no action of the history went through")
	}
}

func (h *randomHistory) open() {
	d, err := Open(h.o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.d = d
}

func (h *randomHistory) reopen() {
	if err := h.d.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.open()
	h.log = append(h.log, "-- reopened")
	if h.rnd.IntN(2) == 0 { // a migration before Sync is followed as well
		h.d.Exec("UPDATE flat SET a = a + 1")
		h.resnapshot()
	}
	if err := h.d.Sync(randomTables...); err != nil {
		h.t.Fatal(err)
	}
}

// resnapshot takes the content over from the tables, where no commit told of it.
func (h *randomHistory) resnapshot() { h.live = h.tables() }

func (h *randomHistory) batch() {
	b, err := h.d.Begin()
	if err != nil {
		h.t.Fatal(err)
	}
	next, start := h.live.clone(), h.d.Seq()
	seq, done := start, 0
	for range 1 + h.rnd.IntN(4) {
		h.now += h.rnd.Int64N(3) // the same tick, now and then
		c, err := b.Do(h.now, h.action)
		h.log = append(h.log, fmt.Sprintf("-- %d: %v", c.Seq, err))
		if errors.Is(err, ErrBatchLost) {
			b.Rollback()
			h.rolledBack(start)
			return
		}
		if err != nil {
			continue
		}
		if c.Seq != 0 {
			seq++
			done++
			if c.Seq != seq {
				h.t.Errorf("seq %d, want %d", c.Seq, seq)
			}
		} else if len(c.Rows) > 0 {
			h.t.Error("rows without a seq")
		}
		seen := map[string]bool{}
		for _, r := range c.Rows {
			if k := r.Table + id(r.Values()[0]); seen[k] {
				h.t.Errorf("two rows for %s", k)
			} else {
				seen[k] = true
			}
			h.noContent(r.Table, r.Values())
			next.apply(r.Table, r.Values())
		}
	}
	if h.rnd.IntN(6) == 0 {
		if err := b.Rollback(); err != nil {
			h.t.Error(err)
		}
		h.log = append(h.log, "-- rolled back")
		h.rolledBack(start)
		return
	}
	if err := b.Commit(); err != nil {
		h.t.Errorf("commit: %v", err)
	}
	h.live, h.done = next, h.done+done
}

func (h *randomHistory) rolledBack(start Seq) {
	if h.d.Seq() != start {
		h.t.Errorf("seq %d behind a rollback to %d", h.d.Seq(), start)
	}
}

// action runs a few statements; some of their errors are looked over.
func (h *randomHistory) action() error {
	for range 1 + h.rnd.IntN(4) {
		sql := h.statement()
		_, err := h.d.Exec(sql)
		h.log = append(h.log, fmt.Sprintf("%s; -- %v", sql, err))
		if err != nil && h.rnd.IntN(2) == 0 {
			return err
		}
	}
	if h.rnd.IntN(10) == 0 {
		return errRefused
	}
	return nil
}

func (h *randomHistory) statement() string {
	table := append(randomTables, "plain")[h.rnd.IntN(len(randomTables)+1)]
	or := []string{"", "", "", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR REPLACE", " OR ROLLBACK"}[h.rnd.IntN(8)]
	if or == " OR ROLLBACK" && h.rnd.IntN(3) > 0 {
		or = ""
	}
	where := fmt.Sprintf("WHERE id %s %s", []string{"=", "=", "<", ">="}[h.rnd.IntN(4)], h.key(table))
	if h.rnd.IntN(12) == 0 {
		where = ""
	}
	switch h.rnd.IntN(10) {
	case 0, 1, 2, 3:
		rows := make([]string, 1+h.rnd.IntN(3))
		for i := range rows {
			rows[i] = h.row(table)
		}
		conflict := ""
		if or == "" && h.rnd.IntN(3) == 0 {
			conflict = fmt.Sprintf(" ON CONFLICT DO UPDATE SET a = %s, updated_at = %d", h.value(), h.now)
		}
		return fmt.Sprintf("INSERT%s INTO %s (id, %s created_at, updated_at, deleted_at) VALUES %s%s",
			or, table, ownColumns[table], strings.Join(rows, ", "), conflict)
	case 4:
		return fmt.Sprintf("DELETE FROM %s %s RETURNING *", table, where)
	case 5:
		return fmt.Sprintf("UPDATE%s %s SET id = %s %s", or, table, h.key(table), where)
	case 6:
		return fmt.Sprintf("UPDATE%s %s SET deleted_at = %s, updated_at = %[4]d %[5]s", or, table, []string{"NULL", fmt.Sprint(h.now)}[h.rnd.IntN(2)], h.now, where)
	case 7:
		return fmt.Sprintf("INSERT%s INTO %s (id, created_at, updated_at) SELECT id, 1, %d FROM %s", or, table, h.now, randomTables[h.rnd.IntN(4)])
	}
	return fmt.Sprintf("UPDATE%s %s SET a = %s, updated_at = %d %s", or, table, h.value(), h.now-h.rnd.Int64N(5), where)
}

var ownColumns = map[string]string{"texts": "a, b,", "numbers": "a,", "flat": "a, b,", "children": "a, b,", "plain": "a, b,"}

func (h *randomHistory) row(table string) string {
	values := []string{h.key(table)}
	for range strings.Count(ownColumns[table], ",") {
		values = append(values, h.value())
	}
	deleted := "NULL"
	if h.rnd.IntN(8) == 0 {
		deleted = fmt.Sprint(h.now)
	}
	return fmt.Sprintf("(%s, 1, %d, %s)", strings.Join(values, ", "), h.now, deleted)
}

func (h *randomHistory) key(table string) string {
	n := h.rnd.IntN(12)
	switch {
	case table == "numbers":
		return fmt.Sprint(n)
	case table == "flat" && n < 4:
		return []string{"1.0", "2.5", "x'01'", "'1'"}[n]
	case table == "flat":
		return fmt.Sprint(n - 4)
	}
	return fmt.Sprintf("'k%d'", n)
}

func (h *randomHistory) value() string {
	return []string{"NULL", "1", "2.5", "'k1'", "'k2'", "x''", "char(0) || 'z'", "''", "3", "13", "'k3'", "5", "1e300"}[h.rnd.IntN(13)]
}

// tables reads the live content from the tables.
func (h *randomHistory) tables() content {
	c := newContent()
	for _, name := range randomTables {
		for _, row := range query(h.t, h.d, "SELECT * FROM "+name+" WHERE deleted_at IS NULL") {
			c.apply(name, row)
		}
	}
	return c
}

// check compares the commits with the tables, brings every absent client up to
// date in both ways, and lets one more go.
func (h *randomHistory) check() {
	want := h.tables()
	h.equal("the commits' rows", h.live, want)
	for _, name := range randomTables {
		live := newContent()
		r, err := h.d.Table(name).Live()
		for _, row := range all(h.t, r, err) {
			live.apply(name, row)
		}
		if !maps.Equal(live[name], want[name]) {
			h.t.Errorf("Live(%s) = %v, want %v", name, live[name], want[name])
		}
	}
	for _, c := range h.clients {
		h.equal(fmt.Sprintf("a client from seq %d", c.seq), h.resume(c, func(string) Seq { return c.seq }), want)
		h.equal(fmt.Sprintf("a client with stamps %v", c.stamp), h.resume(c, func(name string) Seq {
			seq, _ := h.d.Table(name).SeqAt(c.stamp[name])
			return seq
		}), want)
	}
	h.leave(want)
}

func (h *randomHistory) resume(c client, from func(string) Seq) content {
	got := c.rows.clone()
	for _, name := range randomTables {
		r, err := h.d.Table(name).Since(from(name))
		if errors.Is(err, ErrForgotten) {
			clear(got[name])
			r, err = h.d.Table(name).Live()
		}
		for _, row := range all(h.t, r, err) {
			h.noContent(name, row)
			got.apply(name, row)
		}
	}
	return got
}

// noContent looks at a row that leaves the package: a tombstone has an id and stamps, and nothing else.
func (h *randomHistory) noContent(table string, row []Value) {
	h.t.Helper()
	if stamps := len(row) - 3; row[len(row)-1] != nil && slices.ContainsFunc(row[1:stamps], func(v Value) bool { return v != nil }) {
		h.t.Errorf("a tombstone of %s has content: %s", table, show(row))
	}
}

// leave adds a client that has the present content, as a snapshot gave it.
func (h *randomHistory) leave(rows content) {
	c := client{rows: rows, seq: h.d.Seq(), stamp: map[string]Value{}}
	for _, name := range randomTables {
		c.stamp[name] = query(h.t, h.d, "SELECT max(max(updated_at), ifnull(max(deleted_at), 0)) FROM "+name+" WHERE deleted_at IS NULL")[0][0]
	}
	if len(h.clients) == 6 {
		h.clients = append(h.clients[:1], h.clients[2:]...)
	}
	h.clients = append(h.clients, c)
}

func (h *randomHistory) equal(what string, got, want content) {
	h.t.Helper()
	for _, name := range randomTables {
		if !maps.Equal(got[name], want[name]) {
			h.t.Errorf("%s: %s\n got %v\nwant %v", what, name, got[name], want[name])
		}
	}
}
