package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// A restore gives a room a file that had none, and the sync of its directory fails. Whatever Install says, the name is durable
// before the next action is acknowledged.
func TestInvariantGateRestoreWithoutOldFile(t *testing.T) {
	failed := 0
	for seed := range uint64(shorter(40, 10)) {
		for after := range 5 {
			done, err := restoreAndCut(t, seed, after)
			if err != nil {
				t.Fatalf("seed %d, sync %d: %v", seed, after, err)
			}
			if !done {
				failed++
			}
		}
	}
	if failed == 0 {
		t.Error("no restore failed")
	}
}

func restoreAndCut(t *testing.T, seed uint64, after int) (restored bool, err error) {
	r := newRig(t, seed)
	defer r.close()
	r.alone = true
	r.mustStart()
	d := r.mustOpen("r")
	if err := errors.Join(put(d, 1, "one"), archived.write(d, "/backup/b.db"), d.Close()); err != nil {
		t.Fatal(err)
	}
	o := r.options("s")
	dir := filepath.Base(filepath.Dir(o.Path))
	p, err := archived.restore(o, "/backup/b.db")
	if err != nil {
		t.Fatal(err)
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: dir, After: after, Times: 1, Err: syscall.EIO})
	_, failed := p.Install()
	r.disk.Heal()
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	d = r.mustOpen("s")
	want, err := rowsOf(d)
	if err == nil {
		want[2] = "two"
		err = put(d, 2, want[2])
	}
	if err != nil {
		t.Fatal(err)
	}
	r.cut(d)
	if err := r.expect("s", cutResult{want: want}); err != nil {
		return false, fmt.Errorf("after %v: %w", failed, err)
	}
	return failed == nil, nil
}
