package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

// compacting is a room that is worth to be compacted, asleep, and what it holds.
type compacting struct {
	*rig
	now, before state // before: most of it was deleted
}

func newCompacting(t *testing.T, seed uint64) *compacting {
	t.Helper()
	r := newRig(t, seed)
	r.history, r.past, r.alone = 1000*time.Hour, "/data/_past", true // so that the WAL is removed, and may come back
	r.mustStart()
	d := r.mustOpen("room")
	fillRows(t, d, 60, 3000)
	c := &compacting{rig: r}
	c.before = c.look(t, d)
	mustExec(t, d, `DELETE FROM todos WHERE id % 5 > 0`)
	c.now = c.look(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *compacting) look(t *testing.T, d *DB) state {
	t.Helper()
	rows, err := rowsOf(d)
	if err != nil {
		t.Fatal(err)
	}
	return state{rows, d.Seq()}
}

// check opens the room, uses it, and looks at it and at what it was.
func (c *compacting) check(t *testing.T) error {
	t.Helper()
	d, err := c.open("room")
	if err != nil {
		return err
	}
	defer func() { c.stop(d) }()
	if got := c.look(t, d); !got.is(c.now.rows, c.now.seq) {
		return fmt.Errorf("%v, want %v: %s", got, c.now, difference(c.now.rows, got.rows))
	}
	if err := sound(d); err != nil {
		return err
	}
	if err := put(d, 1000, "goes on"); err != nil {
		return err
	}
	if err := archived.writeAt(d, "/then.db", Point{Seq: c.before.seq}); err != nil {
		return err
	}
	if got := readBeside(t, c.rig, "/then.db"); !maps.Equal(got, c.before.rows) {
		return fmt.Errorf("as it was: %s", difference(c.before.rows, got))
	}
	if left, err := roomfile.Exists(c.fs, c.options("room").Path+roomfile.FreshSuffix); err != nil || left {
		return fmt.Errorf("the unfinished file is left (%v)", err)
	}
	return nil
}

// The power goes at each operation of a Compact, the process dies at each, and each fails once: the room is what it was, and so is its
// history.
func TestInvariantGateCompact(t *testing.T) {
	for name, harm := range map[string]func(d *faultdisk.Disk, n int){
		"cut": func(d *faultdisk.Disk, n int) { d.CrashAfter(n + 1) },
		"full": func(d *faultdisk.Disk, n int) {
			d.Fail(faultdisk.Fault{Err: syscall.ENOSPC, After: n, Op: faultdisk.OpWrite})
		},
		"sync": func(d *faultdisk.Disk, n int) {
			d.Fail(faultdisk.Fault{Err: syscall.EIO, After: n, Op: faultdisk.OpSync})
		},
		"dir": func(d *faultdisk.Disk, n int) {
			d.Fail(faultdisk.Fault{Err: syscall.EIO, After: n, Op: faultdisk.OpSyncDir})
		},
		"name": func(d *faultdisk.Disk, n int) {
			d.Fail(faultdisk.Fault{Err: syscall.EIO, After: n, Op: faultdisk.OpRename})
		},
		"read": func(d *faultdisk.Disk, n int) {
			d.Fail(faultdisk.Fault{Err: syscall.EIO, After: n, Op: faultdisk.OpRead})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				done := false
				for seed := range uint64(shorter(4, 1)) {
					if done = compactUnder(t, uint64(n)*100+seed, func(d *faultdisk.Disk) { harm(d, n) }); t.Failed() {
						t.Fatalf("at operation %d, seed %d", n+1, seed)
					}
				}
				if done {
					if n < 1 {
						t.Error("nothing failed")
					}
					return
				}
				if n > 20 && (testing.Short() || raceEnabled) {
					n += 6
				}
			}
		})
	}
}

// compactUnder reports whether it came to its end.
func compactUnder(t *testing.T, seed uint64, harm func(*faultdisk.Disk)) (done bool) {
	c := newCompacting(t, seed)
	defer c.close()
	harm(c.disk)
	before := c.disk.Stats()
	_, err := Compact(context.Background(), c.options("room"), nil)
	done = err == nil
	cut := c.disk.Stats().Crashes != before.Crashes
	if err != nil && !errors.Is(err, ErrIO) && !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	c.disk.Heal()
	if !cut && seed%2 == 0 { // the same process goes on
		if err := c.check(t); err != nil {
			t.Error(err)
		}
		return done
	}
	if seed%3 == 0 {
		c.kill()
	} else {
		c.cut()
	}
	c.mustStart()
	if err := c.check(t); err != nil {
		t.Error(err)
	}
	return done
}

// When the new file takes its place, the old WAL is gone, whatever a power cut leaves: SQLite would play it over
// the new file.
func TestCompactRemovesTheWALFirst(t *testing.T) {
	c := newCompacting(t, 7)
	defer c.close()
	o := c.options("room")
	renamed, back := 0, 0
	o.FS = &beforeRename{c.fs, func(to string) {
		if to != o.Path {
			return
		}
		renamed++
		for seed := range uint64(20) {
			after := c.disk.Clone(seed)
			after.Crash()
			for _, name := range after.Files() {
				if name == o.Path+"-wal" {
					back++
				}
			}
		}
	}}
	if _, err := Compact(context.Background(), o, nil); err != nil {
		t.Fatal(err)
	}
	if renamed != 1 || back > 0 {
		t.Errorf("%d renames; after %d of 20 power cuts the WAL is back", renamed, back)
	}
	if err := c.check(t); err != nil {
		t.Error(err)
	}
}

// A room that was not closed well is compacted too, and its history leads over the transaction that closes it.
func TestCompactAfterACrash(t *testing.T) {
	c := newCompacting(t, 3)
	defer c.close()
	d := c.mustOpen("room")
	if err := put(d, 5, "again"); err != nil {
		t.Fatal(err)
	}
	c.now = c.look(t, d)
	c.kill(d)
	c.mustStart()
	if _, err := Compact(context.Background(), c.options("room"), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.check(t); err != nil {
		t.Error(err)
	}
}
