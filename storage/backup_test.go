package storage

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
)

// fillTodos writes n todos of about a page each.
func fillTodos(t testing.TB, d *DB, from, n int) {
	t.Helper()
	actSQL(t, d, clock, fmt.Sprintf(`INSERT INTO todos WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT printf('%%06d', i), hex(zeroblob(1500)) || i, 0, 1, 1, NULL FROM n`, from, from+n-1))
}

// openAt opens the file at another path as the room of o.
func openAt(t testing.TB, o Options, path string) *DB {
	t.Helper()
	o.Path = path
	return openTest(t, o)
}

// What is committed between two steps is in the backup, what is rolled back is not, and
// the copy is a whole room with a history of its own.
func TestBackupOfALiveRoom(t *testing.T) {
	d := openTodos(t)
	fillTodos(t, d, 1, 400)
	path := filepath.Join(t.TempDir(), "copies", "todos.db")
	b, err := archived.begin(d, path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	steps := 0
	for done := false; !done; steps++ {
		if done, err = b.Step(20 + steps*5); err != nil {
			t.Fatal(err)
		}
		if done {
			break
		}
		actSQL(t, d, clock+int64(steps), fmt.Sprintf(`UPDATE todos SET text = 'changed %d' WHERE id = '%06d'`, steps, 1+rng.IntN(400)),
			fmt.Sprintf(`INSERT INTO todos VALUES ('new%03d', hex(randomblob(3000)), 0, 1, 1, NULL)`, steps))
		if steps%3 == 0 {
			_, err := act(t, d, clock, func() error {
				mustExec(t, d, `DELETE FROM todos`)
				return errors.New("no")
			})
			if err == nil {
				t.Fatal("the action held")
			}
		}
	}
	if steps < 5 {
		t.Fatalf("only %d steps: nothing was written meanwhile", steps)
	}
	actSQL(t, d, clock, `INSERT INTO todos VALUES ('late', '', 0, 1, 1, NULL)`) // after the last step
	want := query(t, d, `SELECT * FROM todos WHERE id <> 'late' ORDER BY id`)
	if err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	if names := dirNames(t, filepath.Dir(path)); names != "todos.db" {
		t.Errorf("beside the backup: %s", names)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if header := fileContent(t, path)[18:20]; header != "\x01\x01" {
		t.Errorf("the backup is in journal mode %x", header)
	}
	c := openAt(t, d.o, path)
	if got := query(t, c, `SELECT * FROM todos ORDER BY id`); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	if c.Epoch() == d.Epoch() || c.Seq() != d.Seq() { // one for "late", one for the copy
		t.Errorf("epoch %s and %s, seq %d and %d", c.Epoch(), d.Epoch(), c.Seq(), d.Seq())
	}
	if err := c.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Table("todos").Since(c.Seq() - 1); !errors.Is(err, ErrForgotten) {
		t.Errorf("an old cursor leads into the backup: %v", err)
	}
	r, err := c.Table("todos").Since(c.Seq())
	if rows := all(t, r, err); len(rows) != 0 {
		t.Errorf("from its own seq: %v", rows)
	}
	actSQL(t, c, clock, `DELETE FROM todos WHERE id = '000001'`)
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

func TestBackupRefuses(t *testing.T) {
	d := openTodos(t)
	fillTodos(t, d, 1, 10)
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	write(t, there, "mine")
	err := archived.write(d, there)
	wantError(t, err, ErrExists)
	if fileContent(t, there) != "mine" || dirNames(t, dir) != "there" {
		t.Errorf("touched: %s", dirNames(t, dir))
	}
	b, err := archived.begin(d, filepath.Join(dir, "copy"))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, b.Finish(), ErrMisuse)
	batch, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Step(1)
	wantError(t, err, ErrMisuse)
	if err := batch.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err = b.Step(1); !errors.Is(err, ErrClosed) {
		t.Errorf("a step behind Close: %v", err)
	}
	if dirNames(t, dir) != "there" {
		t.Errorf("left: %s", dirNames(t, dir))
	}
}

// A room that closes, or is fenced, takes its backups along.
func TestBackupEndsWithTheDB(t *testing.T) {
	for name, end := range map[string]func(*DB){"close": func(d *DB) { d.Close() }, "fence": (*DB).Fence} {
		t.Run(name, func(t *testing.T) {
			d := openTodos(t)
			fillTodos(t, d, 1, 100)
			b, err := archived.begin(d, filepath.Join(t.TempDir(), "copy"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Step(10); err != nil {
				t.Fatal(err)
			}
			end(d)
			_, err = b.Step(-1)
			wantError(t, err, ErrClosed)
			wantError(t, b.Finish(), ErrClosed)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			again := openTest(t, d.o)
			if n := query(t, again, `SELECT count(*) FROM todos`)[0][0]; n != int64(100) {
				t.Errorf("%v todos", n)
			}
		})
	}
}

// restoreOver puts a backup in the place of a closed room.
func restoreOver(o Options, source string) (string, error) {
	r, err := archived.restore(o, source)
	if err != nil {
		return "", err
	}
	defer r.Discard()
	return r.Install()
}

// A restore is another history: its epoch is new each time, and its seq is above all that
// the old one gave out. The old file is kept, whole.
func TestRestore(t *testing.T) {
	o := testOptions(t)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, twoTodos)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := archived.write(d, copied); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		actSQL(t, d, 2, fmt.Sprintf(`INSERT INTO todos VALUES ('later%d', '', 0, 1, 1, NULL)`, i))
	}
	seq, epochs := d.Seq(), map[string]bool{d.Epoch(): true}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		kept, err := restoreOver(o, copied)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if rows := query(t, d, `SELECT id FROM todos`); len(rows) != 2 {
			t.Errorf("restored: %v", rows)
		}
		if epochs[d.Epoch()] || d.Seq() != seq+1 {
			t.Errorf("epoch %s again, or seq %d behind %d", d.Epoch(), d.Seq(), seq)
		}
		epochs[d.Epoch()], seq = true, d.Seq()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if len(epochs) == 2 {
			old := openAt(t, o, kept)
			if rows := query(t, old, `SELECT id FROM todos`); len(rows) != 12 {
				t.Errorf("kept: %v", rows)
			}
		}
		o.Now = func() time.Time { return time.UnixMilli(clock + int64(len(epochs))) }
	}
	other := o
	other.Path, other.Namespace, other.Room = filepath.Join(t.TempDir(), "new", "room.db"), "elsewhere", "another"
	if kept, err := restoreOver(other, copied); err != nil || kept != "" {
		t.Fatalf("into another room, that is not there: %q, %v", kept, err)
	}
	if rows := query(t, openTest(t, other), `SELECT id FROM todos`); len(rows) != 2 {
		t.Errorf("the other room: %v", rows)
	}
	r, err := archived.restore(other, copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.InstallNew(); !errors.Is(err, ErrExists) {
		t.Errorf("over a room that is there: %v", err)
	}
	if err := r.Discard(); err != nil {
		t.Fatal(err)
	}
}

// What cannot be a room is refused before anything of the room is touched, and the source
// is left alone.
func TestRestoreRefuses(t *testing.T) {
	o := testOptions(t)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, todosTable)
	fillTodos(t, d, 1, 50)
	good := filepath.Join(t.TempDir(), "copy")
	if err := archived.write(d, good); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, filepath.Dir(o.Path))
	for name, tc := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"nothing":   {func(*testing.T, string) {}, ErrNotDatabase},
		"empty":     {func(t *testing.T, path string) { write(t, path, "") }, ErrNotDatabase},
		"garbage":   {func(t *testing.T, path string) { write(t, path, strings.Repeat("garbage ", 5000)) }, ErrNotDatabase},
		"foreign":   {func(t *testing.T, path string) { makeForeign(t, path, 0) }, ErrNotDatabase},
		"newer":     {func(t *testing.T, path string) { write(t, path, fileContent(t, good)); patch(t, path, 60, 99) }, ErrNewer},
		"truncated": {func(t *testing.T, path string) { write(t, path, fileContent(t, good)[:9*pageSize]) }, ErrCorrupt},
		"cut":       {func(t *testing.T, path string) { write(t, path, fileContent(t, good)[:20*pageSize+7]) }, ErrCorrupt},
		"smashed": {func(t *testing.T, path string) {
			b := []byte(fileContent(t, good))
			for i := 2 * pageSize; i < 6*pageSize; i++ {
				b[i] ^= 0x5a
			}
			write(t, path, string(b))
		}, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			source := filepath.Join(t.TempDir(), "source")
			tc.make(t, source)
			sourceBefore := listing(t, filepath.Dir(source))
			kept, err := restoreOver(o, source)
			if err == nil {
				t.Fatalf("restored, and kept %s", kept)
			}
			wantError(t, err, tc.want)
			if after := listing(t, filepath.Dir(o.Path)); after != before {
				t.Errorf("the room was touched")
			}
			if after := listing(t, filepath.Dir(source)); after != sourceBefore {
				t.Errorf("the source was touched")
			}
		})
	}
	open := openTest(t, o)
	if _, err := restoreOver(o, good); !errors.Is(err, ErrInUse) {
		t.Errorf("over a room that is open: %v", err)
	}
	mustExec(t, open, `DELETE FROM todos`)
}

// A room whose file is beyond reading can be restored; its clients' cursors lie far below.
func TestRestoreOverACorruptRoom(t *testing.T) {
	d := openTodos(t)
	fillTodos(t, d, 1, 5)
	good := filepath.Join(t.TempDir(), "copy")
	if err := archived.write(d, good); err != nil {
		t.Fatal(err)
	}
	o := testOptions(t)
	write(t, o.Path, strings.Repeat("garbage ", 1000))
	write(t, o.Path+"-wal", "and more of it")
	kept, err := restoreOver(o, good)
	if err != nil {
		t.Fatal(err)
	}
	if fileContent(t, kept) != strings.Repeat("garbage ", 1000) || fileContent(t, kept+"-wal") != "and more of it" {
		t.Error("the old file was not kept")
	}
	c := openTest(t, o)
	if n := query(t, c, `SELECT count(*) FROM todos`)[0][0]; n != int64(5) || c.Seq() < 1<<32 {
		t.Errorf("%v todos, seq %d", n, c.Seq())
	}
}

// Wherever the power goes during a restore, the room is the old one or the new one, whole,
// and what was acknowledged before is in one of them.
func TestRestorePowerCut(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	old, restored := 0, 0
	for cut := 1; ; cut += 4 / shorter(4, 1) {
		disk := faultdisk.New(seed+uint64(cut), faultdisk.PowersafeOverwrite)
		name := fmt.Sprintf("restore-%d-%d", seed, cut)
		unregister, err := disk.Register(name)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Path: "/room.db", Namespace: "n", Room: "r", FS: disk.FS(name)}
		epoch := makeOldAndCopy(t, o)
		disk.CrashAfter(cut)
		_, failed := restoreOver(o, "/copy.db")
		disk.CrashAfter(0)
		disk.Crash()
		if err := disk.Restart(); err != nil {
			t.Fatal(err)
		}
		d, err := Open(o)
		if err != nil {
			t.Fatalf("seed %d, cut at %d: %v", seed, cut, err)
		}
		checkConsistent(t, d)
		got := fmt.Sprint(query(t, d, `SELECT id FROM todos ORDER BY id`))
		switch {
		case got == "[[a] [b] [later]]" && d.Epoch() == epoch && failed != nil:
			old++
		case got == "[[a] [b]]" && d.Epoch() != epoch:
			restored++
		default:
			t.Fatalf("seed %d, cut at %d: %s, error %v", seed, cut, got, failed)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := unregister(); err != nil {
			t.Fatal(err)
		}
		if failed == nil {
			break
		}
	}
	if old < shorter(10, 2) || restored < 1 {
		t.Errorf("%d old ones and %d new ones: the cuts were not all over it", old, restored)
	}
}

// makeOldAndCopy makes a room and an older backup of it, both synced.
func makeOldAndCopy(t *testing.T, o Options) (epoch string) {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, twoTodos)
	if err := archived.write(d, "/copy.db"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 2, `INSERT INTO todos VALUES ('later', '', 0, 1, 1, NULL)`)
	epoch = d.Epoch()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.FS.Size("/copy.db.part"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the backup left its temporary file: %v", err)
	}
	return epoch
}

// A restore for which there is no randomness fails, and the room stays as it was.
func TestRestoreWithoutRandomness(t *testing.T) {
	o := testOptions(t)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, todosTable)
	copied := filepath.Join(t.TempDir(), "copy")
	epoch := d.Epoch()
	if err := errors.Join(archived.write(d, copied), d.Close()); err != nil {
		t.Fatal(err)
	}
	source := &drying{}
	random := o
	random.Random = source
	r, err := archived.restore(random, copied)
	if err != nil {
		t.Fatal(err)
	}
	source.dry = true
	if kept, err := r.Install(); !errors.Is(err, io.ErrUnexpectedEOF) || kept != "" {
		t.Errorf("installed: %q, %v", kept, err)
	}
	if err := r.Discard(); err != nil {
		t.Fatal(err)
	}
	if d = openTest(t, o); d.Epoch() != epoch {
		t.Errorf("epoch %s, want %s", d.Epoch(), epoch)
	}
}

// drying is a source of randomness until it is dry.
type drying struct{ dry bool }

func (d *drying) Read(p []byte) (int, error) {
	if d.dry {
		return 0, io.ErrUnexpectedEOF
	}
	return crand.Read(p)
}
