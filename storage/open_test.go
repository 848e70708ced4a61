package storage

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

func TestReopen(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, twoTodos)
	actSQL(t, d, 2, `DELETE FROM todos WHERE id = 'b'`)
	epoch := d.Epoch()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := os.Stat(o.Path + "-wal"); err == nil {
		t.Error("Close left the WAL")
	}
	d = openTest(t, o)
	if d.Seq() != 2 || d.Epoch() != epoch || len(epoch) != 32 {
		t.Errorf("seq %d, epoch %q", d.Seq(), d.Epoch())
	}
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	if d.Seq() != 2 {
		t.Errorf("a second Sync made a commit: seq %d", d.Seq())
	}
	r, err := d.Table("todos").Since(1)
	wantSet(t, all(t, r, err), []string{`"b" - - - 2 2`})
}

// TestCrash opens what a killed process leaves: the file and its WAL.
func TestCrash(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, twoTodos)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(2, func() error { _, err := d.Exec(`DELETE FROM todos`); return err }); err != nil {
		t.Fatal(err)
	}
	after := o
	after.Path = filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		if err := os.WriteFile(after.Path+suffix, []byte(fileContent(t, o.Path+suffix)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Rollback(); err != nil {
		t.Fatal(err)
	}
	c := openTest(t, after)
	if c.Seq() != 1 || len(query(t, c, `SELECT * FROM todos`)) != 2 {
		t.Errorf("seq %d, rows %v", c.Seq(), query(t, c, `SELECT * FROM todos`))
	}
}

func TestOpenRefuses(t *testing.T) {
	foreign := func(t *testing.T, path string) { makeForeign(t, path, 0) }
	for name, tc := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"text":         {func(t *testing.T, path string) { write(t, path, strings.Repeat("no database ", 50)) }, ErrNotDatabase},
		"a few bytes":  {func(t *testing.T, path string) { write(t, path, "hm") }, ErrNotDatabase},
		"foreign":      {foreign, ErrNotDatabase},
		"newer":        {func(t *testing.T, path string) { makeRoom(t, path); patch(t, path, 60, roomfile.Version+1) }, ErrNewer},
		"no version":   {func(t *testing.T, path string) { makeRoom(t, path); patch(t, path, 60, 0) }, ErrCorrupt},
		"other room":   {func(t *testing.T, path string) { makeRoom(t, path) }, ErrWrongRoom},
		"orphaned WAL": {func(t *testing.T, path string) { write(t, path+"-wal", "x") }, ErrCorrupt},
		"truncated": {func(t *testing.T, path string) {
			makeRoom(t, path)
			write(t, path, fileContent(t, path)[:5000])
		}, ErrCorrupt},
		"a directory is a file": {func(t *testing.T, path string) { write(t, filepath.Dir(path)+"/sub", "x") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			tc.make(t, o.Path)
			if tc.want == nil {
				o.Path = filepath.Join(filepath.Dir(o.Path), "sub", "room.db")
			}
			before := listing(t, filepath.Dir(testPath(o)))
			d, err := Open(o)
			if err == nil {
				d.Close()
				t.Fatal("opened")
			}
			if tc.want != nil {
				wantError(t, err, tc.want)
				if !strings.Contains(err.Error(), o.Path) {
					t.Errorf("no path in %q", err)
				}
			}
			if after := listing(t, filepath.Dir(testPath(o))); after != before {
				t.Errorf("touched:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func testPath(o Options) string { return strings.Replace(o.Path, "/sub/", "/", 1) }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// makeRoom makes a room whose name is not the one that the test opens.
func makeRoom(t *testing.T, path string) {
	t.Helper()
	d, err := Open(Options{Path: path, Namespace: "tests", Room: "another"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// makeForeign makes somebody else's SQLite file, in WAL mode.
func makeForeign(t *testing.T, path string, _ int) {
	t.Helper()
	c, err := sqlite.OpenConn("", path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	d := newDB(Options{}, session.NewConnection(nil, 1, c, nil))
	if _, err := d.sql.Exec(session.Own, "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)", nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func patch(t *testing.T, path string, at int, n uint32) {
	t.Helper()
	b := []byte(fileContent(t, path))
	binary.BigEndian.PutUint32(b[at:], n)
	write(t, path, string(b))
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for _, e := range entries {
		s.WriteString(e.Name() + "\n")
		if e.Type().IsRegular() {
			s.WriteString(fileContent(t, filepath.Join(dir, e.Name())))
		}
	}
	return s.String()
}

func TestInvariantSingleWriterOfAFile(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	_, err := Open(o)
	wantError(t, err, ErrInUse)
	mustExec(t, d, `CREATE TABLE x (y)`)
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {Path: "x", Synchronous: 9}, {Path: "x", MaxBytes: 1}, {Path: "x", MaxChanges: -1}} {
		_, err := Open(o)
		wantError(t, err, ErrMisuse)
	}
}

func TestMaxBytes(t *testing.T) {
	o := testOptions(t)
	o.MaxBytes = 200 << 10
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	fillUp(t, d, ErrRoomFull)
	mustExec(t, d, `DELETE FROM todos`)
	if c := actSQL(t, d, 1, `INSERT INTO todos (id) VALUES ('fits again')`); len(c.Rows) != 1 {
		t.Errorf("commit %+v", c)
	}
}

// fillUp writes until the room is full, and checks that it goes on answering.
func fillUp(t *testing.T, d *DB, want error) {
	t.Helper()
	text := strings.Repeat("x", 10_000)
	n := 0
	for ; n < 1000; n++ {
		// An Exec by itself is a batch: the insert or the commit may fail.
		if _, err := d.Exec(`INSERT INTO todos (id, text) VALUES (?, ?)`, n, text); err != nil {
			wantError(t, err, want)
			break
		}
	}
	if n == 0 || n == 1000 {
		t.Fatalf("full after %d rows", n)
	}
	if got := query(t, d, `SELECT count(*) FROM todos`)[0][0]; got != int64(n) || d.Seq() != Seq(n) {
		t.Errorf("%v rows, seq %d, want %d", got, d.Seq(), n)
	}
}

func TestValueTooLarge(t *testing.T) {
	o := testOptions(t)
	o.MaxValueBytes = 100_000
	d := openTest(t, o)
	mustExec(t, d, `CREATE TABLE x (y)`)
	_, err := d.Exec(`INSERT INTO x VALUES (?)`, strings.Repeat("x", 100_001))
	wantError(t, err, ErrTooLarge)
	_, err = d.Exec(`INSERT INTO x VALUES (zeroblob(100001))`)
	wantError(t, err, ErrTooLarge)
}

// mount gives a small file system of the test's own, where that is allowed.
func mount(t *testing.T, size string) string {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("needs root on Linux to mount a tmpfs")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs here: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	o := testOptions(t)
	o.Path = filepath.Join(mount(t, "1m"), "room.db")
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	fillUp(t, d, ErrFull)
	// Other rooms' files on the same disk can be refused, and say why.
	write(t, filepath.Join(filepath.Dir(o.Path), "ballast"), "")
	for f, err := os.OpenFile(filepath.Join(filepath.Dir(o.Path), "ballast"), os.O_WRONLY|os.O_APPEND, 0); ; {
		if err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if err != nil {
			f.Close()
			break
		}
	}
	other := o
	other.Path = filepath.Join(filepath.Dir(o.Path), "deep", "other.db")
	_, err := Open(other)
	wantError(t, err, ErrFull)
	if err := os.Remove(filepath.Join(filepath.Dir(o.Path), "ballast")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(other.Path); err == nil {
		t.Error("half a file was left")
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir := mount(t, "1m")
	o := testOptions(t)
	o.Path = filepath.Join(dir, "room.db")
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Skipf("no remount: %s", out)
	}
	_, err = Open(o)
	wantError(t, err, ErrReadOnly)
	o.Path = filepath.Join(dir, "new", "room.db")
	_, err = Open(o)
	wantError(t, err, ErrReadOnly)
	_, err = LockDir(HostFS(), dir)
	wantError(t, err, ErrReadOnly)
}

func TestLockDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	unlock, err := LockDir(HostFS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = LockDir(HostFS(), dir)
	wantError(t, err, ErrInUse)
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("no path in %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = LockDir(HostFS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}
