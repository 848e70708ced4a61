package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/roomfile"
)

// A block is a data directory with rooms "a", "b" and one of a long name, closed well, on a disk in memory.
type block struct {
	*rig
	long string
}

func newBlock(t *testing.T) *block {
	b := &block{newRig(t, 1), strings.Repeat("Long", 50)}
	t.Cleanup(b.close)
	b.history = time.Hour
	b.mustStart()
	for _, name := range []string{"a", "b", b.long} {
		d := b.mustOpen(name)
		if err := errors.Join(put(d, 1, "one"), put(d, 2, "two"), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	return b
}

// look verifies all, and gives what was found as lines: severity, room or file, check.
func (b *block) look(change func(*VerifyOptions), dir func(*Verifier) error) (Verified, []string) {
	b.t.Helper()
	o := VerifyOptions{FS: b.fs, LogDir: "/data/_log"}
	if change != nil {
		change(&o)
	}
	if dir == nil {
		dir = func(v *Verifier) error { return v.Dir(context.Background(), "/data", "n") }
	}
	got := verify(b.t, o, onDiskFiles(b.t, b.disk), func(v *Verifier) {
		if err := dir(v); err != nil {
			b.t.Error(err)
		}
	})
	var lines []string
	for _, f := range got.found {
		of := filepath.Base(f.Path)
		if f.Room != "" {
			of = f.Room
		}
		lines = append(lines, fmt.Sprintf("%v %s %s", f.Severity, strings.ReplaceAll(of, b.long, "long"), f.Check))
	}
	slices.Sort(lines)
	return got.Verified, lines
}

func (b *block) make(path, content string) {
	b.t.Helper()
	_, err := b.fs.MakeDirs(filepath.Dir(path))
	if err == nil {
		err = roomfile.RemoveIfThere(b.fs, path)
	}
	if err == nil {
		err = roomfile.Make(b.fs, path)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := b.fs.Open(path, os.O_RDWR)
	if err == nil {
		_, err = f.WriteAt([]byte(content), 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *block) path(room string) string { return b.options(room).Path }

// Each file beside the rooms' is told of by what it is, and a room by what is wrong with its file's name.
func TestVerifyNames(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*block)
		rooms int
		want  string
	}{
		"nothing":                    {func(*block) {}, 3, ""},
		"an empty WAL alone":         {func(b *block) { b.make("/data/n/00/x.db-wal", "") }, 3, ""},
		"a WAL alone":                {func(b *block) { b.make("/data/n/00/x.db-wal", "x") }, 3, "problem x.db-wal leftover"},
		"a journal alone":            {func(b *block) { b.make("/data/n/00/x.db-journal", "x") }, 3, "problem x.db-journal leftover"},
		"an index of a WAL alone":    {func(b *block) { b.make("/data/n/00/x.db-shm", "x") }, 3, ""},
		"a WAL of no room":           {func(b *block) { b.make("/data/n/00/x-wal", "x") }, 3, "note x-wal name"},
		"a seq":                      {func(b *block) { b.make(b.path("a")+roomfile.SeqSuffix, "x") }, 3, ""},
		"a seq of nothing":           {func(b *block) { b.make("/data/n/00/x.seq", "x") }, 3, "note x.seq name"},
		"an unfinished one":          {func(b *block) { b.make(b.path("a")+roomfile.SeqSuffix+".new", "x") }, 3, "note a.db.seq.new leftover"},
		"what an operator put there": {func(b *block) { b.make(b.path("a")+".refused-1", "x") }, 3, "note a.db.refused-1 leftover"},
		"another file":               {func(b *block) { b.make("/data/n/00/README", "x") }, 3, "note README name"},
		"another database":           {func(b *block) { b.make("/data/n/00/x.db", "x") }, 3, "problem x.db name"},
		"entries of a room":          {func(b *block) { b.make(b.path("a")+roomfile.EntriesSuffix, "x") }, 3, "note a.db.entries leftover; problem a open"},
		"entries of no room":         {func(b *block) { b.make(b.path("c")+roomfile.EntriesSuffix, "x") }, 4, "note c.db.entries leftover; problem c open"},
		"entries elsewhere":          {func(b *block) { b.make("/data/n/00/c.db.entries", "x") }, 3, "note c.db.entries leftover"},
		"entries of a long name": {func(b *block) {
			b.make(b.path(b.long)+roomfile.EntriesSuffix, "x")
			if err := b.fs.Remove(b.path(b.long)); err != nil {
				b.t.Fatal(err)
			}
		}, 2, "note LONG.entries leftover; problem LONG.entries leftover"},
		"a long name elsewhere": {func(b *block) {
			if err := errors.Join(b.fs.Mkdir("/data/n/00"), b.fs.Rename(b.path(b.long), "/data/n/00/"+filepath.Base(b.path(b.long)))); err != nil {
				b.t.Fatal(err)
			}
		}, 2, "problem LONG name"},
		"a long name that cannot be read": {func(b *block) { flipByte(b.rig, b.path(b.long), 0) }, 2, "problem LONG name"},
		"a short name that cannot":        {func(b *block) { flipByte(b.rig, b.path("a"), 0) }, 3, "problem a open"},
		"an empty file":                   {func(b *block) { b.make(b.path("c"), "") }, 4, "problem c open"},
		"a file that is too short":        {func(b *block) { b.make(b.path("c"), "SQLite format 3\x00") }, 4, "problem c open"},
		"a page size of another file's":   {func(b *block) { flipByte(b.rig, b.path("a"), 17) }, 3, "problem a checksums; problem a header; problem a open"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlock(t)
			c.spoil(b)
			got, lines := b.look(nil, nil)
			want := strings.ReplaceAll(c.want, "LONG", filepath.Base(b.path(b.long)))
			if strings.Join(lines, "; ") != want || got.Rooms != c.rooms {
				t.Errorf("%d rooms, %q; want %d, %q", got.Rooms, lines, c.rooms, want)
			}
		})
	}
}

// What another package finds in a room, or what breaks it, is that room's, and the other rooms are looked at.
func TestVerifyInspect(t *testing.T) {
	b := newBlock(t)
	for name, c := range map[string]struct {
		inspect func() error
		want    string
	}{
		"well":   {func() error { return nil }, ""},
		"error":  {func() error { return ErrCorrupt }, "problem b tables"},
		"broken": {func() error { panic("it breaks") }, "problem b tables"},
	} {
		seen := 0
		got, lines := b.look(func(o *VerifyOptions) {
			o.Inspect = func(d *DB) error {
				seen++
				if _, err := d.Internal().Exec(`CREATE TABLE _den_x (x)`); err != nil { // and nobody sees it
					t.Errorf("%s: %v", name, err)
				}
				if d.o.Room == "b" {
					return c.inspect()
				}
				return nil
			}
		}, nil)
		if strings.Join(lines, "; ") != c.want || got.Rooms != 3 || seen != 3 || got.Transactions < 6 {
			t.Errorf("%s: %d seen, %+v, %q", name, seen, got, lines)
		}
	}
}

// A row that refers to none is told of, and how many there are; the room works.
func TestVerifyForeignKeys(t *testing.T) {
	b := newBlock(t)
	b.mustStart()
	d := b.mustOpen("a")
	mustExec(t, d, `CREATE TABLE refers (id INTEGER PRIMARY KEY, other REFERENCES todos (id))`)
	d.sql.Mu.Lock()
	err := d.sql.Conn.SetConfig(1002, 0) // SQLITE_DBCONFIG_ENABLE_FKEY
	d.sql.Mu.Unlock()
	mustExec(t, d, `INSERT INTO refers VALUES (1, 1), (2, 77), (3, 78)`)
	if err := errors.Join(err, d.Close(), b.stop()); err != nil {
		t.Fatal(err)
	}
	text := ""
	got, lines := b.look(func(o *VerifyOptions) {
		o.Inspect = func(*DB) error { return nil }
	}, nil)
	verify(t, VerifyOptions{FS: b.fs, LogDir: "/data/_log"}, onDiskFiles(t, b.disk), func(v *Verifier) {
		report := v.o.Report
		v.o.Report = func(f Finding) { text = f.String(); report(f) }
		if !v.Room(Options{Path: b.path("a"), Namespace: "n", Room: "a"}) {
			t.Error("there is no room")
		}
	})
	if strings.Join(lines, "; ") != "note a foreign keys" || got.Notes != 1 || !strings.Contains(text, "2 rows") {
		t.Errorf("%+v, %q, %s", got, lines, text)
	}
}

// A context that is over ends the check, and a namespace that is none is a problem of its own.
func TestVerifyDirEnds(t *testing.T) {
	b := newBlock(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if got, lines := b.look(nil, func(v *Verifier) error {
		if err := v.Dir(ctx, "/data", "n"); !errors.Is(err, why) {
			t.Errorf("it ended with %v", err)
		}
		return nil
	}); got.Rooms != 0 || len(lines) != 0 {
		t.Errorf("%+v, %q", got, lines)
	}
	seen := 0
	ctx, cancel = context.WithCancelCause(context.Background())
	if got, _ := b.look(func(o *VerifyOptions) {
		o.Inspect = func(*DB) error { seen++; cancel(why); return nil }
	}, func(v *Verifier) error {
		if err := v.Dir(ctx, "/data", "n"); !errors.Is(err, why) {
			t.Errorf("it ended with %v", err)
		}
		return nil
	}); seen != 1 || got.Rooms != 1 {
		t.Errorf("%d rooms were looked at, %+v", seen, got)
	}
	if got, lines := b.look(nil, func(v *Verifier) error { return v.Dir(context.Background(), "/data", "N", "n", "none") }); got.Rooms != 3 || strings.Join(lines, "; ") != "problem N name" {
		t.Errorf("%+v, %q", got, lines)
	}
}

// Rooms that the log alone has are looked at, each once, and until the context ends.
func TestVerifyRoomsOfTheLog(t *testing.T) {
	b := newBlock(t)
	b.mustStart()
	var open []*DB
	for _, name := range []string{"x", "y"} {
		d := b.mustOpen(name)
		if err := put(d, 1, "one"); err != nil {
			t.Fatal(err)
		}
		open = append(open, d)
	}
	b.kill(open...)
	got, lines := b.look(nil, nil)
	if got.Rooms != 5 || got.Replayed == 0 || strings.Join(lines, "; ") != "note x log; note y log" {
		t.Errorf("%+v, %q", got, lines)
	}
	seen, why := 0, errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	b.look(func(o *VerifyOptions) {
		o.Inspect = func(d *DB) error {
			if seen++; d.o.Room == "x" {
				cancel(why)
			}
			return nil
		}
	}, func(v *Verifier) error {
		if err := v.Dir(ctx, "/data", "n"); !errors.Is(err, why) {
			t.Errorf("it ended with %v", err)
		}
		return nil
	})
	if seen != 4 {
		t.Errorf("%d rooms were looked at", seen)
	}
}

// Nobody knows what a directory holds that cannot be taken for reading.
func TestLockDirForReadingRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "")
	for _, path := range []string{filepath.Join(dir, "none"), file} {
		if _, err := LockDirForReading(HostFS(), path); err == nil {
			t.Errorf("%s was locked", path)
		}
	}
	b := newBlock(t)
	unlock, err := LockDirForReading(b.fs, "/nowhere")
	if err != nil || unlock() != nil {
		t.Errorf("a disk that is not the machine's has no locks: %v", err)
	}
}
