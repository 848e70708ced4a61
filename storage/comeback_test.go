package storage

// What a power cut brings back, or a failed sync has not written, where Den believed to be done with it.

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

// The making of a room's file fails at the directory's sync, and the file is removed. A room that then begins in
// the log is not mistaken for that file when a power cut brings it back.
func TestInvariantGateFileThatComesBack(t *testing.T) {
	for _, killed := range []bool{false, true} {
		for seed := range uint64(shorter(40, 10)) {
			r := newRig(t, seed)
			r.mustStart()
			r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: filepath.Base(filepath.Dir(r.options("a").Path))})
			if _, err := Open(r.options("a")); !errors.Is(err, ErrIO) {
				t.Fatalf("%v, want ErrIO", err)
			}
			r.disk.Heal()
			if killed {
				r.kill()
				r.mustStart()
			}
			b := r.mustOpen("b")
			if err := errors.Join(b.MakeTemplate("todos"), b.Close()); err != nil {
				t.Fatal(err)
			}
			d := r.mustOpen("a")
			if !d.store.inMemory() {
				t.Fatal("the room has a file")
			}
			want := map[int]string{1: "x", 2: "y"}
			if err := errors.Join(put(d, 1, "x"), put(d, 2, "y")); err != nil {
				t.Fatal(err)
			}
			r.cut(d)
			if err := r.expect("a", cutResult{want: want}); err != nil {
				t.Errorf("killed %v, seed %d: %v", killed, seed, err)
			}
			r.close()
		}
	}
}

// A sync of the WAL fails, and the process dies, or the disk has no room for the mark. A power cut while the next life
// brings the file forward leaves a room that has everything.
func TestInvariantGateFailedSyncWithoutAMark(t *testing.T) {
	for _, how := range []string{"killed", "no mark"} {
		for n := 1; n < 40; n += 40 / shorter(20, 8) {
			for seed := range uint64(shorter(6, 2)) {
				r := newRig(t, seed*100+uint64(n))
				r.alone = seed%2 == 0
				r.mustStart()
				d := r.mustOpen("r")
				want := map[int]string{}
				for round := range 2 {
					for id := range 20 {
						want[id] = strings.Repeat(fmt.Sprint(round, id), 400)
						if err := put(d, id, want[id]); err != nil {
							t.Fatal(err)
						}
					}
					if round == 0 {
						if err := d.Checkpoint(); err != nil {
							t.Fatal(err)
						}
					}
				}
				r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Suffix: "-wal"})
				if how == "no mark" {
					r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpOpen, Suffix: roomfile.SuspectSuffix, Err: syscall.ENOSPC})
				}
				if err := d.Checkpoint(); err == nil {
					t.Fatal("the sync did not fail")
				}
				if how == "killed" {
					r.kill(d)
					r.mustStart()
				} else {
					d.Close()
					r.disk.Heal()
				}
				d = nil
				r.cutAt(n, &d, func() {
					if d, _ = r.open("r"); d != nil {
						d.Close()
						d = nil
					}
				})
				if err := r.expect("r", cutResult{want: want}); err != nil {
					t.Errorf("%s, change %d, seed %d: %v", how, n, seed, err)
				}
				r.close()
			}
		}
	}
}

// A file of entries that is there again meets a second refusal of its room: the log's entries are kept, and not taken for
// a part that is missing.
func TestEntriesThatComeBack(t *testing.T) {
	r := newRig(t, 7)
	defer r.close()
	r.mustStart()
	d := r.mustOpen("bad")
	want := map[int]string{}
	add := func(from, to int) {
		t.Helper()
		for id := from; id < to; id++ {
			want[id] = fmt.Sprint("v", id)
			if err := put(d, id, want[id]); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := r.options("bad").Path
	flip := func() {
		t.Helper()
		if err := r.disk.Corrupt(path, 0, []byte{0xff}); err != nil {
			t.Fatal(err)
		}
	}
	refuse := func() {
		t.Helper()
		r.kill(d)
		flip()
		r.mustStart()
		if _, err := r.open("bad"); !errors.Is(err, ErrNotDatabase) {
			t.Fatalf("%v, want ErrNotDatabase", err)
		}
		flip()
	}
	add(0, 20)
	refuse()
	old, err := r.disk.Read(path + roomfile.EntriesSuffix)
	if err != nil {
		t.Fatal(err)
	}
	d = r.mustOpen("bad")
	add(20, 40)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 10 { // so that the log lets its oldest files go
		other := r.mustOpen("other")
		for id := range 30 {
			if err := put(other, id, strings.Repeat("y", 4000+round)); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r.kill()
	r.disk.Write(path+roomfile.EntriesSuffix, old)
	r.mustStart()
	d = r.mustOpen("bad")
	add(40, 60)
	r.disk.Write(path+roomfile.EntriesSuffix, old)
	refuse()
	d = r.mustOpen("bad")
	got, err := rowsOf(d)
	if err != nil || difference(want, got) != "the same" {
		t.Errorf("repaired: %v, %s", err, difference(want, got))
	}
	r.stop(d)
}

// A restore while the disk is full is refused, and the room has all that it had.
func TestRestoreOnAFullDisk(t *testing.T) {
	r := newRig(t, 3)
	defer r.close()
	r.mustStart()
	d := r.mustOpen("r")
	want := map[int]string{1: "a", 2: "b"}
	if err := errors.Join(put(d, 1, "a"), archived.write(d, "/backup/1.db"), d.Close()); err != nil {
		t.Fatal(err)
	}
	d = r.mustOpen("r")
	if err := put(d, 2, "b"); err != nil {
		t.Fatal(err)
	}
	d.AfterCommit()
	r.kill(d)
	r.mustStart()
	p, err := archived.restore(r.options("r"), "/backup/1.db")
	if err != nil {
		t.Fatal(err)
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: "-wal", Times: -1})
	if _, err := p.Install(); !errors.Is(err, ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	r.disk.Heal()
	if err := errors.Join(p.Discard(), r.stop()); err != nil {
		t.Fatal(err)
	}
	if err := r.expect("r", cutResult{want: want}); err != nil {
		t.Error(err)
	}
}
