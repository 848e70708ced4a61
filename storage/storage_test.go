package storage

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/sqlite"
	"go.uber.org/goleak"
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

// openTest opens a room that is checked and closed after the test.
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

// ownQuery reads Den's own tables, as nothing outside of the package does.
func ownQuery(t testing.TB, d *DB, sql string, args ...any) [][]Value {
	t.Helper()
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	var out [][]Value
	if err := d.sql.Each(sql, func(r *Rows) { out = append(out, r.Values()) }, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// checkConsistent checks the file and that the change log agrees with the tables.
func checkConsistent(t testing.TB, d *DB) {
	t.Helper()
	if d.sql.Lock() != nil {
		return // closed by the test
	}
	if d.batch != nil || d.sql.Changes.InAction() || len(d.sql.Results) > 0 {
		t.Errorf("left open: batch %v, action %v, %d results", d.batch != nil, d.sql.Changes.InAction(), len(d.sql.Results))
	}
	d.sql.Mu.Unlock()
	if got := ownQuery(t, d, "PRAGMA integrity_check"); len(got) != 1 || got[0][0] != "ok" {
		t.Errorf("integrity_check: %v", got)
	}
	if got := ownQuery(t, d, "SELECT coalesce(max(last), 0) FROM _den_changes"); got[0][0] != int64(d.Seq()) {
		t.Errorf("seq in the file is %v, in memory %d", got[0][0], d.Seq())
	}
	checkLog(t, d)
}

// checkForeignKeys is not for the random histories: there an OR REPLACE or OR FAIL
// on a parent's key leads SQLite's own count of deferred violations astray.
func checkForeignKeys(t testing.TB, d *DB) {
	t.Helper()
	if d.sql.Lock() != nil {
		return
	}
	d.sql.Mu.Unlock()
	if got := ownQuery(t, d, "PRAGMA foreign_key_check"); len(got) != 0 {
		t.Errorf("foreign_key_check: %v", got)
	}
}

// checkLog compares the change log with the tables, as the file has them.
func checkLog(t testing.TB, d *DB) {
	t.Helper()
	floor := ownQuery(t, d, "SELECT value FROM _den_meta WHERE name = 'floor'")[0][0].(int64)
	log := ownQuery(t, d, "SELECT first, last, highs, entries FROM _den_changes ORDER BY id")
	for _, table := range ownQuery(t, d, "SELECT id, name, floor FROM _den_tables WHERE NOT stale ORDER BY name") {
		id, name := table[0].(int64), table[1].(string)
		deleted := make(map[string]bool)
		var highest []byte
		for _, row := range log {
			if last := row[1].(int64); last < row[0].(int64)-1 || last > int64(d.Seq()) {
				t.Errorf("a row of the log is from %v to %v, the room at %d", row[0], row[1], d.Seq())
			}
			eachOf(row[3].([]byte), id, 2, func(values []byte) {
				key, stamp, _ := sqlite.Cut(values)
				deleted[string(sqlite.Canonical(key))] = Type(stamp[0]) != Null
			})
			before := highest
			highest = nil
			eachOf(row[2].([]byte), id, 1, func(stamp []byte) { highest = stamp })
			if before != nil && highest != nil && sqlite.Compare(highest, before) < 0 { // it is nil while the table is stale
				t.Errorf("%s: the highest stamp fell at %v", name, row[1])
			}
		}
		floor := max(floor, table[2].(int64))
		if floor == 0 {
			checkLogged(t, d, name, deleted)
		}
		if n := len(log); n > 0 && log[n-1][1].(int64) > floor {
			checkHighest(t, d, name, highest)
		}
	}
}

// eachOf calls do for the values of each item of one table in a column of the log.
func eachOf(column []byte, table int64, values int, do func([]byte)) {
	for len(column) > 0 {
		id, n := binary.Uvarint(column)
		column = column[n:]
		if values == 2 {
			_, n = binary.Uvarint(column)
			column = column[n:]
		}
		size := 0
		for range values {
			size += sqlite.Size(column[size:])
		}
		if int64(id) == table {
			do(column[:size])
		}
		column = column[size:]
	}
}

// checkLogged checks that a log that has forgotten nothing has each row of a table, and that the rows whose last change is a
// deletion are not there.
func checkLogged(t testing.TB, d *DB, table string, deleted map[string]bool) {
	t.Helper()
	id := sqlite.Quote(ownQuery(t, d, "SELECT name FROM pragma_table_xinfo(?1) WHERE cid = 0", table)[0][0].(string))
	for _, row := range ownQuery(t, d, fmt.Sprintf("SELECT %s FROM %s", id, sqlite.Quote(table))) {
		key := string(sqlite.Canonical(sqlite.AppendValue(nil, row[0])))
		if gone, logged := deleted[key]; gone || !logged {
			t.Errorf("%s: the table has %v; the log has it: %v, as deleted: %v", table, row[0], logged, gone)
		}
		delete(deleted, key)
	}
	for key, gone := range deleted {
		if !gone {
			t.Errorf("%s: the log has %v, the table lacks it", table, sqlite.Values([]byte(key), 1))
		}
	}
}

// checkHighest checks that no stamp of a table is above the highest one in the log.
func checkHighest(t testing.TB, d *DB, table string, highest []byte) {
	t.Helper()
	for _, row := range ownQuery(t, d, fmt.Sprintf("SELECT updated_at, deleted_at FROM %s", sqlite.Quote(table))) {
		for _, v := range row {
			stamp := sqlite.AppendValue(nil, v)
			if ty := Type(stamp[0]); ty != Null && ty != Blob && (highest == nil || sqlite.Compare(stamp, highest) > 0) {
				t.Errorf("%s: the table has the stamp %v, the highest in the log is % x", table, v, highest)
			}
		}
	}
}

// forgetHighest has the DB read the highest stamps from the file when they are asked for next.
func forgetHighest(t testing.TB, d *DB) {
	t.Helper()
	b, err := d.Begin()
	if err == nil {
		err = b.Rollback()
	}
	if err != nil {
		t.Fatal(err)
	}
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
