package commitlog

// What crashed generations and closed rooms have left, and how it is let go.

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

func wantEpochs(t *testing.T, l *Log, room, want string) {
	t.Helper()
	got, err := l.Epochs("party", room)
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("epochs of %s: %v, %v; want %s", room, got, err, want)
	}
}

// inEpochs appends a segment or more to a room in each of some epochs, and closes it.
func inEpochs(t *testing.T, l *Log, room string, epochs ...string) {
	t.Helper()
	for _, epoch := range epochs {
		r, err := l.Room("party", room, epoch)
		if err != nil {
			t.Fatal(err)
		}
		appendUpTo(t, r, 1, 30)
		r.Close()
	}
}

// TestEpochs: entries of all epochs of a closed room are kept and named, over a restart, each is
// replayed under its own, and Forget lets all of them go.
func TestEpochs(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	l := mustOpen(t, o)
	inEpochs(t, l, "a", "e2", "e1", "e3")
	inEpochs(t, l, "b", "e9")
	for range 2 {
		wantEpochs(t, l, "a", "[e1 e2 e3]")
		wantEpochs(t, l, "b", "[e9]")
		wantEpochs(t, l, "c", "[]")
		if s := l.Stats(); s.Pinned != 2 {
			t.Errorf("%+v", s)
		}
		if epoch, _, _, err := l.Candidates("party", "a"); epoch != "e3" || err != nil {
			t.Errorf("closed last in %q, %v", epoch, err)
		}
		mustClose(t, l)
		l = mustOpen(t, o)
	}
	for _, epoch := range []string{"e1", "e3", "e2"} {
		r, err := l.Room("party", "a", epoch)
		if err != nil {
			t.Fatal(err)
		}
		wantEpochs(t, l, "a", "[e1 e2 e3]") // one of them in somebody's hands
		wantReplay(t, r, 0, 30)
		r.Close()
	}
	l.Forget("party", "a")
	wantEpochs(t, l, "a", "[]")
	if s := l.Stats(); s.Pinned != 1 {
		t.Errorf("%+v", s)
	}
	wantReplayIn(t, l, "b", "e9", 30)
	before := l.Stats().Segments
	l.Forget("party", "b")
	if s := l.Stats(); s.Segments != 1 || before < 2 || s.Pinned != 0 {
		t.Errorf("%d segments, and when all was let go %+v", before, s)
	}
	mustClose(t, l)
}

func wantReplayIn(t *testing.T, l *Log, room, epoch string, last uint64) {
	t.Helper()
	r, err := l.Room("party", room, epoch)
	if err != nil {
		t.Fatal(err)
	}
	wantReplay(t, r, 0, last)
	r.Close()
}

// TestReleaseOfANewEpoch: a room whose file has a new epoch does not need what it had in others.
func TestReleaseOfANewEpoch(t *testing.T) {
	l := mustOpen(t, testOptions(faultdisk.New(1), newClock()))
	defer mustClose(t, l)
	inEpochs(t, l, "a", "e1", "e2")
	r, err := l.Room("party", "a", "e3")
	if err != nil {
		t.Fatal(err)
	}
	wantEpochs(t, l, "a", "[e1 e2]")
	r.Release(0)
	wantEpochs(t, l, "a", "[]")
	if s := l.Stats(); s.Segments != 1 || s.Pinned != 0 {
		t.Errorf("%+v", s)
	}
}

// TestEpochsBehindACrash: a refused room's entries are named by their epochs, and when it is
// forgotten nothing of it stays, though nobody asks which rooms are to be recovered.
func TestEpochsBehindACrash(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	l := mustOpen(t, o)
	inEpochs(t, l, "refused", "e1", "e2")
	appendUpTo(t, mustRoom(t, l, "other"), 1, 40)
	d.Crash()
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	other := mustRoom(t, l, "other")
	wantReplay(t, other, 0, 40)
	wantEpochs(t, l, "refused", "[e1 e2]")
	wantEpochs(t, l, "other", "[e1]")
	wantReplayIn(t, l, "refused", "e2", 30)
	l.Forget("party", "refused")
	wantEpochs(t, l, "refused", "[]")
	if l.Crashed() != 1 {
		t.Errorf("crashed: %d", l.Crashed())
	}
	other.Release(40)
	wantEpochs(t, l, "other", "[]")
	if s := l.Stats(); l.Crashed() != 0 || s.Segments != 1 {
		t.Errorf("when all was let go: crashed %d, %+v", l.Crashed(), s)
	}
	mustClose(t, l)
}

// TestCrashSettlesWithTheLastRoom: whoever is the last to be recovered, in whatever way, settles
// the crash, and the search for rooms that wait reads each about once.
func TestCrashSettlesWithTheLastRoom(t *testing.T) {
	const rooms = 300
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	o.SegmentBytes = 32 << 10
	l := mustOpen(t, o)
	for i := range rooms {
		appendUpTo(t, mustRoom(t, l, fmt.Sprint("room", i)), 1, 3)
	}
	for seed := range uint64(3) {
		d := d.Clone(seed)
		d.Crash()
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		o.FS = d.FS("")
		l := mustOpen(t, o)
		rng, reads := rand.New(rand.NewPCG(seed, 5)), 0
		order := rng.Perm(rooms)
		if seed == 0 {
			sortByIndex(l, order)
		}
		for n, i := range order {
			name := fmt.Sprint("room", i)
			before := d.Stats().Ops[faultdisk.OpRead]
			if rng.IntN(3) == 0 {
				l.Forget("party", name)
				reads += d.Stats().Ops[faultdisk.OpRead] - before
			} else {
				r := mustRoom(t, l, name)
				before = d.Stats().Ops[faultdisk.OpRead]
				r.Release(3)
				reads += d.Stats().Ops[faultdisk.OpRead] - before
				r.Close()
			}
			if last := n == rooms-1; last != (l.Crashed() == 0) {
				t.Fatalf("seed %d: crashed is %d when %d of %d rooms are recovered", seed, l.Crashed(), n+1, rooms)
			}
		}
		if s := l.Stats(); s.Segments != 1 {
			t.Errorf("seed %d: %+v", seed, s)
		}
		if reads > 8*rooms {
			t.Errorf("seed %d: %d reads to recover %d rooms", seed, reads, rooms)
		}
		mustClose(t, l)
	}
}

// sortByIndex puts rooms into the order in which a search comes to them.
func sortByIndex(l *Log, order []int) {
	i := 0
	for _, room := range l.Unrecovered {
		fmt.Sscanf(room, "room%d", &order[i])
		i++
	}
}

// TestRelaxedCrash: the newest generation that may have lost what rooms have is remembered.
func TestRelaxedCrash(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	for i, step := range []struct {
		relaxed bool
		crash   bool
		want    uint64 // in the generation that follows
	}{
		{false, true, 0}, {true, false, 0}, {true, true, 3}, {false, true, 3}, {false, false, 3},
		{true, false, 3}, {true, true, 7}, {true, true, 8}, {false, false, 8},
	} {
		o.Relaxed = step.relaxed
		l := mustOpen(t, o)
		if step.crash {
			d.Crash()
			if err := d.Restart(); err != nil {
				t.Fatal(err)
			}
		} else {
			mustClose(t, l)
		}
		l = mustOpen(t, Options{FS: d.Clone(1).FS(""), Dir: o.Dir})
		if got := l.RelaxedCrash(); got != step.want {
			t.Errorf("step %d: %d, want %d", i, got, step.want)
		}
		mustClose(t, l)
	}
}

// TestCrashIsNotSettledOverWhatCannotBeRead: while rooms are looked for that wait, a file cannot be
// opened for once. The rooms in it are not forgotten.
func TestCrashIsNotSettledOverWhatCannotBeRead(t *testing.T) {
	for _, op := range []faultdisk.Op{faultdisk.OpOpen, faultdisk.OpRead} {
		d := faultdisk.New(1)
		o := testOptions(d, newClock())
		l := mustOpen(t, o)
		appendUpTo(t, mustRoom(t, l, "first"), 1, 3)
		fill := mustRoom(t, l, "fill")
		for n := uint64(1); l.active.Number == 1; n++ {
			appendUpTo(t, fill, n, n)
		}
		others := []string{"b", "c", "d"}
		for _, name := range others {
			appendUpTo(t, mustRoom(t, l, name), 1, 1)
		}
		d.Kill()
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, o)
		fill = mustRoom(t, l, "fill")
		rooms := []*Room{fill}
		for _, name := range others {
			rooms = append(rooms, mustRoom(t, l, name))
		}
		for _, r := range rooms {
			d.Heal()
			d.Fail(faultdisk.Fault{Op: op, Suffix: segment.Name(1), Times: 3})
			r.Release(r.Last())
		}
		d.Heal()
		if l.Crashed() == 0 {
			t.Fatalf("%v: taken for recovered", op)
		}
		first := mustRoom(t, l, "first")
		wantReplay(t, first, 0, 3)
		first.Release(3)
		for range l.Unrecovered {
			t.Errorf("%v: something is to be recovered", op)
		}
		if l.Crashed() != 0 {
			t.Errorf("%v: crashed %d", op, l.Crashed())
		}
		mustClose(t, l)
	}
}

// TestRestIsBlank: what a crash has left behind the records of a segment is gone when the segment is sealed. The zeros that were
// written ahead stay, which is quicker than to free them; if what was left is long the file is cut.
func TestRestIsBlank(t *testing.T) {
	for _, garbage := range []int{0, 100, 2*maxPrealloc - 10<<10, 2*maxPrealloc + 1<<20} {
		d := build(t, "crashed")
		o := testOptions(d, newClock())
		files := segmentFiles(t, d.FS(""), "log")
		name := "log/" + files[len(files)-1]
		before, err := d.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		left := bytes.TrimRight(before, "\x00")
		left = append(left[:len(left):len(left)], bytes.Repeat([]byte{0, 0xaa}, garbage/2)...)
		left = append(left, make([]byte, 64<<10)...)
		d.Write(name, left)
		l := mustOpen(t, o)
		wantReplay(t, mustRoom(t, l, "a"), 0, 40)
		wantReplay(t, mustRoom(t, l, "b"), 0, 40)
		sealed := l.sealed.list[len(l.sealed.list)-1]
		after, err := d.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		if rest := bytes.Trim(after[sealed.Size:], "\x00"); len(rest) > 0 {
			t.Errorf("%d bytes of garbage: %d are left", garbage, len(rest))
		}
		want := len(left)
		if garbage > 2*maxPrealloc {
			want = int(sealed.Size)
		}
		if len(after) != want {
			t.Errorf("%d bytes of garbage: the file has %d bytes, want %d", garbage, len(after), want)
		}
		mustClose(t, l)
	}
}
