package dbfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

func mustOpen(t testing.TB, open func() (*sqlite.Conn, error)) *sqlite.Conn {
	t.Helper()
	c, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func run(t testing.TB, c *sqlite.Conn, sql string) {
	t.Helper()
	if err := c.ExecScript(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// query gives the first column of a query's rows.
func query(c *sqlite.Conn, sql string) (values []sqlite.Value, err error) {
	s, _, err := c.Prepare(sql, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finalize()
	row := sqlite.NewRow(s.Columns())
	for {
		there, err := s.Step()
		if !there || err != nil {
			return values, err
		}
		row.Read(s)
		values = append(values, row.Values()[0])
	}
}

func want(t testing.TB, c *sqlite.Conn, sql string, value any) {
	t.Helper()
	if got, err := query(c, sql); err != nil || len(got) != 1 || got[0] != value {
		t.Fatalf("%s: %v, %v; want %v", sql, got, err, value)
	}
}

func codeOf(err error) sqlite.ResultCode {
	e, _ := errors.AsType[*sqlite.Error](err)
	if e == nil {
		return sqlite.ResultOK
	}
	return e.Code
}

// newDatabase makes a database of a journal mode with one row in t, by SQLite's own VFS.
func newDatabase(t testing.TB, mode string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	c, err := sqlite.OpenConn("", path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, "PRAGMA journal_mode = "+mode+"; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// hold opens a database, holds it, and reads it once.
func hold(t testing.TB, path string) (*sqlite.Conn, *Files) {
	t.Helper()
	c, err := Open(vfs.Host().SQLite(), path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	files, err := Hold(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.SetConfig(sqlite.ConfigNoCheckpoint, 1)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		files.Free()
	})
	c.SetAutoCheckpoint(0)
	want(t, c, "SELECT count(*) > 0 FROM t", int64(1))
	if err := files.WrapWAL(c, func(wal vfs.File) vfs.File { return wal }); err != nil {
		t.Fatal(err)
	}
	return c, files
}

// leave brings all of the WAL into the database, and closes both.
func leave(t testing.TB, c *sqlite.Conn, files *Files, path string) {
	t.Helper()
	if _, _, err := c.Checkpoint(sqlite.CheckpointTruncate); err != nil {
		t.Fatal(err)
	}
	if !files.Empty() {
		t.Fatal("the WAL is not empty")
	}
	if err := errors.Join(files.WAL().Close(), files.CloseMain(), os.Remove(path+"-wal")); err != nil {
		t.Fatal(err)
	}
}

// enter has the connection go on with another database.
func enter(t testing.TB, files *Files, path string) {
	t.Helper()
	main, err := OpenFile(vfs.Host().SQLite(), path)
	if err != nil {
		t.Fatal(err)
	}
	wal, err := MakeWAL(vfs.Host().SQLite(), path+"-wal")
	if err != nil {
		t.Fatal(err)
	}
	files.Swap(main)
	files.InstallWAL(wal)
}

// TestSwap: a connection that goes from one database to the next, with writes in between, finds in each what is there.
// With the exclusive locking mode instead, one swap in four failed or gave the answer of the database before.
func TestSwap(t *testing.T) {
	paths := []string{newDatabase(t, "WAL"), newDatabase(t, "WAL"), newDatabase(t, "WAL")}
	c, files := hold(t, paths[0])
	sums := []int64{1, 1, 1}
	at := 0
	for i := range 200 {
		want(t, c, "SELECT sum(a) FROM t", sums[at])
		if i%3 != 0 {
			run(t, c, fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
			sums[at] += int64(i)
			want(t, c, "SELECT sum(a) FROM t", sums[at])
		}
		leave(t, c, files, paths[at])
		at = (at + 1 + i%2) % len(paths)
		enter(t, files, paths[at])
	}
	if !files.Moved() {
		t.Error("the connection serves the file that SQLite has opened")
	}
	want(t, c, "PRAGMA integrity_check", "ok")
	leave(t, c, files, paths[at])
	for i, path := range paths {
		own := mustOpen(t, func() (*sqlite.Conn, error) { return sqlite.OpenConn("", path, sqlite.OpenReadWrite) })
		want(t, own, "SELECT sum(a) FROM t", sums[i])
		want(t, own, "PRAGMA integrity_check", "ok")
	}
}

// TestNothingInstalled: a connection without a file fails, and can be closed or given another one.
func TestNothingInstalled(t *testing.T) {
	path := newDatabase(t, "WAL")
	c, files := hold(t, path)
	leave(t, c, files, path)
	if files.Main() != nil || files.Memory() != nil {
		t.Error("something is installed")
	}
	run(t, c, "PRAGMA cache_size = 1")
	c.ReleaseMemory()
	if _, err := query(c, "SELECT count(*) FROM t"); codeOf(err).Primary() != sqlite.ResultIOErr {
		t.Errorf("a query without a file: %v", err)
	}
	enter(t, files, path)
	want(t, c, "SELECT count(*) FROM t", int64(1))
}

// failingWAL fails with an error of its own.
type failingWAL struct {
	vfs.File
	err error
}

func (f *failingWAL) WriteAt(p []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.File.WriteAt(p, off)
}

// TestWrapWAL: what wraps the WAL sees its writes, and says what SQLite answers.
func TestWrapWAL(t *testing.T) {
	path := newDatabase(t, "WAL")
	c, files := hold(t, path)
	w := &failingWAL{}
	if err := files.WrapWAL(c, func(wal vfs.File) vfs.File { w.File = wal; return w }); err != nil {
		t.Fatal(err)
	}
	for _, failure := range []struct {
		err  error
		code sqlite.ResultCode
	}{
		{errors.New("no"), sqlite.ResultIOErrWrite}, {&os.PathError{Op: "write", Err: errFull}, sqlite.ResultFull},
		{sqlite.ErrorOf(sqlite.ResultBusy), sqlite.ResultBusy},
	} {
		w.err = failure.err
		if err := c.ExecScript("INSERT INTO t VALUES (2)"); codeOf(err) != failure.code {
			t.Errorf("%v: %v", failure.err, err)
		}
	}
	w.err = nil
	run(t, c, "INSERT INTO t VALUES (2)")
	want(t, c, "SELECT count(*) FROM t", int64(2))
	files.InstallWAL(w.File)
	want(t, c, "SELECT count(*) FROM t", int64(2))
}

// TestOpenMemory: a database in memory is used as a file is, and a file of its content can take its place.
func TestOpenMemory(t *testing.T) {
	path := newDatabase(t, "WAL")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	memory, wal := NewMemory(content), NewMemory(nil)
	c, files, err := OpenMemory(vfs.Host().SQLite(), memory, wal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.SetConfig(sqlite.ConfigNoCheckpoint, 1)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		files.Free()
	})
	c.SetAutoCheckpoint(0)
	run(t, c, "INSERT INTO t VALUES (2); CREATE TABLE more (x); INSERT INTO more SELECT randomblob(30000)")
	want(t, c, "PRAGMA journal_mode", "wal")
	if size, err := wal.Size(); size == 0 || err != nil || files.Memory() != memory || files.Moved() {
		t.Errorf("the WAL has %d bytes (%v), the database is %v", size, err, files.Memory())
	}
	if _, _, err := c.Checkpoint(sqlite.CheckpointTruncate); err != nil {
		t.Fatal(err)
	}
	want(t, c, "SELECT count(*) FROM t", int64(2))
	if err := os.WriteFile(path, memory.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	main, err := OpenFile(vfs.Host().SQLite(), path)
	if err != nil {
		t.Fatal(err)
	}
	files.Replace(main)
	want(t, c, "SELECT count(*) FROM t", int64(2))
	want(t, c, "PRAGMA integrity_check", "ok")
	if files.Memory() != nil || !files.Moved() {
		t.Error("the file is not installed")
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

// TestPlain: a connection that holds nothing works as with SQLite's own VFS: journals come and go, temporary files
// are made, and a database that has moved away is not written to.
func TestPlain(t *testing.T) {
	path := newDatabase(t, "DELETE")
	c := mustOpen(t, func() (*sqlite.Conn, error) { return Open(vfs.Host().SQLite(), path, sqlite.OpenReadWrite) })
	run(t, c, "PRAGMA temp_store = FILE; PRAGMA cache_size = 1; CREATE TEMP TABLE big AS SELECT randomblob(1000000) AS b")
	run(t, c, "BEGIN; INSERT INTO t SELECT b FROM big; DELETE FROM t WHERE a = 1")
	if _, err := os.Stat(path + "-journal"); err != nil {
		t.Error(err)
	}
	run(t, c, "ROLLBACK")
	if _, err := os.Stat(path + "-journal"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	want(t, c, "SELECT sum(a) FROM t", int64(1))
	copied := path + "2"
	run(t, c, "INSERT INTO t SELECT b FROM big; VACUUM INTO '"+copied+"'; DELETE FROM t WHERE typeof(a) = 'blob'; VACUUM")
	for file, rows := range map[string]int64{path: 1, copied: 2} {
		own := mustOpen(t, func() (*sqlite.Conn, error) { return sqlite.OpenConn("", file, sqlite.OpenReadWrite) })
		want(t, own, "SELECT count(*) FROM t", rows)
		want(t, own, "PRAGMA integrity_check", "ok")
	}
	if runtime.GOOS == "windows" {
		return // where a file that is open keeps its name
	}
	if err := os.Rename(path, path+"3"); err != nil {
		t.Fatal(err)
	}
	const readOnlyMoved = 1032 // SQLITE_READONLY_DBMOVED
	if err := c.ExecScript("INSERT INTO t VALUES (2)"); codeOf(err) != readOnlyMoved {
		t.Errorf("a write to a file that has moved: %v", err)
	}
}

// TestHotJournal: what a process that died has left is rolled back.
func TestHotJournal(t *testing.T) {
	path := newDatabase(t, "DELETE")
	c, err := Open(vfs.Host().SQLite(), path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, "PRAGMA cache_size = 1; PRAGMA synchronous = FULL; BEGIN; INSERT INTO t SELECT randomblob(1000000); DELETE FROM t WHERE a = 1")
	dead := filepath.Join(t.TempDir(), "db")
	for _, suffix := range []string{"", "-journal"} {
		content, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(dead+suffix, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run(t, c, "ROLLBACK")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = mustOpen(t, func() (*sqlite.Conn, error) { return Open(vfs.Host().SQLite(), dead, sqlite.OpenReadWrite) })
	want(t, c, "SELECT sum(a) FROM t", int64(1))
	want(t, c, "PRAGMA integrity_check", "ok")
}

// TestMemory: a Memory is read and written as a file of the system is.
func TestMemory(t *testing.T) {
	host, err := vfs.Host().Open(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for i, step := range []func(f vfs.File) []any{
		func(f vfs.File) []any { n, err := f.WriteAt([]byte("abc"), 5); return []any{n, err} },
		func(f vfs.File) []any { n, err := f.WriteAt([]byte("xy"), 0); return []any{n, err} },
		func(f vfs.File) []any { return []any{f.Truncate(7)} },
		func(f vfs.File) []any { return []any{f.Truncate(20)} },
		func(f vfs.File) []any { n, err := f.ReadAt(make([]byte, 3), 18); return []any{n, err} },
		func(f vfs.File) []any { n, err := f.ReadAt(make([]byte, 3), 40); return []any{n, err} },
		func(f vfs.File) []any { return []any{f.Truncate(0), f.Sync()} },
		func(f vfs.File) []any { n, err := f.WriteAt([]byte("z"), 3); return []any{n, err} },
	} {
		memory := NewMemory(readAll(t, host))
		if got, want := fmt.Sprint(step(memory)...), fmt.Sprint(step(host)...); got != want {
			t.Errorf("step %d: %s, want %s", i, got, want)
		}
		if got, want := readAll(t, memory), readAll(t, host); !bytes.Equal(got, want) {
			t.Errorf("after step %d there is %q, want %q", i, got, want)
		}
	}
}

func readAll(t *testing.T, f vfs.File) []byte {
	t.Helper()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	if _, err := f.ReadAt(content, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return content
}

// BenchmarkRead is a scan of a table of 4,000 pages that are not in SQLite's cache, by SQLite's own VFS and by Den's.
func BenchmarkRead(b *testing.B) {
	for i, name := range []string{"", vfs.Host().SQLite()} {
		b.Run([]string{"own", "den"}[i], func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "db")
			c := mustOpen(b, func() (*sqlite.Conn, error) { return Open(name, path, sqlite.OpenReadWrite|sqlite.OpenCreate) })
			run(b, c, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1;"+
				"CREATE TABLE t (a); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) INSERT INTO t SELECT randomblob(3000) FROM n")
			for b.Loop() {
				want(b, c, "SELECT count(a) FROM t WHERE a = 1", int64(0))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4000, "ns/page")
		})
	}
}

// BenchmarkSwap is a connection that goes on with another database and reads one row.
func BenchmarkSwap(b *testing.B) {
	paths := []string{newDatabase(b, "WAL"), newDatabase(b, "WAL")}
	c, files := hold(b, paths[0])
	s, _, err := c.Prepare("SELECT a FROM t", 0)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Finalize()
	files.InstallWAL(NewMemory(nil))
	for i := 0; b.Loop(); i++ {
		if err := files.CloseMain(); err != nil {
			b.Fatal(err)
		}
		main, err := OpenFile(vfs.Host().SQLite(), paths[i%2])
		if err != nil {
			b.Fatal(err)
		}
		files.Swap(main)
		if there, err := s.Step(); !there || err != nil {
			b.Fatal(there, err)
		}
		s.Reset()
	}
}
