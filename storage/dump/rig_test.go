package dump

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/denrooms/den/storage"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the randomized tests; 0 takes the time")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is the time of the tests, in Unix milliseconds.
const clock = int64(1_700_000_000_000)

// testOptions are those of a room that has a commit log.
func testOptions(t testing.TB) storage.Options {
	t.Helper()
	log, err := storage.OpenLog(storage.LogOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Errorf("close the log: %v", err)
		}
	})
	return storage.Options{
		Path: filepath.Join(t.TempDir(), "room.db"), Namespace: "tests", Room: t.Name(),
		Now: func() time.Time { return time.UnixMilli(clock) },
		Log: log,
	}
}

// openTest opens a room that is checked and closed when the test ends.
func openTest(t testing.TB, o storage.Options) *storage.DB {
	t.Helper()
	d, err := storage.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkConsistent(t, d)
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func checkConsistent(t testing.TB, d *storage.DB) {
	t.Helper()
	b, err := d.Begin()
	if err == nil {
		err = b.Rollback()
	}
	if err != nil {
		t.Errorf("left open: %v", err)
	}
	if got := query(t, d, "PRAGMA integrity_check"); len(got) != 1 || got[0][0] != "ok" {
		t.Errorf("integrity_check: %v", got)
	}
	if got := query(t, d, "PRAGMA foreign_key_check"); len(got) != 0 {
		t.Errorf("foreign_key_check: %v", got)
	}
	if got := query(t, d, "SELECT coalesce(max(last), 0) FROM _den_changes"); got[0][0] != int64(d.Seq()) {
		t.Errorf("seq in the file is %v, in memory %d", got[0][0], d.Seq())
	}
}

func mustExec(t testing.TB, d *storage.DB, sql string, args ...any) {
	t.Helper()
	if _, err := d.Exec(sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// act runs an action in a batch of its own.
func act(t testing.TB, d *storage.DB, at int64, fn func() error) error {
	t.Helper()
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(at, fn); err != nil {
		if e := b.Rollback(); e != nil {
			t.Fatalf("rollback: %v", e)
		}
		return err
	}
	if err := b.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
	return nil
}

func query(t testing.TB, d *storage.DB, sql string, args ...any) [][]storage.Value {
	t.Helper()
	r, err := d.Query(sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out [][]storage.Value
	for r.Next() {
		out = append(out, r.Values())
	}
	if err := r.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func dirNames(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func wantError(t testing.TB, got error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(got, w) {
			t.Errorf("got error %v, want %v", got, w)
		}
	}
}
