package storage

// Each operation of the disk fails once, in each of the things that are done with a room. Then either what was done is done, for good,
// or an error says that it is not; the room is there, and nothing is left behind.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

// A chore is something that is done with room "r" while the disk fails once.
type chore struct {
	name    string
	rig     func(*rig)                  // sets what is to be other than newRig's
	prepare func(r *rig)                // makes the disk as do finds it; the log is open
	open    bool                        // do gets the room, opened before the disk fails
	closed  bool                        // the log is closed when do begins
	vague   bool                        // what SQLite says may be no more than that it failed
	do      func(r *rig, d *DB) error   // what is done
	check   func(r *rig, e error) error // looks at the disk afterwards, with e of do; once more after a power cut
	other   []error                     // besides ErrIO: what do may fail with
	leaves  string                      // parts of the names of files that may be left, separated by spaces
}

// cloned gives a copy of the machine, on which nothing runs.
func (r *rig) cloned(seed uint64) *rig {
	r.t.Helper()
	c := *r
	c.disk = r.disk.Clone(seed)
	name := fmt.Sprintf("rig-%d", rigs.Add(1))
	unregister, err := c.disk.Register(name)
	if err != nil {
		r.t.Fatal(err)
	}
	c.unregister, c.fs = unregister, c.disk.FS(name)
	return &c
}

// sweep does the chore with each operation failing in its turn.
func (c chore) sweep(t *testing.T) {
	t.Helper()
	base := newRig(t, 1)
	base.history = time.Hour
	if c.rig != nil {
		c.rig(base)
	}
	base.mustStart()
	c.prepare(base)
	if err := base.stop(); err != nil {
		t.Fatal(err)
	}
	defer base.close()
	refused, done := 0, 0
	for _, op := range faultdisk.AllOps() {
		step := 1
		if op == faultdisk.OpList { // each list of a namespace's rooms has 256
			step = 29
		}
		if raceEnabled {
			step *= 7
		}
		for after := 0; after < 400; after += step {
			fired, err := c.once(base, op, after)
			if !fired {
				break
			}
			if err != nil {
				refused++
			} else {
				done++
			}
			if t.Failed() {
				return
			}
		}
	}
	if refused == 0 {
		t.Errorf("nothing was refused, and %d were not: nothing was tested", done)
	}
}

// once does it with one operation that fails, and reports whether one did.
func (c chore) once(base *rig, op faultdisk.Op, after int) (fired bool, failed error) {
	t := base.t
	r := base.cloned(uint64(op)*1000 + uint64(after) + 1)
	defer r.close()
	r.mustStart()
	var d *DB
	if c.open {
		d = r.mustOpen("r")
	}
	if c.closed {
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	handles := r.disk.OpenFiles()
	r.disk.Fail(faultdisk.Fault{Op: op, After: after})
	failed = c.do(r, d)
	fired = r.disk.Stats().Faults > 0
	r.disk.Heal()
	what := fmt.Sprintf("%s, %v %d fails", c.name, op, after)
	if n := r.disk.OpenFiles(); n > handles && fired {
		t.Errorf("%s: %d files are left open, with %v", what, n-handles, failed)
	}
	switch {
	case failed == nil || errors.Is(failed, ErrIO):
	case !fired:
		t.Errorf("%s: %v", what, failed)
	case c.vague && isVague(failed):
	case !slices.ContainsFunc(c.other, func(e error) bool { return errors.Is(failed, e) }):
		t.Errorf("%s: %v", what, failed)
	}
	if d != nil {
		if err := d.Close(); err != nil && !fired {
			t.Errorf("%s: closing: %v", what, err)
		}
	}
	if err := r.stop(); err != nil && !fired {
		t.Errorf("%s: closing the log: %v", what, err)
	}
	for _, when := range []string{"afterwards", "after a power cut"} {
		r.mustStart()
		if err := c.check(r, failed); err != nil {
			t.Errorf("%s (%v), %s: %v", what, failed, when, err)
		}
		if err := r.stop(); err != nil {
			t.Errorf("%s, %s: %v", what, when, err)
		}
		if when == "after a power cut" {
			break
		}
		for _, name := range r.disk.Files() { // a power cut may bring back what was removed
			if c.left(name) {
				t.Errorf("%s (%v): %s is left", what, failed, name)
			}
		}
		r.cut()
	}
	return fired, failed
}

// isVague reports whether an error is one of SQLite's that says nothing.
func isVague(err error) bool {
	e, is := errors.AsType[*Error](err)
	return is && e.Unwrap() == nil
}

// left reports whether a file should not be there any more.
func (c chore) left(name string) bool {
	for _, part := range []string{roomfile.FreshSuffix, roomfile.WholeSuffix, roomfile.SuspectSuffix, ".new", roomfile.PartInfix, roomfile.RestoreInfix, roomfile.ReplacedInfix, roomfile.EntriesSuffix, roomfile.SeqSuffix, "_past"} {
		if strings.Contains(name, part) && !slices.Contains(strings.Fields(c.leaves), part) {
			return true
		}
	}
	return false
}

// holds opens room "r", which must have these rows, and closes it.
func (r *rig) holds(want map[int]string) error {
	d, err := r.open("r")
	if err != nil {
		return err
	}
	got, err := rowsOf(d)
	if err == nil && !maps.Equal(got, want) {
		err = errors.New(difference(want, got))
	}
	return errors.Join(err, sound(d), d.Close())
}

// rows puts rows into room "r" that are there when it is closed, or left as it is.
func (r *rig) rows(ids ...int) {
	r.t.Helper()
	d := r.mustOpen("r")
	for _, id := range ids {
		r.now = r.now.Add(time.Second)
		if err := put(d, id, fmt.Sprintf("text of %d", id)); err != nil {
			r.t.Fatal(err)
		}
		d.AfterCommit()
	}
	if err := d.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// numbered are rows as rows puts them.
func numbered(ids ...int) map[int]string {
	m := make(map[int]string)
	for _, id := range ids {
		m[id] = fmt.Sprintf("text of %d", id)
	}
	return m
}

// beside reads the rows of a file that is no room's, and closes it.
func (r *rig) beside(path string) (map[int]string, error) {
	look := path + ".look" // SQLite writes to what it opens, and does not sync that
	if err := errors.Join(roomfile.RemoveIfThere(r.fs, look), roomfile.Copy(r.fs, path, look)); err != nil {
		return nil, err
	}
	defer func() { _ = roomfile.RemoveDatabase(r.fs, look) }()
	d, err := openBeside(r.fs, look)
	if err != nil {
		return nil, err
	}
	m := make(map[int]string)
	err = d.sql.Each(`SELECT id, text FROM todos`, func(rows *Rows) { m[int(rows.Int(0))] = string(rows.Bytes(1)) })
	return m, errors.Join(err, d.Close())
}

// copied is a check that the copy is whole where it was made, and not there where it was not, and the room as it was.
func copied(path string, want, room map[int]string) func(*rig, error) error {
	return func(r *rig, failed error) error {
		err := r.holds(room)
		there, e := roomfile.Exists(r.fs, path)
		if err = errors.Join(err, e); err != nil {
			return err
		}
		if failed != nil && r.disk.Stats().Crashes > 0 { // a power cut may bring back what was removed
			return nil
		}
		if there != (failed == nil) {
			return fmt.Errorf("the copy is there: %v", there)
		}
		if there {
			got, err := r.beside(path)
			if err != nil || !maps.Equal(got, want) {
				return fmt.Errorf("the copy: %v: %s", err, difference(want, got))
			}
		}
		return nil
	}
}

// replaced is a check that the room is the old one or, where it was said so, the new one.
func (r *rig) replaced(failed error, old, new map[int]string) error {
	d, err := r.open("r")
	if err != nil {
		return err
	}
	got, err := rowsOf(d)
	switch {
	case err != nil:
	case failed == nil && !maps.Equal(got, new):
		err = errors.New(difference(new, got))
	case failed != nil && strings.Contains(failed.Error(), "the new file is in place"):
		if !maps.Equal(got, new) && !maps.Equal(got, old) {
			err = errors.New(difference(new, got))
		}
	case failed != nil && !maps.Equal(got, old):
		err = errors.New(difference(old, got))
	}
	return errors.Join(err, sound(d), d.Close())
}

func TestFaultsBackup(t *testing.T) {
	three := numbered(1, 2, 3)
	for _, c := range []chore{
		{
			name: "backup", open: true, prepare: func(r *rig) { r.rows(1, 2, 3) },
			do:    func(r *rig, d *DB) error { return archived.write(d, "/backup/b.db") },
			check: copied("/backup/b.db", three, three),
		},
		{
			name: "a state of before", open: true, prepare: func(r *rig) { r.rows(1, 2, 3, 4) },
			do:    func(r *rig, d *DB) error { return archived.writeAt(d, "/backup/b.db", Point{Seq: d.Seq() - 1}) },
			check: copied("/backup/b.db", three, numbered(1, 2, 3, 4)),
		},
		{
			name: "a copy of before", open: true, prepare: func(r *rig) {
				r.rows(1, 2, 3, 4)
				r.disk.MkdirAll("/backup")
			},
			do: func(r *rig, d *DB) error {
				err := d.CopyAt("/backup/b.db", Point{Seq: d.Seq() - 1})
				if err == nil { // a copy is not made durable by its name
					err = r.fs.SyncDir("/backup")
					if err != nil {
						err = errors.Join(ErrIO, err, r.fs.Remove("/backup/b.db"))
					}
				}
				return err
			},
			check: copied("/backup/b.db", three, numbered(1, 2, 3, 4)),
		},
		{
			name: "backup without links", open: true, prepare: func(r *rig) { r.rows(1, 2, 3) }, rig: func(r *rig) { r.noLinks = true },
			do:    func(r *rig, d *DB) error { return archived.write(d, "/backup/b.db") },
			check: copied("/backup/b.db", three, three),
		},
	} {
		t.Run(c.name, func(t *testing.T) { c.sweep(t) })
	}
}

func TestFaultsRestore(t *testing.T) {
	backup := func(r *rig) {
		r.rows(1, 2, 3)
		d := r.mustOpen("r")
		if err := errors.Join(archived.write(d, "/backup/b.db"), d.Close()); err != nil {
			r.t.Fatal(err)
		}
		r.rows(4)
	}
	remove := func(r *rig) {
		backup(r)
		if err := errors.Join(roomfile.RemoveDatabase(r.fs, r.options("r").Path), r.fs.SyncDir(filepath.Dir(r.options("r").Path))); err != nil {
			r.t.Fatal(err)
		}
		r.log.Forget("n", "r")
	}
	install := func(p replacement, err error, install func(replacement) error) error {
		if err != nil {
			return err
		}
		err = install(p)
		_ = p.Discard()
		return err
	}
	old := func(p replacement) error { _, err := p.Install(); return err }
	after := func(old, new map[int]string) func(*rig, error) error {
		return func(r *rig, failed error) error {
			if p, err := archived.restore(r.options("other"), "/backup/b.db"); err != nil || p.Discard() != nil {
				return fmt.Errorf("the source: %w", err)
			}
			if p, err := archived.restore(r.options("r"), "/backup/b.db"); err != nil || p.Discard() != nil { // removes what is left
				return err
			}
			return r.replaced(failed, old, new)
		}
	}
	four, three := numbered(1, 2, 3, 4), numbered(1, 2, 3)
	for _, c := range []chore{
		{
			name: "restore", prepare: backup, leaves: roomfile.ReplacedInfix + " " + roomfile.SeqSuffix,
			do: func(r *rig, _ *DB) error {
				p, err := archived.restore(r.options("r"), "/backup/b.db")
				return install(p, err, old)
			},
			check: after(four, three),
		},
		{
			name: "restore without links", prepare: backup, leaves: roomfile.ReplacedInfix + " " + roomfile.SeqSuffix, rig: func(r *rig) { r.noLinks = true },
			do: func(r *rig, _ *DB) error {
				p, err := archived.restore(r.options("r"), "/backup/b.db")
				return install(p, err, old)
			},
			check: after(four, three),
		},
		{
			name: "restore of a file with its WAL", leaves: roomfile.ReplacedInfix + " " + roomfile.SeqSuffix,
			prepare: func(r *rig) {
				d, err := openWithTodos(Options{Path: "/backup/b.db", Namespace: "n", Room: "r", FS: r.fs})
				if err != nil {
					r.t.Fatal(err)
				}
				for id, text := range three {
					if err := put(d, id, text); err != nil {
						r.t.Fatal(err)
					}
				}
				r.kill(d)
				if n, err := r.fs.Size("/backup/b.db-wal"); err != nil || n == 0 {
					r.t.Fatal("there is no WAL: this tests nothing")
				}
				r.mustStart()
				r.rows(1, 2, 3, 4)
			},
			do: func(r *rig, _ *DB) error {
				p, err := archived.restore(r.options("r"), "/backup/b.db")
				return install(p, err, old)
			},
			check: after(four, three),
		},
		{
			name: "restore without a room", prepare: remove, leaves: roomfile.SeqSuffix,
			do: func(r *rig, _ *DB) error {
				p, err := archived.restore(r.options("r"), "/backup/b.db")
				return install(p, err, (replacement).InstallNew)
			},
			check: after(map[int]string{}, three),
		},
		{
			name: "import", prepare: remove, leaves: roomfile.SeqSuffix,
			do: func(r *rig, _ *DB) error {
				p, err := archived.load(r.options("r"), func(l *Loader) error {
					err := execOne(l.Exec, todosTable2)
					for id, text := range three {
						err = errors.Join(err, execOne(l.Exec, `INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, id, text))
					}
					return err
				})
				return install(p, err, (replacement).InstallNew)
			},
			check: after(map[int]string{}, three),
		},
	} {
		t.Run(c.name, func(t *testing.T) { c.sweep(t) })
	}
}

func TestFaultsCompact(t *testing.T) {
	rows := numbered(1, 2, 3)
	fill := func(r *rig) {
		r.rows(1, 2, 3)
		d := r.mustOpen("r")
		for id := 10; id < 30; id++ {
			if err := put(d, id, strings.Repeat("x", 3000)); err != nil {
				r.t.Fatal(err)
			}
		}
		if _, err := d.Exec(`DELETE FROM todos WHERE id >= 10`); err != nil {
			r.t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	c := chore{
		name: "compact", prepare: fill, rig: func(r *rig) { r.past = "/data/_past" }, leaves: "_past", vague: true,
		do: func(r *rig, _ *DB) error {
			_, err := Compact(context.Background(), r.options("r"), nil)
			return err
		},
		check: func(r *rig, failed error) error {
			if err := r.holds(rows); err != nil {
				return err
			}
			size, err := r.fs.Size(r.options("r").Path)
			if failed == nil && size > 15*pageSize {
				err = errors.Join(err, fmt.Errorf("the file has %d bytes", size))
			}
			if failed == nil {
				d, e := r.open("r")
				if e != nil {
					return e
				}
				e = archived.writeAt(d, "/state.db", Point{Seq: d.Seq() - 1})
				got, e2 := r.beside("/state.db")
				if len(got) != 23 {
					e = errors.Join(e, fmt.Errorf("%d rows before the last action", len(got)))
				}
				err = errors.Join(err, e, e2, r.fs.Remove("/state.db"), r.fs.SyncDir("/"), d.Close())
			}
			return err
		},
	}
	t.Run(c.name, func(t *testing.T) { c.sweep(t) })
	c.name, c.rig = "compact without links", func(r *rig) { r.past, r.noLinks = "/data/_past", true }
	t.Run(c.name, func(t *testing.T) { c.sweep(t) })
}

func TestFaultsOpen(t *testing.T) {
	three := numbered(1, 2, 3)
	holds := func(r *rig, _ error) error { return r.holds(three) }
	open := func(r *rig, _ *DB) error {
		d, err := Open(r.options("r"))
		if err != nil {
			return err
		}
		got, err := rowsOf(d)
		if err == nil && !maps.Equal(got, three) {
			err = errors.New(difference(three, got))
		}
		return errors.Join(err, d.Close())
	}
	killed := func(r *rig) {
		r.rows(1)
		d := r.mustOpen("r")
		if err := errors.Join(put(d, 2, "text of 2"), d.Checkpoint(), put(d, 3, "text of 3")); err != nil {
			r.t.Fatal(err)
		}
		d.AfterCommit()
		r.kill(d)
		r.mustStart()
	}
	for _, c := range []chore{
		{name: "open", prepare: func(r *rig) { r.rows(1, 2, 3) }, do: open, check: holds},
		{name: "open alone", prepare: func(r *rig) { r.rows(1, 2, 3) }, rig: func(r *rig) { r.alone = true }, do: open, check: holds},
		{name: "open after a kill", prepare: killed, do: open, check: holds},
		{name: "open after a kill alone", prepare: killed, rig: func(r *rig) { r.alone = true }, do: open, check: holds},
		{
			name: "open in the log", do: open, check: holds,
			prepare: func(r *rig) {
				d := r.mustOpen("r")
				for id, text := range three {
					if err := put(d, id, text); err != nil {
						r.t.Fatal(err)
					}
				}
				r.kill(d)
				r.mustStart()
			},
		},
		{
			name: "open a backup", do: open, check: holds,
			prepare: func(r *rig) {
				r.rows(1, 2, 3)
				d := r.mustOpen("r")
				path := r.options("r").Path
				if err := errors.Join(archived.write(d, "/b.db"), d.Close(), roomfile.RemoveDatabase(r.fs, path), r.fs.Rename("/b.db", path), r.fs.SyncDir("/"), r.fs.SyncDir(filepath.Dir(path))); err != nil {
					r.t.Fatal(err)
				}
			},
		},
		{
			name: "open a suspect file", do: open, check: holds,
			prepare: func(r *rig) {
				r.rows(1, 2, 3)
				o := r.options("r")
				if err := errors.Join(o.File().Mark(), o.File().SyncDir()); err != nil {
					r.t.Fatal(err)
				}
			},
		},
		{
			name: "open where the file was removed", prepare: func(r *rig) {
				r.rows(1, 2, 3)
				o := r.options("r")
				if err := errors.Join(o.File().Mark(), roomfile.Copy(r.fs, o.Path, o.Path+roomfile.WholeSuffix), r.fs.Remove(o.Path), o.File().SyncDir()); err != nil {
					r.t.Fatal(err)
				}
				r.log.Forget("n", "r")
			},
			do: func(r *rig, _ *DB) error {
				d, err := r.open("r")
				if err != nil {
					return err
				}
				return errors.Join(put(d, 7, "text of 7"), d.Close())
			},
			check: func(r *rig, failed error) error {
				if failed == nil {
					return r.holds(numbered(7))
				}
				d, err := r.open("r") // it is a new room, that may have come to its row
				if err != nil {
					return err
				}
				got, err := rowsOf(d)
				if err == nil && len(got) > 0 && !maps.Equal(got, numbered(7)) {
					err = errors.New(difference(numbered(7), got))
				}
				return errors.Join(err, d.Close())
			},
		},
		{
			name: "open with entries", do: open, check: holds, leaves: roomfile.EntriesSuffix,
			prepare: func(r *rig) {
				killed(r)
				o := r.options("r")
				flipByte(r, o.Path, 0)
				if _, err := Open(o); !errors.Is(err, ErrNotDatabase) {
					r.t.Fatal(err)
				}
				flipByte(r, o.Path, 0)
				if there, err := roomfile.Exists(r.fs, o.Path+roomfile.EntriesSuffix); err != nil || !there {
					r.t.Fatal("there are no entries: this tests nothing")
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) { c.sweep(t) })
	}
}

// flipByte flips a bit of a file, durably.
func flipByte(r *rig, path string, at int64) {
	r.t.Helper()
	f, err := r.fs.Open(path, os.O_RDWR)
	if err != nil {
		r.t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, at); err == nil {
		b[0] ^= 1
		_, err = f.WriteAt(b, at)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		r.t.Fatal(err)
	}
}

// refused has the room's entries moved out of the log, because its file is damaged.
func (r *rig) refused() error {
	flipByte(r, r.options("r").Path, 0)
	_, err := Open(r.options("r"))
	flipByte(r, r.options("r").Path, 0)
	if !errors.Is(err, ErrNotDatabase) {
		return fmt.Errorf("the file was not refused: %w", err)
	}
	return nil
}

// A room that is refused has its entries in the log or beside its file, whatever fails.
func TestFaultsRefused(t *testing.T) {
	begin := func(r *rig) {
		r.rows(1)
		d := r.mustOpen("r")
		if err := errors.Join(put(d, 2, "text of 2"), d.Checkpoint(), put(d, 3, "text of 3")); err != nil {
			r.t.Fatal(err)
		}
		d.AfterCommit()
		r.kill(d)
		r.mustStart()
	}
	for _, c := range []chore{
		{
			name: "entries", leaves: roomfile.EntriesSuffix, prepare: begin,
			check: func(r *rig, _ error) error { return r.holds(numbered(1, 2, 3)) },
		},
		{
			name: "entries that are there again", leaves: roomfile.EntriesSuffix,
			prepare: func(r *rig) {
				begin(r)
				path := r.options("r").Path + roomfile.EntriesSuffix
				if err := errors.Join(r.refused(), roomfile.Copy(r.fs, path, "/saved")); err != nil {
					r.t.Fatal(err)
				}
				d := r.mustOpen("r")
				if err := put(d, 4, "text of 4"); err != nil {
					r.t.Fatal(err)
				}
				d.AfterCommit()
				r.kill(d)
				if err := errors.Join(r.fs.Rename("/saved", path), r.fs.SyncDir(filepath.Dir(path)), r.fs.SyncDir("/")); err != nil {
					r.t.Fatal(err)
				}
				r.mustStart()
			},
			check: func(r *rig, _ error) error { return r.holds(numbered(1, 2, 3, 4)) },
		},
	} {
		c.do = func(r *rig, _ *DB) error { // the disk fails in Open alone
			path := r.options("r").Path
			_, err := Open(r.options("r"))
			r.disk.Heal()
			flipByte(r, path, 0)
			if err == nil {
				return errors.New("the file was not refused")
			}
			there, _ := roomfile.Exists(r.fs, path+roomfile.EntriesSuffix)
			moved, stay := strings.Contains(err.Error(), "was moved to"), strings.Contains(err.Error(), "keeps what it has")
			switch {
			case moved == stay || moved && !there:
				return fmt.Errorf("moved: %v, kept: %v, the file is there: %v", moved, stay, there)
			case stay:
				return fmt.Errorf("%w: %w", ErrIO, err)
			}
			return nil
		}
		prepare := c.prepare
		c.prepare = func(r *rig) { prepare(r); flipByte(r, r.options("r").Path, 0) }
		t.Run(c.name, func(t *testing.T) { c.sweep(t) })
	}
}

// What was acknowledged is there, and of what was refused all or nothing.
func TestFaultsLife(t *testing.T) {
	var acknowledged, tried map[int]string
	write := func(d *DB, id int, text string) error {
		tried = maps.Clone(acknowledged)
		tried[id] = text
		if err := put(d, id, text); err != nil {
			return err
		}
		acknowledged = tried
		return nil
	}
	check := func(r *rig, _ error) error {
		d, err := r.open("r")
		if err != nil {
			return err
		}
		got, err := rowsOf(d)
		if err == nil && !maps.Equal(got, acknowledged) && !maps.Equal(got, tried) {
			err = errors.New(difference(acknowledged, got))
		}
		return errors.Join(err, sound(d), d.Close())
	}
	live := func(d *DB) error {
		acknowledged = numbered(1)
		for id := 2; id < 5; id++ {
			if err := write(d, id, strings.Repeat(string(rune('a'+id)), 3000)); err != nil {
				return err
			}
			d.AfterCommit()
		}
		if err := d.Checkpoint(); err != nil {
			return err
		}
		if err := write(d, 9, strings.Repeat("x", 80<<10)); err != nil {
			return err
		}
		if err := write(d, 9, strings.Repeat("y", 200)); err != nil {
			return err
		}
		return d.Close()
	}
	newRoom := func(r *rig, _ *DB) error {
		acknowledged, tried = map[int]string{}, map[int]string{}
		d, err := Open(r.options("r"))
		if err != nil {
			return err
		}
		defer d.Fence()
		d.Withhold()
		if _, err = d.Exec(todosTable2); err == nil {
			err = d.Sync("todos")
		}
		if err == nil {
			err = put(d, 1, "one")
		}
		if err != nil {
			return err
		}
		tried = map[int]string{1: "one"}
		if err := d.Keep(); err != nil {
			return err
		}
		acknowledged = tried
		if err := write(d, 2, "two"); err != nil {
			return err
		}
		d.AfterCommit()
		return d.Close()
	}
	first := func(r *rig) { r.rows(1) }
	none := func(r *rig) {}
	for _, c := range []chore{
		{name: "a life", open: true, prepare: first, check: check, do: func(_ *rig, d *DB) error { return live(d) }},
		{name: "a life alone", open: true, prepare: first, check: check, do: func(_ *rig, d *DB) error { return live(d) }, rig: func(r *rig) { r.alone = true }},
		{name: "a life that keeps its WAL", open: true, prepare: first, check: check, do: func(_ *rig, d *DB) error { return live(d) }, rig: func(r *rig) { r.keep = true }},
		{name: "a new room", prepare: none, check: check, do: newRoom},
		{name: "a new room alone", prepare: none, check: check, do: newRoom, rig: func(r *rig) { r.alone = true }},
	} {
		t.Run(c.name, func(t *testing.T) { c.sweep(t) })
	}
}

// What cannot be read is a problem, and nothing is said to be well that was not looked at.
func TestFaultsVerify(t *testing.T) {
	var whole Verified
	look := func(r *rig, _ *DB) error {
		var problem error
		v, err := NewVerifier(VerifyOptions{FS: r.fs, LogDir: "/data/_log", Report: func(f Finding) {
			if f.Severity == Problem && problem == nil {
				problem = f.Err
			}
		}})
		if err != nil {
			return err
		}
		err = v.Dir(context.Background(), "/data", "n")
		v.Beside(r.options("r").Path)
		got, failed := v.Close()
		got.Notes = 0 // one copy of two may be unreadable
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		if problem == nil && whole != (Verified{}) && got != whole {
			return fmt.Errorf("no problem, and %+v instead of %+v", got, whole)
		}
		if problem == nil {
			whole = got
		}
		return problem
	}
	c := chore{
		name: "verify", closed: true, do: look, vague: true, other: []error{ErrCorrupt, ErrLogMismatch, ErrLogMissing},
		prepare: func(r *rig) {
			r.rows(1, 2)
			d, young := r.mustOpen("r"), r.mustOpen("young")
			if err := errors.Join(put(d, 3, "text of 3"), put(young, 1, "x")); err != nil {
				r.t.Fatal(err)
			}
			r.kill(d, young)
			if err := look(r, nil); err != nil || whole.Rooms != 2 {
				r.t.Fatal(whole, err)
			}
			r.mustStart()
		},
		check: func(r *rig, _ error) error { return r.holds(numbered(1, 2, 3)) },
	}
	c.sweep(t)
}

// What lists rooms, or clears up, says so where it could not.
func TestFaultsLists(t *testing.T) {
	lists := func(r *rig, _ *DB) error {
		var names []string
		for file, err := range roomfile.All(r.fs, "/data", "n") {
			if err != nil {
				return err
			}
			name, err := ReadRoomName(r.fs, file.Path)
			if err != nil {
				return err
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "other r" {
			return fmt.Errorf("rooms %q", got)
		}
		for _, name := range []string{"r", "young", "none"} {
			if there, err := Exists(r.options(name)); err != nil {
				return err
			} else if there != (name != "none") {
				return fmt.Errorf("%s is there: %v", name, there)
			}
		}
		return nil
	}
	clear := func(r *rig, _ *DB) error {
		n, err := roomfile.SweepReplaced(r.fs, "/data", "n", r.now.Add(time.Hour))
		if err != nil {
			return err
		}
		_, err = SweepPast(r.fs, "/data/_past", r.now.Add(time.Hour), r.now)
		if err == nil {
			err = ClearWALs(r.fs, "/data/_wals")
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrIO, err)
		}
		if n != 1 {
			return fmt.Errorf("%d were removed", n)
		}
		return nil
	}
	prepare := func(r *rig) {
		r.rows(1, 2, 3)
		d, young := r.mustOpen("other"), r.mustOpen("young")
		if err := errors.Join(put(d, 1, "x"), d.Close(), put(young, 1, "x")); err != nil {
			r.t.Fatal(err)
		}
		r.kill(young)
		for _, name := range []string{r.options("r").Path + roomfile.ReplacedInfix + r.now.UTC().Format("20060102T150405.000Z"), "/data/_past/nothing", "/data/_wals/1"} {
			r.disk.MkdirAll(filepath.Dir(name))
			f, err := r.fs.Open(name, os.O_RDWR|os.O_CREATE)
			if err == nil {
				err = errors.Join(f.Sync(), f.Close(), r.fs.SyncDir(filepath.Dir(name)))
			}
			if err != nil {
				r.t.Fatal(err)
			}
		}
		r.mustStart()
	}
	holds := func(r *rig, _ error) error { return r.holds(numbered(1, 2, 3)) }
	for _, c := range []chore{
		{name: "list", prepare: prepare, do: lists, check: holds, leaves: roomfile.ReplacedInfix + " _past"},
		{
			name: "clear", prepare: prepare, do: clear, leaves: roomfile.ReplacedInfix + " _past",
			check: func(r *rig, failed error) error {
				for _, name := range r.disk.Files() {
					if failed == nil && (strings.Contains(name, roomfile.ReplacedInfix) || strings.HasPrefix(name, "/data/_past") || strings.HasPrefix(name, "/data/_wals")) && r.disk.Stats().Crashes == 0 {
						return fmt.Errorf("%s is left", name)
					}
				}
				return holds(r, failed)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) { c.sweep(t) })
	}
}
