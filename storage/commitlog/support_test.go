package commitlog

// What the tests have in common: a disk, a clock, and rooms whose entries can be told.

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/denrooms/den/storage/commitlog/segment"
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
	return Options{FS: d.FS(""), Dir: "log", SegmentBytes: segment.Start + 4<<10, Now: clock.read, Random: seeded(1)}
}

func newClock() *stopped { return &stopped{time.Unix(1_800_000_000, 0)} }

// openedWith is how many files of the disk were open before each log was opened that is open. Logs that a test lets crash
// leave theirs.
var openedWith sync.Map

func openFiles(fs vfs.FS) int {
	if disk, ok := fs.(interface{ OpenFiles() int }); ok {
		return disk.OpenFiles()
	}
	return 0
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	before := openFiles(o.FS)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	openedWith.Store(l, before)
	return l
}

// mustClose closes the log, which leaves no file open.
func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if before, ok := openedWith.LoadAndDelete(l); ok && openFiles(l.o.FS) != before {
		t.Errorf("%d files are open, and %d were before the log was opened", openFiles(l.o.FS), before)
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
	if strings.HasPrefix(room, "big") && n%7 == 3 {
		b = make([]byte, rng.IntN(40_000))
	}
	for i := range b {
		b[i] = byte(rng.Uint32()) & 0x3
	}
	return b
}

func appendUpTo(t testing.TB, r *Room, from, to uint64) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := r.Append(Entry{Number: n, Seq: 10 * n, At: int64(n) * 1000, Payload: content(r.id.Room, n)}); err != nil {
			t.Fatalf("entry %d: %v", n, err)
		}
	}
}

// replayed gives the numbers above after, with each entry's content checked.
func replayed(t testing.TB, r *Room, after uint64) (numbers []uint64, err error) {
	t.Helper()
	err = r.Replay(after, func(e Entry) error {
		if !bytes.Equal(e.Payload, content(r.id.Room, e.Number)) || e.Seq != 10*e.Number || e.At != int64(e.Number)*1000 {
			t.Errorf("entry %d of %s is not what was appended", e.Number, r.id.Room)
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
		t.Fatalf("replay of %s above %d: %v", r.id.Room, after, err)
	}
	if len(got) != int(last-after) {
		t.Fatalf("replay of %s above %d: got %v, want up to %d", r.id.Room, after, got, last)
	}
	for i, n := range got {
		if n != after+1+uint64(i) {
			t.Fatalf("replay of %s above %d: %v", r.id.Room, after, got)
		}
	}
}

func wantRange(t testing.TB, r *Room, first, last uint64) {
	t.Helper()
	f, l, err := r.Range()
	if err != nil || f != first || l != last {
		t.Fatalf("range of %s: %d to %d, %v; want %d to %d", r.id.Room, f, l, err, first, last)
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
	if ended := backward(t, r, last); ended != first {
		t.Fatalf("backward ended at %d of %d", ended, first)
	}
}

// backward checks a room's entries from the last one back to where the log's end, and returns that.
func backward(t testing.TB, r *Room, last uint64) (first uint64) {
	t.Helper()
	next := last
	err := r.Backward(func(e Entry) (bool, error) {
		if e.Number != next || !bytes.Equal(e.Payload, content(r.id.Room, e.Number)) {
			t.Fatalf("backward: got %d, want %d", e.Number, next)
		}
		next--
		return true, nil
	})
	if err != nil {
		t.Fatalf("backward ended at %d: %v", next+1, err)
	}
	return next + 1
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

// Of the format, in bytes.
const (
	sector        = 512 // what a power cut takes or leaves
	segmentHeader = 88
	recordHeader  = 72
	blockHeader   = 12 // of a block of an index
	filterBlock   = 32
	segmentSuffix = ".log"
)

// forge makes a record that is good.
func forge(t testing.TB, salt uint32, r *segment.Record, names string, payload []byte) []byte {
	t.Helper()
	d := faultdisk.New(1)
	f, err := d.FS("").Open("forged", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	var w segment.Writer
	w.Begin(f, 0)
	w.Put(salt, r, names, payload, nil)
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := d.Read("forged")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// scanned scans a segment's file that has these bytes, of which nothing is sure.
func scanned(t testing.TB, b []byte, salt uint32) *segment.Scan {
	t.Helper()
	d := faultdisk.New(1)
	d.Write("segment", b)
	f, err := d.FS("").Open("segment", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := (&segment.File{Number: 1, Salt: salt}).Scan(f, segment.Start, int64(len(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
