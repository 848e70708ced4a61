package commitlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sequence is a source of IDs that is the same each time.
type sequence struct{ *rand.Rand }

func (s sequence) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.Uint32())
	}
	return len(p), nil
}

func seeded(seed uint64) io.Reader { return sequence{rand.New(rand.NewPCG(seed, 7))} }

// stopped is a clock that a test moves.
type stopped struct{ now time.Time }

func (s *stopped) read() time.Time { return s.now }

func testOptions(d *faultdisk.Disk, clock *stopped) Options {
	return Options{FS: d.FS(""), Dir: "log", SegmentBytes: segmentStart + 4<<10, Now: clock.read, Random: seeded(1)}
}

func newClock() *stopped { return &stopped{time.Unix(1_800_000_000, 0)} }

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustRoom(t testing.TB, l *Log, name string) *Room {
	t.Helper()
	r, err := l.Room("party", name, "e1")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content is what entry n of a room has.
func content(room string, n uint64) []byte {
	rng := rand.New(rand.NewPCG(n, uint64(len(room))<<32+uint64(room[len(room)-1])))
	b := make([]byte, rng.IntN(400))
	for i := range b {
		b[i] = byte(rng.Uint32()) & 0x3
	}
	return b
}

func appendUpTo(t testing.TB, r *Room, from, to uint64) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := r.Append(Entry{Number: n, Seq: 10 * n, At: int64(n) * 1000, Payload: content(r.who.room, n)}); err != nil {
			t.Fatalf("entry %d: %v", n, err)
		}
	}
}

// replayed gives the numbers above after, with each entry's content checked.
func replayed(t testing.TB, r *Room, after uint64) (numbers []uint64, err error) {
	t.Helper()
	err = r.Replay(after, func(e Entry) error {
		if !bytes.Equal(e.Payload, content(r.who.room, e.Number)) || e.Seq != 10*e.Number || e.At != int64(e.Number)*1000 {
			t.Errorf("entry %d of %s is not what was appended", e.Number, r.who.room)
		}
		numbers = append(numbers, e.Number)
		return nil
	})
	return numbers, err
}

func wantReplay(t testing.TB, r *Room, after, last uint64) {
	t.Helper()
	got, err := replayed(t, r, after)
	if err != nil {
		t.Fatalf("replay of %s above %d: %v", r.who.room, after, err)
	}
	if len(got) != int(last-after) {
		t.Fatalf("replay of %s above %d: got %v, want up to %d", r.who.room, after, got, last)
	}
	for i, n := range got {
		if n != after+1+uint64(i) {
			t.Fatalf("replay of %s above %d: %v", r.who.room, after, got)
		}
	}
}

func wantRange(t testing.TB, r *Room, first, last uint64) {
	t.Helper()
	f, l, err := r.Range()
	if err != nil || f != first || l != last {
		t.Fatalf("range of %s: %d to %d, %v; want %d to %d", r.who.room, f, l, err, first, last)
	}
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// wantBackward compares what Backward gives with the numbers from last down to first.
func wantBackward(t testing.TB, r *Room, first, last uint64) {
	t.Helper()
	next := last
	err := r.Backward(func(e Entry) (bool, error) {
		if e.Number != next || !bytes.Equal(e.Payload, content(r.who.room, e.Number)) {
			t.Fatalf("backward: got %d, want %d", e.Number, next)
		}
		next--
		return true, nil
	})
	if err != nil || next != first-1 {
		t.Fatalf("backward ended at %d of %d: %v", next+1, first, err)
	}
}

func segmentFiles(t testing.TB, fs vfs.FS, dir string) (names []string) {
	t.Helper()
	all, err := fs.Names(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if strings.HasSuffix(n, segmentSuffix) {
			names = append(names, n)
		}
	}
	return names
}

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

// TestCrash: what was acknowledged is there, and the rooms that need it are named.
func TestCrash(t *testing.T) {
	for seed := range uint64(200) {
		d, clock := faultdisk.New(seed), newClock()
		l := mustOpen(t, testOptions(d, clock))
		a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
		appendUpTo(t, a, 1, 30)
		appendUpTo(t, b, 1, 3+seed%3)
		d.Crash()
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, testOptions(d, clock))
		if l.Crashed() != 1 || l.Generation() != 2 {
			t.Fatalf("seed %d: crashed %d, generation %d", seed, l.Crashed(), l.Generation())
		}
		if got := unrecovered(l); got != "a b" {
			t.Fatalf("seed %d: to recover: %s", seed, got)
		}
		a = mustRoom(t, l, "a")
		wantReplay(t, a, 0, 30)
		a.Release(30)
		if got := unrecovered(l); got != "b" {
			t.Fatalf("seed %d: to recover: %s", seed, got)
		}
		appendUpTo(t, a, 31, 60)
		a.Release(60)
		mustClose(t, l)
		l = mustOpen(t, testOptions(d, clock))
		if l.Crashed() != 1 {
			t.Fatalf("seed %d: forgotten over a restart", seed)
		}
		b = mustRoom(t, l, "b")
		wantReplay(t, b, 0, 3+seed%3)
		b.Release(2)
		if got := unrecovered(l); !strings.Contains(got, "b") {
			t.Fatalf("seed %d: released in part and taken for recovered: %q", seed, got)
		}
		b.Release(3 + seed%3)
		a = mustRoom(t, l, "a")
		a.Release(60)
		if got := unrecovered(l); got != "" || l.Crashed() != 0 {
			t.Fatalf("seed %d: to recover: %q, crashed %d", seed, got, l.Crashed())
		}
		appendUpTo(t, a, 61, 62)
		a.Release(62)
		if l.Stats().Segments > 2 {
			t.Fatalf("seed %d: %+v", seed, l.Stats())
		}
		mustClose(t, l)
	}
}

func unrecovered(l *Log) string {
	var names []string
	for _, room := range l.Unrecovered {
		names = append(names, room)
	}
	// Footers are sorted by hash.
	if len(names) == 2 && names[0] > names[1] {
		names[0], names[1] = names[1], names[0]
	}
	return strings.Join(names, " ")
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
	o.Pressure = func(_, room string) {
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
	if s := l.Stats(); s.Bytes != segmentStart || s.Segments != 1 || s.Unreleased != 0 {
		t.Errorf("%+v", s)
	}
	appendUpTo(t, a, 1001, 1001)
	wantReplay(t, a, 1000, 1001)
}

func TestConcurrent(t *testing.T) {
	for _, durability := range []Durability{Durable, Relaxed} {
		dir := t.TempDir()
		o := Options{Dir: dir, SegmentBytes: 256 << 10, Durability: durability}
		l := mustOpen(t, o)
		const rooms, entries = 32, 60
		var wg sync.WaitGroup
		for i := range rooms {
			wg.Go(func() {
				r := mustRoom(t, l, fmt.Sprint("room", i))
				for n := uint64(1); n <= entries; n++ {
					appendUpTo(t, r, n, n)
					if n%20 == 0 {
						wantReplay(t, r, n-20, n)
						first, _, err := r.Range()
						if err != nil {
							t.Error(err)
						}
						wantBackward(t, r, first, n)
						r.Release(n - 15)
					}
				}
			})
		}
		wg.Wait()
		s := l.Stats()
		t.Logf("%+v", s)
		if s.Entries != rooms*entries || durability == Durable && s.Largest < 2 {
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

func TestFailedWrite(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{syscall.EIO: ErrIO, syscall.ENOSPC: ErrFull} {
		for seed := range uint64(20) {
			d, clock := faultdisk.New(seed), newClock()
			l := mustOpen(t, testOptions(d, clock))
			a := mustRoom(t, l, "a")
			appendUpTo(t, a, 1, 5)
			d.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: errno, Suffix: segmentSuffix})
			wantError(t, "a failed write", a.Append(Entry{Number: 6, Payload: make([]byte, 300)}), want)
			wantReplay(t, a, 0, 5)
			appendUpTo(t, a, 6, 30)
			d.Crash()
			_ = d.Restart()
			l = mustOpen(t, testOptions(d, clock))
			wantReplay(t, mustRoom(t, l, "a"), 0, 30)
			mustClose(t, l)
		}
	}
}

func TestFailedSync(t *testing.T) {
	healed := uint64(0)
	for seed := range uint64(100) {
		d, clock := faultdisk.New(seed), newClock()
		l := mustOpen(t, testOptions(d, clock))
		a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
		appendUpTo(t, a, 1, 3)
		appendUpTo(t, b, 1, 3)
		times := 1 + int(seed%5)
		d.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Times: times, After: int(seed / 5 % 2)})
		n := uint64(4)
		for failed := 0; n < 12; {
			err := a.Append(Entry{Number: n, Seq: 10 * n, At: int64(n) * 1000, Payload: content("a", n)})
			if err == nil {
				n++
				continue
			}
			wantError(t, "a failed sync", err, ErrIO)
			if failed++; failed > times {
				t.Fatalf("seed %d: it does not heal: %v", seed, err)
			}
		}
		wantReplay(t, a, 0, n-1)
		wantReplay(t, b, 0, 3)
		wantBackward(t, a, 1, n-1)
		healed += l.Stats().Healed
		d.Crash()
		_ = d.Restart()
		l = mustOpen(t, testOptions(d, clock))
		wantReplay(t, mustRoom(t, l, "a"), 0, n-1)
		wantReplay(t, mustRoom(t, l, "b"), 0, 3)
		mustClose(t, l)
	}
	if healed < 80 {
		t.Errorf("only %d segments were written anew", healed)
	}
}

func TestRelaxed(t *testing.T) {
	for seed := range uint64(100) {
		d, clock := faultdisk.New(seed), newClock()
		o := testOptions(d, clock)
		o.Durability, o.IndexBytes = Relaxed, 4<<10
		l := mustOpen(t, o)
		a := mustRoom(t, l, "a")
		before := l.Stats().Syncs
		appendUpTo(t, a, 1, 8)
		if got := l.Stats().Syncs; got != before {
			t.Fatal("it syncs")
		}
		if seed%2 == 0 {
			d.Fail(faultdisk.Fault{Op: faultdisk.OpSync})
			wantError(t, "Sync", l.Sync(), ErrIO)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		appendUpTo(t, a, 9, 14)
		d.Crash()
		_ = d.Restart()
		l = mustOpen(t, o)
		a = mustRoom(t, l, "a")
		_, last, err := a.Range()
		if err != nil || last < 8 || last > 14 {
			t.Fatalf("seed %d: up to %d, %v", seed, last, err)
		}
		wantReplay(t, a, 0, last)
		mustClose(t, l)
	}
}

// TestKillAfterFailedSync: a sync fails and the process ends. What the next one reads may be in
// the system's cache only; once it was read it must survive a power cut.
func TestKillAfterFailedSync(t *testing.T) {
	refused := 0
	for seed := range uint64(200) {
		d, clock := faultdisk.New(seed), newClock()
		l := mustOpen(t, testOptions(d, clock))
		a := mustRoom(t, l, "a")
		appendUpTo(t, a, 1, 5)
		d.Fail(faultdisk.Fault{Op: faultdisk.OpSync})
		err := a.Append(Entry{Number: 6, Seq: 60, At: 6000, Payload: content("a", 6)})
		wantError(t, "a failed sync", err, ErrIO)
		d.Kill()
		_ = d.Restart()
		l = mustOpen(t, testOptions(d, clock))
		a = mustRoom(t, l, "a")
		_, last, err := a.Range()
		if err != nil || last < 5 || last > 6 {
			t.Fatalf("seed %d: up to %d, %v", seed, last, err)
		}
		wantReplay(t, a, 0, last)
		refused += int(last - 5)
		d.Crash()
		_ = d.Restart()
		l = mustOpen(t, testOptions(d, clock))
		wantReplay(t, mustRoom(t, l, "a"), 0, last)
		mustClose(t, l)
	}
	if refused == 0 {
		t.Error("no refused entry was seen behind the kill")
	}
}

// TestStaleRecord: a record that is good but follows another one than the one before it is
// what a failed write has left.
func TestStaleRecord(t *testing.T) {
	const salt = 77
	who := identify("party", "a", "e1")
	var b []byte
	chain := uint32(salt)
	for n := uint64(1); n <= 4; n++ {
		r := record{chain: chain, number: n, key: who.key, flags: flagNames, synced: segmentStart}
		if n == 4 {
			r.chain++
		}
		b = appendRecord(b, salt, &r, who.names(), content("a", n))
		chain = r.crc
	}
	s := scan(append(b, make([]byte, 500)...), start{segmentStart, salt}, salt)
	if p := s.index[who.key]; p == nil || p.last != 3 {
		t.Errorf("%+v", p)
	}
	if s.damaged(b, salt) {
		t.Error("taken for damage")
	}
	if s = scan(b, start{segmentStart, salt + 1}, salt+1); s.end != segmentStart {
		t.Error("records of another segment were taken")
	}
}

// TestForgedRecord: an entry that fits its own checksums, and not the room's chain.
func TestForgedRecord(t *testing.T) {
	d := build(t, "")
	name := "log/" + segmentName(1)
	b, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := checkSegmentHeader(b, [16]byte(b[16:32]), 1)
	if err != nil {
		t.Fatal(err)
	}
	at := segmentStart
	for n := 0; n < 4; { // the third entry of a
		r, ok := parseRecord(b[at:], salt)
		if !ok {
			t.Fatal("not a record")
		}
		at += r.size()
		if next, _ := parseRecord(b[at:], salt); next.flags&flagIndex == 0 {
			n++
		}
	}
	r, ok := parseRecord(b[at:], salt)
	if !ok || r.number != 3 || r.length == 0 {
		t.Fatalf("%+v", r)
	}
	payload := bytes.Repeat([]byte("x"), int(r.length))
	forged := appendRecord(nil, salt, &r, "", payload)
	copy(b[at:], forged)
	d.Write(name, b)
	l := mustOpen(t, testOptions(d, newClock()))
	defer mustClose(t, l)
	wantReplay(t, mustRoom(t, l, "b"), 0, 40) // the other room is well
	a := mustRoom(t, l, "a")
	err = a.Replay(0, func(Entry) error { return nil })
	wantError(t, "replay", err, ErrCorrupt)
	err = a.Backward(func(e Entry) (bool, error) { return true, nil })
	wantError(t, "backward", err, ErrCorrupt)
}

// build makes a small log of several segments; crashed leaves the last one unsealed.
func build(t testing.TB, crashed string) *faultdisk.Disk {
	d, clock := faultdisk.New(3), newClock()
	l := mustOpen(t, testOptions(d, clock))
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	for n := uint64(1); n <= 40; n++ {
		appendUpTo(t, a, n, n)
		appendUpTo(t, b, n, n)
	}
	if crashed == "" {
		mustClose(t, l)
	} else {
		d.Kill()
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// outcome opens a damaged log: every room gives all, or ErrCorrupt or ErrLost is seen.
func outcome(t testing.TB, d *faultdisk.Disk, what string) (seen bool) {
	t.Helper()
	l, err := Open(testOptions(d, newClock()))
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLost) {
			t.Errorf("%s: open: %v", what, err)
		}
		return true
	}
	for _, name := range []string{"a", "b"} {
		r, err := l.Room("party", name, "e1")
		var got []uint64
		if err == nil {
			got, err = replayed(t, r, 0)
		}
		switch {
		case err == nil && len(got) != 40:
			t.Errorf("%s: %s has %d entries, silently", what, name, len(got))
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLost):
			t.Errorf("%s: %s: %v", what, name, err)
		}
		seen = seen || err != nil
	}
	if err := l.Close(); err != nil {
		t.Errorf("%s: close: %v", what, err)
	}
	return seen
}

func TestFlippedBit(t *testing.T) {
	for _, how := range []string{"", "crashed"} {
		d := build(t, how)
		flips, seen := 0, 0
		for _, name := range d.Files() {
			size, err := d.Size(name)
			if err != nil {
				t.Fatal(err)
			}
			step := int64(9)
			if testing.Short() || raceEnabled {
				step = 29
			}
			for at := int64(0); at < min(size, 6<<10); at += step {
				c := d.Clone(uint64(at))
				if err := c.Corrupt(name, at, []byte{1 << (at % 8)}); err != nil {
					t.Fatal(err)
				}
				flips++
				if outcome(t, c, fmt.Sprintf("%q: bit %d of %s", how, 8*at+at%8, name)) {
					seen++
				}
			}
		}
		t.Logf("%q: %d flips, %d seen", how, flips, seen)
		if seen < flips/3 {
			t.Errorf("%d of %d seen", seen, flips)
		}
	}
}

// TestDamagedMiddle: bytes that are gone in the middle of what was durable are not taken for
// the end of the log. Behind the newest index nobody can say whose they were; before it the
// rooms are refused that had them.
func TestDamagedMiddle(t *testing.T) {
	d := build(t, "crashed")
	names := segmentFiles(t, d.FS(""), "log")
	name := "log/" + names[len(names)-1]
	b, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := checkSegmentHeader(b, [16]byte(b[16:32]), uint64(len(names)))
	if err != nil {
		t.Fatal(err)
	}
	s := scan(b[segmentStart:], start{segmentStart, salt}, salt)
	last := int64(0) // where the last record begins
	for _, p := range s.index {
		last = max(last, int64(p.at))
	}
	newest := int64(max(parseHint(b[hintAt(0):], salt), parseHint(b[hintAt(1):], salt)))
	if newest == 0 || newest == last {
		t.Fatalf("the newest index is at %d, the last record at %d", newest, last)
	}
	tries, seen := 0, 0
	for at := int64(segmentStart); at+64 < last; at += 40 {
		c, what := d.Clone(1), fmt.Sprintf("64 bytes at %d of %d, newest index at %d", at, s.end, newest)
		damaged := append([]byte(nil), b...)
		clear(damaged[at : at+64])
		c.Write(name, damaged)
		if at+64 <= newest {
			if tries++; outcome(t, c, what) { // a filter is no loss
				seen++
			}
			continue
		}
		_, err := Open(testOptions(c, newClock()))
		wantError(t, what, err, ErrCorrupt)
	}
	if seen < tries*9/10 {
		t.Errorf("%d of %d seen", seen, tries)
	}
}

// TestRelaxedLoss: what was not synced cannot be read again behind a failed sync. The rooms
// go on, and the log says what it has.
func TestRelaxedLoss(t *testing.T) {
	d, clock := faultdisk.New(1), newClock()
	o := testOptions(d, clock)
	o.Durability, o.SegmentBytes, o.IndexBytes = Relaxed, segmentStart+2<<10, 2<<10
	l := mustOpen(t, o)
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	appendUpTo(t, b, 1, 3)
	appendUpTo(t, a, 1, 20)
	if b.in == l.active.segment || len(l.segments) == 0 {
		t.Fatal("b should be in an older segment only")
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	for l.active.entries > 3 { // into a fresh segment, so that what follows does not fill it
		appendUpTo(t, a, a.last+1, a.last+1)
	}
	kept := a.last
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	at := l.active.end
	for _, r := range []*Room{a, b} {
		if err := r.Append(Entry{Number: r.last + 1, Payload: []byte("lost")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Corrupt("log/"+segmentName(l.active.number), at+30, []byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	d.Fail(faultdisk.Fault{Op: faultdisk.OpSync})
	wantError(t, "a failed sync", l.Sync(), ErrIO)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	wantRange(t, a, 1, kept)
	wantRange(t, b, 1, 3)
	appendUpTo(t, a, kept+2, kept+4) // its file had the lost one
	appendUpTo(t, b, 4, 5)           // its file had not
	wantRange(t, a, kept+2, kept+4)
	wantReplay(t, b, 0, 5)
	wantBackward(t, b, 1, 5)
	mustClose(t, l)
	l = mustOpen(t, o)
	defer mustClose(t, l)
	wantReplay(t, mustRoom(t, l, "b"), 0, 5)
	wantReplay(t, mustRoom(t, l, "a"), kept+1, kept+4)
}

func TestMissingAndCutFiles(t *testing.T) {
	for _, how := range []string{"", "crashed"} {
		d := build(t, how)
		if files := d.Files(); len(files) < 4 {
			t.Fatal(files)
		}
		for i, name := range d.Files() {
			c := d.Clone(1)
			if err := c.Remove(name); err != nil {
				t.Fatal(err)
			}
			if last := len(d.Files()) - 1; i == last || how != "" && i == last-1 { // CURRENT, and what was written
				_, err := Open(testOptions(c, newClock()))
				wantError(t, "without "+name, err, ErrLost)
				if !strings.Contains(fmt.Sprint(err), filepath.Base(name)) {
					t.Errorf("the error does not name %s: %v", name, err)
				}
			} else if !outcome(t, c, "without "+name) {
				t.Errorf("without %s: not seen", name)
			}
			b, err := d.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			if how != "" && i == len(d.Files())-2 { // the last is CURRENT
				continue // the end of what is not sealed may be cut by a crash
			}
			b = bytes.TrimRight(b, "\x00") // which nothing needs
			for _, size := range []int{0, 1, len(b) / 2, len(b) - len(b)/8} {
				c := d.Clone(1)
				c.Write(name, b[:size])
				if !outcome(t, c, fmt.Sprintf("%s cut to %d", name, size)) {
					t.Errorf("%s cut to %d: not seen", name, size)
				}
			}
		}
		c := d.Clone(1)
		files := d.Files()
		b, err := d.Read(files[2])
		if err != nil {
			t.Fatal(err)
		}
		c.Write(files[1], b)
		if !outcome(t, c, "swapped segments") {
			t.Error("swapped segments: not seen")
		}
	}
}

func TestOtherVersions(t *testing.T) {
	for version, want := range map[byte]error{currentVersion + 1: ErrNewer, currentVersion - 1: ErrOlder} {
		d := build(t, "")
		b, err := d.Read("log/" + currentName)
		if err != nil {
			t.Fatal(err)
		}
		b[8] = version
		b = b[:len(b)-4]
		b = binary.LittleEndian.AppendUint32(b, sum(0, b))
		d.Write("log/"+currentName, b)
		before := fmt.Sprint(d.Files())
		_, err = Open(testOptions(d, newClock()))
		wantError(t, "another version", err, want)
		if !strings.Contains(fmt.Sprint(err), fmt.Sprintf("format %d", version)) {
			t.Errorf("the version is not named: %v", err)
		}
		if after, _ := d.Read("log/" + currentName); !bytes.Equal(after, b) || fmt.Sprint(d.Files()) != before {
			t.Error("it was touched")
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
	if _, err := os.Stat(filepath.Join(dir, currentTemp)); err == nil {
		t.Error("a temporary file stays")
	}
}
