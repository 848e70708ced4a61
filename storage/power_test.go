package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
)

// An action that a client was told of is never lost by a power cut, wherever it comes:
// in a write, a sync, a checkpoint, in the making of the file. What is there is always
// the effect of a first part of the actions, the seq and the change log agree with it,
// and the next life goes on from there.
func TestInvariantGatePowerCut(t *testing.T) {
	t.Run("file", func(t *testing.T) { powerCuts(t, "") })
	t.Run("log", func(t *testing.T) { powerCuts(t, "/_log") })
}

// powerOpen opens the room's file, and with a directory for one the commit log.
func powerOpen(disk *faultdisk.Disk, name, logDir string, k *Pool) (*DB, func(), error) {
	o := Options{Path: "/room.db", Namespace: "n", Room: "r", FS: disk.FS(name), Pool: k}
	done := func() {}
	if logDir != "" {
		log, err := OpenLog(LogOptions{Dir: logDir, FS: o.FS, SegmentBytes: 64 << 10})
		if err != nil {
			return nil, nil, err
		}
		o.Log, done = log, func() { log.Close() }
	}
	d, err := Open(o)
	if err != nil {
		done()
		return nil, nil, err
	}
	return d, func() { d.Close(); done() }, nil
}

func powerCuts(t *testing.T, logDir string) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	lives := shorter(150, 40)
	rng := rand.New(rand.NewPCG(seed, 1))
	disk := faultdisk.New(seed, faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("power%s-%d", logDir, seed)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	acknowledged, tried := 0, 0 // actions: numbers 1, 2, 3 …
	cuts := 0
	for life := range lives {
		disk.CrashAfter(1 + rng.IntN(60))
		d, done, err := powerOpen(disk, name, logDir, nil)
		if err == nil {
			acknowledged, tried = powerLife(t, d, rng, acknowledged)
			done() // the power is off, or goes off, or a clean end
		} else if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotDatabase) || errors.Is(err, ErrLogMismatch) || errors.Is(err, ErrLogMissing) {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		cuts++
		disk.Crash()
		if err := disk.Restart(); err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		found := powerCheck(t, disk, name, logDir)
		if found < acknowledged || found > tried {
			t.Fatalf("seed %d, life %d: the file has %d actions, %d were acknowledged and %d tried", seed, life, found, acknowledged, tried)
		}
		acknowledged, tried = found, found
	}
	if acknowledged < lives/4 {
		t.Errorf("seed %d: over %d lives and %d cuts only %d actions came through", seed, lives, cuts, acknowledged)
	}
}

// powerLife applies actions, several to a batch, until the power goes or some are done.
func powerLife(t *testing.T, d *DB, rng *rand.Rand, done int) (acknowledged, tried int) {
	t.Helper()
	acknowledged, tried = done, done
	if _, err := d.Exec(todosTable2); err != nil {
		return acknowledged, tried
	}
	if d.Sync("todos") != nil {
		return acknowledged, tried
	}
	for range 1 + rng.IntN(12) {
		b, err := d.Begin()
		if err != nil {
			return acknowledged, tried
		}
		n := acknowledged
		for range 1 + rng.IntN(5) {
			_, err := b.Do(int64(n), func() error {
				_, err := d.Exec(`INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, n+1, strings.Repeat("x", rng.IntN(3000)))
				return err
			})
			if err != nil {
				break
			}
			n++
		}
		tried = max(tried, n)
		if b.Commit() != nil {
			return acknowledged, tried
		}
		acknowledged = n
	}
	return acknowledged, tried
}

const todosTable2 = `CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, text, created_at, updated_at, deleted_at)`

// powerCheck opens the file with the power on, checks it, and gives how many actions it
// holds.
func powerCheck(t *testing.T, disk *faultdisk.Disk, name, logDir string) int {
	t.Helper()
	disk.CrashAfter(0)
	if _, err := disk.Size("/room.db"); errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	d, done, err := powerOpen(disk, name, logDir, nil)
	if err != nil {
		t.Fatalf("after a power cut: %v", err)
	}
	defer done()
	if d.Seq() == 0 {
		return 0
	}
	checkConsistent(t, d)
	got := query(t, d, `SELECT count(*), max(id) FROM todos`)[0]
	count := got[0].(int64)
	if count > 0 && got[1] != count || Seq(count) != d.Seq() {
		t.Fatalf("the table has %d rows up to %v, the room is at %d", count, got[1], d.Seq())
	}
	return int(count)
}

// A commit whose sync fails is not acknowledged, and nothing is believed afterwards that
// was not read again: the DB answers no more until it is opened again. Then, even when the
// power goes too, all is there that was acknowledged, and the file is whole.
func TestFailedSyncAtCommit(t *testing.T) {
	for seed := range uint64(40) {
		disk := faultdisk.New(seed, faultdisk.PowersafeOverwrite)
		name := fmt.Sprintf("sync-%d", seed)
		unregister, err := disk.Register(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(Options{Path: "/room.db", Namespace: "n", Room: "r", FS: disk.FS(name)})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 2))
		acknowledged, _ := powerLife(t, d, rng, 0)
		disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Suffix: "-wal"})
		b, err := d.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Do(1, func() error {
			_, err := d.Exec(`INSERT INTO todos VALUES (?, 'unsure', 0, 0, NULL)`, acknowledged+1)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		wantError(t, b.Commit(), ErrIO)
		if _, err := d.Begin(); !errors.Is(err, ErrIO) {
			t.Errorf("seed %d: it goes on after a failed sync: %v", seed, err)
		}
		d.Close()
		disk.Heal()
		disk.Crash()
		if err := disk.Restart(); err != nil {
			t.Fatal(err)
		}
		if found := powerCheck(t, disk, name, ""); found != acknowledged && found != acknowledged+1 {
			t.Errorf("seed %d: %d actions, %d acknowledged", seed, found, acknowledged)
		}
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}
}

// A disk that is full refuses a commit and nothing else: what was there is there, and when
// there is room again it goes on.
func TestFullDiskAtCommit(t *testing.T) {
	disk := faultdisk.New(1, faultdisk.PowersafeOverwrite)
	unregister, err := disk.Register("full")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(Options{Path: "/room.db", Namespace: "n", Room: "r", FS: disk.FS("full")})
	if err != nil {
		t.Fatal(err)
	}
	acknowledged, _ := powerLife(t, d, rand.New(rand.NewPCG(1, 3)), 0)
	insert := func() error {
		b, err := d.Begin()
		if err != nil {
			return err
		}
		if _, err := b.Do(1, func() error {
			_, err := d.Exec(`INSERT INTO todos VALUES (?, 'x', 0, 0, NULL)`, acknowledged+1)
			return err
		}); err != nil {
			return errors.Join(err, b.Rollback())
		}
		return b.Commit()
	}
	disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Times: -1})
	wantError(t, insert(), ErrFull)
	disk.Heal()
	if err := insert(); err != nil {
		t.Fatalf("when there was room again: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if found := powerCheck(t, disk, "full", ""); found != acknowledged+1 {
		t.Errorf("%d actions, %d acknowledged", found, acknowledged+1)
	}
	if err := unregister(); err != nil {
		t.Error(err)
	}
}

// Operations of the disk fail at random, in the room's file, in its WAL, in the log; then the
// power goes, or the process goes on. What was acknowledged is there, whatever failed.
func TestInvariantGateFaults(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	lives := shorter(120, 30)
	rng := rand.New(rand.NewPCG(seed, 7))
	disk := faultdisk.New(seed, faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("faults-%d", seed)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	acknowledged, tried, came := 0, 0, 0
	for life := range lives {
		fault := faultdisk.Fault{
			Op:     []faultdisk.Op{faultdisk.OpSync, faultdisk.OpSync, faultdisk.OpWrite, faultdisk.OpRead, faultdisk.OpTruncate}[rng.IntN(5)],
			Suffix: []string{"", ".db", "-wal", ".log"}[rng.IntN(4)],
			After:  rng.IntN(30), Times: 1 + rng.IntN(3),
		}
		if fault.Op == faultdisk.OpWrite && rng.IntN(2) == 0 {
			fault.Err = syscall.ENOSPC
		}
		disk.Fail(fault)
		before := acknowledged
		d, done, err := powerOpen(disk, name, "/_log", nil)
		if err == nil {
			acknowledged, tried = powerLife(t, d, rng, acknowledged)
			if rng.IntN(2) == 0 {
				d.Fence()
			}
			done()
		}
		came += acknowledged - before
		disk.Heal()
		if rng.IntN(2) == 0 {
			disk.Crash()
			if err := disk.Restart(); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
		}
		found := powerCheck(t, disk, name, "/_log")
		if found < acknowledged || found > tried {
			t.Fatalf("seed %d, life %d, %+v: %d actions are there, %d were acknowledged and %d tried", seed, life, fault, found, acknowledged, tried)
		}
		acknowledged, tried = found, found
	}
	if came < lives {
		t.Errorf("seed %d: only %d actions came through in %d lives", seed, came, lives)
	}
}
