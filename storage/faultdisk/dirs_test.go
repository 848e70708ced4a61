package faultdisk

// Directories: that there are some, what a cut takes with one, and what a sync of one that fails leaves.

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
)

// TestNoDirectory: nothing is made in a directory that is not there.
func TestNoDirectory(t *testing.T) {
	d := New(1)
	d.Write("a", []byte("x"))
	system := d.FS("none")
	_, open := d.OpenFile("no/a", os.O_CREATE)
	_, size := system.Size("no/a")
	_, names := system.Names("no")
	_, is := d.IsDir("no")
	for i, err := range []error{open, size, names, is, d.Rename("a", "no/a"), d.Mkdir("no/deeper"), d.SyncDir("no"), d.Delete("no")} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	_, err := dial(register(t, d), "no/room.db")
	wantCode(t, "a database", err, sqlite3.SQLITE_CANTOPEN)
	if got := d.Files(); !slices.Equal(got, []string{"a"}) {
		t.Error(got)
	}
}

// TestMkdir: a directory is none of the files, and is neither read, deleted nor made twice.
func TestMkdir(t *testing.T) {
	d := New(1)
	must(t, d.Mkdir("dir"))
	must(t, d.Mkdir("dir/sub"))
	must(t, create(t, d, "dir/a").Close())
	if err := d.Mkdir("dir"); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := d.Mkdir("/"); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	_, open := d.OpenFile("dir", 0)
	_, read := d.Read("dir")
	for i, err := range []error{open, read, d.Delete("dir"), d.Rename("dir", "else"), d.Rename("dir/a", "dir/sub")} {
		if !errors.Is(err, syscall.EISDIR) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if is, err := d.IsDir("dir/a"); is || err != nil {
		t.Error(is, err)
	}
	if _, err := d.FS("").MakeDirs("dir/a"); !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
	if names, err := d.FS("").Names("dir"); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Error(names, err)
	}
	if got := d.Dirs(); !slices.Equal(got, []string{"dir", "dir/sub"}) {
		t.Error(got)
	}
	if got := d.Files(); !slices.Equal(got, []string{"dir/a"}) {
		t.Error(got)
	}
}

// TestLostDirectory: a cut takes a directory whose parent was not synced with all in it, synced or not. One that is made
// again is empty.
func TestLostDirectory(t *testing.T) {
	lost := 0
	for seed := range uint64(100) {
		d := New(seed)
		must(t, d.Mkdir("dir"))
		must(t, d.Mkdir("dir/sub"))
		f := create(t, d, "dir/sub/a")
		write(t, f, []byte("x"))
		must(t, f.Sync())
		must(t, d.SyncDir("dir/sub"))
		must(t, d.SyncDir("dir"))
		synced := d.Clone(seed)
		must(t, synced.SyncDir("."))
		powerCut(t, synced)
		if got := content(t, synced, "dir/sub/a"); got != "x" {
			t.Fatalf("seed %d: %q with all directories synced", seed, got)
		}
		powerCut(t, d)
		if len(d.Dirs()) > 0 {
			if got := content(t, d, "dir/sub/a"); got != "x" {
				t.Fatalf("seed %d: %q in a directory that stayed", seed, got)
			}
			continue
		}
		lost++
		must(t, d.Mkdir("dir"))
		must(t, d.Mkdir("dir/sub"))
		if got := d.Files(); len(got) > 0 {
			t.Fatalf("seed %d: %v came back", seed, got)
		}
	}
	if lost < 25 || lost > 75 {
		t.Errorf("the directory was lost %d times of 100", lost)
	}
}

func mustMakeDirs(t *testing.T, d *Disk, dir string) {
	t.Helper()
	_, err := d.FS("").MakeDirs(dir)
	must(t, err)
}

// TestMakeDirs: what vfs.FS's MakeDirs has made survives, and each of its steps may fail or meet a cut.
func TestMakeDirs(t *testing.T) {
	for seed := range uint64(50) {
		d := New(seed)
		mustMakeDirs(t, d, "/data/party/ab")
		powerCut(t, d)
		if got := d.Dirs(); !slices.Equal(got, []string{"/data", "/data/party", "/data/party/ab"}) {
			t.Fatalf("seed %d: %v", seed, got)
		}
	}
	for op, want := range map[Op][]string{OpMkdir: {"/data"}, OpSyncDir: {"/data", "/data/party"}} {
		d := New(1)
		d.Fail(Fault{Op: op, After: 1})
		if _, err := d.FS("").MakeDirs("/data/party"); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", op, err)
		}
		if got := d.Dirs(); !slices.Equal(got, want) {
			t.Errorf("%v failed: %v", op, got)
		}
	}
	// One that is there may have been made by who died before the sync.
	for seed := range uint64(50) {
		d := New(seed)
		must(t, d.Mkdir("/data"))
		mustMakeDirs(t, d, "/data")
		powerCut(t, d)
		if got := d.Dirs(); !slices.Equal(got, []string{"/data"}) {
			t.Fatalf("seed %d: %v", seed, got)
		}
	}
	for n := 1; n <= 4; n++ {
		d := New(1)
		d.CrashAfter(n)
		if _, err := d.FS("").MakeDirs("/data/party"); !errors.Is(err, ErrPowerCut) {
			t.Errorf("change %d: %v", n, err)
		}
		mustRestart(t, d)
		mustMakeDirs(t, d, "/data/party")
	}
}

// TestFailedSyncDir: after a sync that failed each name is durable or is not, and nothing but a cut says which. A later
// sync that succeeds makes all of them durable.
func TestFailedSyncDir(t *testing.T) {
	made, mixed := 0, 0
	for seed := range uint64(300) {
		d := New(seed)
		for _, name := range []string{"x/old", "x/conf", "y/other"} {
			d.Write(name, []byte("old"))
		}
		for _, name := range []string{"x/new", "x/temp", "y/new"} {
			must(t, create(t, d, name).Sync())
		}
		must(t, d.Delete("x/old"))
		must(t, d.Rename("x/temp", "x/conf"))
		want := d.Files()
		d.Fail(Fault{Op: OpSyncDir, Suffix: "x"})
		if err := d.SyncDir("x"); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		s := d.Stats()
		if s.Settled+s.Undecided != 4 {
			t.Fatalf("seed %d: %d of 4 entries", seed, s.Settled+s.Undecided)
		}
		if s.Settled > 0 && s.Undecided > 0 {
			mixed++
		}
		kept := map[string]int{}
		for i := range uint64(20) {
			c := d.Clone(i)
			powerCut(t, c)
			for _, name := range c.Files() {
				kept[name]++
			}
			if slices.Contains(c.Files(), "x/temp") && content(t, c, "x/conf") != "old" {
				t.Fatalf("seed %d: a rename by half: %v", seed, c.Files())
			}
		}
		if kept["x/new"] == 20 {
			made++
		}
		if kept["y/new"] == 20 {
			t.Fatalf("seed %d: the sync of x made a name of y durable", seed)
		}
		must(t, d.SyncDir("x"))
		must(t, d.SyncDir("y"))
		powerCut(t, d)
		if got := d.Files(); !slices.Equal(got, want) {
			t.Fatalf("seed %d: after a sync that succeeded: %v", seed, got)
		}
	}
	if made < 90 || made > 210 {
		t.Errorf("the failed sync made the new name durable %d times of 300", made)
	}
	if mixed < 60 {
		t.Errorf("only %d of 300 syncs did a part", mixed)
	}
}

// TestUndone: however a name goes, it comes back in a cut unless its directory was synced, and then with what its file
// had: for sure what was synced of it, by chance the rest.
func TestUndone(t *testing.T) {
	const all = "synced, unsynced"
	open := func(t *testing.T, d *Disk, flags int32) *rawFile {
		return openVFSFlags(t, register(t, d), "f", flags)
	}
	for name, vanish := range map[string]func(t *testing.T, d *Disk){
		"Delete":           func(t *testing.T, d *Disk) { must(t, d.Delete("f")) },
		"rename over it":   func(t *testing.T, d *Disk) { must(t, d.Rename("other", "f")) },
		"rename away":      func(t *testing.T, d *Disk) { must(t, d.Rename("f", "g")) },
		"to another place": func(t *testing.T, d *Disk) { must(t, d.Rename("f", "x/f")) },
		"xDelete": func(t *testing.T, d *Disk) {
			f := open(t, d, sqlite3.SQLITE_OPEN_MAIN_DB)
			defer f.close()
			if rc := f.remove("f", 0); rc != 0 {
				t.Error(rc)
			}
		},
		"delete on close": func(t *testing.T, d *Disk) {
			open(t, d, sqlite3.SQLITE_OPEN_MAIN_DB|sqlite3.SQLITE_OPEN_DELETEONCLOSE).close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			back, whole := 0, 0
			for seed := range uint64(200) {
				d := New(seed)
				d.MkdirAll("x")
				d.Write("other", []byte("other"))
				f := create(t, d, "f")
				write(t, f, []byte("synced"))
				must(t, f.Sync())
				must(t, d.SyncDir("."))
				write(t, f, []byte(", unsynced"))
				vanish(t, d)
				if b, err := d.Read("f"); err == nil && string(b) != "other" {
					t.Fatalf("it is there still: %q", b)
				}
				synced := d.Clone(seed)
				powerCut(t, d)
				if b, err := d.Read("f"); err == nil && string(b) != "other" {
					back++
					if !strings.HasPrefix(all, string(b)) && !strings.HasPrefix(string(b), "synced") {
						t.Fatalf("seed %d: it came back as %q", seed, b)
					}
					if string(b) == all {
						whole++
					}
				}
				must(t, synced.SyncDir("."))
				powerCut(t, synced)
				if b, err := synced.Read("f"); err == nil && string(b) != "other" {
					t.Fatalf("seed %d: it came back after a sync of its directory: %q", seed, b)
				}
			}
			if back < 60 || back > 140 || whole == 0 || whole == back {
				t.Errorf("it came back %d times of 200, %d times whole", back, whole)
			}
		})
	}
}

// TestXDeleteSyncs: the deletion that SQLite wants synced does not come undone.
func TestXDeleteSyncs(t *testing.T) {
	for seed := range uint64(50) {
		d := New(seed)
		d.Write("f", []byte("x"))
		d.Write("db", nil)
		f := openVFS(t, register(t, d), "db")
		if rc := f.remove("f", 1); rc != 0 {
			t.Fatal(rc)
		}
		f.close()
		powerCut(t, d)
		if got := d.Files(); !reflect.DeepEqual(got, []string{"db"}) {
			t.Fatalf("seed %d: %v", seed, got)
		}
	}
}

// TestJournalsComeBack: SQLite deletes its journals without a sync of the directory, so a cut brings them back, with what
// they held.
func TestJournalsComeBack(t *testing.T) {
	for suffix, pragmas := range map[string]string{
		"-journal": "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;",
		"-wal":     inWAL,
	} {
		back := 0
		for seed := range uint64(60) {
			d := New(seed)
			c, err := dial(register(t, d), "room.db")
			must(t, err)
			mustExec(t, c, pragmas+"CREATE TABLE t (a); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
			c.close()
			if got := d.Files(); !slices.Equal(got, []string{"room.db"}) {
				t.Fatal(got)
			}
			powerCut(t, d)
			if size, err := d.Size("room.db" + suffix); err == nil && size > 0 {
				back++
			}
		}
		if back < 15 || back > 45 {
			t.Errorf("%s came back %d times of 60", suffix, back)
		}
	}
}

// TestLocksOfTheDead: a file that a cut brings back is nobody's.
func TestLocksOfTheDead(t *testing.T) {
	for seed := range uint64(20) {
		d := New(seed)
		d.Write("f", []byte("x"))
		vfs := register(t, d)
		f := openVFS(t, vfs, "f")
		for _, level := range []int32{1, 2, 4} {
			if rc := f.lock(level); rc != 0 {
				t.Fatal(rc)
			}
		}
		must(t, d.Delete("f"))
		d.Crash()
		if n := d.durable["f"]; n != nil && len(n.locks) > 0 {
			t.Fatalf("seed %d: %d locks", seed, len(n.locks))
		}
		f.close()
	}
}
