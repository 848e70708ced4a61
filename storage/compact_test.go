package storage

// A file that was emptied is made small, and everything else about the room stays as it was.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// fillRows gives a room rows of some KB each.
func fillRows(t *testing.T, d *DB, rows, bytes int) {
	t.Helper()
	for id := 0; id < rows; {
		b, err := d.Begin()
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Do(clock, func() error {
			for range min(rows-id, 500) {
				if _, err := d.Exec(`INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, id, fmt.Sprint(id)+strings.Repeat("x", bytes)); err != nil {
					return err
				}
				id++
			}
			return nil
		})
		if err == nil {
			err = b.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sizeOf(t *testing.T, r *rig, path string) int64 {
	t.Helper()
	n, err := r.fs.Size(path)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func compactRig(t *testing.T, history time.Duration) *rig {
	t.Helper()
	r := newRig(t, 1)
	r.history, r.past, r.segment = history, "/data/_past", 4<<20
	r.mustStart()
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.close()
	})
	return r
}

// What a hundred megabytes leave when they are deleted is less than one; 8 with -short.
func TestCompactShrinks(t *testing.T) {
	r := compactRig(t, 0)
	d := r.mustOpen("big")
	fillRows(t, d, shorter(26_000, 2_100), 4000)
	epoch := d.Epoch()
	for last := 26_000; last >= 10; last -= 8000 { // an action may change 10,000 rows
		mustExec(t, d, fmt.Sprintf(`DELETE FROM todos WHERE id >= %d`, max(last-8000, 10)))
	}
	want, err := rowsOf(d)
	if err != nil {
		t.Fatal(err)
	}
	slack, err := d.slack(0)
	if err != nil || !slack.Due() {
		t.Fatalf("%+v is not worth to be compacted (%v)", slack, err)
	}
	seq := d.Seq()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	path := r.options("big").Path
	before := sizeOf(t, r, path)
	done, err := Compact(context.Background(), r.options("big"), nil)
	if err != nil {
		t.Fatal(err)
	}
	after := sizeOf(t, r, path)
	if done != (Compacted{before, after}) || before < int64(shorter(100, 8))<<20 || after > 1<<20 {
		t.Errorf("%+v; the file had %d bytes, and has %d", done, before, after)
	}
	for _, name := range r.disk.Files() {
		if strings.HasPrefix(name, path) && name != path || strings.HasPrefix(name, r.past) {
			t.Errorf("%s is left", name)
		}
	}
	d = r.mustOpen("big")
	defer d.Close()
	got, err := rowsOf(d)
	if err != nil || !maps.Equal(got, want) || d.Seq() != seq || d.Epoch() != epoch {
		t.Errorf("seq %d, want %d; epoch %s, want %s; %d rows, want %d (%v)", d.Seq(), seq, d.Epoch(), epoch, len(got), len(want), err)
	}
	if slack, err := d.slack(0); err != nil || slack.Free != 0 {
		t.Errorf("%+v (%v)", slack, err)
	}
}

func TestSlackDue(t *testing.T) {
	for _, c := range []struct {
		s    Slack
		want bool
	}{
		{Slack{1 << 20, 1<<20 + 1}, false},
		{Slack{1<<20 + pageSize, 2 << 20}, true},
		{Slack{2 << 20, 4 << 20}, false},
		{Slack{2<<20 + pageSize, 4 << 20}, true},
		{Slack{}, false},
	} {
		if got := c.s.Due(); got != c.want {
			t.Errorf("%+v: %t", c.s, got)
		}
	}
}

// All that SQL can make is in the new file as it was, hidden rowids too.
func TestCompactKeepsEverything(t *testing.T) {
	r := compactRig(t, time.Hour)
	d := r.mustOpen("all")
	for _, sql := range []string{
		`CREATE TABLE hidden (name TEXT PRIMARY KEY, v)`,
		`CREATE TABLE bare (v)`,
		`CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, v)`,
		`CREATE TABLE without (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID`,
		`CREATE TABLE made (a, b AS (a * 2) VIRTUAL, c AS (a * 3) STORED, CHECK (a > 0))`,
		`CREATE INDEX partial ON made (c) WHERE a > 3`,
		`CREATE VIEW seen AS SELECT v FROM bare`,
		`CREATE TABLE said (n)`,
		`CREATE TRIGGER told AFTER INSERT ON bare BEGIN INSERT INTO said VALUES (new.v); END`,
		`CREATE VIRTUAL TABLE found USING fts5(text, content='', contentless_delete=1)`,
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) INSERT INTO bare SELECT i || hex(zeroblob(2000)) FROM n`,
		`INSERT INTO hidden SELECT 'n' || substr(v, 1, 3) || rowid, v FROM bare`,
		`INSERT INTO counted (v) SELECT v FROM bare`,
		`INSERT INTO without SELECT rowid, v FROM bare`,
		`INSERT INTO made (a) SELECT rowid FROM bare`,
		`INSERT INTO found (rowid, text) SELECT rowid, 'word' || rowid FROM bare`,
		`DELETE FROM bare WHERE rowid % 10 > 0`, `DELETE FROM hidden WHERE rowid % 10 > 0`, `DELETE FROM counted WHERE id % 10 > 0 OR id > 800`,
		`DELETE FROM without WHERE a % 10 > 0`, `DELETE FROM found WHERE rowid % 10 > 0`,
	} {
		mustExec(t, d, sql)
	}
	queries := []string{
		`SELECT rowid, * FROM bare ORDER BY rowid`, `SELECT rowid, * FROM hidden ORDER BY rowid`, `SELECT * FROM counted`, `SELECT * FROM without`,
		`SELECT rowid, * FROM made ORDER BY rowid`, `SELECT * FROM said`, `SELECT * FROM seen`, `SELECT rowid FROM found WHERE found MATCH 'word450 OR word451'`,
		`SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name`, `SELECT * FROM sqlite_sequence`, `SELECT * FROM _den_changes`,
		`SELECT * FROM _den_tables`, `SELECT * FROM _den_meta WHERE name <> 'layout' AND name <> 'clean'`, `PRAGMA schema_version`, `PRAGMA user_version`, `PRAGMA application_id`,
	}
	ask := func(d *DB) (all []string) {
		for _, q := range queries {
			var answer strings.Builder
			d.sql.Mu.Lock()
			err := d.sql.Each(q, func(r *Rows) {
				for i := range r.Columns() {
					fmt.Fprintf(&answer, "%v|", r.Value(i))
				}
			})
			d.sql.Mu.Unlock()
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			all = append(all, answer.String())
		}
		return all
	}
	d.Prepare("a program")
	mustExec(t, d, `INSERT INTO said VALUES (1)`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = r.mustOpen("all")
	want := ask(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := Compact(context.Background(), r.options("all"), nil)
	if err != nil || done.After >= done.Before/2 {
		t.Fatalf("%+v (%v)", done, err)
	}
	d = r.mustOpen("all")
	defer d.Close()
	for i, got := range ask(d) {
		if got != want[i] {
			t.Errorf("%s:\n%.300s\nwas\n%.300s", queries[i], got, want[i])
		}
	}
	if !d.Prepared("a program") {
		t.Error("what was found out of the tables was forgotten")
	}
	if err := sound(d); err != nil {
		t.Error(err)
	}
}

// The history leads through several files, and each state of it is what it was. Without the files it ends
// where it was compacted last, and says so.
func TestCompactHistory(t *testing.T) {
	r := compactRig(t, 1000*time.Hour)
	states := map[Seq]map[int]string{}
	note := func(d *DB) {
		rows, err := rowsOf(d)
		if err != nil {
			t.Fatal(err)
		}
		states[d.Seq()] = rows
	}
	var compacted []Seq
	for round := range 3 {
		d := r.mustOpen("room")
		for i := range 4 {
			r.now = r.now.Add(time.Second)
			if err := put(d, i, fmt.Sprint(round, strings.Repeat("y", 10_000*(i+1)))); err != nil {
				t.Fatal(err)
			}
			note(d)
		}
		mustExec(t, d, `DELETE FROM todos WHERE id > 0`)
		note(d)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		compacted = append(compacted, d.Seq())
		if done, err := Compact(context.Background(), r.options("room"), nil); err != nil || done.After >= done.Before {
			t.Fatalf("%+v (%v)", done, err)
		}
	}
	d := r.mustOpen("room")
	if err := put(d, 7, "the last"); err != nil {
		t.Fatal(err)
	}
	note(d)
	for seq, want := range states {
		path := fmt.Sprintf("/backup/%d.db", seq)
		if err := archived.writeAt(d, path, Point{Seq: seq}); err != nil {
			t.Fatal(err)
		}
		if got := readBeside(t, r, path); !maps.Equal(got, want) {
			t.Errorf("at %d: %s", seq, difference(want, got))
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var noted []Finding
	v, err := verifyAll(r, func(f Finding) { noted = append(noted, f) })
	if err != nil || len(noted) > 0 || v.Transactions < 16 {
		t.Errorf("den verify: %v, %+v (%v)", noted, v, err)
	}

	d = r.mustOpen("room")
	defer d.Close()
	if left, err := SweepPast(r.fs, r.past, r.now.Add(time.Hour), r.now); err != nil || left != 0 {
		t.Fatalf("%d files are left (%v)", left, err)
	}
	if err := archived.writeAt(d, "/backup/yes.db", Point{Seq: compacted[2]}); err != nil {
		t.Errorf("the state that the newest file began with: %v", err)
	}
	var e *HistoryError
	err = archived.writeAt(d, "/backup/no.db", Point{Seq: compacted[2] - 1})
	if !errors.As(err, &e) || !errors.Is(err, ErrNoHistory) || e.Oldest.Seq != compacted[2] {
		t.Errorf("before it: %v", err)
	}
}

func readBeside(t *testing.T, r *rig, path string) map[int]string {
	t.Helper()
	d, err := openBeside(r.fs, path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rows, err := rowsOf(d)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// verifyAll is den verify.
func verifyAll(r *rig, report func(Finding)) (Verified, error) {
	v, err := NewVerifier(VerifyOptions{FS: r.fs, LogDir: "/data/_log", PastDir: r.past, Report: report})
	if err != nil {
		return Verified{}, err
	}
	err = v.Dir(context.Background(), "/data", "n")
	found, closed := v.Close()
	return found, errors.Join(err, closed)
}

// An entry that was made for a file before it was compacted is not put into the one after it, and the other way
// round.
func TestCompactLayoutsDoNotMix(t *testing.T) {
	r := compactRig(t, time.Hour)
	d := r.mustOpen("room")
	fillRows(t, d, 100, 3000)
	mustExec(t, d, `DELETE FROM todos WHERE id > 5`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	path := r.options("room").Path
	if err := roomfile.Keep(r.fs, path, "/data/copy"); err != nil {
		t.Fatal(err)
	}
	if _, err := Compact(context.Background(), r.options("room"), nil); err != nil {
		t.Fatal(err)
	}
	d = r.mustOpen("room")
	if err := put(d, 1, "after"); err != nil {
		t.Fatal(err)
	}
	r.kill(d)
	if err := errors.Join(roomfile.RemoveDatabase(r.fs, path), r.fs.Rename("/data/copy", path)); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if d, err := r.open("room"); !errors.Is(err, ErrLogMismatch) {
		t.Errorf("an older file was accepted: %v, %v", d, err)
	}
}

// Compact gives way at once, and leaves the room as it was.
func TestCompactGivesWay(t *testing.T) {
	r := compactRig(t, 0)
	d := r.mustOpen("room")
	fillRows(t, d, 1000, 4000)
	mustExec(t, d, `DELETE FROM todos WHERE id % 3 > 0`)
	want, err := rowsOf(d)
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	before := r.disk.Files()
	ctx, cancel := context.WithCancelCause(context.Background())
	o, wanted := r.options("room"), errors.New("the room is called for")
	o.FS = &beforeOpen{r.fs, func(path string) {
		if path == o.Path+roomfile.FreshSuffix {
			cancel(wanted)
		}
	}}
	if _, err := Compact(ctx, o, nil); !errors.Is(err, wanted) {
		t.Errorf("it ended with %v", err)
	}
	if after := r.disk.Files(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("files %v, before %v", after, before)
	}
	d = r.mustOpen("room")
	defer d.Close()
	if got, err := rowsOf(d); err != nil || !maps.Equal(got, want) {
		t.Errorf("%s (%v)", difference(want, got), err)
	}
}

// A statement that runs is ended, too.
func TestWhileInterrupts(t *testing.T) {
	r := compactRig(t, 0)
	d := r.mustOpen("room")
	defer d.Close()
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	err := d.sql.While(ctx, func() error {
		d.sql.Mu.Lock()
		defer d.sql.Mu.Unlock()
		return d.sql.Each("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n", func(*Rows) {
			if calls++; calls == 100 {
				cancel()
			}
		})
	})
	if !errors.Is(err, ErrInterrupted) || calls < 100 {
		t.Errorf("it ended with %v after %d rows", err, calls)
	}
}

// beforeOpen is a file system that tells of each file that is opened.
type beforeOpen struct {
	FS
	tell func(path string)
}

func (f *beforeOpen) Open(path string, flag int) (vfs.File, error) {
	f.tell(path)
	return f.FS.Open(path, flag)
}

// A room that is not there is not made; one for which it is not worth it, or that was not written to since, is left alone.
func TestCompactNothing(t *testing.T) {
	r := compactRig(t, 0)
	if _, err := Compact(context.Background(), r.options("none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no room: %v", err)
	}
	d := r.mustOpen("room")
	fillRows(t, d, 10, 100)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Compact(context.Background(), r.options("room"), nil); err != nil {
		t.Fatal(err)
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpRename, Err: syscall.EIO, Suffix: ".db", Times: -1})
	defer r.disk.Heal()
	if _, err := Compact(context.Background(), r.options("room"), nil); err != nil {
		t.Errorf("written again without need: %v", err)
	}
	done, err := Compact(context.Background(), r.options("room"), Slack.Due)
	if err != nil || done.Before != done.After || done.Before != sizeOf(t, r, r.options("room").Path) {
		t.Errorf("%+v (%v)", done, err)
	}
	if names, err := r.fs.Names(filepath.Dir(r.options("none").Path)); err == nil && len(names) > 0 {
		t.Errorf("%v", names)
	}
}
