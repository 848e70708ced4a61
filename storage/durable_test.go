package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

// cutResult is what a test of a power cut finds when the power is back.
type cutResult struct {
	want map[int]string // what was acknowledged
	also map[int]string // what may be there instead; nil: nothing else
}

// after is a moment at which the power goes: the n-th change of the disk. It reports whether the test
// came to its end before.
func (r *rig) cutAt(n int, open **DB, do func()) (over bool) {
	r.disk.CrashAfter(n)
	do()
	over = r.disk.Stats().Crashes == 0
	r.cut(*open)
	*open = nil
	return over
}

// expect starts the node again and compares a room with what it should hold.
func (r *rig) expect(room string, c cutResult) error {
	if err := r.start(); err != nil {
		return fmt.Errorf("the log: %w", err)
	}
	d, err := r.open(room)
	if err != nil {
		r.stop()
		return err
	}
	defer r.stop(d)
	got, err := rowsOf(d)
	if err == nil {
		err = sound(d)
	}
	if err != nil {
		return err
	}
	if maps.Equal(got, c.want) || c.also != nil && maps.Equal(got, c.also) {
		return nil
	}
	return fmt.Errorf("%d rows, %d were acknowledged: %s", len(got), len(c.want), difference(c.want, got))
}

func difference(want, got map[int]string) string {
	for id, text := range want {
		if got[id] != text {
			return fmt.Sprintf("row %d is %.20q, want %.20q", id, got[id], text)
		}
	}
	for id := range got {
		if _, ok := want[id]; !ok {
			return fmt.Sprintf("row %d is there", id)
		}
	}
	return "the same"
}

// A WAL that begins again after a checkpoint has a header of its own, which is synced before frames
// follow: the old header with some of the old frames would be played over a newer file.
func TestInvariantGateWALRestart(t *testing.T) {
	for seed := range uint64(shorter(300, 40)) {
		r := newRig(t, seed)
		r.keep, r.relaxed, r.alone = seed%2 == 0, seed%4 < 2, seed%8 == 7
		rng := rand.New(rand.NewPCG(seed, 1))
		r.mustStart()
		if err := r.mustOpen("first").Close(); err != nil { // leaves its connection
			t.Fatal(err)
		}
		d := r.mustOpen("r")
		want := map[int]string{}
		for _, n := range []int{40, 1 + rng.IntN(6)} {
			for range n {
				id, text := rng.IntN(40), randomText(rng, 2000)
				if err := put(d, id, text); err != nil {
					t.Fatal(err)
				}
				want[id] = text
				d.AfterCommit()
			}
			if n == 40 {
				if err := d.Checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r.relaxed {
			if err := r.log.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		r.cut(d)
		if err := r.expect("r", cutResult{want: want}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		r.close()
	}
}

// A power cut at any change of the disk during a restore and the lives after it leaves the old room or the
// new one, and what was acknowledged.
func TestInvariantGateRestore(t *testing.T) {
	step := 130 / shorter(26, 9)
	for _, alone := range []bool{true, false} {
		for n := 1; n < 130; n += step {
			for seed := range uint64(2) {
				over, err := restoreCut(t, n, seed, alone)
				if err != nil {
					t.Errorf("change %d, seed %d, alone %v: %v", n, seed, alone, err)
				}
				if over {
					break
				}
			}
		}
	}
}

func restoreCut(t *testing.T, n int, seed uint64, alone bool) (over bool, err error) {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	r := newRig(t, seed*1000+uint64(n))
	r.alone = alone
	defer r.close()
	r.mustStart()
	d := r.mustOpen("r")
	want, pending := map[int]string{}, map[int]string(nil)
	write := func(n int) error {
		for range n {
			id, text := rng.IntN(40), randomText(rng, 1500)
			pending = maps.Clone(want)
			pending[id] = text
			if err := put(d, id, text); err != nil {
				return err
			}
			want, pending = pending, nil
			d.AfterCommit()
		}
		return nil
	}
	if err := errors.Join(write(30), archived.write(d, "/backup/b.db")); err != nil {
		t.Fatal(err)
	}
	copied := maps.Clone(want)
	if err := errors.Join(write(10), d.Close()); err != nil {
		t.Fatal(err)
	}
	d = nil
	over = r.cutAt(n, &d, func() {
		p, err := archived.restore(r.options("r"), "/backup/b.db")
		if err != nil {
			return
		}
		pending = copied
		if _, err := p.Install(); err != nil {
			return
		}
		want, pending = maps.Clone(copied), nil
		for range 3 {
			if d, err = r.open("r"); err != nil {
				d = nil
				return
			}
			if write(6) != nil || d.Close() != nil {
				return
			}
			d = nil
		}
	})
	// Twice, because the first look changes what the second one finds.
	for range 2 {
		if err := r.expect("r", cutResult{want, pending}); err != nil {
			return over, err
		}
		r.cut()
	}
	return over, nil
}

// A file in a room's place that is not in WAL mode, or has a hot journal, is used only after nothing can come back
// that SQLite would play over it.
func TestInvariantGateRollbackMode(t *testing.T) {
	for n := 1; n < 60; n += 60 / shorter(30, 10) {
		r := newRig(t, uint64(n))
		rng := rand.New(rand.NewPCG(uint64(n), 2))
		r.mustStart()
		d := r.mustOpen("r")
		want := map[int]string{}
		for id := range 20 {
			want[id] = randomText(rng, 500)
			if err := put(d, id, want[id]); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(archived.write(d, "/backup/b.db"), d.Close()); err != nil {
			t.Fatal(err)
		}
		content, err := r.disk.Read("/backup/b.db")
		if err != nil {
			t.Fatal(err)
		}
		r.disk.Write(r.options("r").Path, content) // as an operator would
		d = nil
		over := r.cutAt(n, &d, func() {
			for id := 20; id < 26; id++ {
				if d, err = r.open("r"); err != nil {
					d = nil
					return
				}
				text := randomText(rng, 500)
				if put(d, id, text) != nil {
					return
				}
				want[id] = text
				if d.Close() != nil {
					return
				}
				d = nil
			}
		})
		also := maps.Clone(want)
		if err := r.expectSome("r", want, also); err != nil {
			t.Errorf("change %d: %v", n, err)
		}
		r.close()
		if over {
			break
		}
	}
}

// expectSome is expect where one more row than was acknowledged may be there.
func (r *rig) expectSome(room string, want, also map[int]string) error {
	if err := r.start(); err != nil {
		return err
	}
	d, err := r.open(room)
	if err != nil {
		r.stop()
		return err
	}
	defer r.stop(d)
	got, err := rowsOf(d)
	if err == nil {
		err = sound(d)
	}
	if err != nil {
		return err
	}
	for id, text := range want {
		if got[id] != text {
			return errors.New(difference(want, got))
		}
	}
	if len(got) > len(also)+1 {
		return fmt.Errorf("%d rows, %d were written", len(got), len(also)+1)
	}
	return nil
}

// A directory's sync that fails once, and a power cut: no acknowledged action rests on a name that is not durable,
// whether the process that met the failure goes on or another one does.
func TestInvariantGateFailedDirectorySync(t *testing.T) {
	for seed := range uint64(shorter(24, 8)) {
		for after := range 4 {
			for _, again := range []bool{false, true} {
				if err := failedSyncDir(t, seed, after, again); err != nil {
					t.Errorf("seed %d, the sync after %d, process again %v: %v", seed, after, again, err)
				}
			}
		}
	}
}

func failedSyncDir(t *testing.T, seed uint64, after int, again bool) error {
	r := newRig(t, seed)
	r.alone = seed%2 == 0
	defer r.close()
	r.mustStart()
	o := r.options("r")
	suffix := filepath.Base(filepath.Dir(o.Path))
	if seed%3 == 0 {
		suffix = "n" // the name of the room's directory
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: suffix, After: after})
	d, err := r.open("r")
	if err == nil {
		if err = d.Close(); err != nil {
			d.Fence()
		}
	}
	r.disk.Heal()
	if again {
		r.kill()
		r.mustStart()
	}
	d = r.mustOpen("r")
	want := map[int]string{}
	for id := range 10 {
		want[id] = fmt.Sprint("text ", id)
		if err := put(d, id, want[id]); err != nil {
			t.Fatal(err)
		}
	}
	r.cut(d)
	return r.expect("r", cutResult{want: want})
}

// When the last sync of a restore fails, the error says that the new file is in place, and what is used then
// stays.
func TestInvariantGateRestoreFailedDirectorySync(t *testing.T) {
	said, back := 0, 0
	for seed := range uint64(shorter(20, 6)) {
		for after := range 6 {
			r := newRig(t, seed)
			rng := rand.New(rand.NewPCG(seed, 3))
			r.mustStart()
			d := r.mustOpen("r")
			copied := map[int]string{1: randomText(rng, 500)}
			if err := errors.Join(put(d, 1, copied[1]), archived.write(d, "/backup/b.db"), put(d, 2, "later"), d.Close()); err != nil {
				t.Fatal(err)
			}
			p, err := archived.restore(r.options("r"), "/backup/b.db")
			if err != nil {
				t.Fatal(err)
			}
			r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: filepath.Base(filepath.Dir(r.options("r").Path)), After: after})
			_, err = p.Install()
			r.disk.Heal()
			d = r.mustOpen("r")
			want, failed := rowsOf(d)
			if failed != nil {
				t.Fatal(failed)
			}
			switch restored := maps.Equal(want, copied); {
			case err == nil && !restored:
				t.Errorf("seed %d: restored, and it is the old room", seed)
			case err != nil && restored:
				said++
				if !errors.Is(err, ErrIO) || !strings.Contains(err.Error(), "the new file is in place") {
					t.Errorf("seed %d: the new file is in place, and the error is %v", seed, err)
				}
			case err != nil:
				back++
			}
			want[3] = "after"
			if err := put(d, 3, "after"); err != nil {
				t.Fatal(err)
			}
			r.cut(d)
			if err := r.expect("r", cutResult{want: want}); err != nil {
				t.Errorf("seed %d, the sync after %d: %v", seed, after, err)
			}
			r.close()
		}
	}
	if said == 0 || back == 0 {
		t.Errorf("the last sync failed %d times, an earlier one %d times", said, back)
	}
}

// A suspect file is written again, and the power goes at some change of that.
func TestInvariantGateSuspectCut(t *testing.T) {
	for n := 1; n < 60; n += 60 / shorter(20, 6) {
		for seed := range uint64(2) {
			for _, suffix := range []string{".db", "-wal"} {
				if err := suspectCut(t, n, seed, suffix); err != nil {
					t.Errorf("change %d, seed %d, %s: %v", n, seed, suffix, err)
				}
			}
		}
	}
}

// beforeRename is a file system that calls before when a file is to get a name.
type beforeRename struct {
	FS
	before func(to string)
}

func (f *beforeRename) Rename(from, to string) error {
	f.before(to)
	return f.FS.Rename(from, to)
}

// When a suspect file's new content takes its place, the old WAL is gone, whatever a power cut leaves: the
// WAL may have a part of what it should.
func TestSuspectRewriteRemovesTheWALFirst(t *testing.T) {
	r := newRig(t, 1)
	defer r.close()
	r.alone = true
	r.mustStart()
	d := r.mustOpen("r")
	for id := range 20 {
		if err := put(d, id, strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Suffix: ".db"})
	if err := d.Checkpoint(); err == nil {
		t.Fatal("the sync did not fail")
	}
	d.Close()
	r.disk.Heal()
	o := r.options("r")
	if wal, err := r.fs.Size(o.Path + "-wal"); err != nil || wal == 0 {
		t.Fatalf("the WAL has %d bytes, %v: the test tests nothing", wal, err)
	}
	renamed := 0
	o.FS = &beforeRename{r.fs, func(to string) {
		if to != o.Path {
			return
		}
		renamed++
		for seed := range uint64(20) {
			after := r.disk.Clone(seed)
			after.Crash()
			for _, name := range after.Files() {
				if name == o.Path+"-wal" || name == o.Path+"-journal" {
					t.Errorf("%s is there after a power cut", name)
				}
			}
		}
	}}
	if d, err := openWithTodos(o); err != nil {
		t.Error(err)
	} else {
		d.Fence()
	}
	if renamed != 1 {
		t.Errorf("%d renames", renamed)
	}
	r.stop()
}

func suspectCut(t *testing.T, n int, seed uint64, suffix string) error {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	r := newRig(t, seed*1000+uint64(n))
	r.alone = true
	defer r.close()
	r.mustStart()
	want := map[int]string{}
	var d *DB
	for life := range 2 {
		d = r.mustOpen("r")
		for range 30 {
			id, text := rng.IntN(40), randomText(rng, 2000)
			if err := put(d, id, text); err != nil {
				t.Fatal(err)
			}
			want[id] = text
			d.AfterCommit()
		}
		if life == 0 {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Suffix: suffix})
	if err := d.Checkpoint(); err == nil {
		t.Fatal("the sync did not fail")
	}
	d.Close()
	if marked, err := roomfile.Exists(r.fs, r.options("r").Path+roomfile.SuspectSuffix); err != nil || !marked {
		t.Fatalf("marked %v, %v", marked, err)
	}
	r.disk.Heal()
	d = nil
	r.cutAt(n, &d, func() {
		if d, _ = r.open("r"); d != nil {
			d.Close()
			d = nil
		}
	})
	return r.expect("r", cutResult{want: want})
}

// A large transaction that the log has, and for whose commit the WAL has no room, has not been refused: the
// error is of the disk, the outcome unknown, and the next life has it.
func TestFullAfterTheLog(t *testing.T) {
	unknown := 0
	for after := range 60 {
		r := newRig(t, uint64(after))
		r.alone = true
		r.mustStart()
		d := r.mustOpen("r")
		if err := put(d, 1, "x"); err != nil {
			t.Fatal(err)
		}
		r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: "-wal", After: after, Times: -1})
		err := put(d, 2, strings.Repeat("y", 200_000))
		r.disk.Heal()
		d.Fence()
		if errors.Is(err, ErrIO) && errors.Is(err, ErrFull) {
			t.Errorf("after %d: %v", after, err)
		}
		got := map[int]string{}
		if d, failed := r.open("r"); failed != nil {
			t.Errorf("after %d: %v", after, failed)
		} else {
			got, _ = rowsOf(d)
			d.Close()
		}
		there := got[2] != ""
		switch {
		case err == nil && !there:
			t.Errorf("after %d: acknowledged, and not there", after)
		case errors.Is(err, ErrFull) && there:
			t.Errorf("after %d: the disk was full, and it is there: %v", after, err)
		case errors.Is(err, ErrIO) && there:
			unknown++
		}
		r.stop()
		r.close()
		if err == nil {
			break
		}
	}
	if unknown == 0 {
		t.Error("no transaction was in the log only")
	}
}

// The transaction with which a log-only room ends may be too large to wait, and makes the room's file.
func TestCloseOfALogOnlyRoom(t *testing.T) {
	for size := 1000; size < 62_000; size += 61_000 / shorter(40, 20) {
		r := newRig(t, uint64(size))
		r.mustStart()
		first := r.mustOpen("first")
		if err := errors.Join(first.MakeTemplate("todos"), first.Close()); err != nil {
			t.Fatal(err)
		}
		d, err := Open(r.options("r"))
		if err != nil {
			t.Fatal(err)
		}
		if !d.store.inMemory() {
			t.Fatal("the room has a file")
		}
		if err := d.Sync("todos"); err != nil {
			t.Fatal(err)
		}
		want := map[int]string{1: strings.Repeat("x", size), 2: "y"}
		for _, id := range []int{1, 2} {
			if err := put(d, id, want[id]); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if temp, err := r.fs.Size(r.options("r").Path + ".new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d bytes: a file of %d bytes is left", size, temp)
		}
		r.cut()
		if err := r.expect("r", cutResult{want: want}); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		r.close()
	}
}
