package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
)

// relaxedOpen opens the room's file behind a log that does not sync.
func relaxedOpen(disk *faultdisk.Disk, name string) (*DB, *NodeLog, error) {
	o := Options{Path: "/room.db", Namespace: "n", Room: "r", FS: disk.FS(name)}
	log, err := OpenLog(LogOptions{Dir: "/_log", FS: o.FS, SegmentBytes: 32 << 10, Relaxed: true})
	if err != nil {
		return nil, nil, err
	}
	o.Log = log
	d, err := Open(o)
	if err != nil {
		log.Close()
		return nil, nil, err
	}
	return d, log, nil
}

// A relaxedLife is what is known of the room's actions, which have the numbers 1, 2, 3 …
type relaxedLife struct {
	safe     int  // a power cut leaves these
	tried    int  // and at most these
	done     int  // were acknowledged
	doubtful bool // a sync of the log has failed: another says nothing of what came before
}

// run applies actions, syncs and checkpoints until something fails or some are done.
func (l *relaxedLife) run(d *DB, log *NodeLog, rng *rand.Rand) {
	if _, err := d.Exec(todosTable2); err != nil || d.Sync("todos") != nil {
		return
	}
	for range 1 + rng.IntN(25) {
		switch rng.IntN(8) {
		case 0:
			if err := log.Sync(); err != nil {
				l.doubtful = true
			} else if !l.doubtful {
				l.safe = l.done
			}
		case 1:
			if d.Checkpoint() != nil {
				return
			}
			l.safe, l.doubtful = l.done, false
		default:
			if !l.batch(d, rng) {
				return
			}
		}
	}
}

func (l *relaxedLife) batch(d *DB, rng *rand.Rand) bool {
	b, err := d.Begin()
	if err != nil {
		return false
	}
	n := l.done
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
	l.tried = max(l.tried, n)
	if b.Commit() != nil {
		return false
	}
	l.done = n
	return true
}

// A relaxed log may lose the newest actions in a power cut, and nothing else: what is there is
// the effect of a first part of them, with all that was there at the last sync of the log or
// checkpoint of the file, and the file and the log never contradict each other. A failed sync
// of the log changes nothing of that.
func TestRelaxedPowerCut(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	disks := shorter(16, 3)
	var seen relaxedTally
	for i := range uint64(disks) {
		relaxedDisk(t, seed+i, &seen)
	}
	t.Logf("%+v", seen)
	if n := disks * relaxedLives; seen.actions < 2*n || seen.lost < n/80 || seen.ended < n/80 || seen.synced < n/4 {
		t.Errorf("the lives are too tame: %+v", seen)
	}
}

// relaxedTally counts what came to pass.
type relaxedTally struct{ actions, lost, ended, synced int }

// relaxedLives is how many lives a disk has.
const relaxedLives = 25

func relaxedDisk(t *testing.T, seed uint64, seen *relaxedTally) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 11))
	disk := faultdisk.New(seed, faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("relaxed-%d", seed)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	there := 0
	for life := range relaxedLives {
		disk.CrashAfter(1 + rng.IntN(150))
		if rng.IntN(3) == 0 {
			disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Suffix: ".log", After: rng.IntN(4)})
		}
		l := relaxedLife{safe: there, tried: there, done: there}
		d, log, err := relaxedOpen(disk, name)
		if err == nil {
			l.run(d, log, rng)
			if rng.IntN(4) > 0 {
				d.Fence()
				log.Close()
			} else if errors.Join(d.Close(), log.Close()) == nil {
				l.safe = l.done
				seen.ended++
			}
		}
		mustFit(t, seed, life, err)
		disk.Heal()
		disk.Crash()
		if err := disk.Restart(); err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		if l.safe > there {
			seen.synced++
		}
		seen.actions += l.done - there
		there = relaxedCheck(t, disk, name, seed, life)
		if there < l.safe || there > l.tried {
			t.Fatalf("seed %d, life %d: %d actions are there, %d were safe, %d tried, %d acknowledged", seed, life, there, l.safe, l.tried, l.done)
		}
		if there < l.done {
			seen.lost++
		}
	}
}

// mustFit checks that an opening that failed did so because of the disk.
func mustFit(t *testing.T, seed uint64, life int, err error) {
	t.Helper()
	for _, bad := range []error{ErrLogMismatch, ErrLogMissing, ErrCorrupt, ErrNotDatabase, ErrInUse} {
		if errors.Is(err, bad) {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
	}
}

// relaxedCheck opens the file on a good disk, checks it, and gives how many actions it holds.
func relaxedCheck(t *testing.T, disk *faultdisk.Disk, name string, seed uint64, life int) int {
	t.Helper()
	if _, err := disk.Size("/room.db"); errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	d, log, err := relaxedOpen(disk, name)
	mustFit(t, seed, life, err)
	if err != nil {
		t.Fatalf("seed %d, life %d: after a power cut: %v", seed, life, err)
	}
	defer log.Close()
	if life%2 == 0 {
		defer d.Close()
	} else { // the next life finds a file that was in use
		defer d.Fence()
	}
	if d.Seq() == 0 {
		return 0
	}
	checkConsistent(t, d)
	got := query(t, d, `SELECT count(*), max(id) FROM todos`)[0]
	count := got[0].(int64)
	if count > 0 && got[1] != count || Seq(count) != d.Seq() {
		t.Fatalf("seed %d, life %d: the table has %d rows up to %v, the room is at %d", seed, life, count, got[1], d.Seq())
	}
	return int(count)
}
