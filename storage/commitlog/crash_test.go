package commitlog

// What is there after a crash.

import (
	"strings"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// TestCrash: what was acknowledged is there, and the rooms that need it are named.
func TestCrash(t *testing.T) {
	for seed := range uint64(200) {
		d, clock := faultdisk.New(seed), newClock()
		l := mustOpen(t, testOptions(d, clock))
		a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
		appendUpTo(t, a, 1, 30)
		appendUpTo(t, b, 1, 3+seed%3)
		d.Crash()
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, testOptions(d, clock))
		if l.Crashed() != 1 || l.Generation() != 2 {
			t.Fatalf("seed %d: crashed %d, generation %d", seed, l.Crashed(), l.Generation())
		}
		if got := unrecovered(l); got != "a b" {
			t.Fatalf("seed %d: to recover: %s", seed, got)
		}
		a = mustRoom(t, l, "a")
		wantReplay(t, a, 0, 30)
		a.Release(30)
		if got := unrecovered(l); got != "b" {
			t.Fatalf("seed %d: to recover: %s", seed, got)
		}
		appendUpTo(t, a, 31, 60)
		a.Release(60)
		mustClose(t, l)
		l = mustOpen(t, testOptions(d, clock))
		if l.Crashed() != 1 {
			t.Fatalf("seed %d: forgotten over a restart", seed)
		}
		b = mustRoom(t, l, "b")
		wantReplay(t, b, 0, 3+seed%3)
		b.Release(2)
		if got := unrecovered(l); !strings.Contains(got, "b") {
			t.Fatalf("seed %d: released in part and taken for recovered: %q", seed, got)
		}
		b.Release(3 + seed%3)
		a = mustRoom(t, l, "a")
		a.Release(60)
		if got := unrecovered(l); got != "" || l.Crashed() != 0 {
			t.Fatalf("seed %d: to recover: %q, crashed %d", seed, got, l.Crashed())
		}
		appendUpTo(t, a, 61, 62)
		a.Release(62)
		if l.Stats().Segments > 2 {
			t.Fatalf("seed %d: %+v", seed, l.Stats())
		}
		mustClose(t, l)
	}
}

func unrecovered(l *Log) string {
	var names []string
	for _, room := range l.Unrecovered {
		names = append(names, room)
	}
	// Footers are sorted by hash.
	if len(names) == 2 && names[0] > names[1] {
		names[0], names[1] = names[1], names[0]
	}
	return strings.Join(names, " ")
}
