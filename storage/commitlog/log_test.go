package commitlog

// A log without failures.

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

func TestAppendReplayRelease(t *testing.T) {
	d, clock := faultdisk.New(1), newClock()
	l := mustOpen(t, testOptions(d, clock))
	if len(l.ID()) != 32 || l.Generation() != 1 || l.Crashed() != 0 {
		t.Fatal(l.ID(), l.Generation(), l.Crashed())
	}
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	wantRange(t, a, 0, 0)
	appendUpTo(t, a, 1, 100)
	appendUpTo(t, b, 1, 3)
	for _, after := range []uint64{0, 1, 50, 99, 100, 1000} {
		wantReplay(t, a, after, max(100, after))
	}
	wantRange(t, a, 1, 100)
	wantBackward(t, a, 1, 100)
	wantReplay(t, b, 0, 3)
	if s := l.Stats(); s.Segments < 4 || s.Entries != 103 || s.Rotations < 3 {
		t.Errorf("%+v", s)
	}
	a.Release(99)
	wantReplay(t, a, 99, 100)
	_, err := replayed(t, a, 0)
	wantError(t, "replay of what was let go", err, ErrGap)
	first, _, err := a.Range()
	if err != nil || first < 50 {
		t.Errorf("range begins at %d, %v", first, err)
	}
	a.Close()
	wantError(t, "append to a closed room", a.Append(Entry{Number: 101}), ErrClosed)
	mustClose(t, l)
	mustClose(t, l)
	wantError(t, "append to a closed log", b.Append(Entry{Number: 4}), ErrClosed)

	l = mustOpen(t, testOptions(d, clock))
	if l.Generation() != 2 || l.Crashed() != 0 {
		t.Fatal(l.Generation(), l.Crashed())
	}
	a, b = mustRoom(t, l, "a"), mustRoom(t, l, "b")
	wantReplay(t, a, 99, 100)
	wantReplay(t, b, 0, 3)
	appendUpTo(t, b, 4, 5)
	wantReplay(t, b, 0, 5)
	wantBackward(t, b, 1, 5)
	a.Release(100)
	b.Release(5)
	a.Close()
	b.Close()
	mustClose(t, l)
	l = mustOpen(t, testOptions(d, clock))
	defer mustClose(t, l)
	if got := segmentFiles(t, d.FS(""), "log"); len(got) != 1 {
		t.Errorf("all was released, and there are %v", got)
	}
}

func TestMisuse(t *testing.T) {
	l := mustOpen(t, testOptions(faultdisk.New(1), newClock()))
	defer mustClose(t, l)
	a := mustRoom(t, l, "a")
	_, err := l.Room("party", "a", "e1")
	wantError(t, "a room twice", err, ErrMisuse)
	if _, err := l.Room("party", "a", "e2"); err != nil {
		t.Error("another epoch:", err)
	}
	appendUpTo(t, a, 7, 8) // the first may begin anywhere
	wantError(t, "a gap", a.Append(Entry{Number: 10}), ErrMisuse)
	wantError(t, "a number again", a.Append(Entry{Number: 8}), ErrMisuse)
	wantError(t, "number 0", a.Append(Entry{}), ErrMisuse)
	wantRange(t, a, 7, 8)
	_, err = replayed(t, a, 3)
	wantError(t, "what is missing", err, ErrGap)
	a.Close()
	a = mustRoom(t, l, "a")
	appendUpTo(t, a, 20, 22)
	wantRange(t, a, 20, 22)
	wantReplay(t, a, 19, 22)
	wantBackward(t, a, 20, 22)
	_, err = replayed(t, a, 7)
	wantError(t, "a gap in the middle", err, ErrGap)
	_, err = l.Room(strings.Repeat("n", MaxNames+1), "a", "")
	wantError(t, "a long name", err, ErrTooLarge)
	_, err = l.Room("a\x00b", "a", "")
	wantError(t, "a zero byte", err, ErrMisuse)
	_, err = Open(Options{})
	wantError(t, "no directory", err, ErrMisuse)
}

func TestHistory(t *testing.T) {
	d, clock := faultdisk.New(1), newClock()
	o := testOptions(d, clock)
	o.History = time.Hour
	l := mustOpen(t, o)
	a := mustRoom(t, l, "a")
	appendUpTo(t, a, 1, 100)
	a.Release(100)
	wantRange(t, a, 1, 100)
	clock.now = clock.now.Add(30 * time.Minute)
	appendUpTo(t, a, 101, 150)
	a.Release(150)
	wantBackward(t, a, 1, 150)
	mustClose(t, l)
	l = mustOpen(t, o)
	defer mustClose(t, l)
	a = mustRoom(t, l, "a")
	wantBackward(t, a, 1, 150)
	clock.now = clock.now.Add(31 * time.Minute)
	appendUpTo(t, a, 151, 152)
	a.Release(152)
	first, last, err := a.Range()
	if err != nil || first < 60 || first > 110 || last != 152 {
		t.Errorf("%d to %d, %v", first, last, err)
	}
	wantBackward(t, a, first, 152)
}

func TestPins(t *testing.T) {
	d, clock := faultdisk.New(1), newClock()
	l := mustOpen(t, testOptions(d, clock))
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	appendUpTo(t, b, 1, 2)
	appendUpTo(t, a, 1, 60)
	b.Close()
	a.Release(60)
	mustClose(t, l)
	for range 2 {
		l = mustOpen(t, testOptions(d, clock))
		if s := l.Stats(); s.Pinned != 1 || s.Segments < 3 {
			t.Fatalf("%+v", s)
		}
		mustClose(t, l)
	}
	l = mustOpen(t, testOptions(d, clock))
	defer mustClose(t, l)
	b = mustRoom(t, l, "b")
	wantReplay(t, b, 0, 2)
	b.Release(1)
	if l.Stats().Segments < 3 {
		t.Error("released too early")
	}
	b.Release(2)
	if s := l.Stats(); s.Segments != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPressure(t *testing.T) {
	var pressed []string
	o := testOptions(faultdisk.New(1), newClock())
	o.MaxUnreleased = 16 << 10
	rooms := map[string]*Room{}
	o.RequestCheckpoint = func(_, room string) {
		pressed = append(pressed, room)
		rooms[room].Release(2) // it may call back
	}
	l := mustOpen(t, o)
	defer mustClose(t, l)
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	rooms["a"], rooms["b"] = a, b
	appendUpTo(t, b, 1, 2)
	for n := uint64(1); n < 200; n++ {
		appendUpTo(t, a, n, n)
		a.Release(n)
	}
	if len(pressed) != 1 || pressed[0] != "b" {
		t.Errorf("pressed: %v", pressed)
	}
	if s := l.Stats(); s.Bytes > 16<<10 {
		t.Errorf("%+v", s)
	}
}

// TestPressureOnRoomsThatAreClosed: those who hold the oldest entries are asked, each once and in the order of their names, whether they are open
// or not; who holds none of the older half is not.
func TestPressureOnRoomsThatAreClosed(t *testing.T) {
	var pressed []string
	o := testOptions(faultdisk.New(1), newClock())
	o.MaxUnreleased = 24 << 10
	o.RequestCheckpoint = func(namespace, room string) { pressed = append(pressed, namespace+"/"+room) }
	l := mustOpen(t, o)
	defer mustClose(t, l)
	for _, who := range [][2]string{{"q", "a"}, {"p", "b"}, {"p", "a"}} {
		for _, epoch := range []string{"e1", "e2"} {
			r, err := l.Room(who[0], who[1], epoch)
			if err == nil {
				err = r.Append(Entry{Number: 1})
			}
			if err != nil {
				t.Fatal(err)
			}
			if who[0] == "p" {
				r.Close()
			}
		}
	}
	fills := mustRoom(t, l, "fills")
	for n := uint64(1); len(pressed) == 0 && n < 1000; n++ {
		if l.unreleasedBytes() > 20<<10 && len(l.rooms) < 4 {
			late := mustRoom(t, l, "late") // it holds nothing that is old
			appendUpTo(t, late, 1, 1)
		}
		appendUpTo(t, fills, n, n)
		fills.Release(n)
	}
	if got := strings.Join(pressed, " "); got != "p/a p/b q/a" || len(l.rooms) != 4 {
		t.Errorf("pressed: %s; %d rooms are open", got, len(l.rooms))
	}
	if unreleased := l.unreleasedBytes(); unreleased <= o.MaxUnreleased || unreleased > o.MaxUnreleased+8<<10 {
		t.Errorf("with %d unreleased bytes, and %d are allowed", unreleased, o.MaxUnreleased)
	}
}

// TestGroupSize: of those who wait as many go together as come before the next who wants the log for itself, up to 16 MiB; a larger
// entry goes alone.
func TestGroupSize(t *testing.T) {
	const most = 16 << 20
	room := new(Room)
	for _, c := range []struct {
		sizes []int // -1: who wants the log for itself
		want  int
	}{
		{[]int{1}, 1}, {[]int{1, 2, 3}, 3}, {[]int{1, 2, -1, 3}, 2}, {[]int{most, 0, 1}, 2}, {[]int{most + 1, 0}, 1},
		{[]int{most - 1, 1, 1}, 2}, {[]int{most / 2, most / 2, 0}, 3}, {[]int{0, most + 1}, 1},
	} {
		l := new(Log)
		for _, size := range c.sizes {
			w := &request{room: room, size: size}
			if size < 0 {
				w.room = nil
			}
			l.turns.queue = append(l.turns.queue, w)
		}
		if got := l.turns.groupSize(); got != c.want {
			t.Errorf("of %v go %d together, want %d", c.sizes, got, c.want)
		}
	}
}

// TestClosed: after Close everything that is asked of a log or of its rooms is ErrClosed, or nothing.
func TestClosed(t *testing.T) {
	o := testOptions(faultdisk.New(1), newClock())
	l := mustOpen(t, o)
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	appendUpTo(t, a, 1, 3)
	appendUpTo(t, b, 1, 3)
	b.Close()
	b.Close()
	wantError(t, "a room that is closed", b.Append(Entry{Number: 4}), ErrClosed)
	_, _, err := b.Range()
	wantError(t, "the range of a room that is closed", err, ErrClosed)
	a.appending = true // as while somebody else appends
	wantError(t, "two at once", a.Append(Entry{Number: 4}), ErrMisuse)
	a.appending = false
	mustClose(t, l)
	wantError(t, "Append", a.Append(Entry{Number: 4}), ErrClosed)
	wantError(t, "Sync", l.Sync(), ErrClosed)
	_, err = l.Abandon()
	wantError(t, "Abandon", err, ErrClosed)
	_, err = l.Room("party", "c", "e1")
	wantError(t, "Room", err, ErrClosed)
	_, err = l.Room("party", "a", "e1")
	wantError(t, "a room that is open", err, ErrClosed)
	_, _, err = a.Range()
	wantError(t, "Range", err, ErrClosed)
	_, err = replayed(t, a, 0)
	wantError(t, "Replay", err, ErrClosed)
	wantError(t, "Backward", a.Backward(func(Entry) (bool, error) { return true, nil }), ErrClosed)
	a.Release(3)
	a.Close()
	l = mustOpen(t, o)
	defer mustClose(t, l)
	if s := l.Stats(); s.Pinned != 2 || s.Rooms != 0 {
		t.Errorf("%+v", s)
	}
}

func TestShrinks(t *testing.T) {
	o := testOptions(faultdisk.New(1), newClock())
	o.SegmentBytes = 0
	l := mustOpen(t, o)
	defer mustClose(t, l)
	a := mustRoom(t, l, "a")
	appendUpTo(t, a, 1, 1000)
	if s := l.Stats(); s.Bytes < 200<<10 || s.Segments != 1 {
		t.Fatalf("%+v", s)
	}
	a.Release(1000)
	if s := l.Stats(); s.Bytes != segment.Start || s.Segments != 1 || s.Unreleased != 0 {
		t.Errorf("%+v", s)
	}
	appendUpTo(t, a, 1001, 1001)
	wantReplay(t, a, 1000, 1001)
}

func TestConcurrent(t *testing.T) {
	for _, relaxed := range []bool{false, true} {
		dir := t.TempDir()
		o := Options{Dir: dir, SegmentBytes: 256 << 10, Relaxed: relaxed}
		l := mustOpen(t, o)
		const rooms, entries = 32, 60
		var wg sync.WaitGroup
		for i := range rooms {
			wg.Go(func() {
				r, released := mustRoom(t, l, fmt.Sprint("room", i)), uint64(0)
				for n := uint64(1); n <= entries; n++ {
					appendUpTo(t, r, n, n)
					if n%20 == 0 {
						wantReplay(t, r, n-20, n)
						first, _, err := r.Range()
						if err != nil {
							t.Error(err)
						}
						// What was released may go at any moment.
						if ended := backward(t, r, n); ended < first || ended > max(first, released+1) {
							t.Errorf("backward ended at %d, after the room began at %d and %d were released", ended, first, released)
						}
						released = n - 15
						r.Release(released)
						if s := l.Stats(); s.Bytes <= 0 { // read beside those who append
							t.Errorf("%+v", s)
						}
					}
				}
			})
		}
		wg.Wait()
		s := l.Stats()
		t.Logf("%+v", s)
		if s.Entries != rooms*entries || !relaxed && s.Largest < 2 {
			t.Errorf("%+v", s)
		}
		if err := l.Sync(); err != nil {
			t.Error(err)
		}
		mustClose(t, l)
		l = mustOpen(t, o)
		for i := range rooms {
			wantReplay(t, mustRoom(t, l, fmt.Sprint("room", i)), entries-15, entries)
		}
		mustClose(t, l)
	}
}

// TestSameBytes: the same calls on the same disk give the same files.
func TestSameBytes(t *testing.T) {
	run := func() map[string]string {
		d := faultdisk.New(5)
		l := mustOpen(t, testOptions(d, newClock()))
		rng := rand.New(rand.NewPCG(5, 5))
		rooms, last := make([]*Room, 6), make([]uint64, 6)
		for i := range rooms {
			rooms[i] = mustRoom(t, l, fmt.Sprint("room", i))
		}
		for range 200 {
			i := rng.IntN(len(rooms))
			last[i]++
			appendUpTo(t, rooms[i], last[i], last[i])
			if rng.IntN(10) == 0 {
				rooms[i].Release(last[i])
			}
		}
		mustClose(t, l)
		files := map[string]string{}
		for _, name := range d.Files() {
			b, err := d.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(b)
		}
		return files
	}
	first, second := run(), run()
	if len(first) < 3 || len(first) != len(second) {
		t.Fatal(len(first), len(second))
	}
	for name, b := range first {
		if second[name] != b {
			t.Error(name, "differs")
		}
	}
}

func TestLargeEntry(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	r := mustRoom(t, l, "a")
	wantError(t, "too large", r.Append(Entry{Number: 1, Payload: make([]byte, MaxEntry+1)}), ErrTooLarge)
	big := bytes.Repeat([]byte("large"), 4<<20)
	for n := uint64(1); n < 4; n++ {
		if err := r.Append(Entry{Number: n, Payload: big}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	l = mustOpen(t, Options{Dir: dir})
	defer mustClose(t, l)
	count := 0
	err := mustRoom(t, l, "a").Replay(0, func(e Entry) error {
		if !bytes.Equal(e.Payload, big) {
			t.Error("it differs")
		}
		count++
		return nil
	})
	if err != nil || count != 3 {
		t.Error(count, err)
	}
	if _, err := os.Stat(filepath.Join(dir, currentName+".tmp")); err == nil {
		t.Error("a temporary file stays")
	}
}
