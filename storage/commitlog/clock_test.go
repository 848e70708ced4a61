package commitlog

import (
	"fmt"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
)

// TestWrongClock: for some hours the clock is years ahead, or behind. Ten days later the log is as
// long as it ever was, and at no time the history is shorter than it should be, but for the day that
// a step counts for.
func TestWrongClock(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for _, tc := range []struct {
		wrong   time.Duration
		history time.Duration
		least   time.Duration // of history that there always is
	}{{0, 48 * time.Hour, 47 * time.Hour}, {years, 48 * time.Hour, 23 * time.Hour}, {-years, 48 * time.Hour, 23 * time.Hour}} {
		if raceEnabled && tc.wrong <= 0 {
			continue // one goroutine, seconds long
		}
		for _, restarts := range []int{0, 7} {
			what := fmt.Sprintf("wrong by %v, opened again every %d hours", tc.wrong, restarts)
			d, clock := faultdisk.New(1), newClock()
			o := testOptions(d, clock)
			o.History = tc.history
			l := mustOpen(t, o)
			number, hour, usual := uint64(0), 0, 0
			each := func() { // an hour passes, in which a segment is written
				t.Helper()
				clock.now = clock.now.Add(time.Hour)
				r := mustRoom(t, l, "a")
				for end := l.active.Number + 1; l.active.Number < end; {
					number++
					if err := r.Append(Entry{Number: number, At: int64(hour), Payload: make([]byte, 700)}); err != nil {
						t.Fatal(err)
					}
				}
				r.Release(number)
				oldest := hour
				if err := r.Backward(func(e Entry) (bool, error) { oldest = int(e.At); return true, nil }); err != nil {
					t.Fatal(err)
				}
				if kept := time.Duration(hour-oldest) * time.Hour; kept < min(tc.least, time.Duration(hour-1)*time.Hour) {
					t.Fatalf("%s: in hour %d there are %v of history", what, hour, kept)
				}
				r.Close()
				if hour++; restarts > 0 && hour%restarts == 0 {
					mustClose(t, l)
					l = mustOpen(t, o)
				}
			}
			for range 100 {
				each()
			}
			usual = l.Stats().Segments
			clock.now = clock.now.Add(tc.wrong)
			for range 3 {
				each()
			}
			clock.now = clock.now.Add(-tc.wrong)
			for range 240 {
				each()
				if n := l.Stats().Segments; n > usual+26 {
					t.Fatalf("%s: in hour %d there are %d segments, and were %d", what, hour, n, usual)
				}
			}
			if n := l.Stats().Segments; n > usual+1 {
				t.Errorf("%s: ten days later there are %d segments, and were %d", what, n, usual)
			}
			mustClose(t, l)
		}
	}
}

// TestQuietEnds: what could not be deleted is tried again after a pause, though the clock goes back
// meanwhile.
func TestQuietEnds(t *testing.T) {
	d, clock := faultdisk.New(1), newClock()
	o := testOptions(d, clock)
	l := mustOpen(t, o)
	defer mustClose(t, l)
	a := mustRoom(t, l, "a")
	appendUpTo(t, a, 1, 60)
	d.Fail(faultdisk.Fault{Op: faultdisk.OpRename})
	a.Release(60)
	if s := l.Stats(); s.Segments < 3 {
		t.Fatalf("the sweep did not fail: %+v", s)
	}
	clock.now = clock.now.Add(-24 * 365 * time.Hour)
	a.Release(60)
	clock.now = clock.now.Add(2 * shrinkRetry)
	a.Release(60)
	if s := l.Stats(); s.Segments != 1 {
		t.Errorf("%+v", s)
	}
}
