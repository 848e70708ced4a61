package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// Den's own tables are no room's, however short their names are.
func TestSyncOfDensTables(t *testing.T) {
	d := openTodos(t)
	for _, name := range []string{"_den_x", "_den_peers"} {
		if _, err := d.Internal().Exec(`CREATE TABLE ` + name + ` (id TEXT PRIMARY KEY NOT NULL, created_at, updated_at, deleted_at)`); err != nil {
			t.Fatal(err)
		}
		wantError(t, d.Sync(name), ErrSchema)
	}
	wantError(t, d.Sync("sqlite_schema"), ErrSchema)
}

// A room is full at its limit and not at the disk's, and the disk is full where it is the disk.
func TestWhichOfTheTwoIsFull(t *testing.T) {
	const rows = `INSERT INTO todos (id, text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700) SELECT i, hex(zeroblob(5000)) FROM n`
	for name, log := range map[string]Log{"with a log": newMemLog(), "without": nil} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			o.Log, o.MaxBytes = log, 64<<10
			d := openTest(t, o)
			mustExec(t, d, todosTable)
			if err := d.Sync("todos"); err != nil {
				t.Fatal(err)
			}
			_, err := act(t, d, 1, func() error { _, err := d.Exec(rows); return err })
			if !errors.Is(err, ErrRoomFull) || errors.Is(err, ErrFull) {
				t.Errorf("7 MB in a room of 64 KB: %v", err)
			}
			if got := query(t, d, `SELECT count(*) FROM todos`)[0][0]; got != int64(0) {
				t.Errorf("%v rows are left", got)
			}
			actSQL(t, d, 1, `INSERT INTO todos (id) VALUES ('fits')`)
		})
	}
	t.Run("the disk", func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.alone = true
		r.mustStart()
		d := r.mustOpen("r")
		r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Times: -1})
		_, err := act(t, d, 1, func() error {
			_, err := d.Exec(strings.Replace(rows, "SELECT i, hex(zeroblob(5000))", "SELECT i, hex(zeroblob(5000)), 0, 0, NULL", 1))
			return err
		})
		r.disk.Heal()
		if errors.Is(err, ErrRoomFull) || err == nil {
			t.Errorf("on a full disk: %v", err)
		}
		d.Fence()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A file that was in use is no backup; one that was closed well is.
func TestRestoreOfAFileInUse(t *testing.T) {
	r := newRig(t, 1)
	defer r.close()
	r.alone = true
	r.mustStart()
	d := r.mustOpen("r")
	if err := errors.Join(put(d, 1, "one"), d.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	r.kill(d)
	r.mustStart()
	path := r.options("r").Path
	_, err := archived.restore(r.options("other"), path)
	wantError(t, err, ErrLogMissing)
	if d, err = r.open("r"); err != nil || d.Close() != nil {
		t.Fatal(err)
	}
	p, err := archived.restore(r.options("other"), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.InstallNew(), r.stop()); err != nil {
		t.Fatal(err)
	}
}

// A room that was closed on a disk that was full has transactions in its WAL alone: it is not compacted without them.
func TestCompactOnAFullDisk(t *testing.T) {
	r := compactRig(t, 0)
	r.rows(1, 2)
	d := r.mustOpen("r")
	if err := put(d, 3, "text of 3"); err != nil {
		t.Fatal(err)
	}
	d.AfterCommit()
	r.kill(d)
	r.mustStart()
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Suffix: ".db", Err: syscall.ENOSPC, Times: -1})
	_, err := Compact(context.Background(), r.options("r"), nil)
	r.disk.Heal()
	wantError(t, err, ErrFull)
	if err := r.holds(numbered(1, 2, 3)); err != nil {
		t.Error(err)
	}
}

// What SQLite would take from a WAL: nothing of one that is missing, empty, shorter than its magic number, or zeroed.
func TestTakenIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db-wal")
	if err := takenIn(HostFS(), path); err != nil {
		t.Errorf("none: %v", err)
	}
	for content, want := range map[string]error{"": nil, "\x37\x7f\x06": nil, "\x00\x00\x00\x00rest": nil, "\x37\x7f\x06\x82": ErrFull, "\x00\x00\x00\x01": ErrFull} {
		write(t, path, content)
		if err := takenIn(HostFS(), path); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// A room that somebody else has made a file for in the meantime is not written over.
func TestFileThatCameMeanwhile(t *testing.T) {
	n := newNursery(t)
	for _, size := range []int{0, 1} { // an empty one is no room's
		name := fmt.Sprint("r", size)
		d := n.logOnly(name)
		add(t, d, 1, "one")
		path := n.options(name).Path
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, strings.Repeat("x", size))
		err := d.Close()
		if (size > 0) != errors.Is(err, ErrInUse) || size == 0 && err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if got := fileContent(t, path); size > 0 && got != "x" || size == 0 && len(got) < pageSize {
			t.Errorf("%d bytes: the file has %d", size, len(got))
		}
		if names := fmt.Sprint(n.files(name)); strings.Contains(names, ".new") {
			t.Errorf("left: %s", names)
		}
	}
}

// The log calls rooms by their own names, whatever bytes are in them.
func TestNodeLogNames(t *testing.T) {
	var told []string
	log, err := OpenLog(LogOptions{Dir: t.TempDir(), MaxUnreleased: 1, SegmentBytes: 8 << 10, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		RequestCheckpoint: func(namespace, room string) { told = append(told, namespace+" "+room) }})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"a\x00b", `a\0b`, `\`, "plain"}
	for _, name := range names {
		room, err := log.Room("n", name, strings.Repeat("0", 32))
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(20) {
			if err := room.Append(LogEntry{Number: n + 1, Payload: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		room.Close()
	}
	pinned := map[string]bool{}
	for namespace, room := range log.Pinned {
		pinned[namespace+" "+room] = true
	}
	for _, name := range names {
		if !pinned["n "+name] {
			t.Errorf("%q is not among those that are pinned: %v", name, pinned)
		}
		epochs, err := log.Epochs("n", name)
		if err != nil || len(epochs) != 1 {
			t.Errorf("%q has the epochs %v, %v", name, epochs, err)
		}
		if epoch, _, _, err := log.Candidates("n", name); err != nil || epoch != strings.Repeat("0", 32) {
			t.Errorf("%q left traces of %q, %v", name, epoch, err)
		}
		if log.Forget("n", name); name == names[0] && log.HasUnreleased() != true {
			t.Error("with the first room all are forgotten")
		}
	}
	if log.HasUnreleased() {
		t.Error("something is pinned that was forgotten")
	}
	if len(pinned) != len(names) || len(told) == 0 || told[0] != "n a\x00b" {
		t.Errorf("pinned %v; asked for checkpoints of %q", pinned, told)
	}
	if log.Relaxed() {
		t.Error("it is relaxed")
	}
	if files, err := log.Abandon(); err != nil || len(files) != 0 {
		t.Errorf("given up: %v, %v", files, err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Abandon(); !errors.Is(err, ErrClosed) {
		t.Errorf("given up after the end: %v", err)
	}
	if _, err := log.Room("n", "x", strings.Repeat("0", 32)); !errors.Is(err, ErrClosed) {
		t.Errorf("a room after the end: %v", err)
	}
}

// To note an alarm that is noted already costs no transaction; another time does, in a batch.
func TestNoteAlarmTwice(t *testing.T) {
	d := openTodos(t)
	note := func(at int64) bool {
		b, err := d.Begin()
		if err != nil {
			t.Fatal(err)
		}
		d.NoteAlarm(at)
		changed := b.Changed()
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		return changed
	}
	for _, c := range []struct {
		at   int64
		want bool
	}{{5, true}, {5, false}, {6, true}, {6, false}, {5, true}} {
		if got := note(c.at); got != c.want {
			t.Errorf("the alarm at %d: the batch has changed something: %v", c.at, got)
		}
		if at, noted := d.Alarm(); !noted || at != c.at {
			t.Errorf("noted %d, %v, want %d", at, noted, c.at)
		}
	}
	d.NoteAlarm(9) // outside of a batch it waits for the next one that writes
	if at, _ := d.Alarm(); at != 5 {
		t.Errorf("noted %d without a transaction", at)
	}
	if !note(9) { // it is due, and goes with this one
		t.Error("what waits was not written")
	}
}

// Looking for what is wrong with a directory leaves nothing in it, nor a file open.
func TestDiagnoseLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		diagnose(filepath.Join(dir, "r.db"), roomfile.Said(sqlite.ResultCantOpen))
	}
	if names := dirNames(t, dir); names != "" {
		t.Errorf("left: %s", names)
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not list what is open")
	}
	for _, d := range descriptors {
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && strings.Contains(to, ".den-probe-") {
			t.Errorf("open: %s", to)
		}
	}
}

// An action that makes the room longer than it may be is refused at its end, also where SQLite has let it pass, and one that only deletes is not.
func TestRoomFullAtAnActionsEnd(t *testing.T) {
	o := testOptions(t)
	o.MaxBytes = 128 << 10
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, `INSERT INTO todos (id, text) VALUES ('a', hex(zeroblob(10000)))`)
	_, err := act(t, d, 1, func() error {
		_, err := d.Exec(`INSERT INTO todos (id, text) VALUES ('b', hex(zeroblob(100000)))`)
		return err
	})
	wantError(t, err, ErrRoomFull)
	if got := fmt.Sprint(query(t, d, `SELECT id FROM todos`)); got != "[[a]]" || d.Seq() != 1 {
		t.Errorf("rows %s, seq %d", got, d.Seq())
	}
	actSQL(t, d, 1, `DELETE FROM todos`)
	actSQL(t, d, 1, `INSERT INTO todos (id, text) VALUES ('c', hex(zeroblob(10000)))`)
}

// None of the columns that Den reads by their place may be a virtual generated one.
func TestSyncOfVirtualColumns(t *testing.T) {
	columns := []string{"id TEXT UNIQUE NOT NULL", "text", "created_at", "updated_at", "deleted_at"}
	for i, fits := range map[int]bool{1: true, 2: false, 3: false, 4: false} {
		d := openWithoutLog(t)
		mine := append([]string{}, columns...)
		mine[i] += " AS (NULL) VIRTUAL"
		mustExec(t, d, `CREATE TABLE notes (`+strings.Join(mine, ", ")+`)`)
		if err := d.Sync("notes"); fits != (err == nil) || err != nil && !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", mine[i], err)
		}
	}
}

// A file of more than 1 MiB is no template.
func TestTemplateThatIsTooLarge(t *testing.T) {
	for tables, want := range map[int]bool{100: true, 270: false} {
		var k Pool
		d := ofKind(t, &k, filepath.Join(t.TempDir(), "a"), "a")
		script := ""
		for i := range tables {
			script += fmt.Sprintf("CREATE TABLE t%d (x);", i)
		}
		mustExec(t, d, script)
		if err := d.MakeTemplate(); err != nil || (k.template.Load() != nil) != want {
			t.Errorf("%d tables: a template is there: %v, %v", tables, k.template.Load() != nil, err)
		}
	}
}

// What the log no longer has cannot be walked back to, and a room without a transaction can be had as it is.
func TestCopyAtWithoutEntries(t *testing.T) {
	o := testOptions(t)
	log := newMemLog()
	o.Log = log
	d := openTest(t, o)
	dir := t.TempDir()
	if err := d.CopyAt(filepath.Join(dir, "new"), Point{}); err != nil {
		t.Errorf("of a new room: %v", err)
	}
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, clock, `INSERT INTO todos (id) VALUES ('a')`)
	actSQL(t, d, clock, `INSERT INTO todos (id) VALUES ('b')`)
	for _, room := range log.rooms {
		room.entries = nil
	}
	err := d.CopyAt(filepath.Join(dir, "old"), Point{Seq: 1})
	wantError(t, err, ErrNoHistory)
	if err := d.CopyAt(filepath.Join(dir, "now"), Point{Seq: 2}); err != nil {
		t.Errorf("as it is: %v", err)
	}
	if names := dirNames(t, dir); names != "new now" {
		t.Errorf("made: %s", names)
	}
}
