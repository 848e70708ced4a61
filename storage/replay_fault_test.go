package storage

import (
	"errors"
	"maps"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// A disk that fails while a room takes from the log what its file lacks says nothing of the two. The room is opened when the
// disk is well again, and nothing was moved out of the log.
func TestReplayWhileTheDiskFails(t *testing.T) {
	r := newRig(t, 9)
	defer r.close()
	r.alone = true
	failed := 0
	want := map[int]string{}
	for _, op := range []faultdisk.Op{faultdisk.OpStat, faultdisk.OpRead, faultdisk.OpOpen, faultdisk.OpWrite} {
		for after := range 24 {
			r.mustStart()
			d := r.mustOpen("r")
			for range 3 {
				id := len(want)
				want[id] = "text"
				if err := put(d, id, want[id]); err != nil {
					t.Fatal(err)
				}
				if id == 0 {
					d.AfterCommit() // it has a file now
				}
			}
			r.kill(d)
			r.mustStart()
			r.disk.Fail(faultdisk.Fault{Op: op, Suffix: ".db", After: after, Times: 1, Err: syscall.EIO})
			d, err := Open(r.options("r"))
			r.disk.Heal()
			if err != nil {
				failed++
				if !errors.Is(err, ErrIO) || errors.Is(err, ErrLogMismatch) || errors.Is(err, ErrCorrupt) {
					t.Errorf("%v fails after %d: %v", op, after, err)
				}
				d = r.mustOpen("r")
			}
			if rows, err := rowsOf(d); err != nil || !maps.Equal(rows, want) {
				t.Fatalf("%v failed after %d: %v: %s", op, after, err, difference(want, rows))
			}
			d.Fence()
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if failed == 0 {
		t.Error("no open failed")
	}
}
