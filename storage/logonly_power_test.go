package storage

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// onDisk is a nursery on a disk that can fail.
func onDisk(t *testing.T, seed uint64) (*nursery, *faultdisk.Disk) {
	t.Helper()
	n, disk := emptyNursery(t, seed)
	n.raise()
	return n, disk
}

// emptyNursery is onDisk with a Pool that has no template, and without a log.
func emptyNursery(t *testing.T, seed uint64) (*nursery, *faultdisk.Disk) {
	t.Helper()
	disk := faultdisk.New(seed, faultdisk.PowersafeOverwrite)
	name := strings.ReplaceAll(fmt.Sprintf("%s-%d", t.Name(), seed), "/", "-")
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	})
	return &nursery{t: t, dir: "/data", pool: new(Pool), fs: disk.FS(name)}, disk
}

// firstLife is the first life of a room, as far as the disk lets it come.
func (n *nursery) firstLife(actions, size int) (acknowledged, tried int, epoch string) {
	log, err := OpenLog(LogOptions{Dir: n.dir + "/_log", FS: n.fs})
	if err != nil {
		return 0, 0, ""
	}
	n.log = log
	defer log.Close()
	d, err := Open(n.options("r"))
	if err != nil {
		return 0, 0, ""
	}
	defer d.Close()
	if d.Sync("todos") != nil {
		return 0, 0, ""
	}
	for i := range actions {
		tried++
		if _, err := d.Exec(`INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, i+1, strings.Repeat("x", size)); err != nil {
			break
		}
		acknowledged, epoch = tried, d.epoch
		d.AfterCommit()
	}
	return acknowledged, tried, epoch
}

// The power goes at each change of the disk in the first life of a room that has no file, once or twice before
// anybody calls for it again: what was acknowledged is there, in the same history.
func TestInvariantGateLogOnlyPowerCut(t *testing.T) {
	for name, c := range map[string]struct{ actions, size, crashes int }{
		"one":            {1, 10, 1},
		"few":            {4, 1000, 1},
		"settled midway": {30, 1500, 1},
		"large":          {3, 150 << 10, 1},
		"twice":          {6, 500, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for after := 1; ; after += 12 / shorter(12, 1) {
				n, disk := onDisk(t, uint64(after))
				disk.CrashAfter(after)
				acknowledged, tried, epoch := n.firstLife(c.actions, c.size)
				over := disk.Stats().Crashes == 0
				for range c.crashes {
					disk.Crash()
					n.log.Close()
					if err := disk.Restart(); err != nil {
						t.Fatal(err)
					}
					n.restart()
				}
				there, err := Exists(n.options("r"))
				if err != nil || !there && acknowledged > 0 {
					t.Fatalf("cut %d: it is there: %v, %v; %d actions were acknowledged", after, there, err, acknowledged)
				}
				d := n.open("r")
				found := len(query(t, d, `SELECT id FROM todos`))
				if found < acknowledged || found > tried {
					t.Fatalf("cut %d: %d actions are there, %d were acknowledged and %d tried", after, found, acknowledged, tried)
				}
				if acknowledged > 0 && d.epoch != epoch {
					t.Errorf("cut %d: another epoch", after)
				}
				checkConsistent(t, d)
				add(t, d, 1000, "y")
				if err := errors.Join(d.Close(), n.log.Close()); err != nil {
					t.Fatal(err)
				}
				n.pool.Close()
				if over {
					if after < 5 {
						t.Errorf("only %d points to cut at", after)
					}
					break
				}
			}
		})
	}
}

// The disk fails when a room is to get its file: nothing that was acknowledged is lost, whether the
// room goes on, is opened again, or the whole server is.
func TestLogOnlyWithoutRoom(t *testing.T) {
	for name, c := range map[string]struct {
		fault  faultdisk.Fault
		closes bool // without an error
	}{
		"full, making": {faultdisk.Fault{Op: faultdisk.OpOpen, Suffix: ".new", Err: syscall.ENOSPC}, true},
		"full, write":  {faultdisk.Fault{Op: faultdisk.OpWrite, Suffix: ".new", Err: syscall.ENOSPC}, true},
		"making":       {faultdisk.Fault{Op: faultdisk.OpOpen, Suffix: ".new"}, false},
		"write":        {faultdisk.Fault{Op: faultdisk.OpWrite, Suffix: ".new"}, false},
		"sync":         {faultdisk.Fault{Op: faultdisk.OpSync, Suffix: ".new"}, false},
		"rename":       {faultdisk.Fault{Op: faultdisk.OpRename, Suffix: ".new"}, false},
		"directory":    {faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for seed, then := range []string{"again", "restart", "cut"} {
				n, disk := onDisk(t, uint64(seed))
				d := n.logOnly("r")
				for i := range 3 {
					add(t, d, i, strings.Repeat("x", 600))
				}
				want, epoch := pagesOf(t, d), d.Epoch()
				fault := c.fault
				fault.Times = -1
				disk.Fail(fault)
				if err := d.Close(); (err == nil) != c.closes {
					t.Fatalf("Close: %v", err)
				}
				disk.Heal()
				switch then {
				case "restart":
					if err := n.log.Close(); err != nil {
						t.Fatal(err)
					}
					n.restart()
					if !n.log.HasUnreleased() {
						t.Error("the log does not owe anything")
					}
				case "cut":
					disk.Crash()
					n.log.Close()
					if err := disk.Restart(); err != nil {
						t.Fatal(err)
					}
					n.restart()
				}
				d = n.open("r")
				if got := len(query(t, d, `SELECT id FROM todos`)); got != 3 || d.Epoch() != epoch || d.Created() || len(pagesOf(t, d)) != len(want) {
					t.Errorf("%s: %d rows, epoch %s (%s), created %v", then, got, d.Epoch(), epoch, d.Created())
				}
				checkConsistent(t, d)
				if err := errors.Join(d.Close(), n.log.Close()); err != nil {
					t.Fatal(err)
				}
				n.pool.Close()
			}
		})
	}
}

// The same while the room is awake and its WAL has grown: it goes on in memory as long as it can. Then
// a disk that is full refuses, and one that fails ends the life.
func TestLogOnlyOutgrown(t *testing.T) {
	for name, failure := range map[string]error{"full": syscall.ENOSPC, "failing": syscall.EIO} {
		t.Run(name, func(t *testing.T) {
			n, disk := onDisk(t, 1)
			d := n.logOnly("r")
			disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Suffix: ".new", Err: failure.(syscall.Errno), Times: -1})
			acknowledged := 0
			for err := error(nil); err == nil; acknowledged++ {
				if acknowledged > 1000 {
					t.Fatal("it has grown without a file")
				}
				_, err = d.Exec(`INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, acknowledged, strings.Repeat("x", 1000))
				d.AfterCommit()
				if err != nil {
					want := ErrFull
					if failure == syscall.EIO {
						want = ErrIO
					}
					wantError(t, err, want)
					acknowledged--
				}
			}
			if acknowledged < 5 || !d.store.inMemory() {
				t.Errorf("%d actions went, it has a file: %v", acknowledged, !d.store.inMemory())
			}
			disk.Heal()
			if name == "full" {
				add(t, d, 1000, "y")
				acknowledged++
			}
			d.Fence()
			d = n.open("r")
			if got := len(query(t, d, `SELECT id FROM todos`)); got != acknowledged {
				t.Errorf("%d rows, want %d", got, acknowledged)
			}
			checkConsistent(t, d)
			if err := errors.Join(d.Close(), n.log.Close()); err != nil {
				t.Fatal(err)
			}
			n.pool.Close()
		})
	}
}

// A relaxed log that loses what it had not synced loses how a room began; the room's next entry tells it
// again.
func TestLogOnlyRelaxed(t *testing.T) {
	n, log := newNursery(t), newMemLog()
	o := n.options("r")
	o.Log = log
	open := func() *DB {
		d, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Sync("todos"); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	add(t, d, 1, "x")
	for _, r := range log.rooms {
		r.entries = nil
	}
	add(t, d, 2, "y")
	add(t, d, 3, "z")
	want, epoch := pagesOf(t, d), d.Epoch()
	if !d.store.inMemory() {
		t.Fatal("it has a file")
	}
	d.Fence()
	log.crashed++
	d = open()
	if string(pagesOf(t, d)) != string(want) || d.Epoch() != epoch {
		t.Error("it is another state")
	}
	checkConsistent(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A room whose file is made, and cannot be opened, says so. It takes nothing more, for its file would lack that; the next open has
// all that was acknowledged.
func TestLogOnlyWhoseFileCannotBeOpened(t *testing.T) {
	refused := 0
	for after := range 6 {
		n, disk := onDisk(t, uint64(after))
		d := n.logOnly("r")
		add(t, d, 1, "x")
		disk.Fail(faultdisk.Fault{Op: faultdisk.OpOpen, Suffix: ".db", After: after, Times: 1, Err: syscall.EIO})
		err := d.Checkpoint()
		disk.Heal()
		want := map[int]string{1: "x"}
		switch {
		case err == nil && d.store.inMemory():
			t.Errorf("an open fails after %d: it is said to have a file, and has none", after)
		case err != nil:
			wantError(t, err, ErrIO)
			refused++
		}
		if put(d, 2, "y") == nil {
			want[2] = "y"
		}
		d.Fence()
		if err := n.log.Close(); err != nil {
			t.Fatal(err)
		}
		n.restart()
		d = n.open("r")
		if rows, err := rowsOf(d); err != nil || !maps.Equal(rows, want) {
			t.Errorf("an open fails after %d: %v: %s", after, err, difference(want, rows))
		}
		if err := errors.Join(d.Close(), n.log.Close()); err != nil {
			t.Error(err)
		}
		n.pool.Close()
	}
	if refused == 0 {
		t.Error("no file could not be opened: this tests nothing")
	}
}
