package commitlog

// A disk that fails, and logs that do not sync by themselves.

import (
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

func TestFailedWrite(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{syscall.EIO: ErrIO, syscall.ENOSPC: ErrFull} {
		for seed := range uint64(20) {
			d, clock := faultdisk.New(seed), newClock()
			l := mustOpen(t, testOptions(d, clock))
			a := mustRoom(t, l, "a")
			appendUpTo(t, a, 1, 5)
			d.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: errno, Suffix: segmentSuffix})
			wantError(t, "a failed write", a.Append(Entry{Number: 6, Payload: make([]byte, 300)}), want)
			wantReplay(t, a, 0, 5)
			appendUpTo(t, a, 6, 30)
			d.Crash()
			_ = d.Restart()
			l = mustOpen(t, testOptions(d, clock))
			wantReplay(t, mustRoom(t, l, "a"), 0, 30)
			mustClose(t, l)
		}
	}
}

func TestFailedSync(t *testing.T) {
	healed := uint64(0)
	for seed := range uint64(100) {
		d, clock := faultdisk.New(seed), newClock()
		l := mustOpen(t, testOptions(d, clock))
		a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
		appendUpTo(t, a, 1, 3)
		appendUpTo(t, b, 1, 3)
		times := 1 + int(seed%5)
		d.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Times: times, After: int(seed / 5 % 2)})
		n := uint64(4)
		for failed := 0; n < 12; {
			err := a.Append(Entry{Number: n, Seq: 10 * n, At: int64(n) * 1000, Payload: content("a", n)})
			if err == nil {
				n++
				continue
			}
			wantError(t, "a failed sync", err, ErrIO)
			if failed++; failed > times {
				t.Fatalf("seed %d: it does not heal: %v", seed, err)
			}
		}
		wantReplay(t, a, 0, n-1)
		wantReplay(t, b, 0, 3)
		wantBackward(t, a, 1, n-1)
		healed += l.Stats().Rewritten
		d.Crash()
		_ = d.Restart()
		l = mustOpen(t, testOptions(d, clock))
		wantReplay(t, mustRoom(t, l, "a"), 0, n-1)
		wantReplay(t, mustRoom(t, l, "b"), 0, 3)
		mustClose(t, l)
	}
	if healed < 80 {
		t.Errorf("only %d segments were written again", healed)
	}
}

func TestRelaxed(t *testing.T) {
	for seed := range uint64(100) {
		d, clock := faultdisk.New(seed), newClock()
		o := testOptions(d, clock)
		o.Relaxed, o.IndexBytes = true, 4<<10
		l := mustOpen(t, o)
		a := mustRoom(t, l, "a")
		before := l.Stats().Syncs
		appendUpTo(t, a, 1, 8)
		if got := l.Stats().Syncs; got != before {
			t.Fatal("it syncs")
		}
		if seed%2 == 0 {
			d.Fail(faultdisk.Fault{Op: faultdisk.OpSync})
			wantError(t, "Sync", l.Sync(), ErrIO)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		appendUpTo(t, a, 9, 14)
		d.Crash()
		_ = d.Restart()
		l = mustOpen(t, o)
		a = mustRoom(t, l, "a")
		_, last, err := a.Range()
		if err != nil || last < 8 || last > 14 {
			t.Fatalf("seed %d: up to %d, %v", seed, last, err)
		}
		wantReplay(t, a, 0, last)
		mustClose(t, l)
	}
}

// TestKillAfterFailedSync: a sync fails and the process ends. What the next one reads may be in
// the system's cache only; once it was read it must survive a power cut.
func TestKillAfterFailedSync(t *testing.T) {
	refused := 0
	for seed := range uint64(200) {
		d, clock := faultdisk.New(seed), newClock()
		l := mustOpen(t, testOptions(d, clock))
		a := mustRoom(t, l, "a")
		appendUpTo(t, a, 1, 5)
		d.Fail(faultdisk.Fault{Op: faultdisk.OpSync})
		err := a.Append(Entry{Number: 6, Seq: 60, At: 6000, Payload: content("a", 6)})
		wantError(t, "a failed sync", err, ErrIO)
		d.Kill()
		_ = d.Restart()
		l = mustOpen(t, testOptions(d, clock))
		a = mustRoom(t, l, "a")
		_, last, err := a.Range()
		if err != nil || last < 5 || last > 6 {
			t.Fatalf("seed %d: up to %d, %v", seed, last, err)
		}
		wantReplay(t, a, 0, last)
		refused += int(last - 5)
		d.Crash()
		_ = d.Restart()
		l = mustOpen(t, testOptions(d, clock))
		wantReplay(t, mustRoom(t, l, "a"), 0, last)
		mustClose(t, l)
	}
	if refused == 0 {
		t.Error("no refused entry was seen after the kill")
	}
}

// TestRelaxedLoss: what was not synced cannot be read again after a failed sync. The rooms
// go on, and the log says what it has.
func TestRelaxedLoss(t *testing.T) {
	d, clock := faultdisk.New(1), newClock()
	o := testOptions(d, clock)
	o.Relaxed, o.SegmentBytes, o.IndexBytes = true, segment.Start+2<<10, 2<<10
	l := mustOpen(t, o)
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	appendUpTo(t, b, 1, 3)
	appendUpTo(t, a, 1, 20)
	if b.lastIn == l.active.logSegment || len(l.sealed.list) == 0 {
		t.Fatal("b should be in an older segment only")
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	for l.active.entries > 3 { // into a fresh segment, so that what follows does not fill it
		appendUpTo(t, a, a.last+1, a.last+1)
	}
	kept := a.last
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	at := l.active.end
	for _, r := range []*Room{a, b} {
		if err := r.Append(Entry{Number: r.last + 1, Payload: []byte("lost")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Corrupt("log/"+segment.Name(l.active.Number), at+30, []byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	d.Fail(faultdisk.Fault{Op: faultdisk.OpSync})
	wantError(t, "a failed sync", l.Sync(), ErrIO)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	wantRange(t, a, 1, kept)
	wantRange(t, b, 1, 3)
	appendUpTo(t, a, kept+2, kept+4) // its file had the lost one
	appendUpTo(t, b, 4, 5)           // its file had not
	wantRange(t, a, kept+2, kept+4)
	wantReplay(t, b, 0, 5)
	wantBackward(t, b, 1, 5)
	mustClose(t, l)
	l = mustOpen(t, o)
	defer mustClose(t, l)
	wantReplay(t, mustRoom(t, l, "b"), 0, 5)
	wantReplay(t, mustRoom(t, l, "a"), kept+1, kept+4)
}

// TestRelaxedLossBesideAMissingFile: rooms' newest entries were not synced and are lost, in a log of which a file is missing that
// held nothing of them. They still have all that they had before, now and in the next generation, and what is lost keeps no segment,
// whether the rooms are open meanwhile or not.
func TestRelaxedLossBesideAMissingFile(t *testing.T) {
	for _, open := range []bool{true, false} {
		d, clock := faultdisk.New(1), newClock()
		o := testOptions(d, clock)
		o.Relaxed, o.SegmentBytes, o.IndexBytes = true, segment.Start+2<<10, 2<<10
		l := mustOpen(t, o)
		a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
		appendUpTo(t, b, 1, 3)
		appendUpTo(t, a, 1, 40)
		a.Close()
		b.Close()
		mustClose(t, l)
		if err := d.Remove("log/" + segment.Name(2)); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, o)
		b = mustRoom(t, l, "b")
		fresh, some := mustRoom(t, l, "fresh"), mustRoom(t, l, "some")
		wantRange(t, b, 1, 3)
		appendUpTo(t, some, 1, 2)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		at, begun := l.active.end, l.active.Number
		for _, r := range []*Room{b, fresh, some} {
			for range 2 {
				if err := r.Append(Entry{Number: r.last + 1, Payload: []byte("lost")}); err != nil {
					t.Fatal(err)
				}
			}
			if !open {
				r.Close()
			}
		}
		if err := d.Corrupt("log/"+segment.Name(begun), at+30, []byte{0xff, 0xff}); err != nil {
			t.Fatal(err)
		}
		d.Fail(faultdisk.Fault{Op: faultdisk.OpSync})
		wantError(t, "a failed sync", l.Sync(), ErrIO)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if !open {
			b, some = mustRoom(t, l, "b"), mustRoom(t, l, "some")
		}
		wantRange(t, b, 1, 3)
		wantReplay(t, b, 0, 3)
		wantReplay(t, some, 0, 2)
		if pins := l.sealed.list[begun-l.sealed.oldest].pins; pins != 1 {
			t.Errorf("%d rooms need the segment, and one has something in it", pins)
		}
		some.Release(2)
		b.Close()
		mustClose(t, l)
		l = mustOpen(t, o)
		if s := l.Stats(); s.Pinned != 2 {
			t.Errorf("%d rooms have unreleased entries, want a and b", s.Pinned)
		}
		b = mustRoom(t, l, "b")
		wantRange(t, b, 1, 3)
		appendUpTo(t, b, 4, 5)
		wantReplay(t, b, 0, 5)
		mustClose(t, l)
	}
}
