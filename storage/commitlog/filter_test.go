package commitlog

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// TestFiltersAreBounded: those of the newest segments are in memory, as far as there is room,
// and rooms are found without.
func TestFiltersAreBounded(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	for _, most := range []int64{0, 3 * filterBlock, 1 << 20} {
		o.Dir = fmt.Sprint("log", most)
		l := mustOpen(t, o)
		l.sealed.filterLimit = most
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
			l.sealed.filterLimit = most
		}
		mustClose(t, l)
	}
}
