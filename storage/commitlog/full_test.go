package commitlog

// A disk that is full, or fails, in the middle of a write: what the callers are told holds after
// a crash too.

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// together appends the next entry of each room in one group, and gives the errors.
func together(t *testing.T, l *Log, rooms []*Room, next uint64) []error {
	t.Helper()
	l.mu.Lock()
	l.turns.led = true // by the test, until all of them wait
	l.mu.Unlock()
	errs := make([]error, len(rooms))
	var wg sync.WaitGroup
	for i, r := range rooms {
		wg.Go(func() {
			errs[i] = r.Append(Entry{Number: next, Seq: 10 * next, At: int64(next) * 1000, Payload: content(r.id.Room, next)})
		})
		for waiting := 0; waiting <= i; {
			l.mu.Lock()
			waiting = len(l.turns.queue)
			l.mu.Unlock()
			runtime.Gosched()
		}
	}
	l.mu.Lock()
	l.turns.handOver()
	l.mu.Unlock()
	wg.Wait()
	return errs
}

// TestRefusedGroupStaysAway: a write of several rooms' entries is cut short. Who was told that
// nothing was written never finds the entry, after a kill and after a power cut; who was not told so
// may. ErrFull is always certain.
func TestRefusedGroupStaysAway(t *testing.T) {
	const rooms = 5
	certain, open := 0, 0
	for seed := range uint64(300) {
		d := faultdisk.New(seed)
		o := testOptions(d, newClock())
		o.SegmentBytes = 1 << 20
		l := mustOpen(t, o)
		var all []*Room
		for i := range rooms {
			r := mustRoom(t, l, fmt.Sprint("room", i))
			appendUpTo(t, r, 1, 3)
			all = append(all, r)
		}
		errno := []syscall.Errno{syscall.ENOSPC, syscall.EIO}[seed%2]
		d.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: errno, Times: 1 + int(seed/2%2)})
		if seed/4%4 == 0 {
			d.Fail(faultdisk.Fault{Op: faultdisk.OpTruncate, Err: errno})
		}
		if seed/4%4 == 1 {
			d.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Err: errno})
		}
		told := make([]error, rooms)
		for i, err := range together(t, l, all, 4) {
			told[i] = err
			if err == nil {
				t.Fatalf("seed %d: the write did not fail", seed)
			}
			if errors.Is(err, ErrFull) != (errno == syscall.ENOSPC && errors.Is(err, ErrUnwritten)) || errors.Is(err, ErrFull) == errors.Is(err, ErrIO) ||
				errors.Is(err, syscall.ENOSPC) != errors.Is(err, ErrFull) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		d.Heal()
		if seed%3 == 0 { // the next one takes its place
			appendUpTo(t, all[0], 4, 4)
			told[0] = nil
		}
		if seed%5 == 0 {
			d.Crash()
		} else {
			d.Kill()
		}
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, o)
		for i, err := range told {
			r := mustRoom(t, l, fmt.Sprint("room", i))
			last := r.Last()
			wantReplay(t, r, 0, last)
			switch {
			case err == nil:
				if last != 4 {
					t.Fatalf("seed %d: %d, 4 was acknowledged", seed, last)
				}
			case errors.Is(err, ErrUnwritten):
				certain++
				if last != 3 {
					t.Fatalf("seed %d: %s has entry %d, after %v", seed, r.id.Room, last, err)
				}
			default:
				open++
			}
		}
		mustClose(t, l)
	}
	t.Logf("%d were certain, %d open", certain, open)
	if certain < 300 || open < 100 {
		t.Errorf("%d were certain, %d open", certain, open)
	}
}

// TestFullDiskGoesOn: a large entry finds the disk full, and small ones go on where there is space.
func TestFullDiskGoesOn(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	o.SegmentBytes = 0
	l := mustOpen(t, o)
	a := mustRoom(t, l, "a")
	appendUpTo(t, a, 1, 3)
	size := func() int64 {
		n, err := d.Size("log/" + segment.Name(1))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := size()
	d.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, After: 2, Suffix: segmentSuffix}) // zeros ahead go first
	err := a.Append(Entry{Number: 4}, make([]byte, 3<<20), make([]byte, 3<<20))
	wantError(t, "a large entry", err, ErrFull)
	wantError(t, "a large entry", err, ErrUnwritten)
	if left := size(); left > before {
		t.Errorf("%d bytes are kept from others, there were %d", left, before)
	}
	if l.Failed() {
		t.Error("it counts as failed")
	}
	appendUpTo(t, a, 4, 6)
	wantReplay(t, a, 0, 6)
	mustClose(t, l)
}

// TestFullSync: a sync that fails because the disk is full says nothing of what was written.
func TestFullSync(t *testing.T) {
	for seed := range uint64(40) {
		d := faultdisk.New(seed)
		o := testOptions(d, newClock())
		l := mustOpen(t, o)
		a := mustRoom(t, l, "a")
		appendUpTo(t, a, 1, 3)
		d.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Err: syscall.ENOSPC})
		err := a.Append(Entry{Number: 4, Seq: 40, At: 4000, Payload: content("a", 4)})
		if !errors.Is(err, ErrIO) || errors.Is(err, ErrFull) || errors.Is(err, ErrUnwritten) || errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%v", err)
		}
		if seed%2 == 0 {
			wantReplay(t, a, 0, 3) // it was healed: now it is certain
			if err := d.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		d.Kill()
		_ = d.Restart()
		l = mustOpen(t, o)
		a = mustRoom(t, l, "a")
		if last := a.Last(); last < 3 || last > 4 || seed%2 == 0 && last != 3 {
			t.Fatalf("seed %d: %d", seed, last)
		}
		mustClose(t, l)
	}
}

// TestFullInBetween: any step from one segment to the next finds the disk full. The entry that was to
// come is certainly not there, unless it was its own sync; and no sync says that the disk is full.
func TestFullInBetween(t *testing.T) {
	failed := 0
	for _, op := range []faultdisk.Op{faultdisk.OpSync, faultdisk.OpSyncDir, faultdisk.OpRename, faultdisk.OpOpen, faultdisk.OpWrite} {
		for after := range 5 {
			what := fmt.Sprint(op, ", ", after)
			d := faultdisk.New(1)
			o := testOptions(d, newClock())
			l := mustOpen(t, o)
			a := mustRoom(t, l, "a")
			for n := uint64(1); l.active.end < l.o.SegmentBytes; n++ {
				appendUpTo(t, a, n, n)
			}
			last := a.Last()
			d.Fail(faultdisk.Fault{Op: op, Err: syscall.ENOSPC, After: after})
			err := a.Append(Entry{Number: last + 1, Seq: 10 * (last + 1), At: int64(last+1) * 1000, Payload: content("a", last+1)})
			if err == nil {
				continue
			}
			failed++
			sync, own := op == faultdisk.OpSync || op == faultdisk.OpSyncDir, op == faultdisk.OpSync && after == 3
			if errors.Is(err, ErrFull) == sync || errors.Is(err, ErrUnwritten) == own {
				t.Errorf("%s: %v", what, err)
			}
			d.Heal()
			d.Kill()
			_ = d.Restart()
			l = mustOpen(t, o)
			if got := mustRoom(t, l, "a").Last(); got != last && !own {
				t.Errorf("%s: %d entries of %d", what, got, last)
			}
			mustClose(t, l)
		}
	}
	if failed < 12 {
		t.Errorf("only %d steps failed", failed)
	}
}
