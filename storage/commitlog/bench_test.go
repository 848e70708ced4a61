package commitlog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/storage/vfs"
)

const benchPayload = 200

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func mean(d []time.Duration) float64 {
	sum := time.Duration(0)
	for _, v := range d {
		sum += v
	}
	return float64(sum) / float64(len(d))
}

// bare appends to a growing file and syncs it: the floor.
type bare struct {
	f   vfs.File
	end int64
}

func newBare(b *testing.B) *bare {
	f, err := vfs.Host().Open(filepath.Join(b.TempDir(), "bare"), os.O_CREATE|os.O_RDWR)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return &bare{f: f}
}

func (f *bare) append(b *testing.B, p []byte) {
	if _, err := f.f.WriteAt(p, f.end); err != nil {
		b.Fatal(err)
	}
	f.end += int64(len(p))
	if err := f.f.Sync(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppend: one durable append of 200 bytes at a time, in turn with the floor.
func BenchmarkAppend(b *testing.B) {
	floor := newBare(b)
	l := mustOpen(b, Options{Dir: b.TempDir()})
	defer mustClose(b, l)
	r, p := mustRoom(b, l, "a"), make([]byte, benchPayload)
	var ours, theirs []time.Duration
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		floor.append(b, p)
		middle := time.Now()
		n++
		if err := r.Append(Entry{Number: n, Payload: p}); err != nil {
			b.Fatal(err)
		}
		theirs, ours = append(theirs, middle.Sub(start)), append(ours, time.Since(middle))
		if n%1000 == 0 {
			r.Release(n)
		}
	}
	b.ReportMetric(mean(ours)/mean(theirs), "mean-ratio")
	o, t := median(ours), median(theirs)
	b.ReportMetric(float64(o.Microseconds()), "p50-µs")
	b.ReportMetric(float64(t.Microseconds()), "floor-p50-µs")
	b.ReportMetric(float64(o)/float64(t), "ratio")
}

// BenchmarkAppendParallel: 64 goroutines, a room each.
func BenchmarkAppendParallel(b *testing.B) {
	l := mustOpen(b, Options{Dir: b.TempDir()})
	defer mustClose(b, l)
	p := make([]byte, benchPayload)
	var rooms atomic.Uint64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := mustRoom(b, l, fmt.Sprint("room", rooms.Add(1)))
		for n := uint64(1); pb.Next(); n++ {
			if err := r.Append(Entry{Number: n, Payload: p}); err != nil {
				b.Error(err)
				return
			}
			if n%500 == 0 {
				r.Release(n)
			}
		}
	})
	s := l.Stats()
	b.ReportMetric(float64(s.Entries)/float64(s.Groups), "entries/sync")
	b.ReportMetric(float64(s.Entries)/b.Elapsed().Seconds(), "appends/s")
}

// populate makes a log with n unreleased entries over 10,000 rooms.
func populate(b *testing.B, dir string, n int) *Log {
	l := mustOpen(b, Options{Dir: dir, Relaxed: true, MaxUnreleased: 1 << 40})
	rooms, last := make([]*Room, 10_000), make([]uint64, 10_000)
	rng, p := rand.New(rand.NewPCG(1, 1)), make([]byte, benchPayload)
	for range n {
		i := rng.IntN(len(rooms))
		if rooms[i] == nil {
			rooms[i] = mustRoom(b, l, fmt.Sprint("room", i))
		}
		last[i]++
		if err := rooms[i].Append(Entry{Number: last[i], Payload: p}); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// BenchmarkOpen: opening after a crash, a log with a million entries in turn with one
// that has none.
func BenchmarkOpen(b *testing.B) {
	dirs := [2]string{b.TempDir(), b.TempDir()}
	var first [2]time.Duration
	var all [2][]time.Duration
	open := func(i int) time.Duration {
		start := time.Now()
		l := mustOpen(b, Options{Dir: dirs[i]})
		took := time.Since(start)
		crash(b, l)
		return took
	}
	for i, n := range []int{0, 1_000_000} {
		l := populate(b, dirs[i], n)
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
		if err := mustRoom(b, l, "last").Append(Entry{Number: 1}); err != nil { // says that all before it is durable
			b.Fatal(err)
		}
		crash(b, l)
		first[i] = open(i) // reads what is in the active segment
	}
	for b.Loop() {
		for i := range all {
			all[i] = append(all[i], open(i))
		}
	}
	none, million := median(all[0]), median(all[1])
	b.ReportMetric(float64(first[0].Microseconds()), "first-0-µs")
	b.ReportMetric(float64(first[1].Microseconds()), "first-1M-µs")
	b.ReportMetric(float64(none.Microseconds()), "p50-0-µs")
	b.ReportMetric(float64(million.Microseconds()), "p50-1M-µs")
	b.ReportMetric(float64(million)/float64(none), "ratio")
}

// crash leaves a log as kill -9 does.
func crash(b *testing.B, l *Log) {
	if err := l.active.file.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkColdReplay: a room of 10,000 is opened, found in a log of a million entries, and
// its hundred are replayed.
func BenchmarkColdReplay(b *testing.B) {
	dir := b.TempDir()
	mustClose(b, populate(b, dir, 1_000_000))
	l := mustOpen(b, Options{Dir: dir})
	defer mustClose(b, l)
	i, entries := 0, 0
	for b.Loop() {
		r := mustRoom(b, l, fmt.Sprint("room", i%10_000))
		if err := r.Replay(0, func(Entry) error { entries++; return nil }); err != nil {
			b.Fatal(err)
		}
		r.Close()
		i++
	}
	b.ReportMetric(float64(entries)/float64(i), "entries/op")
}

// BenchmarkRoom: a room is opened in a log of so many segments, of which each has some
// thousands of 10,000 rooms: one that has no entries, and one whose only entries are in the
// oldest segment. The first search of all, which brings the filters in, is first-µs.
func BenchmarkRoom(b *testing.B) {
	for _, segments := range []int{4, 64, 256} {
		dir := b.TempDir()
		longLog(b, dir, segments)
		for _, name := range []string{"none", "oldest"} {
			b.Run(fmt.Sprint(segments, "/", name), func(b *testing.B) { openRooms(b, dir, name) })
		}
	}
}

const oldRooms = 100 // in the oldest segment alone

func longLog(b *testing.B, dir string, segments int) {
	l := mustOpen(b, Options{Dir: dir, Relaxed: true, SegmentBytes: 1 << 20, MaxUnreleased: 1 << 40})
	for i := range oldRooms {
		appendUpTo(b, mustRoom(b, l, fmt.Sprint("oldest", i)), 1, 3)
	}
	rooms := make([]*Room, 10_000)
	for i := range rooms {
		rooms[i] = mustRoom(b, l, fmt.Sprint("room", i))
	}
	rng, p := rand.New(rand.NewPCG(1, 1)), make([]byte, 16)
	for l.Stats().Segments < segments {
		for range 1000 {
			r := rooms[rng.IntN(len(rooms))]
			if err := r.Append(Entry{Number: r.last + 1, Payload: p}); err != nil {
				b.Fatal(err)
			}
		}
	}
	mustClose(b, l)
}

func openRooms(b *testing.B, dir, name string) {
	l := mustOpen(b, Options{Dir: dir, Relaxed: true})
	defer mustClose(b, l)
	start := time.Now()
	mustRoom(b, l, "nobody").Close()
	first := time.Since(start)
	i := 0
	for b.Loop() {
		r := mustRoom(b, l, fmt.Sprint(name, i%oldRooms))
		if name == "oldest" != (r.last == 3) {
			b.Fatalf("%s: %d", r.id.Room, r.last)
		}
		r.Close()
		i++
	}
	b.ReportMetric(float64(first.Microseconds()), "first-µs")
	b.ReportMetric(float64(l.Stats().Filters)/(1<<20), "filters-MiB")
}
