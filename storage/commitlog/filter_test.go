package commitlog

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

func TestFilter(t *testing.T) {
	for _, n := range []int{1, 16, 17, 1000, 20_000} {
		var places []*place
		for i := range n {
			places = append(places, &place{key: identify("party", fmt.Sprint("room", i), "e1").key})
		}
		_, f := encodeIndex(places, 1, 0)
		if len(f) > max(2*n, filterBlock)+filterBlock {
			t.Errorf("%d rooms: %d bytes", n, len(f))
		}
		for i, p := range places {
			if !f.has(p.key) {
				t.Fatalf("place %d is not found", i)
			}
		}
		passed, tries := 0, 100_000
		var k key
		for i := range tries {
			binary.BigEndian.PutUint64(k[:], uint64(i)*0x9e3779b97f4a7c15)
			binary.BigEndian.PutUint64(k[8:], uint64(i)*0xbf58476d1ce4e5b9)
			if f.has(k) {
				passed++
			}
		}
		t.Logf("%d rooms: %d bytes, %d of %d others pass", n, len(f), passed, tries)
		if passed > tries/200 {
			t.Errorf("%d rooms: %d of %d others pass", n, passed, tries)
		}
	}
}

// TestFiltersAreBounded: those of the newest segments are in memory, as far as there is room,
// and rooms are found without.
func TestFiltersAreBounded(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	for _, most := range []int64{0, 3 * filterBlock, 1 << 20} {
		o.Dir = fmt.Sprint("log", most)
		l := mustOpen(t, o)
		l.mostFilters = most
		const rooms = 20
		for i := range uint64(rooms) {
			r := mustRoom(t, l, fmt.Sprint("room", i))
			appendUpTo(t, r, 1, 5)
			r.Close()
		}
		for range 2 { // sealed in this generation, and in the one before
			segments := l.Stats().Segments
			if segments < 6 {
				t.Fatalf("%d segments", segments)
			}
			for i := range rooms {
				r := mustRoom(t, l, fmt.Sprint("room", i))
				wantReplay(t, r, 0, 5)
				r.Close()
				mustRoom(t, l, fmt.Sprint("none", i)).Close()
			}
			if got := l.Stats().Filters; got > most || most > 0 && got < min(most, int64(segments-1)*filterBlock) {
				t.Errorf("%d bytes of filters for %d segments, where %d are allowed", got, segments, most)
			}
			mustClose(t, l)
			l = mustOpen(t, o)
			l.mostFilters = most
		}
		mustClose(t, l)
	}
}
