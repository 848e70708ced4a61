package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// makePlain makes the file of a room without checksums, as Den made them before it knew of any.
func makePlain(t testing.TB, o Options) {
	t.Helper()
	o, err := o.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.FS.MakeDirs(filepath.Dir(o.Path)); err != nil {
		t.Fatal(err)
	}
	c, err := dbfile.Open(o.FS.SQLite(), o.Path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	file := roomfile.Conn{Conn: c}
	err = file.Exec(fmt.Sprintf("PRAGMA locking_mode = EXCLUSIVE; PRAGMA page_size = %d; PRAGMA application_id = %d; PRAGMA user_version = %d; %s",
		pageSize, roomfile.ApplicationID, roomfile.PlainVersion, layout))
	for name, value := range newMeta(o, strings.Repeat("0123456789abcdef", 2)) {
		if err == nil {
			err = file.Exec("INSERT INTO _den_meta VALUES (?1, ?2)", name, value)
		}
	}
	if err == nil {
		err = file.Exec("PRAGMA journal_mode = WAL; " + todosTable2)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = o.FS.SyncDir(filepath.Dir(o.Path))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantFormat compares a file's version and reserved bytes with what they should be, and looks for pages without checksums.
func wantFormat(t testing.TB, f FS, path string, version uint32) {
	t.Helper()
	file, err := f.Open(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	header := make([]byte, headerSize)
	if _, err := file.ReadAt(header, 0); err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint32(header[60:]); got != version || (header[roomfile.ReservedAt] == dbfile.ReservedBytes) != (version == roomfile.Version) {
		t.Errorf("%s has version %d and %d reserved bytes, want version %d", path, got, header[roomfile.ReservedAt], version)
	}
	if err := dbfile.NewDatabase(file, path).Scan(func(page uint32) { t.Errorf("page %d of %s has no checksum", page, path) }); err != nil {
		t.Error(err)
	}
}

// A bit that flips in the file of a room that sleeps is found by a Verifier, wherever it is. Who reads the page gets ErrCorrupt, with
// the page and the file, and never another content.
func TestInvariantFlippedBitsAreNoticed(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, todosTable2+"; CREATE TABLE blobs (id INTEGER PRIMARY KEY, b); CREATE INDEX by_text ON todos (text); CREATE TABLE gone (x)")
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO gone SELECT randomblob(1000) FROM n")
	mustExec(t, d, "INSERT INTO blobs VALUES (1, randomblob(30000)), (2, zeroblob(9000))")
	for id := range 60 {
		if err := put(d, id, strings.Repeat("text ", id)); err != nil {
			t.Fatal(err)
		}
	}
	mustExec(t, d, "DROP TABLE gone")
	content := func(d *DB) (all string, err error) {
		for _, sql := range []string{
			"SELECT * FROM todos", "SELECT * FROM todos ORDER BY text", "SELECT * FROM blobs", "SELECT * FROM _den_changes",
			"SELECT * FROM _den_meta WHERE name NOT IN ('clean', 'log')", "SELECT * FROM _den_tables", "SELECT * FROM sqlite_schema",
		} {
			if err == nil {
				err = func() error {
					d.sql.Mu.Lock()
					defer d.sql.Mu.Unlock()
					return d.sql.Each(sql, func(r *Rows) { all += fmt.Sprintln(r.Values()...) })
				}()
			}
		}
		return all, err
	}
	if err := d.Close(); err != nil { // which is a transaction too
		t.Fatal(err)
	}
	d = openTest(t, o)
	want, err := content(d)
	if err = errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	whole := []byte(fileContent(t, o.Path))
	pages := len(whole) / pageSize
	rng := rand.New(rand.NewPCG(7, 7))
	var places []int
	for page := range pages {
		places = append(places, page*pageSize+rng.IntN(100), page*pageSize+rng.IntN(pageSize), (page+1)*pageSize-1-rng.IntN(8))
	}
	for at := range headerSize {
		places = append(places, at)
	}
	step := 1
	if raceEnabled || testing.Short() {
		step = 3
	}
	log, unread := o.Log, 0
	for i := 0; i < len(places); i += step {
		at := places[i]
		damaged := slices.Clone(whole)
		damaged[at] ^= 1 << rng.IntN(8)
		write(t, o.Path, string(damaged))
		found := verify(t, VerifyOptions{}, files(t, filepath.Dir(o.Path)), func(v *Verifier) { v.Room(Options{Path: o.Path, Namespace: o.Namespace, Room: o.Room}) })
		if found.Problems == 0 {
			t.Errorf("byte %d of page %d: the Verifier finds nothing", at%pageSize, at/pageSize+1)
		}
		o.Log = log
		d, err := Open(o)
		var got string
		if err == nil {
			got, err = content(d)
			d.Fence()
		}
		switch {
		case err == nil && got != want:
			t.Errorf("byte %d of page %d: other content was read", at%pageSize, at/pageSize+1)
		case err == nil:
			unread++
		case !Refused(err) && !errors.Is(err, ErrCorrupt):
			t.Errorf("byte %d of page %d: %v", at%pageSize, at/pageSize+1, err)
		case at >= pageSize && !strings.Contains(err.Error(), fmt.Sprintf("page %d of %s does not have its checksum", at/pageSize+1, o.Path)):
			t.Errorf("byte %d of page %d: the page is not named: %v", at%pageSize, at/pageSize+1, err)
		}
		for _, suffix := range []string{roomfile.SuspectSuffix, roomfile.EntriesSuffix, "-wal"} {
			os.Remove(o.Path + suffix)
		}
	}
	if n := len(places) / step; unread > n/2 { // those of free pages
		t.Errorf("%d of %d flipped bits were not read", unread, n)
	}
	write(t, o.Path, string(whole))
}

// A room that reads a damaged page refuses the action, and its file is suspect from then on: the next Open writes it again if all of it
// can be read by then, and else refuses the room.
func TestDamagedPageIsSuspect(t *testing.T) {
	for _, heals := range []bool{true, false} {
		for _, end := range []func(*DB){func(d *DB) { _ = d.Close() }, (*DB).Fence} {
			r := newRig(t, 3)
			r.mustStart()
			d := r.mustOpen("r")
			want := map[int]string{}
			for id := range 40 {
				want[id] = strings.Repeat("x", 1000)
				if err := put(d, id, want[id]); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			path := r.options("r").Path
			d = r.mustOpen("r")
			var page int64
			if err := func() error {
				d.sql.Mu.Lock()
				defer d.sql.Mu.Unlock()
				return d.sql.Each("SELECT max(pgno) FROM sqlite_dbpage WHERE hex(substr(data, 1, 1)) = '0D' AND instr(data, 'xxxx') > 0", func(r *Rows) { page = r.Int(0) })
			}(); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			flip := func() { r.disk.Corrupt(path, (page-1)*pageSize+3000, []byte{4}) }
			flip()
			d = r.mustOpen("r")
			_, err := rowsOf(d)
			if said := fmt.Sprintf("page %d of %s does not have its checksum", page, path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), said) {
				t.Fatalf("%v, want that %s", err, said)
			}
			end(d)
			if there, err := roomfile.Exists(r.fs, path+roomfile.SuspectSuffix); err != nil || !there {
				t.Fatalf("the file is suspect: %v, %v", there, err)
			}
			if heals {
				flip()
			}
			d, err = r.open("r")
			if !heals {
				if !errors.Is(err, ErrCorrupt) || !Refused(err) {
					t.Errorf("opened with a damaged page: %v", err)
				}
			} else if err != nil {
				t.Error(err)
			} else {
				if got, err := rowsOf(d); err != nil || !maps.Equal(got, want) {
					t.Errorf("after it was written again: %v, %s", err, difference(want, got))
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				wantFormat(t, r.fs, path, roomfile.Version)
			}
			r.close()
		}
	}
}

// Every way to a new file of a room makes one with checksums.
func TestNewFilesHaveChecksums(t *testing.T) {
	n := newPoolRig(t)
	n.make("first", todosTable2)
	wantFormat(t, HostFS(), n.options("first").Path, roomfile.Version)

	d := n.open("materialized") // which began in memory
	mustExec(t, d, todosTable2+"; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO todos (id, text) SELECT i, hex(randomblob(500)) FROM n")
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	wantFormat(t, HostFS(), d.o.Path, roomfile.Version)
	if err := put(d, 7, strings.Repeat("large ", 3000)); err != nil {
		t.Fatal(err)
	}
	copies := t.TempDir()
	backup, before := filepath.Join(copies, "backup"), filepath.Join(copies, "before")
	if err := errors.Join(archived.write(d, backup), archived.writeAt(d, before, Point{Seq: d.Seq() - 1})); err != nil {
		t.Fatal(err)
	}
	n.close(d)
	wantFormat(t, HostFS(), d.o.Path, roomfile.Version)
	wantFormat(t, HostFS(), backup, roomfile.Version)
	wantFormat(t, HostFS(), before, roomfile.Version)

	for _, source := range []string{backup, before} {
		o := n.options("restored from " + filepath.Base(source))
		o.Log = nil
		if _, err := restoreOver(o, source); err != nil {
			t.Fatal(err)
		}
		wantFormat(t, HostFS(), o.Path, roomfile.Version)
	}
	imported := n.options("imported")
	r, err := archived.load(imported, func(l *Loader) error {
		_, err := l.Exec(todosTable2)
		if err == nil {
			_, err = l.Exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) INSERT INTO todos (id, text) SELECT i, hex(randomblob(500)) FROM n")
		}
		return err
	})
	if err == nil {
		err = r.InstallNew()
	}
	if err != nil {
		t.Fatal(err)
	}
	wantFormat(t, HostFS(), imported.Path, roomfile.Version)
	if _, err := Compact(t.Context(), n.options("materialized"), nil); err != nil {
		t.Fatal(err)
	}
	wantFormat(t, HostFS(), d.o.Path, roomfile.Version)
}

// A room that a crash has left in the log alone gets a file with checksums.
func TestRecoveredFileHasChecksums(t *testing.T) {
	r := newRig(t, 5)
	defer r.close()
	r.mustStart()
	r.rows(1)
	d := r.mustOpen("young")
	want := map[int]string{}
	for id := range 9 {
		want[id] = strings.Repeat("y", 2000)
		if err := put(d, id, want[id]); err != nil {
			t.Fatal(err)
		}
	}
	r.cut(d)
	if err := r.expect("young", cutResult{want: want}); err != nil {
		t.Error(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	wantFormat(t, r.fs, r.options("young").Path, roomfile.Version)
}

// A file without checksums is worked with as before, and gets them when it is compacted. Its history goes on to before that.
func TestPlainFile(t *testing.T) {
	r := compactRig(t, time.Hour)
	o := r.options("old")
	makePlain(t, o)
	want := map[int]string{}
	var states []map[int]string
	add := func(d *DB, id int) {
		t.Helper()
		want[id] = strings.Repeat(fmt.Sprint(id, " "), 700)
		if err := put(d, id, want[id]); err != nil {
			t.Fatal(err)
		}
		states = append(states, maps.Clone(want))
	}
	first := Seq(0)
	for life := range 3 {
		d := r.mustOpen("old")
		if life == 0 {
			if err := d.Sync("todos"); err != nil {
				t.Fatal(err)
			}
			first = d.Seq() + 1
		}
		for i := range 5 {
			add(d, 10*life+i)
		}
		if life == 1 { // the file takes from the log what it lacks
			r.cut(d)
			r.mustStart()
			d = r.mustOpen("old")
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		wantFormat(t, r.fs, o.Path, roomfile.PlainVersion)
	}
	for range 2 {
		if _, err := Compact(context.Background(), r.options("old"), nil); err != nil {
			t.Fatal(err)
		}
		wantFormat(t, r.fs, o.Path, roomfile.Version)
	}
	d := r.mustOpen("old")
	for i := range 5 {
		add(d, 100+i)
	}
	for i, state := range states {
		path := fmt.Sprintf("/state%d", i)
		if err := d.CopyAt(path, Point{Seq: first + Seq(i)}); err != nil {
			t.Fatalf("state %d: %v", i, err)
		}
		version := uint32(roomfile.PlainVersion)
		if i >= 15 {
			version = roomfile.Version
		}
		if i != 14 { // the newest before the compaction is in both files
			wantFormat(t, r.fs, path, version)
		}
		if got := readBeside(t, r, path); !maps.Equal(got, state) {
			t.Errorf("state %d: %s", i, difference(state, got))
		}
	}
	if got, err := rowsOf(d); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v: %s", err, difference(want, got))
	}
	if err := errors.Join(d.Close(), r.stop()); err != nil {
		t.Fatal(err)
	}
	if _, err := verifyAll(r, func(f Finding) {
		if f.Severity == Problem {
			t.Error(f)
		}
	}); err != nil {
		t.Error(err)
	}
}

// A connection that has served a file with checksums does not serve one without, nor the other way round.
func TestPooledKindsAreApart(t *testing.T) {
	n := newPoolRig(t)
	makePlain(t, n.options("plain 1"))
	makePlain(t, n.options("plain 2"))
	n.make("summed 1", todosTable2)
	n.make("summed 2", todosTable2)
	last := map[string]bool{}
	for _, name := range []string{"plain 1", "plain 2", "summed 1", "plain 1", "summed 2", "plain 2", "summed 1"} {
		d := n.open(name)
		kind := name[:len(name)-2]
		if err := d.Sync("todos"); err != nil {
			t.Fatal(err)
		}
		if moved(d) != last[kind] && kind == "plain" {
			t.Errorf("%s: a pooled connection: %v, want %v", name, moved(d), last[kind])
		}
		last[kind] = true
		for id := range 20 {
			if err := put(d, id, strings.Repeat(name, 100+id)); err != nil {
				t.Fatal(err)
			}
		}
		n.close(d)
		version := uint32(roomfile.Version)
		if kind == "plain" {
			version = roomfile.PlainVersion
		}
		wantFormat(t, HostFS(), n.options(name).Path, version)
	}
}

// A backup without checksums becomes a room with them.
func TestRestoreOfAPlainFile(t *testing.T) {
	o := testOptions(t)
	old := o
	old.Path = filepath.Join(t.TempDir(), "old.db")
	makePlain(t, old)
	d := openTest(t, old)
	if err := errors.Join(d.Sync("todos"), put(d, 1, "x"), d.Close()); err != nil {
		t.Fatal(err)
	}
	wantFormat(t, HostFS(), old.Path, roomfile.PlainVersion)
	if _, err := restoreOver(o, old.Path); err != nil {
		t.Fatal(err)
	}
	wantFormat(t, HostFS(), o.Path, roomfile.Version)
	if names := dirNames(t, filepath.Dir(o.Path)); strings.Contains(names, roomfile.FreshSuffix) {
		t.Error(names)
	}
	d = openTest(t, o)
	if got, err := rowsOf(d); err != nil || got[1] != "x" {
		t.Errorf("%v, %v", got, err)
	}
}

// A backup that another program has changed is restored if the program says that its checksums are not those of its pages. One in
// which a bit has flipped is not.
func TestRestoreOfAChangedBackup(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, todosTable2)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	for id := range 30 {
		if err := put(d, id, strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := errors.Join(archived.write(d, backup), d.Close()); err != nil {
		t.Fatal(err)
	}
	whole := fileContent(t, backup)
	shell := func(sql string) func() {
		return func() {
			c, err := sqlite.OpenConn("", backup, sqlite.OpenReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.ExecScript(sql), c.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	const update = "UPDATE todos SET text = 'changed' WHERE id = 20;"
	for _, c := range []struct {
		what   string
		change func()
		want   error
		row    string
	}{
		{"nothing", func() {}, nil, strings.Repeat("x", 1000)},
		{"changed, and said so", shell(update + "PRAGMA user_version = 2"), nil, "changed"},
		{"said first", shell("PRAGMA user_version = 2;" + update), nil, "changed"},
		{"vacuumed, and said so", shell(update + "VACUUM; PRAGMA user_version = 2"), nil, "changed"},
		{"changed", shell(update), ErrCorrupt, ""},
		{"a bit of the version", func() { flip(t, backup, 63, 1) }, ErrCorrupt, ""},
		{"the reserved bytes", func() { flip(t, backup, 20, 8) }, ErrCorrupt, ""},
		{"a bit", func() { flip(t, backup, int64(strings.Index(whole, "xxxx")), 1) }, ErrCorrupt, ""},
	} {
		write(t, backup, whole)
		c.change()
		_, err := restoreOver(o, backup)
		if c.want != nil {
			wantError(t, err, c.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		wantFormat(t, HostFS(), o.Path, roomfile.Version)
		d, err := Open(o)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if got, err := rowsOf(d); err != nil || len(got) != 30 || got[20] != c.row {
			t.Errorf("%s: %d rows, %q, %v", c.what, len(got), got[20], err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Entries of the log say nothing of checksums: those of a room with them are no longer than a page's change.
func TestChecksumsAreNotLogged(t *testing.T) {
	o := testOptions(t)
	log := o.Log.(*memLog)
	d := openTest(t, o)
	mustExec(t, d, todosTable2)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	for id := range 30 {
		if err := put(d, id, "x"); err != nil {
			t.Fatal(err)
		}
		if id == 10 {
			if err := d.Checkpoint(); err != nil { // pages come from the file now
				t.Fatal(err)
			}
		}
	}
	for _, room := range log.rooms {
		for _, e := range room.entries[len(room.entries)-15:] {
			if n := len(e.Payload); n > 1000 {
				t.Errorf("entry %d has %d bytes", e.Number, n)
			}
		}
	}
	for at, page := 0, pagesOf(t, d); at < len(page); at += pageSize {
		if tail := page[at+pageSize-dbfile.ReservedBytes : at+pageSize]; string(tail) != strings.Repeat("\x00", dbfile.ReservedBytes) {
			t.Errorf("SQLite has %x at the end of page %d", tail, at/pageSize+1)
		}
	}
}
