package storage

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// spillOptions are those of a room on a disk that can fail, with a cache that is too small
// for the transactions of spill.
func spillOptions(t *testing.T, traits ...faultdisk.Trait) (Options, *faultdisk.Disk, *memLog) {
	t.Helper()
	disk := faultdisk.New(1, traits...)
	name := "wal-" + t.Name()
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	})
	log := newMemLog()
	o := testOptions(t)
	o.Path, o.FS, o.Log, o.CacheBytes = "/room.db", disk.FS(name), log, 16<<10
	return o, disk, log
}

const (
	wideTable = `CREATE TABLE wide (id INTEGER PRIMARY KEY, k, v); CREATE INDEX wide_k ON wide (k)`
	spill     = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
		INSERT INTO wide (k, v) SELECT random(), randomblob(200) FROM n`
)

// appending is a log that tells when it has appended.
type appending struct {
	*memLog
	after func()
}

type appendingRoom struct {
	RoomLog
	log *appending
}

func (l *appending) Room(namespace, room, epoch string) (RoomLog, error) {
	r, err := l.memLog.Room(namespace, room, epoch)
	return appendingRoom{r, l}, err
}

func (r appendingRoom) Append(e LogEntry, more ...[]byte) error {
	err := r.RoomLog.Append(e, more...)
	if r.log.after != nil {
		r.log.after()
	}
	return err
}

// Behind the frame that commits SQLite makes checksums again where pages were overwritten. If
// that fails the transaction is in the log and not in the file: the file says nothing more
// until it was opened again, and has it then, once.
func TestCommitThatFailsBehindTheLog(t *testing.T) {
	for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		for after := range 3 { // writes after the append
			t.Run(fmt.Sprint(fault, after), func(t *testing.T) {
				o, disk, log := spillOptions(t)
				hooked := &appending{memLog: log}
				o.Log = hooked
				d, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				mustExec(t, d, wideTable)
				mustExec(t, d, spill)
				number := d.store.number
				hooked.after = func() {
					disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: fault, Suffix: "-wal", After: after})
				}
				b, err := d.Begin()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Do(clock, func() error { _, err := d.Exec(spill); return err }); err != nil {
					t.Fatal(err)
				}
				wantError(t, b.Commit(), ErrIO)
				if _, err := d.Exec(spill); err == nil {
					t.Error("the file is used on, though it lacks what the log has")
				}
				hooked.after = nil
				disk.Heal()
				d.Close()
				d = openTest(t, o)
				if d.store.number != number+1 {
					t.Errorf("number %d, want %d", d.store.number, number+1)
				}
				if got := query(t, d, `SELECT count(*) FROM wide`)[0][0]; got != int64(600) {
					t.Errorf("%v rows, want 600", got)
				}
				mustExec(t, d, spill)
			})
		}
	}
}

// Spilled pages that the disk had no room for are not lost when there is room again: SQLite
// believes that they are in the WAL since its write has returned.
func TestSpillOnAFullDisk(t *testing.T) {
	o, disk, _ := spillOptions(t)
	d := openTest(t, o)
	mustExec(t, d, wideTable)
	mustExec(t, d, spill)
	gathered := 0
	for i := range 20 {
		if _, err := act(t, d, clock, func() error {
			if _, err := d.Exec(`UPDATE wide SET v = randomblob(200) WHERE id % 20 = ?1`, i); err != nil {
				return err
			}
			d.sql.Mu.Lock()
			defer d.sql.Mu.Unlock()
			bytes, written := d.store.wal.InBuffer()
			gathered += bytes - written
			disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: "-wal"})
			_ = d.store.wal.Flush() // as a read of one of them does
			disk.Heal()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		checkConsistent(t, d)
		if got := query(t, d, `SELECT count(*), sum(length(v)) FROM wide`)[0]; got[0] != int64(300) || got[1] != int64(60000) {
			t.Fatalf("step %d: %v, want 300 rows with 60000 bytes", i, got)
		}
	}
	if gathered == 0 {
		t.Error("nothing was tested")
	}
}

// What was committed can be read while the disk is full, whatever a rolled-back transaction
// had still to write.
func TestReadOnAFullDisk(t *testing.T) {
	o, disk, _ := spillOptions(t)
	d := openTest(t, o)
	mustExec(t, d, wideTable)
	mustExec(t, d, spill)
	disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Times: -1})
	defer disk.Heal()
	_, err := act(t, d, clock, func() error { _, err := d.Exec(spill); return err })
	wantError(t, err, ErrFull)
	if got := query(t, d, `SELECT count(*), sum(length(v)) FROM wide`)[0]; got[0] != int64(300) || got[1] != int64(60000) {
		t.Errorf("%v, want 300 rows with 60000 bytes", got)
	}
}

// What a rolled-back or overwritten page has left does not add up.
func TestInvariantBoundedPayload(t *testing.T) {
	o, _, _ := spillOptions(t)
	d := openTest(t, o)
	mustExec(t, d, wideTable)
	mustExec(t, d, spill)
	grown := func(what string) {
		t.Helper()
		d.sql.Mu.Lock()
		defer d.sql.Mu.Unlock()
		if n, most := d.store.wal.Entry.Memory(), 2*int(d.store.wal.Pages)*pageSize+2*(64<<10); n > most {
			t.Errorf("%s: the payload has %d bytes, the file %d", what, n, d.store.wal.Pages*pageSize)
		}
	}
	for range 50 {
		if _, err := act(t, d, clock, func() error {
			mustExec(t, d, spill)
			return errRefused
		}); !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
	}
	grown("50 transactions that were rolled back")
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := b.Do(clock, func() error { _, err := d.Exec(`UPDATE wide SET k = random()`); return err }); err != nil {
			t.Fatal(err)
		}
	}
	grown("50 updates of the same pages")
	for range 50 {
		b.Do(clock, func() error { mustExec(t, d, spill); return errRefused })
	}
	grown("50 actions that were taken back")
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

// A failure in the middle of a transaction does not pass for one of the next commit.
func TestFailureBeforeACommitThatHolds(t *testing.T) {
	o, disk, _ := spillOptions(t)
	d := openTest(t, o)
	mustExec(t, d, wideTable)
	mustExec(t, d, spill)
	ours := 0 // failures of reading a page as it was
	for after := range 40 {
		_, err := act(t, d, clock, func() error {
			disk.Fail(faultdisk.Fault{Op: faultdisk.OpRead, After: after})
			defer disk.Heal()
			_, err := d.Exec(`UPDATE wide SET k = random()`)
			return err
		})
		wantError(t, err, ErrIO)
		if d.store.wal.Refused != nil {
			ours++
		}
		before := d.store.number
		if _, err := d.Exec(`INSERT INTO wide (k) VALUES (1)`); err != nil || d.store.number != before+1 {
			t.Fatalf("number %d behind %d: %v", d.store.number, before, err)
		}
	}
	if ours == 0 {
		t.Error("nothing was tested")
	}
}

// A transaction that is too large for the log is refused, and the room goes on.
func TestLogThatHasNoPlaceForSoMuch(t *testing.T) {
	o, _, log := spillOptions(t)
	d := openTest(t, o)
	mustExec(t, d, wideTable)
	log.fail = fmt.Errorf("%w: injected", ErrTooLarge)
	_, err := d.Exec(spill)
	wantError(t, err, ErrTooLarge)
	if errors.Is(err, ErrIO) {
		t.Errorf("%v passes for a disk that failed", err)
	}
	log.fail = nil
	mustExec(t, d, spill)
	if got := query(t, d, `SELECT count(*) FROM wide`)[0][0]; got != int64(300) {
		t.Errorf("%v rows, want 300", got)
	}
}

// What was committed under a larger limit of the file comes back under a smaller one.
func TestReplayAboveTheLimit(t *testing.T) {
	o := testOptions(t)
	log := newMemLog()
	o.Log = log
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, wideTable)
	restore := rememberFile(t, o)
	for range 5 {
		mustExec(t, d, spill)
	}
	want := d.store.number
	d.Fence()
	restore()
	log.crashed++
	o.MaxBytes = minMaxBytes
	if d = openTest(t, o); d.store.number != want {
		t.Errorf("number %d, want %d", d.store.number, want)
	}
}

// What the log has goes into the WAL some transactions at a time. A process that dies before
// leaves a file that lacks some; the log has them, and what the file says of itself is true.
func TestCommittedFramesWait(t *testing.T) {
	o, disk, log := spillOptions(t)
	d := openTest(t, o)
	mustExec(t, d, wideTable)
	mustExec(t, d, `INSERT INTO wide (k) VALUES (0)`)
	const commits = 20
	before := disk.Stats().Ops[faultdisk.OpWrite]
	for i := range commits {
		mustExec(t, d, `INSERT INTO wide (k) VALUES (?)`, i)
	}
	if wrote := disk.Stats().Ops[faultdisk.OpWrite] - before; wrote == 0 || wrote > commits/2 {
		t.Errorf("%d writes of the WAL for %d transactions", wrote, commits)
	}
	if bytes, written := d.store.wal.InBuffer(); bytes == written {
		t.Error("nothing waits, so nothing is tested")
	}

	disk.Kill()
	d.Fence()
	if err := disk.Restart(); err != nil {
		t.Fatal(err)
	}
	want := d.store.number
	log.crashed++
	d = openTest(t, o)
	if got := query(t, d, `SELECT count(*) FROM wide`)[0][0]; got != int64(commits+1) || d.store.number != want {
		t.Errorf("%v rows at number %d, want %d at %d", got, d.store.number, commits+1, want)
	}
}

// That a file needs its log stands in it when the actor rests after the first transaction, even if
// the process dies then.
func TestFileInUseSaysSo(t *testing.T) {
	o, disk, _ := spillOptions(t)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, wideTable)
	d.AfterCommit()
	disk.Kill()
	d.Fence()
	if err := disk.Restart(); err != nil {
		t.Fatal(err)
	}
	o.Log = nil
	_, err = Open(o)
	wantError(t, err, ErrLogMissing)
}

// What waits for the WAL can be read while the disk is full, and the room is not harmed when it
// is closed then: SQLite would play what lies in the WAL from before into the file.
func TestFramesThatWaitOnAFullDisk(t *testing.T) {
	o, disk, log := spillOptions(t)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, wideTable)
	mustExec(t, d, spill)
	mustExec(t, d, `UPDATE wide SET v = randomblob(200)`) // frames all over the WAL
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, `UPDATE wide SET k = 1 WHERE id = 1`) // the WAL begins again
	disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: "-wal", Times: -1})
	accepted := 0
	for ; accepted < 100; accepted++ {
		if _, err = d.Exec(`UPDATE wide SET k = ?1 WHERE id = 2`, -accepted); err != nil {
			break
		}
	}
	wantError(t, err, ErrFull)
	if bytes, written := d.store.wal.InBuffer(); accepted == 0 || bytes == written {
		t.Error("nothing waits, so nothing is tested")
	}
	check := func() {
		t.Helper()
		if got := query(t, d, `SELECT count(*), sum(length(v)), min(k) >= 0 FROM wide WHERE id <> 2`)[0]; got[0] != int64(299) || got[1] != int64(299*200) {
			t.Errorf("%v, want 299 rows with 59800 bytes", got)
		}
		if got := query(t, d, `SELECT k FROM wide WHERE id = 2`)[0][0]; got != int64(1-accepted) {
			t.Errorf("%v, want the newest that was acknowledged: %d", got, 1-accepted)
		}
		checkConsistent(t, d)
	}
	check()
	d.Close()
	disk.Heal()
	log.crashed++
	d = openTest(t, o)
	check()
}
