package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
)

// openNode opens a room with a node's commit log in a directory of the test.
func openNode(t *testing.T, o Options, dir string) (*DB, *NodeLog, Options) {
	t.Helper()
	log, err := OpenLog(LogOptions{Dir: dir, FS: o.FS, History: time.Hour, SegmentBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	o.Log = log
	d, err := Open(o)
	if err != nil {
		log.Close()
		t.Fatal(err)
	}
	return d, log, o
}

// insertTodo adds a todo in an action of its own, at its number in seconds.
func insertTodo(t *testing.T, d *DB, n int) {
	t.Helper()
	actSQL(t, d, int64(n)*1000, fmt.Sprintf(`INSERT INTO todos VALUES ('%04d', hex(randomblob(400)), 0, 1, 1, NULL)`, n))
}

// wantTodos checks that a room holds the todos 1 to n.
func wantTodos(t *testing.T, d *DB, what string, n int) {
	t.Helper()
	got := fmt.Sprint(query(t, d, `SELECT count(*), max(id) FROM todos`))
	want := fmt.Sprintf("[[%d %04d]]", n, n)
	if n == 0 {
		want = "[[0 <nil>]]"
	}
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// wantStates checks by seq and by time that each earlier state can be had, each as a whole room
// with a history of its own.
func wantStates(t *testing.T, d *DB, seqs map[int]Seq, ns ...int) {
	t.Helper()
	dir := t.TempDir()
	for _, n := range ns {
		for form, p := range map[string]Point{
			"seq":  {Seq: seqs[n]},
			"time": {Time: time.UnixMilli(int64(n)*1000 + 500)},
			"both": {Seq: seqs[n], Time: time.UnixMilli(int64(n+5) * 1000)},
		} {
			path := filepath.Join(dir, fmt.Sprintf("%s-%d.db", form, n))
			if err := archived.writeAt(d, path, p); err != nil {
				t.Errorf("by %s, %d: %v", form, n, err)
				continue
			}
			c := openAt(t, Options{Namespace: d.o.Namespace, Room: d.o.Room}, path)
			wantTodos(t, c, fmt.Sprintf("by %s", form), n)
			if c.Epoch() == d.Epoch() || c.Seq() <= seqs[n] {
				t.Errorf("by %s, %d: epoch %s, seq %d behind %d", form, n, c.Epoch(), c.Seq(), seqs[n])
			}
			checkConsistent(t, c)
		}
	}
}

// An earlier state can be had across checkpoints, a good end, and a crash whose entries were
// replayed into an older file.
func TestStateAtAcrossLives(t *testing.T) {
	o, dir := testOptions(t), filepath.Join(t.TempDir(), "_log")
	var on Options
	d, log, _ := openNode(t, o, dir)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	seqs := map[int]Seq{0: d.Seq()}
	add := func(from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			insertTodo(t, d, n)
			seqs[n] = d.Seq()
		}
	}
	add(1, 20)
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	add(21, 40)
	wantStates(t, d, seqs, 1, 19, 20, 21, 40)
	if err := errors.Join(d.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}

	d, log, on = openNode(t, o, dir)
	add(41, 45)
	older := rememberFile(t, on)
	add(46, 60)
	wantStates(t, d, seqs, 5, 40, 41, 50)
	d.Fence()
	older() // what a power cut may leave of the file; the log has all

	// The log ends well, so that only what it holds tells that the file is older.
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	d, log, _ = openNode(t, o, dir)
	defer log.Close()
	defer d.Close()
	wantTodos(t, d, "behind the replay", 60)
	add(61, 62)
	wantStates(t, d, seqs, 3, 20, 40, 44, 45, 46, 59, 60, 61)
	path := filepath.Join(t.TempDir(), "early.db")
	if err := archived.writeAt(d, path, Point{Time: time.UnixMilli(-1)}); err != nil {
		t.Fatalf("before the first transaction: %v", err)
	}
	c := openAt(t, Options{Namespace: o.Namespace, Room: o.Room}, path)
	if got := query(t, c, `SELECT name FROM sqlite_schema WHERE name NOT LIKE '!_den%' ESCAPE '!' AND name NOT LIKE 'sqlite%'`); len(got) != 0 {
		t.Errorf("before the first transaction there are %v", got)
	}
}

// A restore over a file that cannot be read lets the commit log go of what that file lacked,
// after a crash too.
func TestRestoreLetsTheLogGo(t *testing.T) {
	o, dir := testOptions(t), filepath.Join(t.TempDir(), "_log")
	o.Room = "a\x00b" // the log has another name for it
	d, log, on := openNode(t, o, dir)
	mustExec(t, d, todosTable)
	good := filepath.Join(t.TempDir(), "copy")
	if err := archived.write(d, good); err != nil {
		t.Fatal(err)
	}
	insertTodo(t, d, 1)
	d.Fence()
	write(t, o.Path, "garbage")
	if n := log.Stats().Pinned; n != 1 {
		t.Fatalf("%d rooms need the log", n)
	}
	if _, err := restoreOver(on, good); err != nil {
		t.Fatal(err)
	}
	if n := log.Stats().Pinned; n != 0 {
		t.Errorf("%d rooms need the log", n)
	}
	d, err := Open(on)
	if err != nil {
		t.Fatal(err)
	}
	wantTodos(t, d, "restored", 0)
	insertTodo(t, d, 1)
	d.Fence()
	write(t, o.Path, "garbage again")
	image := filepath.Join(t.TempDir(), "_log")
	if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if log, err = OpenLog(LogOptions{Dir: image}); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if got := unrecovered(log); got != fmt.Sprintf("%q", o.Room) || log.Crashed() == 0 {
		t.Errorf("behind a crash %s is to be recovered, crashed %d", got, log.Crashed())
	}
	on.Log = log
	if _, err := restoreOver(on, good); err != nil {
		t.Fatal(err)
	}
	if got := unrecovered(log); got != "" || log.Crashed() != 0 {
		t.Errorf("behind the restore %s is to be recovered, crashed %d", got, log.Crashed())
	}
}

// unrecovered lists the rooms that have not taken what a crash has left.
func unrecovered(log *NodeLog) (names string) {
	for _, room := range log.Unrecovered {
		names += fmt.Sprintf("%q", room)
	}
	return names
}

// Restore under power cuts, with the room's transactions in a commit log: the room is the old
// one, with all that was acknowledged, or the new one, whole. The other room on the same log
// is not touched.
func TestRestorePowerCutWithALog(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	tally := make(map[string]int)
	for cut, done := 1, false; !done; cut += 4 / shorter(4, 1) {
		done = cutRestore(t, seed, cut, tally)
	}
	t.Log(tally)
	if tally["old"] < shorter(10, 2) || tally["new"] < 1 {
		t.Errorf("%v: the cuts were not all over it", tally)
	}
}

// cutRestore cuts the power at a change of the disk during a restore, and reports whether the
// restore was through before.
func cutRestore(t *testing.T, seed uint64, cut int, tally map[string]int) (through bool) {
	t.Helper()
	disk := faultdisk.New(seed+uint64(cut), faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("restore-log-%d-%d", seed, cut)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	o := Options{Path: "/room.db", Namespace: "n", Room: "r", FS: disk.FS(name)}
	d, log, on := openNode(t, o, "/_log")
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	insertTodo(t, d, 1)
	if err := archived.write(d, "/copy.db"); err != nil {
		t.Fatal(err)
	}
	insertTodo(t, d, 2)
	epoch, seq := d.Epoch(), d.Seq()
	d.Fence() // the file has it only in the log
	other := on
	other.Path, other.Room = "/other.db", "other"
	neighbour, err := Open(other)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, neighbour, todosTable)
	insertTodo(t, neighbour, 1)

	disk.CrashAfter(cut)
	_, failed := restoreOver(on, "/copy.db")
	disk.CrashAfter(0)
	neighbour.Fence()
	log.Close()
	disk.Crash()
	if err := disk.Restart(); err != nil {
		t.Fatal(err)
	}

	d, log, on = openNode(t, o, "/_log")
	defer log.Close()
	defer d.Close()
	checkConsistent(t, d)
	restored := d.Epoch() != epoch
	switch {
	case !restored && failed != nil:
		wantTodos(t, d, "the old room", 2)
		tally["old"]++
	case restored && d.Seq() > seq:
		wantTodos(t, d, "the new room", 1)
		tally["new"]++
	default:
		t.Fatalf("seed %d, cut at %d: restored %v, seq %d behind %d, error %v", seed, cut, restored, d.Seq(), seq, failed)
	}
	insertTodo(t, d, 7) // it goes on
	other.Log = on.Log
	neighbour, err = Open(other)
	if err != nil {
		t.Fatalf("seed %d, cut at %d: the neighbour: %v", seed, cut, err)
	}
	defer neighbour.Close()
	wantTodos(t, neighbour, "the neighbour", 1)
	return failed == nil
}
