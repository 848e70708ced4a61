package commitlog

// What an operator sees of a log, and what Options are where nothing is said.

import (
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// TestStats: each counter counts what it says.
func TestStats(t *testing.T) {
	d, clock := faultdisk.New(1), newClock()
	o := testOptions(d, clock)
	o.History = time.Hour
	l := mustOpen(t, o)
	if s := l.Stats(); s.Syncs == 0 || s != (Stats{Segments: 1, Bytes: segment.Start, Syncs: s.Syncs}) {
		t.Errorf("an empty log: %+v", s)
	}
	syncs := l.Stats().Syncs
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	for n := uint64(1); n <= 3; n++ {
		if err := a.Append(Entry{Number: n, Payload: make([]byte, 100*n)}, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Append(Entry{Number: 1}); err != nil {
		t.Fatal(err)
	}
	s := l.Stats()
	want := Stats{
		Segments: 1, Bytes: l.active.end, Unreleased: l.active.end, Rooms: 2, Entries: 4, Payload: 606, Groups: 4, Largest: 1,
		Syncs: syncs + 4, Indexes: s.Indexes,
	}
	if s != want || s.Bytes <= segment.Start+606 || s.Indexes == 0 {
		t.Errorf("after four entries: %+v, want %+v", s, want)
	}

	a.Release(3)
	b.Release(1)
	if s := l.Stats(); s.Unreleased != 0 || s.Bytes != want.Bytes {
		t.Errorf("after all is released: %+v", s)
	}
	for n := uint64(2); l.Stats().Segments < 4; n++ {
		if err := b.Append(Entry{Number: n, Payload: make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	s = l.Stats()
	first := l.sealed.list[0].Size
	if s.Rotations != 3 || s.Bytes != first+l.sealed.list[1].Size+l.sealed.list[2].Size+l.active.end || s.Filters != 3*filterBlock {
		t.Errorf("in four segments: %+v", s)
	}
	if s.Unreleased != s.Bytes && s.Unreleased != s.Bytes-first {
		t.Errorf("unreleased are %d bytes of %d, the first segment has %d", s.Unreleased, s.Bytes, first)
	}
	b.Release(b.Last() - 1)
	if s := l.Stats(); s.Unreleased != l.active.end || s.Segments != 4 {
		t.Errorf("unreleased is an entry of the active segment of %d bytes: %+v", l.active.end, s)
	}

	d.Fail(faultdisk.Fault{Op: faultdisk.OpWrite})
	if err := b.Append(Entry{Number: b.Last() + 1}); err == nil {
		t.Error("the write did not fail")
	}
	if after := l.Stats(); after.Failures != 1 || after.Entries != s.Entries || after.Groups != s.Groups {
		t.Errorf("after a failure: %+v, before %+v", after, s)
	}
	b.Close()
	if s := l.Stats(); s.Rooms != 1 || s.Pinned != 1 || s.Lost != 0 {
		t.Errorf("after one of two rooms was closed: %+v", s)
	}
	mustClose(t, l)
	if err := d.Remove("log/" + segment.Name(2)); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	defer mustClose(t, l)
	if s := l.Stats(); s.Rooms != 0 || s.Pinned != 1 || s.Lost != 1 || s.Entries != 0 {
		t.Errorf("after one of the files was removed: %+v", s)
	}
}

// TestOptions: what is 0 has its default, and what is out of range is refused.
func TestOptions(t *testing.T) {
	o, err := Options{Dir: "log"}.withDefaults()
	if err != nil || o.FS == nil || o.Now == nil || o.Random == nil || o.Logger == nil {
		t.Fatalf("%+v, %v", o, err)
	}
	if o.MaxUnreleased != 256<<20 || o.IndexBytes != 512<<10 || o.History != 0 || o.Relaxed {
		t.Errorf("defaults: %+v", o)
	}
	for segments, want := range map[int]int64{0: 8 << 20, 511: 8 << 20, 512: 16 << 20, 1024: 24 << 20, 1536: 32 << 20, 100_000: 32 << 20} {
		if got := o.segmentBytes(segments); got != want {
			t.Errorf("in a log of %d files a new one is begun above %d bytes, want %d", segments, got, want)
		}
	}
	for bytes, want := range map[int64]int64{1: 1, 8: 1, 80: 10, 1 << 20: 128 << 10, 4 << 20: 512 << 10, 1 << 30: 512 << 10} {
		o, err := Options{Dir: "log", SegmentBytes: bytes}.withDefaults()
		if err != nil || o.IndexBytes != want || o.segmentBytes(100_000) != bytes {
			t.Errorf("segments of %d bytes: indexes after %d, want %d; %v", bytes, o.IndexBytes, want, err)
		}
	}
	if o, err := (Options{Dir: "log", SegmentBytes: 8, IndexBytes: 7, MaxUnreleased: 6, Relaxed: true}).withDefaults(); err != nil || o.IndexBytes != 7 || o.MaxUnreleased != 6 {
		t.Errorf("what was said became %+v, %v", o, err)
	}
	for what, o := range map[string]Options{
		"no directory":            {},
		"segments of less than 0": {Dir: "log", SegmentBytes: -1},
		"segments over 1 GiB":     {Dir: "log", SegmentBytes: 1<<30 + 1},
		"indexes of less than 0":  {Dir: "log", IndexBytes: -1},
		"history of less than 0":  {Dir: "log", History: -1},
		"pressure below 0":        {Dir: "log", MaxUnreleased: -1},
	} {
		_, err := o.withDefaults()
		wantError(t, what, err, ErrMisuse)
	}
}
