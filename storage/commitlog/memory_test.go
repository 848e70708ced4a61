package commitlog

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// Rooms that wrote once, are released and sleep: the segment that is written knows where their
// entries are, in few bytes, and nothing else is in memory for them. With the next segment that
// goes too, but for the filter.
func TestSleepingRoomsAreSmall(t *testing.T) {
	const rooms, most = 10_000, 120 // bytes
	l := mustOpen(t, Options{Dir: t.TempDir(), Relaxed: true, History: time.Hour})
	defer mustClose(t, l)
	write := func(name string, payload int) {
		r := mustRoom(t, l, name)
		if err := r.Append(Entry{Number: r.Last() + 1, Payload: make([]byte, payload)}); err != nil {
			t.Fatal(err)
		}
		r.Release(r.Last())
		r.Close()
	}
	write("first", 0)
	before := heapInUse()
	for i := range rooms {
		write(fmt.Sprintf("a-room-with-a-name-as-long-as-some-are-%d", i), 0)
	}
	each := float64(heapInUse()-before) / rooms
	t.Logf("%.1f bytes", each)
	if s := l.Stats(); s.Segments != 1 {
		t.Fatalf("%d segments, and the test is about one", s.Segments)
	}
	if each > most {
		t.Errorf("a room has %.1f bytes, and %d are allowed", each, most)
	}
	for l.Stats().Rotations == 0 {
		write("last", 16<<10)
	}
	if left := float64(heapInUse()-before) / rooms; left > 20 {
		t.Errorf("%.1f bytes are left of a room whose segment is done", left)
	}
	runtime.KeepAlive(l)
}

func heapInUse() int64 {
	for range 2 { // pools give their content away with the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
