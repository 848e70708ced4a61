package faultdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func create(t testing.TB, d *Disk, name string) *File {
	t.Helper()
	f, err := d.OpenFile(name, os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, f *File, p []byte) {
	t.Helper()
	if n, err := f.Write(p); err != nil || n != len(p) {
		t.Fatal(n, err)
	}
}

// powerCut cuts the power and turns it on again.
func powerCut(t testing.TB, d *Disk) {
	t.Helper()
	d.Crash()
	mustRestart(t, d)
}

func content(t testing.TB, d *Disk, name string) string {
	t.Helper()
	b, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSyncedSurvives: content after Sync and names behind SyncDir, always.
func TestSyncedSurvives(t *testing.T) {
	for seed := range uint64(100) {
		d := New(seed)
		d.MkdirAll("log")
		f := create(t, d, "log/a")
		write(t, f, []byte("one,"))
		write(t, f, []byte("two,"))
		must(t, f.Truncate(7))
		must(t, f.Sync())
		must(t, d.SyncDir("log"))
		write(t, f, []byte("three"))
		powerCut(t, d)
		if got := content(t, d, "log/a"); !strings.HasPrefix(got, "one,two") {
			t.Fatalf("seed %d: %q", seed, got)
		}
	}
}

// TestTornWrites: of 16 sectors written over others, every fate is seen, and no
// sector is anything but old or new, but for one that may be torn.
func TestTornWrites(t *testing.T) {
	const sectors = 16
	var seen [fates]int
	torn, holes := 0, 0
	for seed := range uint64(500) {
		d := New(seed)
		d.Write("a", bytes.Repeat([]byte("o"), sectors*SectorSize))
		vfs := register(t, d)
		overwrite(t, vfs, bytes.Repeat([]byte("n"), sectors*SectorSize))
		powerCut(t, d)
		for fate, n := range d.Stats().Fates {
			seen[fate] += n
		}
		pattern, mixed := "", 0
		for s := range slices.Chunk([]byte(content(t, d, "a")), SectorSize) {
			switch bytes.Count(s, []byte("n")) {
			case 0:
				pattern += "o"
			case len(s):
				pattern += "n"
			default:
				pattern += "m"
				mixed++
			}
		}
		if len(pattern) != sectors || mixed > 1 {
			t.Fatalf("seed %d: %s", seed, pattern)
		}
		if strings.Contains(pattern, "on") {
			holes++
		}
		if pattern != strings.Repeat(pattern[:1], sectors) {
			torn++
		}
		if (torn > 0) != (seen[KeepPrefix]+seen[KeepSectors]+seen[KeepShuffled] > 0) && d.Stats().Torn > 0 {
			t.Fatalf("seed %d: %s counts as torn: %+v", seed, pattern, d.Stats())
		}
	}
	t.Logf("fates %v; torn %d, new behind old %d of 500", seen, torn, holes)
	for fate, n := range seen {
		if n < 60 {
			t.Errorf("fate %d came %d times of 500", fate, n)
		}
	}
	if torn < 150 || holes < 100 {
		t.Errorf("torn %d, holes %d of 500", torn, holes)
	}
}

// overwrite writes into a file's beginning, as only SQLite can.
func overwrite(t testing.TB, vfs string, p []byte) {
	t.Helper()
	f := openVFS(t, vfs, "a")
	if rc := f.write(p, 0); rc != 0 {
		t.Fatal(rc)
	}
	f.close()
}

// TestEntries: a name without SyncDir comes or goes by chance, with it always.
func TestEntries(t *testing.T) {
	var made, deleted, renamed int
	for seed := range uint64(200) {
		d := New(seed)
		for _, name := range []string{"old", "from"} {
			d.Write(name, []byte(name))
		}
		must(t, create(t, d, "new").Sync()) // the content, not the name
		must(t, d.Delete("old"))
		must(t, d.Rename("from", "to"))
		if got := d.Files(); !reflect.DeepEqual(got, []string{"new", "to"}) {
			t.Fatal(got)
		}
		synced := d.Clone(seed)
		powerCut(t, d)
		got := d.Files()
		if slices.Contains(got, "new") {
			made++
		}
		if !slices.Contains(got, "old") {
			deleted++
		}
		if slices.Contains(got, "to") {
			renamed++
		}
		if slices.Contains(got, "to") == slices.Contains(got, "from") {
			t.Fatalf("seed %d: a rename by half: %v", seed, got)
		}
		must(t, synced.SyncDir("."))
		powerCut(t, synced)
		if got := synced.Files(); !reflect.DeepEqual(got, []string{"new", "to"}) {
			t.Fatalf("seed %d: synced names: %v", seed, got)
		}
	}
	for what, n := range map[string]int{"made": made, "deleted": deleted, "renamed": renamed} {
		if n < 60 || n > 140 {
			t.Errorf("%s survived %d times of 200", what, n)
		}
	}
}

// TestRenameKeepsOneOfTwo: the classic way to replace a file leaves one of them.
func TestRenameKeepsOneOfTwo(t *testing.T) {
	var got [2]int
	for seed := range uint64(200) {
		d := New(seed)
		d.Write("conf", []byte("old"))
		f := create(t, d, "conf.new")
		write(t, f, []byte("new"))
		must(t, f.Sync())
		must(t, f.Close())
		must(t, d.Rename("conf.new", "conf"))
		powerCut(t, d)
		switch content(t, d, "conf") {
		case "old":
			got[0]++
		case "new":
			got[1]++
		default:
			t.Fatalf("seed %d: %q", seed, content(t, d, "conf"))
		}
	}
	if got[0] < 50 || got[1] < 50 {
		t.Errorf("old and new: %v", got)
	}
}

func TestDeadHandles(t *testing.T) {
	d := New(1)
	f := create(t, d, "a")
	d.CrashAfter(2)
	write(t, f, []byte("x"))
	if _, err := f.Write([]byte("y")); !errors.Is(err, ErrPowerCut) || !errors.Is(err, syscall.EIO) {
		t.Errorf("write in the cut: %v", err)
	}
	off := func(when string) {
		t.Helper()
		_, size := f.Size()
		_, read := f.ReadAt(make([]byte, 1), 0)
		_, wrote := f.Write([]byte("z"))
		for i, err := range []error{size, read, wrote, f.Sync(), f.Truncate(0)} {
			if !errors.Is(err, ErrPowerCut) {
				t.Errorf("%s, call %d: %v", when, i, err)
			}
		}
	}
	off("while the power is off")
	_, open := d.OpenFile("a", os.O_CREATE)
	for i, err := range []error{open, d.Delete("a"), d.Rename("a", "b"), d.SyncDir(".")} {
		if !errors.Is(err, ErrPowerCut) {
			t.Errorf("call %d by name: %v", i, err)
		}
	}
	mustRestart(t, d)
	off("behind the restart")
	if n := d.OpenFiles(); n != 1 {
		t.Errorf("%d files are open", n)
	}
	if err := f.Close(); !errors.Is(err, ErrPowerCut) {
		t.Errorf("close: %v", err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("close again: %v", err)
	}
	if n := d.OpenFiles(); n != 0 {
		t.Errorf("%d files are open after all were closed", n)
	}
	if err := f.Sync(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("sync of a closed file: %v", err)
	}
	if d.Stats().Crashes != 1 {
		t.Errorf("%+v", d.Stats())
	}
}

// TestKill: handles die, the cache lives, until the power goes too.
func TestKill(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		d := New(seed)
		f := create(t, d, "a")
		write(t, f, []byte("x"))
		d.Kill()
		if _, err := f.Write([]byte("y")); !errors.Is(err, ErrPowerCut) {
			t.Errorf("write: %v", err)
		}
		mustRestart(t, d)
		if got := content(t, d, "a"); got != "x" {
			t.Errorf("%q", got)
		}
		powerCut(t, d)
		if b, err := d.Read("a"); err != nil || string(b) != "x" {
			lost++
		}
	}
	if lost == 0 {
		t.Error("what a killed program wrote was synced")
	}
}

// TestFailedSync: one kind leaves the pages dirty for the next sync, the other
// drops them, and a later sync that succeeds means nothing.
func TestFailedSync(t *testing.T) {
	kept, dropped := 0, 0
	for seed := range uint64(200) {
		d := New(seed)
		f := create(t, d, "a")
		must(t, d.SyncDir("."))
		write(t, f, bytes.Repeat([]byte("x"), 4*SectorSize))
		d.Fail(Fault{Op: OpSync, After: 1, Times: 1})
		must(t, d.Clone(seed).SyncDir(".")) // a fault of another operation, of a copy: neither counts
		must(t, f.Truncate(4*SectorSize-1))
		must(t, f.Sync())
		write(t, f, bytes.Repeat([]byte("y"), 4*SectorSize))
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		before := content(t, d, "a")
		must(t, f.Sync())
		powerCut(t, d)
		after := content(t, d, "a")
		if !strings.HasPrefix(after, before[:4*SectorSize-1]) {
			t.Fatalf("seed %d: what was synced before is gone", seed)
		}
		if after == before {
			kept++
		} else if d.Stats().Dropped == 1 {
			dropped++
		} else {
			t.Fatalf("seed %d: lost without a drop", seed)
		}
	}
	if kept < 60 || dropped < 40 {
		t.Errorf("kept %d, dropped %d of 200", kept, dropped)
	}
}

func TestFaultsOfFiles(t *testing.T) {
	d := New(1)
	f := create(t, d, "a.log")
	d.Fail(Fault{Op: OpWrite, Err: syscall.ENOSPC, Suffix: ".log", After: 1, Times: 2})
	write(t, f, []byte("x"))
	for range 2 {
		if n, err := f.Write([]byte("yyy")); !errors.Is(err, syscall.ENOSPC) || n > 3 {
			t.Errorf("%d, %v", n, err)
		}
	}
	write(t, f, []byte("z"))
	write(t, create(t, d, "b.txt"), []byte("z"))
	for op, call := range map[Op]func() error{
		OpOpen:     func() error { _, err := d.OpenFile("a.log", 0); return err },
		OpRead:     func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		OpTruncate: func() error { return f.Truncate(1) },
		OpDelete:   func() error { return d.Delete("a.log") },
		OpRename:   func() error { return d.Rename("a.log", "c.log") },
		OpSyncDir:  func() error { return d.SyncDir(".") },
	} {
		d.Fail(Fault{Op: op, Times: -1})
		for range 3 {
			if err := call(); !errors.Is(err, syscall.EIO) {
				t.Errorf("%v: %v", op, err)
			}
		}
		d.Heal()
		if err := call(); op != OpRename && op != OpDelete && err != nil {
			t.Errorf("%v, healed: %v", op, err)
		}
		if op == OpDelete || op == OpRename {
			d.Write("a.log", []byte("x"))
		}
	}
	if got := d.Stats().Faults; got != 20 {
		t.Errorf("%d faults were counted", got)
	}
}

func TestFilesLikeOS(t *testing.T) {
	d := New(1)
	if _, err := d.OpenFile("a", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	f := create(t, d, "a")
	if _, err := d.OpenFile("./a", os.O_CREATE|os.O_EXCL); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	write(t, f, []byte("abc"))
	b := make([]byte, 4)
	if n, err := f.ReadAt(b, 1); n != 2 || err != io.EOF || string(b[:2]) != "bc" {
		t.Error(n, err, b)
	}
	if n, err := f.ReadAt(b[:2], 0); n != 2 || err != nil {
		t.Error(n, err)
	}
	must(t, f.Truncate(5))
	if got := content(t, d, "a"); got != "abc\x00\x00" {
		t.Errorf("%q", got)
	}
	must(t, d.Corrupt("a", 1, []byte{1, 2}))
	if got := content(t, d, "a"); got != "aca\x00\x00" {
		t.Errorf("%q", got)
	}
	if err := d.Corrupt("a", 4, []byte{1, 2}); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	must(t, d.SyncDir("."))
	powerCut(t, d)
	if got := content(t, d, "a"); got != "aca\x00\x00" {
		t.Errorf("corruption is not for good: %q", got)
	}
	if _, err := d.OpenFile("a", os.O_TRUNC); err != nil {
		t.Error(err)
	}
	if size, err := d.Size("a"); size != 0 || err != nil {
		t.Error(size, err)
	}
	must(t, d.Delete("a"))
	d.Write("a", []byte("again"))
	powerCut(t, d)
	if got := content(t, d, "a"); got != "again" {
		t.Errorf("%q", got)
	}
	must(t, d.Remove("a"))
	powerCut(t, d)
	if got := d.Files(); len(got) != 0 {
		t.Error(got)
	}
	d.MkdirAll("y")
	if err := d.Rename("x/a", "y/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A rename to another directory is a change of both: a power cut leaves the old name, the new one,
// both or none, and syncs of both make it certain.
func TestRenameToAnotherDirectory(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		d := New(seed)
		d.Write("x/a", []byte("content"))
		d.MkdirAll("y")
		must(t, d.SyncDir("x"))
		must(t, d.Rename("x/a", "y/b"))
		if got := d.Files(); !slices.Equal(got, []string{"y/b"}) {
			t.Fatal(got)
		}
		synced := d.Clone(seed)
		powerCut(t, d)
		seen[strings.Join(d.Files(), " ")]++
		must(t, synced.SyncDir("y"))
		must(t, synced.SyncDir("x"))
		powerCut(t, synced)
		if got := synced.Files(); !slices.Equal(got, []string{"y/b"}) {
			t.Fatal(got)
		}
	}
	if len(seen) != 4 {
		t.Errorf("it left %v", seen)
	}
}

// scramble does random things to a disk and returns all that came of it.
func scramble(t testing.TB, d *Disk, seed uint64) string {
	r, out := rand.New(rand.NewPCG(seed, 9)), ""
	files := map[string]*File{}
	for range 300 {
		name := string(rune('a' + r.IntN(4)))
		f := files[name]
		switch what := r.IntN(20); {
		case f == nil:
			f, _ = d.OpenFile(name, os.O_CREATE)
			if f != nil {
				files[name] = f
			}
		case what < 10:
			n, err := f.Write(bytes.Repeat([]byte(name), r.IntN(2000)))
			out += fmt.Sprintln(name, n, err)
		case what < 13:
			out += fmt.Sprintln("sync", f.Sync())
		case what == 13:
			out += fmt.Sprintln("truncate", f.Truncate(int64(r.IntN(3000))))
		case what == 14:
			out += fmt.Sprintln("delete", d.Delete(name))
			delete(files, name)
		case what == 15:
			out += fmt.Sprintln("rename", d.Rename(name, "a"))
			clear(files)
		case what == 16:
			out += fmt.Sprintln("syncdir", d.SyncDir("."))
		case what == 17:
			d.Fail(Fault{Op: Op(r.IntN(int(ops))), After: r.IntN(9)})
		case what == 18 && r.IntN(2) == 0:
			d.CrashAt(Op(r.IntN(int(ops))), "", 1+r.IntN(9))
		case what == 18:
			d.CrashAfter(1 + r.IntN(9))
		default:
			d.Crash()
			must(t, d.Restart())
			clear(files)
		}
	}
	d.Crash()
	for _, name := range d.Files() {
		out += fmt.Sprintf("%s %q\n", name, content(t, d, name))
	}
	return out + fmt.Sprintf("%+v", d.Stats())
}

func TestSameSeedSameDisk(t *testing.T) {
	differ := 0
	for seed := range uint64(50) {
		one, two := scramble(t, New(seed), seed), scramble(t, New(seed), seed)
		if one != two {
			t.Fatalf("seed %d: two runs differ:\n%s\n%s", seed, one, two)
		}
		if scramble(t, New(seed+1000), seed) != one {
			differ++
		}
	}
	if differ < 45 {
		t.Errorf("another seed changed only %d of 50 runs", differ)
	}
}

// TestClone: clones of one moment have outcomes of their own, and the same one
// with the same seed; the original doesn't notice.
func TestClone(t *testing.T) {
	d := New(1)
	f := create(t, d, "a")
	write(t, f, bytes.Repeat([]byte("x"), 8*SectorSize))
	outcomes := map[string]bool{}
	for seed := range uint64(50) {
		var got [2]string
		for i := range got {
			c := d.Clone(seed)
			powerCut(t, c)
			for _, name := range c.Files() {
				got[i] += name + content(t, c, name)
			}
		}
		if got[0] != got[1] {
			t.Fatalf("seed %d: two clones differ", seed)
		}
		outcomes[got[0]] = true
	}
	if len(outcomes) < 8 {
		t.Errorf("only %d outcomes of 50", len(outcomes))
	}
	write(t, f, []byte("y"))
	if size, _ := d.Size("a"); size != 8*SectorSize+1 {
		t.Errorf("size %d", size)
	}
}
