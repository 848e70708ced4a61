package bench

// What a crash costs the next start, and what the commit log takes of the disk.
//
//	DEN_BENCH_FULL   set: more rounds, and larger sizes where the benchmark says so; `make bench` sets it

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/commitlog"
)

// logDir is where a data directory has the node's commit log.
const logDir = "_log"

// fully is n where DEN_BENCH_FULL is set, and else brief.
func fully(n, brief int) int {
	if os.Getenv("DEN_BENCH_FULL") != "" {
		return n
	}
	return brief
}

// BenchmarkStartUp: a host over a log of 1,000,000 entries of 10,000 rooms that a crash
// left behind, none of which is in a room's file; without DEN_BENCH_FULL a tenth of both. The floor is an empty log after a crash.
func BenchmarkStartUp(b *testing.B) {
	empty, long := crashedLog(b, 0, 0), crashedLog(b, fully(10_000, 1_000), 100)
	for b.Loop() {
		var floors, starts []time.Duration
		var heap int64
		for range 5 {
			floor, before := startUp(b, empty)
			start, after := startUp(b, long)
			floors, starts = append(floors, floor), append(starts, start)
			heap = max(heap, after-before)
		}
		f, s := median(floors), median(starts)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(f.Microseconds()), "empty-µs")
		b.ReportMetric(float64(s.Microseconds()), "start-µs")
		b.ReportMetric(float64(s)/float64(f), "ratio(≤2)")
		b.ReportMetric(float64(sizeOf(b, long))/(1<<20), "log-MiB")
		b.ReportMetric(float64(heap)/(1<<20), "memory-MiB")
	}
}

// crashedLog makes a data directory whose log was not closed.
func crashedLog(b *testing.B, rooms, each int) string {
	b.Helper()
	work, image := b.TempDir(), b.TempDir()
	log, err := commitlog.Open(commitlog.Options{Dir: work, Relaxed: true})
	if err != nil {
		b.Fatal(err)
	}
	parts := make([]*commitlog.Room, rooms)
	for i := range parts {
		if parts[i], err = log.Room(todo.Namespace, fmt.Sprintf("room%d", i), fmt.Sprintf("%032x", i)); err != nil {
			b.Fatal(err)
		}
	}
	payload := bytes.Repeat([]byte("p"), 100)
	for n := range each {
		for _, part := range parts {
			if err := part.Append(commitlog.Entry{Number: uint64(n + 1), Seq: uint64(n + 1), At: time.Now().UnixMilli(), Payload: payload}); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := log.Sync(); err != nil {
		b.Fatal(err)
	}
	copyDir(b, filepath.Join(image, logDir), work)
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	return image
}

// startUp opens a host over a copy of a data directory, and gives how long that took and
// how many bytes of memory are in use then.
func startUp(b *testing.B, image string) (took time.Duration, heap int64) {
	b.Helper()
	o := hostOptions(b, durable)
	copyDir(b, o.Dir, image)
	start := time.Now()
	host, err := room.Open(o)
	took = time.Since(start)
	if err == nil {
		err = todo.Register(host)
	}
	if err != nil {
		b.Fatal(err)
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	shutdown(b, host)
	if err := os.RemoveAll(o.Dir); err != nil {
		b.Fatal(err)
	}
	return took, int64(memory.HeapAlloc)
}

// BenchmarkWake: the first connection to a room whose file lacks 1,000 entries of the log.
// Beside it is the same room with a file that lacks none.
func BenchmarkWake(b *testing.B) {
	const entries = 1_000
	behind, whole := behindImage(b, entries)
	for b.Loop() {
		var replays, opens []time.Duration
		for range 11 {
			replays = append(replays, wake(b, behind, entries+1))
			opens = append(opens, wake(b, whole, entries+1))
		}
		r, o := median(replays), median(opens)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(r.Microseconds()), "replay-µs")
		b.ReportMetric(float64(o.Microseconds()), "no-replay-µs")
		b.ReportMetric(float64((r-o).Microseconds())/entries, "µs/entry")
	}
}

// behindImage makes two data directories: one as a power cut leaves it that took all that a
// room's file got in its last life, and one that was closed in good order.
func behindImage(b *testing.B, entries int) (behind, whole string) {
	b.Helper()
	behind, whole = b.TempDir(), b.TempDir()
	o := hostOptions(b, durable)
	for life, actions := range []int{1, entries} {
		host, err := room.Open(o)
		if err == nil {
			err = todo.Register(host)
		}
		if err != nil {
			b.Fatal(err)
		}
		s := sit(b, host, "wake")
		s.n = life
		s.work(s.prepare(actions), 1)
		if life == 1 {
			copyDir(b, filepath.Join(behind, logDir), filepath.Join(o.Dir, logDir))
		}
		shutdown(b, host)
		if life == 0 {
			copyDir(b, filepath.Join(behind, todo.Namespace), filepath.Join(o.Dir, todo.Namespace))
		}
	}
	copyDir(b, whole, o.Dir)
	return behind, whole
}

// wake gives how long the first connection to the room of a copy of a data directory
// takes, and checks that all its rows are there.
func wake(b *testing.B, image string, rows int) time.Duration {
	b.Helper()
	o := hostOptions(b, durable)
	copyDir(b, o.Dir, image)
	host, err := room.Open(o)
	if err == nil {
		err = todo.Register(host)
	}
	if err != nil {
		b.Fatal(err)
	}
	defer shutdown(b, host)
	k := &keeper{b: b, frames: make(chan *room.Frame, 4096)}
	start := time.Now()
	k.session, err = host.Connect(context.Background(), room.Key{Namespace: todo.Namespace, Room: "wake"}, room.ConnectRequest{Link: k})
	took := time.Since(start)
	if err != nil {
		b.Fatal(err)
	}
	k.post(map[string]any{"channel": "todos", "sync": true, "from": nil})
	got := 0
	for more := true; more; {
		frame := (<-k.frames).Payload()
		got += bytes.Count(frame, []byte(text))
		more = bytes.HasSuffix(frame, []byte(`"more":true}`))
	}
	if got != rows {
		b.Fatalf("the room has %d rows instead of %d", got, rows)
	}
	return took
}

// BenchmarkLogSize: what the log takes on the disk after 1,000,000 actions in 64 rooms, and
// when the rooms' lives have ended: with its entries kept for a day as the default is, and
// with none kept that recovery does not need. Without DEN_BENCH_FULL it is 64,000 actions.
func BenchmarkLogSize(b *testing.B) {
	each := fully(1_000_000/logSizeRooms, 1_000)
	for name, history := range map[string]time.Duration{"history": 0, "no-history": -1} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				o := hostOptions(b, durable)
				o.TimeTravel = history
				awake, asleep := logSizes(b, o, each)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(logSizeRooms*each), "actions")
				b.ReportMetric(float64(awake)/(1<<20), "awake-MiB")
				b.ReportMetric(float64(asleep)/(1<<20), "asleep-MiB")
			}
		})
	}
}

const logSizeRooms = 64

// logSizes has each room apply so many actions, and gives the log's size after the last,
// and when the rooms' lives have ended.
func logSizes(b *testing.B, o room.Options, each int) (awake, asleep int64) {
	b.Helper()
	host := openHostWith(b, o, todo.Register)
	var all sync.WaitGroup
	for i := range logSizeRooms {
		s := sit(b, host, fmt.Sprintf("room%d", i))
		all.Go(func() {
			for left := each; left > 0; left -= 100 {
				s.work(s.prepare(min(left, 100)), 16)
			}
		})
	}
	all.Wait()
	awake = sizeOf(b, filepath.Join(o.Dir, logDir))
	for i := range logSizeRooms {
		if err := host.Sleep(context.Background(), room.Key{Namespace: todo.Namespace, Room: fmt.Sprintf("room%d", i)}); err != nil {
			b.Fatal(err)
		}
	}
	return awake, sizeOf(b, filepath.Join(o.Dir, logDir))
}

// copyDir copies a directory with all that is in it, and has the disk take it: else a
// start that is timed next would wait for the copy.
func copyDir(b *testing.B, to, from string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		b.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		b.Fatal(err)
	}
}

// sizeOf is how many bytes the files in a directory have.
func sizeOf(b *testing.B, dir string) (bytes int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path == dir && errors.Is(err, fs.ErrNotExist) {
			return nil // no room has left anything
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}
