package commitlog

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// parted is a log with three rooms whose only segment has indexes and was not sealed: "old" has
// entries in the first part alone, "new" in the last alone, "both" in all.
func parted(t testing.TB) (d *faultdisk.Disk, o Options, indexes []uint32) {
	t.Helper()
	d = faultdisk.New(1)
	o = testOptions(d, newClock())
	o.SegmentBytes, o.IndexBytes = 64<<10, 2<<10
	l := mustOpen(t, o)
	older, both := mustRoom(t, l, "old"), mustRoom(t, l, "both")
	appendUpTo(t, older, 1, 3)
	for n := uint64(1); n <= 40; n++ {
		appendUpTo(t, both, n, n)
		if at := l.active.indexAt; at != 0 && (len(indexes) == 0 || indexes[len(indexes)-1] != at) {
			indexes = append(indexes, at)
		}
	}
	if len(indexes) < 3 {
		t.Fatalf("indexes: %v", indexes)
	}
	appendUpTo(t, mustRoom(t, l, "new"), 1, 2)
	if l.active.indexAt != indexes[len(indexes)-1] {
		t.Fatal("there is an index more")
	}
	d.Kill()
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	return d, o, indexes
}

// mustHaveParted opens the log and looks for all that was appended.
func mustHaveParted(t *testing.T, o Options) *Log {
	t.Helper()
	l := mustOpen(t, o)
	for name, last := range map[string]uint64{"old": 3, "both": 40, "new": 2} {
		r := mustRoom(t, l, name)
		wantRange(t, r, 1, last)
		wantReplay(t, r, 0, last)
		wantBackward(t, r, 1, last)
		r.Close()
	}
	names := map[string]int{}
	for _, room := range l.Unrecovered {
		names[room]++
	}
	if len(names) != 3 || names["old"] != 1 || names["both"] != 1 || names["new"] != 1 {
		t.Errorf("to recover: %v", names)
	}
	return l
}

// TestOpenBeginsAtTheNewestIndex: what lies before it is not read, and is found; in the next
// generation too, and where the rooms go on.
func TestOpenBeginsAtTheNewestIndex(t *testing.T) {
	_, o, indexes := parted(t)
	l := mustHaveParted(t, o)
	if newest := int64(indexes[len(indexes)-1]); l.readFrom != newest {
		t.Errorf("it began at %d, the indexes are at %v", l.readFrom, indexes)
	}
	r := mustRoom(t, l, "both")
	appendUpTo(t, r, 41, 60)
	wantReplay(t, r, 0, 60)
	wantBackward(t, r, 1, 60)
	mustClose(t, l)
	l = mustOpen(t, o)
	wantReplay(t, mustRoom(t, l, "old"), 0, 3)
	wantReplay(t, mustRoom(t, l, "both"), 0, 60)
	mustClose(t, l)
}

// TestIndexesThatAreNotBelieved: a hint or an index that is torn, stale, or says that something
// before it was not durable, costs reading, and nothing else.
func TestIndexesThatAreNotBelieved(t *testing.T) {
	d, o, indexes := parted(t)
	name := "log/" + segment.Name(1)
	whole, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := segment.CheckHeader(whole, [16]byte(whole[16:32]), 1)
	if err != nil {
		t.Fatal(err)
	}
	newest, before := indexes[len(indexes)-1], indexes[len(indexes)-2]
	hints := func(first, second []byte) func([]byte) {
		return func(b []byte) { copy(b[hintPlace(0):], first); copy(b[hintPlace(1):], second) }
	}
	zero := make([]byte, 8)
	after, _ := segment.ParseRecord(whole[newest:], salt)
	for what, tc := range map[string]struct {
		change func(b []byte)
		begun  uint32
	}{
		"no hints":                      {hints(zero, zero), segment.Start},
		"only the older":                {hints(zero, hintOf(salt, before)), before},
		"the same twice":                {hints(hintOf(salt, before), hintOf(salt, before)), before},
		"a hint of another segment":     {hints(hintOf(salt, before), hintOf(salt+1, newest)), before},
		"a torn hint":                   {hints(hintOf(salt, before), hintOf(salt, newest)[:7]), before},
		"a hint behind the end":         {hints(hintOf(salt, before), hintOf(salt, 1<<31)), before},
		"a hint into the header":        {hints(hintOf(salt, 8), zero), segment.Start},
		"a hint to an entry":            {hints(hintOf(salt, newest+uint32(after.Size())), hintOf(salt, newest)), newest},
		"a hint to the first index":     {hints(hintOf(salt, indexes[0]), zero), indexes[0]},
		"a hint to the middle of a one": {hints(hintOf(salt, newest+8), hintOf(salt, before)), before},
	} {
		b := append([]byte(nil), whole...)
		tc.change(b)
		if what == "a torn hint" {
			b[hintPlace(1)+7]++
		}
		d.Write(name, b)
		c := d.Clone(1)
		o.FS = c.FS("")
		l := mustHaveParted(t, o)
		if l.readFrom != int64(tc.begun) {
			t.Errorf("%s: it began at %d instead of %d", what, l.readFrom, tc.begun)
		}
		mustClose(t, l)
	}
}

func hintOf(salt, offset uint32) []byte {
	_, b := segment.Hint(salt, 0, offset)
	return b
}

// hintPlace is where the n-th hint is.
func hintPlace(n int) int64 {
	at, _ := segment.Hint(0, n, 0)
	return at
}

// TestCutInsideAnIndex: the group that begins with an index is cut off after any number of its
// bytes. All before it is there.
func TestCutInsideAnIndex(t *testing.T) {
	d, o, indexes := parted(t)
	name := "log/" + segment.Name(1)
	whole, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, _ := segment.CheckHeader(whole, [16]byte(whole[16:32]), 1)
	newest, before := int(indexes[len(indexes)-1]), int64(indexes[len(indexes)-2])
	r, ok := segment.ParseRecord(whole[newest:], salt)
	if !ok || r.Flags != segment.FlagIndex {
		t.Fatalf("%+v", r)
	}
	last := uint64(0) // of "both", before the index
	s := scanned(t, whole[:newest], salt)
	for k, p := range s.Places.Of {
		if k == segment.Identify("party", "both", "e1").Key {
			last = p.Last
		}
	}
	for n := range r.Size() {
		b := append([]byte(nil), whole...)
		clear(b[newest+n:])
		c := d.Clone(uint64(n))
		c.Write(name, b)
		o.FS = c.FS("")
		l := mustOpen(t, o)
		if l.readFrom != before {
			t.Fatalf("cut at %d: it began at %d, not %d", n, l.readFrom, before)
		}
		wantReplay(t, mustRoom(t, l, "old"), 0, 3)
		wantReplay(t, mustRoom(t, l, "both"), 0, last)
		mustClose(t, l)
	}
}

// TestDamageInAnEarlierPart: what lies before the newest index is no part of what was being
// written. Damage there stops the room that has it, and no other.
func TestDamageInAnEarlierPart(t *testing.T) {
	d, o, indexes := parted(t)
	name := "log/" + segment.Name(1)
	b, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, _ := segment.CheckHeader(b, [16]byte(b[16:32]), 1)
	first, ok := segment.ParseRecord(b[segment.Start:], salt) // of "old"
	if !ok || first.Length < 10 {
		t.Fatalf("%+v", first)
	}
	bad := map[int64]string{
		segment.Start + recordHeader + int64(len("party/old/e1")) + 3: "old", // its entry
		int64(indexes[0]) + recordHeader + blockHeader + 5:            "",    // a block that has it
		int64(indexes[0]) + int64(recordHeader+blockHeader) - 1:       "",    // that block's header
		int64(indexes[0]) - 20: "both", // the last entry of the part
		int64(indexes[0]) + 20: "",     // an index's header: all is read then
	}
	for at, damaged := range bad {
		c := d.Clone(uint64(at))
		if err := c.Corrupt(name, at, []byte{0x11, 0x24}); err != nil {
			t.Fatal(err)
		}
		o.FS = c.FS("")
		l := mustOpen(t, o)
		if all := at == int64(indexes[0])+20; all != (l.readFrom == segment.Start) {
			t.Errorf("it began at %d", l.readFrom)
		}
		for name, last := range map[string]uint64{"old": 3, "both": 40, "new": 2} {
			r := mustRoom(t, l, name)
			got, err := replayed(t, r, 0)
			if name == damaged {
				wantError(t, fmt.Sprintf("%s, damage at %d", name, at), err, ErrCorrupt)
			} else if err != nil || len(got) != int(last) {
				t.Errorf("%s, damage at %d: %v, %v", name, at, got, err)
			}
			wantRange(t, r, 1, last)
		}
		mustClose(t, l)
	}
}

// TestRelaxedIndexes: an index says that all before it is durable, so a log that does not sync
// by itself does before it writes one.
func TestRelaxedIndexes(t *testing.T) {
	began := 0
	for seed := range uint64(200) {
		d := faultdisk.New(seed)
		o := testOptions(d, newClock())
		o.Relaxed, o.SegmentBytes, o.IndexBytes = true, 64<<10, 1<<10
		l := mustOpen(t, o)
		a, safe := mustRoom(t, l, "a"), uint64(0)
		for n := uint64(1); n <= 30+seed%10; n++ {
			before := l.Stats().Indexes
			appendUpTo(t, a, n, n)
			if l.Stats().Indexes > before {
				safe = n - 1
			}
		}
		d.Crash()
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, o)
		if l.readFrom > segment.Start {
			began++
		}
		a = mustRoom(t, l, "a")
		_, last, err := a.Range()
		if err != nil || last < safe {
			t.Fatalf("seed %d: up to %d, %v; %d was before an index", seed, last, err, safe)
		}
		wantReplay(t, a, 0, last)
		mustClose(t, l)
	}
	if began < 100 {
		t.Errorf("only %d opens began at an index", began)
	}
}
