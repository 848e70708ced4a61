package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

// ofKind opens a room of a kind, with the table of todos.
func ofKind(t *testing.T, k *Pool, path, name string) *DB {
	t.Helper()
	d, err := Open(Options{Path: path, Namespace: "n", Room: name, Pool: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// A file that is made from a template is what it would have been without: a room of its
// own, whole, with the tables and with what was found out of them.
func TestTemplate(t *testing.T) {
	var k Pool
	dir := t.TempDir()
	first := ofKind(t, &k, filepath.Join(dir, "a"), "a")
	if first.Prepared("p1") {
		t.Error("a new file is prepared")
	}
	if _, err := first.Exec(todosTable2); err != nil {
		t.Fatal(err)
	}
	first.Prepare("p1")
	if err := first.MakeTemplate("todos"); err != nil {
		t.Fatal(err)
	}
	if k.template.Load() == nil {
		t.Fatal("there is no template")
	}
	for _, name := range []string{"b", strings.Repeat("ü", 128), "c\x00d"} {
		path := filepath.Join(dir, "x"+name[:1])
		d := ofKind(t, &k, path, name)
		if !d.Prepared("p1") || d.Prepared("p2") {
			t.Errorf("%q: what the template was prepared for is not known", name)
		}
		if d.Epoch() == first.Epoch() || len(d.Epoch()) != 32 {
			t.Errorf("%q: the epoch is %q, of the first room %q", name, d.Epoch(), first.Epoch())
		}
		if d.store.number != 0 || d.Seq() != 0 {
			t.Errorf("%q: it begins with transaction %d, seq %d", name, d.store.number, d.Seq())
		}
		if err := d.Sync("todos"); err != nil {
			t.Fatal(err)
		}
		b, err := d.Begin()
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.Do(1, func() error {
			_, err := d.Exec(`INSERT INTO todos VALUES (1, 'x', 0, 0, NULL)`)
			return err
		})
		if err != nil || c.Seq != 1 || len(c.Rows) != 1 {
			t.Fatalf("%q: %+v, %v", name, c, err)
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		var verdict string
		if err := d.sql.Each("PRAGMA integrity_check", func(r *Rows) { verdict += string(r.Bytes(0)) }); err != nil || verdict != "ok" {
			t.Errorf("%q: %s, %v", name, verdict, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		again := ofKind(t, &k, path, name) // its name is compared
		if again.Seq() != 1 || !again.Prepared("p1") {
			t.Errorf("%q: opened again it is at %d, prepared: %v", name, again.Seq(), again.Prepared("p1"))
		}
	}
}

// A template is not made of what may be different in another room, nor of an old one.
func TestTemplateNotOfRows(t *testing.T) {
	var k Pool
	path := filepath.Join(t.TempDir(), "a")
	d := ofKind(t, &k, path, "a")
	if _, err := d.Exec(todosTable2 + `; CREATE TABLE mine (x); INSERT INTO mine VALUES (random())`); err != nil {
		t.Fatal(err)
	}
	if err := d.MakeTemplate("todos"); err != nil || k.template.Load() != nil {
		t.Errorf("a template of a room with rows: %v, %v", k.template.Load() != nil, err)
	}
	if _, err := d.Exec(`DELETE FROM mine`); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = ofKind(t, &k, path, "a")
	if err := d.MakeTemplate("todos"); err != nil || k.template.Load() != nil {
		t.Errorf("a template of an old room: %v, %v", k.template.Load() != nil, err)
	}
}

// The page of _den_meta that is written without SQLite holds what it would have written.
func TestMetaPage(t *testing.T) {
	var k Pool
	dir := t.TempDir()
	if err := ofKind(t, &k, filepath.Join(dir, "a"), "a").MakeTemplate(); err != nil {
		t.Fatal(err)
	}
	read := func(d *DB) map[string]Value {
		meta := make(map[string]Value)
		if err := d.sql.Each("SELECT name, value FROM _den_meta", func(r *Rows) { meta[string(r.Bytes(0))] = r.Value(1) }); err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{"epoch", roomfile.EpochSum, "created_at", "room"} {
			if meta[own] == nil {
				t.Errorf("there is no %s", own)
			}
			delete(meta, own)
		}
		return meta
	}
	made := read(ofKind(t, &k, filepath.Join(dir, "b"), "b"))
	plain := ofKind(t, new(Pool), filepath.Join(dir, "c"), "c")
	if want := read(plain); !reflect.DeepEqual(made, want) {
		t.Errorf("made from a template it says %v, without %v", made, want)
	}
}

// Notes cost no transaction, outlast the life with the next one, hold as long as the schema
// does, and are not lost with a batch that is taken back.
func TestNotes(t *testing.T) {
	var k Pool
	path := filepath.Join(t.TempDir(), "a")
	reopen := func(d *DB) *DB {
		t.Helper()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return ofKind(t, &k, path, "a")
	}
	d := ofKind(t, &k, path, "a")
	if _, err := d.Exec(todosTable2); err != nil {
		t.Fatal(err)
	}
	before := d.store.number
	d.Prepare("p1")
	d.NoteMaintenance(7)
	if d = reopen(d); d.store.number != before || d.Prepared("p1") || d.LastMaintenance() != 0 {
		t.Errorf("a life that wrote nothing left transaction %d (of %d), prepared %v, tended %d", d.store.number, before, d.Prepared("p1"), d.LastMaintenance())
	}
	d.Prepare("p1")
	d.NoteMaintenance(7)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(1, func() error { _, err := d.Exec(`INSERT INTO todos VALUES (1, 'x', 0, 0, NULL)`); return err }); err != nil {
		t.Fatal(err)
	}
	if err := b.finish(); err != nil {
		t.Fatal(err)
	}
	if err := b.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Exec(`INSERT INTO todos VALUES (2, 'x', 0, 0, NULL)`); err != nil {
		t.Fatal(err)
	}
	if d = reopen(d); !d.Prepared("p1") || d.LastMaintenance() != 7 {
		t.Errorf("prepared %v, tended %d", d.Prepared("p1"), d.LastMaintenance())
	}
	if _, err := d.Exec(`CREATE TABLE more (x)`); err != nil {
		t.Fatal(err)
	}
	if d.Prepared("p1") {
		t.Error("prepared, although the schema has changed")
	}
	if d = reopen(d); d.Prepared("p1") || d.LastMaintenance() != 7 {
		t.Errorf("behind a change of the schema: prepared %v, tended %d", d.Prepared("p1"), d.LastMaintenance())
	}
}

// The note of the next alarm is its batch's: undone with it, there with it. What was found out without a batch goes
// with the next one, unless that knows better.
func TestNoteAlarm(t *testing.T) {
	var k Pool
	path := filepath.Join(t.TempDir(), "a")
	d := ofKind(t, &k, path, "a")
	batch := func(note int64, end func(*Batch) error) {
		t.Helper()
		b, err := d.Begin()
		if err == nil {
			d.NoteAlarm(note)
			err = end(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(at int64, noted bool) {
		t.Helper()
		if got, is := d.Alarm(); got != at || is != noted {
			t.Fatalf("noted %d, %v, want %d, %v", got, is, at, noted)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = ofKind(t, &k, path, "a")
		if got, is := d.Alarm(); got != at || is != noted {
			t.Fatalf("the next life finds %d, %v, want %d, %v", got, is, at, noted)
		}
	}
	written := func(b *Batch) error { return errors.Join(b.finish(), b.Rollback()) }
	d.NoteAlarm(5)
	want(0, false)
	batch(6, (*Batch).Rollback)
	batch(6, written)
	want(0, false)
	batch(7, (*Batch).Commit)
	want(7, true)
	batch(8, written)
	batch(7, (*Batch).Commit)
	want(7, true)
	d.NoteAlarm(9)
	batch(10, written)
	if _, err := d.Exec(todosTable2); err != nil { // 9 goes with it, and 10 does not
		t.Fatal(err)
	}
	want(9, true)
	d.NoteAlarm(11)
	batch(12, (*Batch).Commit)
	want(12, true)
}

// The power goes at each point of the life of a room that began as a copy: whatever it was
// told to have done is there, and it can be opened.
func TestPowerCutTemplate(t *testing.T) {
	for _, logDir := range []string{"", "/_log"} {
		for after := 1; ; after++ {
			if !cutTemplate(t, logDir, after) {
				if after < 10 {
					t.Errorf("log %q: only %d points to cut at", logDir, after)
				}
				break
			}
		}
	}
}

// cutTemplate cuts the power at the after-th change of the disk, and reports whether it came to that.
func cutTemplate(t *testing.T, logDir string, after int) (cut bool) {
	t.Helper()
	disk := faultdisk.New(uint64(after), faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("template%s-%d", logDir, after)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	var k Pool
	templateOf(t, &k)
	life := func() (number uint64, rows int, err error) {
		d, done, err := powerOpen(disk, name, logDir, &k)
		if err != nil {
			return 0, 0, err
		}
		defer done()
		if err := d.Sync("todos"); err != nil {
			return 0, 0, err
		}
		if err := d.sql.Each("SELECT count(*) FROM todos", func(r *Rows) { rows = int(r.Int(0)) }); err != nil {
			return 0, 0, err
		}
		_, err = d.Exec(`INSERT INTO todos VALUES (NULL, 'x', 0, 0, NULL)`)
		return d.store.number, rows, err
	}
	disk.CrashAfter(after)
	_, _, failed := life()
	cut = disk.Stats().Crashes > 0
	disk.Crash()
	if err := disk.Restart(); err != nil {
		t.Fatal(err)
	}
	_, rows, err := life()
	if err != nil || failed == nil && rows != 1 || rows > 1 {
		t.Fatalf("log %q, cut at change %d (%v): %d rows, %v", logDir, after, failed, rows, err)
	}
	return cut
}

// templateOf makes a Pool's template, with a table of todos.
func templateOf(t *testing.T, k *Pool) {
	t.Helper()
	d := ofKind(t, k, filepath.Join(t.TempDir(), "first"), "first")
	if _, err := d.Exec(`CREATE TABLE todos (id INTEGER PRIMARY KEY, text TEXT, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER)`); err != nil {
		t.Fatal(err)
	}
	if err := d.MakeTemplate("todos"); err != nil || k.template.Load() == nil {
		t.Fatal("no template", err)
	}
}

// A page of _den_meta is what SQLite would have written: with values of each length at which the record's form changes, and up to
// the largest that fits.
func TestMetaPageLimits(t *testing.T) {
	o, err := testOptions(t).WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := plainTemplate(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 56, 57, 58, 110, 111, 112, 113, 114, 127, 128, 129, 500, 900, 980} {
		tried := *pages
		tried.Notes = map[string]Value{notePrepared: strings.Repeat("x", n), noteTended: int64(-n)}
		content, err := tried.Fill(newMeta(o, noEpoch))
		if err != nil {
			t.Fatal(err)
		}
		c := o
		c.Path = filepath.Join(t.TempDir(), "r.db")
		if err := makeWhole(c, content); err != nil {
			t.Fatal(err)
		}
		d := openTest(t, c)
		got := ownQuery(t, d, `SELECT value FROM _den_meta WHERE name IN ('prepared', 'tended') ORDER BY name`)
		if fmt.Sprint(got) != fmt.Sprintf("[[%s] [%d]]", strings.Repeat("x", n), -n) {
			t.Errorf("%d: %v", n, got)
		}
	}
}
