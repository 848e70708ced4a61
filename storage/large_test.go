package storage

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// largeAction writes some rows of a MiB each in an action of its own, of a table that is not synced.
func largeAction(d *DB, mib int, do func(*Batch, int64, func() error) (Commit, error)) error {
	b, err := d.Begin()
	if err != nil {
		return err
	}
	_, err = do(b, clock, func() error {
		for range mib {
			if _, err := d.Exec("INSERT INTO big (b) VALUES (randomblob(1048576))"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, b.Rollback())
	}
	return b.Commit()
}

func largeRoom(t *testing.T) (*DB, Options) {
	t.Helper()
	o := testOptions(t)
	log, err := OpenLog(LogOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	o.Log = log
	d := powerRoom(t, o)
	t.Cleanup(func() { d.Close() })
	mustExec(t, d, "CREATE TABLE big (id INTEGER PRIMARY KEY, b)")
	return d, o
}

// An action may write so much and no more, whichever statement does it; then the room goes on as before.
func TestInvariantBoundedAction(t *testing.T) {
	d, _ := largeRoom(t)
	d.o.MaxActionBytes = 4 << 20
	if err := largeAction(d, 3, (*Batch).Do); err != nil {
		t.Fatalf("3 MiB: %v", err)
	}
	if err := largeAction(d, 15, (*Batch).Do); !errors.Is(err, ErrTooLarge) {
		t.Errorf("15 MiB in 15 statements: %v", err)
	}
	rows := shorter(100_000, 3000)
	numbers := fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)", rows)
	_, err := d.Exec("INSERT INTO big (b) " + numbers + " SELECT randomblob(10000) FROM n")
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d0 KB in one statement: %v", rows, err)
	}
	if d.sql.Conn.TotalChanges() > int64(rows/2) {
		t.Errorf("the statement went on for %d rows", d.sql.Conn.TotalChanges())
	}
	_, err = d.Exec("CREATE TABLE copy AS " + numbers + " SELECT randomblob(10000) AS b FROM n")
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d0 KB by CREATE TABLE AS: %v", rows, err)
	}
	if err := put(d, 1, "after"); err != nil {
		t.Fatal(err)
	}
	if got := query(t, d, "SELECT count(*), (SELECT count(*) FROM todos) FROM big")[0]; got[0] != int64(3) || got[1] != int64(1) {
		t.Errorf("%v", got)
	}
	if err := largeAction(d, 15, (*Batch).DoUnbounded); err != nil {
		t.Errorf("15 MiB without the limit: %v", err)
	}
}

// A large transaction takes about as much memory as its entry in the log, and less than twice as much.
func TestInvariantBoundedTransactionMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	d, o := largeRoom(t)
	const mib = 64
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is reachable is measured, not what waits for the collector
	peak := watchHeap(func() {
		if err := largeAction(d, mib, (*Batch).DoUnbounded); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("writing: %d MiB for an entry of %d", peak>>20, mib)
	if peak > 2*mib<<20 {
		t.Errorf("writing an entry of %d MiB took %d MiB", mib, peak>>20)
	}
	d.Fence()
	if err := os.Remove(o.Path + "-wal"); err != nil { // it is in the log
		t.Fatal(err)
	}
	peak = watchHeap(func() {
		again, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if got := query(t, again, "SELECT sum(length(b)) FROM big")[0][0]; got != int64(mib<<20) {
			t.Errorf("%v bytes", got)
		}
	})
	t.Logf("taking it from the log: %d MiB", peak>>20)
	if peak > 2*mib<<20 {
		t.Errorf("taking it from the log took %d MiB", peak>>20)
	}
}

// watchHeap gives by how much the heap grew at most while do ran.
func watchHeap(do func()) (peak uint64) {
	heap := func() uint64 { // runtime.ReadMemStats would stop the world each time
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := heap()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			now := heap()
			peak = max(peak, now-min(before, now))
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	do()
	close(stop)
	<-done
	return peak
}
