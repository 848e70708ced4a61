package commitlog

import (
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// pinnedLog is a log in which a room that was closed and a room that is open need entries, in
// different segments, the closed one's first.
func pinnedLog(t *testing.T, d *faultdisk.Disk) (Options, *Log, *Room) {
	t.Helper()
	o := testOptions(d, newClock())
	l := mustOpen(t, o)
	gone := mustRoom(t, l, "gone")
	appendUpTo(t, gone, 1, 60) // some segments of 4 KiB
	gone.Close()
	open := mustRoom(t, l, "open")
	appendUpTo(t, open, 1, 60)
	return o, l, open
}

// What a closed room has not released keeps its segments until it is forgotten; then they go,
// and those of others stay.
func TestForget(t *testing.T) {
	d := faultdisk.New(1)
	o, l, open := pinnedLog(t, d)
	before := segmentFiles(t, o.FS, o.Dir)
	l.Forget("party", "nobody")
	l.Forget("party", "open")
	if got := segmentFiles(t, o.FS, o.Dir); len(got) != len(before) || l.Stats().Pinned != 1 {
		t.Fatalf("forgetting others left %v of %v, %d pins", got, before, l.Stats().Pinned)
	}
	l.Forget("party", "gone")
	l.Forget("party", "gone")
	after := segmentFiles(t, o.FS, o.Dir)
	if l.Stats().Pinned != 0 || len(after) > len(before)/2+1 || after[len(after)-1] != before[len(before)-1] {
		t.Errorf("of %v there are %v, %d pins", before, after, l.Stats().Pinned)
	}
	wantReplay(t, open, 0, 60)
	open.Close()
	mustClose(t, l)
	l = mustOpen(t, o)
	if got := l.Stats().Pinned; got != 1 {
		t.Errorf("in the next generation %d pins", got)
	}
	open = mustRoom(t, l, "open")
	wantReplay(t, open, 0, 60)
	open.Release(60)
	if got := segmentFiles(t, o.FS, o.Dir); len(got) > 2 {
		t.Errorf("when all is released: %v", got)
	}
	mustClose(t, l)
	l.Forget("party", "open") // of no use, and of no harm
}

// After a crash too: a room that is forgotten counts as recovered.
func TestForgetBehindACrash(t *testing.T) {
	d := faultdisk.New(1)
	o, _, _ := pinnedLog(t, d)
	d.Crash()
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, o)
	if got := unrecovered(l); got != "gone open" {
		t.Fatalf("unrecovered: %s", got)
	}
	l.Forget("party", "gone")
	if got := unrecovered(l); got != "open" || l.Crashed() == 0 {
		t.Errorf("unrecovered: %s, crashed %d", got, l.Crashed())
	}
	l.Forget("party", "open")
	if got := unrecovered(l); got != "" || l.Crashed() != 0 {
		t.Errorf("unrecovered: %s, crashed %d", got, l.Crashed())
	}
	mustClose(t, l)
	l = mustOpen(t, o)
	if got := segmentFiles(t, o.FS, o.Dir); len(got) > 2 {
		t.Errorf("the segments stay: %v", got)
	}
	mustClose(t, l)
}
