package storage

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/denrooms/den/storage/sqlite"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the randomized tests; 0 takes the time")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const todosTable = `CREATE TABLE todos (id TEXT PRIMARY KEY, text TEXT, done INTEGER, created_at, updated_at, deleted_at)`

// clock is where the tests' time begins.
const clock = int64(1_700_000_000_000)

func testOptions(t testing.TB) Options {
	return Options{
		Path: filepath.Join(t.TempDir(), "room.db"), Namespace: "tests", Room: t.Name(),
		Now: func() time.Time { return time.UnixMilli(clock) },
		Log: newMemLog(),
	}
}

// openTest opens a room that is checked and closed behind the test.
func openTest(t testing.TB, o Options) *DB {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkConsistent(t, d)
		checkForeignKeys(t, d)
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// openTodos is openTest with the todos table, synced.
func openTodos(t testing.TB, script ...string) *DB {
	t.Helper()
	d := openTest(t, testOptions(t))
	if len(script) == 0 {
		script = []string{todosTable}
	}
	mustExec(t, d, strings.Join(script, ";"))
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	return d
}

func mustExec(t testing.TB, d *DB, sql string, args ...any) Result {
	t.Helper()
	res, err := d.Exec(sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return res
}

// act runs one action in a batch of its own.
func act(t testing.TB, d *DB, at int64, fn func() error) (Commit, error) {
	t.Helper()
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Do(at, fn)
	if err != nil {
		if e := b.Rollback(); e != nil {
			t.Fatalf("rollback: %v", e)
		}
		return c, err
	}
	if err := b.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
	return c, nil
}

// actSQL runs statements as one action that must succeed.
func actSQL(t testing.TB, d *DB, at int64, sqls ...string) Commit {
	t.Helper()
	c, err := act(t, d, at, func() error {
		for _, sql := range sqls {
			if _, err := d.Exec(sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// all reads rows to their end.
func all(t testing.TB, r *Rows, err error) [][]Value {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]Value
	for r.Next() {
		out = append(out, r.Values())
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return out
}

func query(t testing.TB, d *DB, sql string, args ...any) [][]Value {
	t.Helper()
	r, err := d.Query(sql, args...)
	return all(t, r, err)
}

// internalQuery reads Den's own tables, as nothing outside of the package does.
func ownQuery(t testing.TB, d *DB, sql string, args ...any) [][]Value {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var out [][]Value
	if err := d.each(sql, func(r *Rows) { out = append(out, r.Values()) }, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// checkConsistent checks the file and that the change log agrees with the tables.
func checkConsistent(t testing.TB, d *DB) {
	t.Helper()
	if d.lock() != nil {
		return // closed by the test
	}
	if d.batch != nil || d.rec.on || len(d.results) > 0 {
		t.Errorf("left open: batch %v, action %v, %d results", d.batch != nil, d.rec.on, len(d.results))
	}
	d.mu.Unlock()
	if got := ownQuery(t, d, "PRAGMA integrity_check"); len(got) != 1 || got[0][0] != "ok" {
		t.Errorf("integrity_check: %v", got)
	}
	if got := ownQuery(t, d, "SELECT coalesce(max(last), 0) FROM _den_changes"); got[0][0] != int64(d.Seq()) {
		t.Errorf("seq in the file is %v, in memory %d", got[0][0], d.Seq())
	}
	for _, tab := range d.sorted() {
		if !tab.stale {
			checkIndex(t, d, tab)
		}
	}
}

// checkForeignKeys is not for the random histories: there an OR REPLACE or OR FAIL
// on a parent's key leads SQLite's own count of deferred violations astray.
func checkForeignKeys(t testing.TB, d *DB) {
	t.Helper()
	if d.lock() != nil {
		return
	}
	d.mu.Unlock()
	if got := ownQuery(t, d, "PRAGMA foreign_key_check"); len(got) != 0 {
		t.Errorf("foreign_key_check: %v", got)
	}
}

// checkIndex compares a table's part of the change log with the table.
func checkIndex(t testing.TB, d *DB, tab *table) {
	t.Helper()
	d.mu.Lock()
	floor := max(d.floor, tab.floor)
	entries, err := d.changedSince(tab, 0)
	d.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	logged := make(map[string]bool)
	for _, e := range entries {
		key := sqlite.Values(e.key, 1)[0]
		there := len(ownQuery(t, d, fmt.Sprintf("SELECT 1 FROM %s WHERE %s = ?1", quote(tab.name), quote(tab.columns[0])), key)) > 0
		if gone := Type(e.gone[0]) != Null; floor == 0 && gone == there {
			t.Errorf("%s: the log has %v gone = %v, the table has it = %v", tab.name, key, gone, there)
		}
		logged[string(sameKey(e.key))] = true
	}
	for _, row := range ownQuery(t, d, fmt.Sprintf("SELECT %s FROM %s", quote(tab.columns[0]), quote(tab.name))) {
		if floor == 0 && !logged[string(sameKey(sqlite.AppendValue(nil, row[0])))] {
			t.Errorf("%s: the log lacks %v", tab.name, row[0])
		}
	}
	checkHighs(t, d, tab)
}

// checkHighs checks that a table's maximum rises over the log, and is not below what
// stands in the table.
func checkHighs(t testing.TB, d *DB, tab *table) {
	t.Helper()
	var before []byte
	for _, row := range ownQuery(t, d, "SELECT last, first, highs FROM _den_changes ORDER BY id") {
		if row[0].(int64) < row[1].(int64)-1 || row[0].(int64) > int64(d.Seq()) {
			t.Errorf("a row of the log is from %v to %v, the room at %d", row[1], row[0], d.Seq())
		}
		high, err := highIn(row[2].([]byte), tab.id)
		if err != nil {
			t.Error(err)
		}
		if before != nil && high != nil && sqlite.Compare(high, before) < 0 { // it is nil while the table is not followed
			t.Errorf("%s: the maximum fell at %v", tab.name, row[0])
		}
		before = high
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.loadHigh(tab); err != nil {
		t.Fatal(err)
	}
	high := slices.Clone(tab.high)
	if err := d.raiseToTable(tab); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tab.next, high) {
		t.Errorf("%s: the maximum is %v, the table has %v", tab.name, high, tab.next)
	}
	tab.next, tab.raised = append(tab.next[:0], tab.high...), false
}

// wantRows compares a commit's rows, written as table: [values].
func wantRows(t testing.TB, c Commit, want ...string) {
	t.Helper()
	var got []string
	for _, r := range c.Rows {
		got = append(got, r.Table+": "+show(r.Values()))
	}
	if !reflect.DeepEqual(got, append([]string(nil), want...)) {
		t.Errorf("rows\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// show writes values so that types and NULs can be told.
func show(values []Value) string {
	var out []string
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			out = append(out, "-")
		case string:
			out = append(out, fmt.Sprintf("%q", v))
		case []byte:
			out = append(out, fmt.Sprintf("x'%x'", v))
		case float64:
			out = append(out, fmt.Sprintf("%gf", v))
		default:
			out = append(out, fmt.Sprint(v))
		}
	}
	return strings.Join(out, " ")
}

func wantError(t testing.TB, got error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(got, w) {
			t.Errorf("got error %v, want %v", got, w)
		}
	}
}

func fileContent(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
