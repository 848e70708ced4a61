package bench

// What a room leaves behind that sleeps: nothing in memory, a small file on the disk.
//
//	DEN_BENCH_ROOMS   how many rooms are touched, default 2,000; a million takes some GB of disk

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
)

// BenchmarkSleepingRooms: rooms that were touched once, and that nobody is connected to. What the
// process and its heap have grown by, and what is on the disk. written: made, one action, stopped.
// touched: woken and stopped, and nothing was written. DEN_BENCH_ROOMS says how many.
func BenchmarkSleepingRooms(b *testing.B) {
	b.Run("written", func(b *testing.B) {
		sleepingRooms(b, func(host *room.Host, name string) {
			s := sit(b, host, name)
			s.work(s.prepare(1), 1)
			s.session.Close(1000, "")
		})
	})
	b.Run("touched", func(b *testing.B) {
		sleepingRooms(b, func(host *room.Host, name string) {
			settle(b, host, room.Key{Namespace: todo.Namespace, Room: name})
		})
	})
}

func sleepingRooms(b *testing.B, visit func(*room.Host, string)) {
	rooms := fully(2_000, 500)
	if s := os.Getenv("DEN_BENCH_ROOMS"); s != "" {
		var err error
		if rooms, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	o := hostOptions(b, durable)
	host := openHostWith(b, o, todo.Register)
	next := 0
	touch := func(n int) {
		for range n {
			next++
			name := fmt.Sprint("touched", next)
			visit(host, name)
			restart(b, host, room.Key{Namespace: todo.Namespace, Room: name})
		}
	}
	touch(fully(2000, 500)) // what grows once
	for b.Loop() {
		heap, resident := memory(b)
		start := time.Now()
		touch(rooms)
		took := time.Since(start)
		heapNow, residentNow := memory(b)
		if awake := host.Awake(); awake != 0 {
			b.Fatalf("%d rooms are awake", awake)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(heapNow-heap)/float64(rooms), "heap-B/room")
		b.ReportMetric(float64(residentNow-resident)/float64(rooms), "resident-B/room")
		b.ReportMetric(float64(took.Microseconds())/float64(rooms), "µs/room")
		b.ReportMetric(float64(sizeOf(b, filepath.Join(o.Dir, todo.Namespace)))/float64(next), "disk-B/room")
	}
}

// memory is how many bytes of the heap are in use, and how many of the process are resident
// (0 where the system does not tell).
func memory(b *testing.B) (heap, resident int64) {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return int64(m.HeapAlloc), 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			resident = kib << 10
		}
	}
	return int64(m.HeapAlloc), resident
}
