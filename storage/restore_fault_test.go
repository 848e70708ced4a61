package storage

// A restore on a disk that fails: the room is the old one until the new one is in place, also where the disk has
// failed under the old one before.

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

// A restore over a room whose file waits to be written again. That begins in the restore, fails there at some step,
// and then the restore fails too. Whatever the disk refuses, the room opens afterwards, as the old one unless the
// restore says something else.
func TestInvariantGateRestoreOverSuspect(t *testing.T) {
	refused, restored := 0, 0
	for _, op := range faultdisk.AllOps() {
		for after := range shorter(8, 3) {
			for times := 1; times <= 4; times++ {
				f := faultdisk.Fault{Op: op, After: after, Times: times}
				done, err := restoreOverSuspect(t, f)
				if err != nil {
					t.Errorf("%+v: %v", f, err)
				}
				if done {
					restored++
				} else {
					refused++
				}
			}
		}
	}
	if refused == 0 || restored == 0 {
		t.Errorf("%d restores were refused, %d were not: one of the two was not tried", refused, restored)
	}
}

func restoreOverSuspect(t *testing.T, f faultdisk.Fault) (restored bool, err error) {
	r := newRig(t, uint64(f.After*100+f.Times*10)+uint64(f.Op))
	r.alone = f.After%2 == 0
	defer r.close()
	r.mustStart()
	rng := rand.New(rand.NewPCG(1, 2))
	d := r.mustOpen("r")
	copied := map[int]string{1: randomText(rng, 500)}
	if err := errors.Join(put(d, 1, copied[1]), archived.write(d, "/backup/b.db")); err != nil {
		t.Fatal(err)
	}
	old := maps.Clone(copied)
	for id := 2; id < 20; id++ {
		old[id] = randomText(rng, 2000)
		if err := put(d, id, old[id]); err != nil {
			t.Fatal(err)
		}
		d.AfterCommit()
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Suffix: ".db", After: 4}) // the file is a mixture without its WAL
	if err := d.Checkpoint(); err == nil {
		t.Fatal("the checkpoint did not fail")
	}
	d.Close()
	r.disk.Heal()
	p, err := archived.restore(r.options("r"), "/backup/b.db")
	if err != nil {
		t.Fatal(err)
	}
	r.disk.Fail(f)
	_, failed := p.Install()
	r.disk.Heal()
	if err := p.Discard(); err != nil {
		return failed == nil, err
	}
	want := old
	if failed == nil || strings.Contains(failed.Error(), "the new file is in place") {
		want = copied
	}
	for _, cut := range []bool{false, true} {
		d, err := r.open("r")
		if err != nil {
			return failed == nil, fmt.Errorf("after the restore (%v) the room is refused: %w", failed, err)
		}
		got, err := rowsOf(d)
		if err == nil && !maps.Equal(got, want) {
			err = fmt.Errorf("after the restore (%v): %s", failed, difference(want, got))
		}
		if err = errors.Join(err, d.Close()); err != nil || cut {
			return failed == nil, err
		}
		r.cut()
		r.mustStart()
	}
	return failed == nil, nil
}

// The old room may have its content in NAME.whole alone, where the power went while it was being written again. A restore that
// does not come to its end removes nothing of it.
func TestRestoreThatFailsOverARewrite(t *testing.T) {
	r := newRig(t, 1)
	defer r.close()
	r.alone = true
	r.mustStart()
	d := r.mustOpen("r")
	if err := errors.Join(put(d, 1, "copied"), archived.write(d, "/backup/b.db"), put(d, 2, "newer"), d.Close()); err != nil {
		t.Fatal(err)
	}
	o := r.options("r")
	p, err := archived.restore(o, "/backup/b.db")
	if err != nil {
		t.Fatal(err)
	}
	garble := func() error {
		f, err := r.fs.Open(o.Path, os.O_RDWR)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(make([]byte, 3*pageSize), pageSize)
		return errors.Join(err, f.Sync(), f.Close())
	}
	file := roomfile.File{FS: r.fs, Path: o.Path}
	names, err := r.fs.Names(filepath.Dir(o.Path))
	at := slices.IndexFunc(names, func(name string) bool { return strings.Contains(name, roomfile.RestoreInfix) })
	if err != nil || at < 0 {
		t.Fatal(names, err)
	}
	if err := errors.Join(file.Mark(), roomfile.Copy(r.fs, o.Path, o.Path+roomfile.WholeSuffix), garble()); err != nil {
		t.Fatal(err)
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpRename})
	err = file.Replace(filepath.Join(filepath.Dir(o.Path), names[at]))
	r.disk.Heal()
	if err == nil {
		t.Fatal("the restore came to its end: this tests nothing")
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	d = r.mustOpen("r")
	want := map[int]string{1: "copied", 2: "newer"}
	if rows, err := rowsOf(d); err != nil || !maps.Equal(rows, want) {
		t.Errorf("%v: %s", err, difference(want, rows))
	}
	if err := errors.Join(d.Close(), r.stop()); err != nil {
		t.Error(err)
	}
}

// A restore whose file is in place, but does not have the room's name yet because the disk failed, says so. The next open goes on
// with it.
func TestRestoreThatTheNextOpenEnds(t *testing.T) {
	r := newRig(t, 2)
	defer r.close()
	r.mustStart()
	d := r.mustOpen("r")
	if err := errors.Join(put(d, 1, "copied"), archived.write(d, "/backup/b.db"), put(d, 2, "newer"), d.Close()); err != nil {
		t.Fatal(err)
	}
	p, err := archived.restore(r.options("r"), "/backup/b.db")
	if err != nil {
		t.Fatal(err)
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpRename, Suffix: roomfile.WholeSuffix, Times: 1}) // from there to the room's name
	_, err = p.Install()
	r.disk.Heal()
	wantError(t, err, ErrIO)
	d = r.mustOpen("r")
	want := map[int]string{1: "copied"}
	if rows, err := rowsOf(d); err != nil || !maps.Equal(rows, want) {
		t.Errorf("%v: %s", err, difference(want, rows))
	}
	if err := errors.Join(d.Close(), r.stop()); err != nil {
		t.Error(err)
	}
}
