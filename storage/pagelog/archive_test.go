package pagelog

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/vfs"
)

const clock = 1_700_000_000_000 // Unix milliseconds

func testArchive(t *testing.T) Archive {
	return Archive{FS: vfs.Host(), Dir: t.TempDir(), Owner: ArchiveOwner("n", "room", "epoch")}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The names are those of the files that are there already.
func TestArchivePath(t *testing.T) {
	a := Archive{Dir: "past", Owner: ArchiveOwner("chat", "lobby", "0123")}
	want := filepath.Join("past", "680a5c67274e4b471bcd2a6d59d306a3-2s-z-loyw3v28")
	if got := a.Path(100, 35, time.UnixMilli(clock)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if ArchiveOwner("a", "bc", "d") == ArchiveOwner("ab", "c", "d") {
		t.Error("two rooms have one owner")
	}
}

func TestArchiveFind(t *testing.T) {
	a := testArchive(t)
	other := a
	other.Owner = ArchiveOwner("n", "room", "another epoch")
	at := time.UnixMilli(clock)
	for _, path := range []string{a.Path(7, 0, at), a.Path(9, 7, at), other.Path(8, 1, at), filepath.Join(a.Dir, "x")} {
		write(t, path, nil)
	}
	for number, want := range map[uint64]string{7: a.Path(7, 0, at), 9: a.Path(9, 7, at), 8: "", 10: ""} {
		path, layout, err := a.Find(number)
		if path != want || err != nil || number == 9 && layout != 7 {
			t.Errorf("%d: %s, layout %d (%v)", number, path, layout, err)
		}
	}
	for _, none := range []Archive{{}, {FS: a.FS, Dir: filepath.Join(a.Dir, "none")}} {
		if path, _, err := none.Find(7); path != "" || err != nil {
			t.Errorf("in no archive: %s (%v)", path, err)
		}
	}
}

func TestReplacedNames(t *testing.T) {
	owner := strings.Repeat("ab", 16)
	r := replaced{owner, 1<<64 - 1, 35, clock}
	if got, is := parseReplaced(r.name()); !is || got != r {
		t.Errorf("%+v, %v", got, is)
	}
	for _, name := range []string{"", "x", owner, owner + "-7-0", owner + "-7-0-1-1", owner + "-07-0-1", owner + "-7-0-", owner + "-A-0-1", owner + "-!-0-1", owner + "-7-!-1", owner + "-7-0-!", owner + "--0-1", owner + "-3w5e11264sgsg-0-1", owner[1:] + "-7-0-1"} {
		if r, is := parseReplaced(name); is {
			t.Errorf("%q passes for %+v", name, r)
		}
	}
}

func TestArchiveSweep(t *testing.T) {
	a := testArchive(t)
	now := time.UnixMilli(clock)
	old, young, future := a.Path(7, 0, now.Add(-2*time.Hour)), a.Path(9, 7, now.Add(-time.Minute)), a.Path(12, 9, now.Add(time.Hour))
	for _, path := range []string{old, young, future, filepath.Join(a.Dir, "other")} {
		write(t, path, nil)
	}
	left, err := Archive{FS: a.FS, Dir: a.Dir}.Sweep(now.Add(-time.Hour), now)
	names, _ := a.FS.Names(a.Dir)
	want := []string{filepath.Base(young), filepath.Base(a.Path(12, 9, now))}
	slices.Sort(want)
	if err != nil || left != 2 || !slices.Equal(names, want) {
		t.Errorf("%d are left: %v (%v)", left, names, err)
	}
	if left, err := (Archive{FS: a.FS, Dir: filepath.Join(a.Dir, "none")}).Sweep(now, now); left != 0 || err != nil {
		t.Errorf("of no directory %d are left (%v)", left, err)
	}
}

// removing is a file system whose Remove ends with an error.
type removing struct {
	vfs.FS
	err error
}

func (r removing) Remove(string) error { return r.err }

// TestArchiveSweepThatFails: a file that cannot be removed is reported, and one that somebody else has removed is not.
func TestArchiveSweepThatFails(t *testing.T) {
	for _, failure := range []error{fs.ErrPermission, fs.ErrNotExist} {
		a := testArchive(t)
		write(t, filepath.Join(a.Dir, "no such file"), nil)
		a.FS = removing{a.FS, failure}
		_, err := a.Sweep(time.UnixMilli(clock), time.UnixMilli(clock))
		if reported := errors.Is(err, failure); reported != (failure == fs.ErrPermission) {
			t.Errorf("removing fails with %q: %v", failure, err)
		}
	}
}

// A history leads through the files that were replaced, and ends where one is gone.
func TestRewindOverLayouts(t *testing.T) {
	for _, gone := range []bool{false, true} {
		a := testArchive(t)
		old := newHistory(0, 4) // layout 0
		old.all(5, 0)
		write(t, a.Path(5, 0, time.UnixMilli(clock)), old.states[5])
		compacted := newHistory(5, 2) // begins after transaction 5
		compacted.all(3, 0)
		if gone {
			if left, err := a.Sweep(time.UnixMilli(clock+1), time.UnixMilli(clock+1)); left != 0 || err != nil {
				t.Fatal(left, err)
			}
		}
		file := &memoryFile{bytes.Clone(compacted.states[3])}
		switches := 0
		r := &Rewinder{File: file, Number: 8, Layout: 5, Archive: a, Switch: func(path string) (File, error) {
			switches++
			content, err := os.ReadFile(path)
			file = &memoryFile{content}
			return file, err
		}}
		reached := 8
		for ; reached > 0; reached-- {
			h, i := old, reached
			if reached > 5 {
				h, i = compacted, reached-5
			}
			ok, err := r.Revert(uint64(reached), h.payloads[i-1])
			if err != nil {
				t.Fatalf("transaction %d: %v", reached, err)
			}
			if !ok {
				break
			}
			if reached == 7 || reached == 3 {
				if err := r.Flush(); err != nil || !bytes.Equal(without(file.b), h.states[i-1]) {
					t.Errorf("before transaction %d there is another file (%v)", reached, err)
				}
			}
		}
		if gone {
			if reached != 5 || switches != 0 || r.Number != 5 {
				t.Errorf("the way ends at %d, after %d switches", reached, switches)
			}
			if err := r.Flush(); err != nil || !bytes.Equal(without(file.b), compacted.states[0]) {
				t.Errorf("at its end there is another file (%v)", err)
			}
			continue
		}
		if err := r.Flush(); err != nil || reached != 0 || switches != 1 || r.Layout != 0 || !bytes.Equal(without(file.b), old.states[0]) {
			t.Errorf("the way ends at %d, after %d switches, in layout %d (%v)", reached, switches, r.Layout, err)
		}
	}
}

// An archive that cannot be read, and a file in it that cannot be used, are errors and no end of the history.
func TestRewindOverAnArchiveThatFails(t *testing.T) {
	a := testArchive(t)
	h := newHistory(0, 2)
	h.all(3, 0)
	write(t, a.Path(3, 0, time.UnixMilli(clock)), h.states[3])
	r := &Rewinder{File: &memoryFile{}, Number: 3, Layout: 3, Archive: a, Switch: func(string) (File, error) { return nil, errDisk }}
	if ok, err := r.Revert(3, h.payloads[2]); ok || err != errDisk {
		t.Errorf("%v (%v)", ok, err)
	}
	r.Archive.Dir = a.Path(3, 0, time.UnixMilli(clock)) // which is a file
	if ok, err := r.Revert(3, h.payloads[2]); ok || err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v (%v)", ok, err)
	}
	// One whose layout is not an older one leads nowhere.
	write(t, a.Path(9, 9, time.UnixMilli(clock)), nil)
	r = &Rewinder{File: &memoryFile{}, Number: 9, Layout: 9, Archive: a}
	if ok, err := r.Revert(9, h.payloads[2]); ok || err != nil {
		t.Errorf("%v (%v)", ok, err)
	}
}
