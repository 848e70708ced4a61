package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/internal/walfile"
	"github.com/denrooms/den/storage/roomfile"
)

// A nursery is a directory with a commit log, and a Pool that has a template and a connection: rooms
// begin there in memory.
type nursery struct {
	t    *testing.T
	dir  string
	fs   FS
	log  *NodeLog
	pool *Pool
}

func newNursery(t *testing.T) *nursery {
	t.Helper()
	n := &nursery{t: t, dir: t.TempDir(), pool: new(Pool)}
	t.Cleanup(n.pool.Close)
	n.raise()
	t.Cleanup(func() { n.log.Close() })
	return n
}

// raise makes the template and the connection.
func (n *nursery) raise() {
	n.t.Helper()
	n.restart()
	d := n.open("first")
	mustExec(n.t, d, todosTable2)
	if err := d.MakeTemplate("todos"); err != nil || n.pool.template.Load() == nil {
		n.t.Fatal("no template", err)
	}
	if err := d.Close(); err != nil || n.pool.conns.Len() != 1 {
		n.t.Fatal("no connection waits", err)
	}
	if err := n.log.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.restart()
}

// restart opens the log, the one before being closed or left as a killed process does.
func (n *nursery) restart() {
	n.t.Helper()
	var err error
	if n.log, err = OpenLog(LogOptions{Dir: filepath.Join(n.dir, "_log"), FS: n.fs, History: 1 << 40}); err != nil {
		n.t.Fatal(err)
	}
}

// options are those of a room.
func (n *nursery) options(room string) Options {
	path, err := roomfile.Path(n.dir, "n", room)
	if err != nil {
		n.t.Fatal(err)
	}
	return Options{Path: path, Namespace: "n", Room: room, Pool: n.pool, Log: n.log, FS: n.fs}
}

func (n *nursery) open(room string) *DB {
	n.t.Helper()
	d, err := Open(n.options(room))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { d.Fence() })
	if err := d.Sync(tablesOf(n.t, d)...); err != nil {
		n.t.Fatal(err)
	}
	return d
}

func tablesOf(t *testing.T, d *DB) (names []string) {
	if err := d.sql.Each("SELECT name FROM sqlite_schema WHERE name = 'todos'", func(*Rows) { names = []string{"todos"} }); err != nil {
		t.Fatal(err)
	}
	return names
}

// logOnly opens a room that must begin in memory.
func (n *nursery) logOnly(room string) *DB {
	n.t.Helper()
	d := n.open(room)
	if !d.store.inMemory() {
		n.t.Fatalf("%q began with a file", room)
	}
	return d
}

// files are what lies in the room's place.
func (n *nursery) files(room string) (names []string) {
	n.t.Helper()
	all, err := filepath.Glob(n.options(room).Path + "*")
	if err != nil {
		n.t.Fatal(err)
	}
	for _, path := range all {
		names = append(names, strings.TrimPrefix(path, n.options(room).Path))
	}
	return names
}

func add(t *testing.T, d *DB, id int, text string) {
	t.Helper()
	if _, err := d.Exec(`INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, id, text); err != nil {
		t.Fatal(err)
	}
}

// A new room has no file until it sleeps, and then one that is whole and has all of it.
func TestLogOnlyInMemory(t *testing.T) {
	for _, name := range []string{"plain", "c\x00d", strings.Repeat("ü", 128)} {
		n := newNursery(t)
		d := n.logOnly(name)
		if !d.Created() || d.Seq() != 0 {
			t.Errorf("%q: created %v, seq %d", name, d.Created(), d.Seq())
		}
		add(t, d, 1, "x")
		mustExec(t, d, `CREATE TABLE more (x); INSERT INTO more VALUES (randomblob(3000))`)
		d.AfterCommit()
		if got := n.files(name); len(got) != 0 {
			t.Errorf("%q: it has files: %q", name, got)
		}
		want, epoch, seq := pagesOf(t, d), d.Epoch(), d.Seq()
		checkConsistent(t, d)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got := n.files(name); fmt.Sprint(got) != "[]" && len(got) != 1 {
			t.Errorf("%q: files when it sleeps: %q", name, got)
		}
		if err := n.log.Close(); err != nil {
			t.Fatal(err)
		}
		n.restart()
		if n.log.HasUnreleased() {
			t.Errorf("%q: the log still owes", name)
		}
		d = n.open(name)
		if d.Epoch() != epoch || d.Seq() != seq || d.Created() || d.store.inMemory() {
			t.Errorf("%q: epoch %s seq %d created %v, want %s, %d", name, d.Epoch(), d.Seq(), d.Created(), epoch, seq)
		}
		got := query(t, d, `SELECT id, text FROM todos`)
		if fmt.Sprint(got) != "[[1 x]]" {
			t.Errorf("%q: %v", name, got)
		}
		if len(pagesOf(t, d)) != len(want) {
			t.Errorf("%q: %d bytes, want %d", name, len(pagesOf(t, d)), len(want))
		}
	}
}

// The process is killed at some point of a room's first life: what was committed is there, in the
// same history; if nothing was, there is no trace.
func TestLogOnlyKilled(t *testing.T) {
	for actions := 0; actions < 40; actions += 8 / shorter(8, 1) {
		n := newNursery(t)
		d := n.logOnly("r")
		epoch := d.Epoch()
		for i := range actions {
			add(t, d, i+1, strings.Repeat("x", 500*(actions%7)))
			d.AfterCommit()
		}
		settled := !d.store.inMemory()
		if settled != (len(n.files("r")) > 0) {
			t.Errorf("%d actions: settled %v, files %q", actions, settled, n.files("r"))
		}
		want, number := pagesOf(t, d), d.store.number
		// The killed process's connection stays open, on a file that is not locked for this one.
		d.Fence()
		n.restart()
		if actions > 0 && n.log.Crashed() == 0 {
			t.Fatal("no crash")
		}
		there, err := Exists(n.options("r"))
		if err != nil || there != (actions > 0) {
			t.Errorf("%d actions: it exists: %v, %v", actions, there, err)
		}
		d = n.open("r")
		if actions == 0 {
			if !d.Created() || d.Epoch() == epoch {
				t.Errorf("no action: created %v, epoch %s, before %s", d.Created(), d.Epoch(), epoch)
			}
			continue
		}
		if d.Created() || d.Epoch() != epoch || d.store.number != number || string(pagesOf(t, d)) != string(want) {
			t.Errorf("%d actions, settled %v: created %v, epoch %s (%s), transaction %d (%d), the same content: %v", actions, settled,
				d.Created(), d.Epoch(), epoch, d.store.number, number, string(pagesOf(t, d)) == string(want))
		}
		add(t, d, 1000, "y")
		checkConsistent(t, d)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range n.log.Unrecovered {
			if name == "r" {
				t.Errorf("%d actions: the room is not recovered", actions)
			}
		}
	}
}

// A room that nobody has seen leaves nothing; one that somebody has, its epoch.
func TestLogOnlyUnseen(t *testing.T) {
	n := newNursery(t)
	d := n.logOnly("r")
	query(t, d, `SELECT * FROM todos`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(n.options("r").Path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a room that was touched left %q, %v", n.files("r"), err)
	}
	d = n.logOnly("r")
	epoch := d.Epoch()
	if err := errors.Join(d.Keep(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if d = n.open("r"); d.store.inMemory() || d.Epoch() != epoch {
		t.Errorf("a room that was seen: unsettled %v, epoch %s, want %s", d.store.inMemory(), d.Epoch(), epoch)
	}
}

// Rooms that are new at the same time have connections of their own, and leave them.
func TestLogOnlyMany(t *testing.T) {
	n := newNursery(t)
	var rooms []*DB
	for i := range 20 {
		rooms = append(rooms, n.logOnly(fmt.Sprint("r", i)))
		add(t, rooms[i], i, "x")
	}
	for i, d := range rooms {
		got := query(t, d, `SELECT id FROM todos`)
		if fmt.Sprint(got) != fmt.Sprintf("[[%d]]", i) {
			t.Errorf("room %d: %v", i, got)
		}
		checkConsistent(t, d)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.pool.conns.Len(); got != 20 {
		t.Errorf("%d connections wait", got)
	}
	for i := range 20 {
		d := n.open(fmt.Sprint("r", i))
		add(t, d, 100, strings.Repeat("y", 100<<10))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A life that is fenced leaves all in the log, and the next one of the same process finds it.
func TestLogOnlyFenced(t *testing.T) {
	for actions := range 3 {
		n := newNursery(t)
		d := n.logOnly("r")
		epoch := d.Epoch()
		for i := range actions {
			add(t, d, i, "x")
		}
		if _, err := Open(n.options("r")); !errors.Is(err, ErrInUse) {
			t.Errorf("opened twice: %v", err)
		}
		d.Fence()
		if got := n.files("r"); len(got) != 0 {
			t.Errorf("%q", got)
		}
		d = n.open("r")
		if got := len(query(t, d, `SELECT id FROM todos`)); got != actions || d.Epoch() != epoch || d.Created() != (actions == 0) {
			t.Errorf("%d actions: %d rows, epoch %s (%s), created %v", actions, got, d.Epoch(), epoch, d.Created())
		}
	}
}

// Whose file is taken away begins again, in another history, whether a server runs or not.
func TestLogOnlyTakenAway(t *testing.T) {
	n := newNursery(t)
	d := n.logOnly("r")
	add(t, d, 1, "x")
	first := d.Epoch()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	epochs := map[string]bool{first: true}
	for _, down := range []bool{false, true} {
		if err := os.Remove(n.options("r").Path); err != nil {
			t.Fatal(err)
		}
		if down {
			if err := n.log.Close(); err != nil {
				t.Fatal(err)
			}
			n.restart()
		}
		d = n.open("r")
		if d.Seq() != 0 || !d.Created() || epochs[d.Epoch()] {
			t.Errorf("down %v: seq %d, created %v, an epoch of before: %v", down, d.Seq(), d.Created(), epochs[d.Epoch()])
		}
		epochs[d.Epoch()] = true
		add(t, d, 1, "y")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The states of a room go back to how it began, whether it has a file by now or not.
func TestLogOnlyHistory(t *testing.T) {
	for _, form := range []string{"awake", "slept", "large"} {
		n := newNursery(t)
		d := n.logOnly("r")
		began := pagesOf(t, d)
		var states [][]byte
		for i := range 3 {
			size := 100
			if form == "large" {
				size = 120 << 10
			}
			add(t, d, i, strings.Repeat("x", size))
			states = append(states, pagesOf(t, d))
		}
		if form == "slept" {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = n.open("r")
			states = states[:2] // the third got a mark
		}
		for i, want := range states {
			if got := stateAt(t, d, Point{Seq: Seq(i + 1)}); string(got) != string(want) {
				t.Errorf("%s: seq %d is another state", form, i+1)
			}
		}
		if got := stateAt(t, d, Point{Time: time.UnixMilli(1)}); string(got) != string(began) {
			t.Errorf("%s: the beginning is another state, of %d bytes (%d)", form, len(got), len(began))
		}
	}
}

func stateAt(t *testing.T, d *DB, p Point) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy")
	if err := d.CopyAt(path, p); err != nil {
		t.Fatal(err)
	}
	return pagesIn(t, path)
}

// A room without a file is copied, checkpointed and replaced as any other.
func TestLogOnlyOperators(t *testing.T) {
	n := newNursery(t)
	d := n.logOnly("r")
	add(t, d, 1, "x")
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := archived.write(d, copied); err != nil {
		t.Fatal(err)
	}
	if !d.store.inMemory() {
		t.Error("the backup made a file")
	}
	add(t, d, 2, "y")
	if err := d.Checkpoint(); err != nil || d.store.inMemory() || n.log.HasUnreleased() && d.store.released != d.store.number {
		t.Errorf("behind a checkpoint: %v, a file: %v, released %d of %d", err, !d.store.inMemory(), d.store.released, d.store.number)
	}
	add(t, d, 3, "z")
	checkConsistent(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	// A room that only the log has is replaced, and kept.
	d = n.logOnly("s")
	add(t, d, 7, "old")
	d.Fence()
	r, err := archived.restore(n.options("s"), copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.InstallNew(); !errors.Is(err, ErrExists) {
		t.Errorf("as new: %v", err)
	}
	if r, err = archived.restore(n.options("s"), copied); err != nil {
		t.Fatal(err)
	}
	kept, err := r.Install()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); kept == "" || err != nil {
		t.Errorf("kept as %q: %v", kept, err)
	}
	d = n.open("s")
	if got := query(t, d, `SELECT id, text FROM todos`); fmt.Sprint(got) != "[[1 x]]" {
		t.Errorf("%v", got)
	}
}

// The log's file that has a room's beginning is missing: nobody can say whether the room is new.
func TestLogOnlyLostLog(t *testing.T) {
	n := newNursery(t)
	d := n.logOnly("r")
	add(t, d, 1, "x")
	d.Fence()
	n.restart() // a crash
	segments, err := filepath.Glob(filepath.Join(n.dir, "_log", "*.log"))
	if err != nil || len(segments) < 2 {
		t.Fatal(segments, err)
	}
	if err := n.log.Close(); err != nil {
		t.Fatal(err)
	}
	var kept [][]byte
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, b)
		os.Remove(path)
	}
	n.restart()
	_, err = Open(n.options("r"))
	wantError(t, err, ErrLogMissing)
	if err := n.log.Close(); err != nil {
		t.Fatal(err)
	}
	for i, path := range segments {
		if err := os.WriteFile(path, kept[i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.restart()
	if got := query(t, n.open("r"), `SELECT id, text FROM todos`); fmt.Sprint(got) != "[[1 x]]" {
		t.Errorf("%v", got)
	}
}

// The first action of a life does not wait for the WAL's file: it is made when the room rests.
func TestWokenWithoutWAL(t *testing.T) {
	n := newNursery(t)
	if err := n.open("first").Close(); err != nil {
		t.Fatal(err)
	}
	d := n.open("first")
	add(t, d, 1, "x")
	if got := fmt.Sprintf("%q", n.files("first")); got != `[""]` {
		t.Errorf("behind an action there are %s", got)
	}
	d.AfterCommit()
	if got := fmt.Sprintf("%q", n.files("first")); got != `["" "-wal"]` {
		t.Errorf("behind the rest there are %s", got)
	}
}

// A room that is in memory checkpoints its WAL into the database there, and gets its file
// when that has grown.
func TestLogOnlyCheckpoints(t *testing.T) {
	n := newNursery(t)
	d := n.logOnly("a")
	i := 0
	for ; d.store.memoryCheckpoints < 2; i++ {
		if i == 100 {
			t.Fatal("it never checkpoints")
		}
		add(t, d, i, "x")
		d.AfterCommit()
		if waiting, _ := d.store.wal.InBuffer(); waiting >= walfile.BufferBytes/2 {
			t.Fatalf("%d bytes wait behind action %d", waiting, i)
		}
	}
	if !d.store.inMemory() {
		t.Error("it has a file")
	}
	checkConsistent(t, d)
	for ; d.store.inMemory(); i++ {
		if i == 1000 {
			t.Fatal("it never gets a file")
		}
		add(t, d, i, "x")
		d.AfterCommit()
	}
	if d.store.memoryCheckpoints != maxCheckpoints+1 {
		t.Errorf("it got its file at the %dth checkpoint, want the one behind %d", d.store.memoryCheckpoints, maxCheckpoints)
	}
	checkConsistent(t, d)
	rows := query(t, d, "SELECT count(*) FROM todos")[0][0]
	d.Fence()
	if err := n.log.Close(); err != nil {
		t.Fatal(err)
	}
	n.pool.Close()
	n.pool = new(Pool)
	n.restart()
	d = n.open("a")
	if got := query(t, d, "SELECT count(*) FROM todos")[0][0]; got != rows {
		t.Errorf("%v rows, want %v", got, rows)
	}
	checkConsistent(t, d)
}
