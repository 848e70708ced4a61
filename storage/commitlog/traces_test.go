package commitlog

import (
	"fmt"
	"testing"
)

// Where a room may be found that is known by its name only: among those that were closed with
// unreleased entries, and in the generations that crashed, as long as it was not recovered.
func TestTraces(t *testing.T) {
	dir := t.TempDir()
	open := func() *Log { return mustOpen(t, Options{Dir: dir}) }
	expect := func(l *Log, room, want string) {
		t.Helper()
		epoch, from, to, err := l.Traces("n", room)
		if got := fmt.Sprintf("%s %d %d %v", epoch, from, to, err); got != want {
			t.Errorf("%s: %s, want %s", room, got, want)
		}
	}
	write := func(l *Log, room, epoch string) *Room {
		t.Helper()
		r, err := l.Room("n", room, epoch)
		if err == nil {
			err = r.Append(Entry{Number: 1, Payload: []byte("x")})
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	l := open() // generation 1 ends well
	write(l, "kept", "k").Close()
	done := write(l, "done", "d")
	done.Release(1)
	done.Close()
	for range 2 {
		expect(l, "kept", "k 0 0 <nil>")
		expect(l, "done", " 0 0 <nil>")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open()
	}
	var pinned []string
	for _, room := range l.Pinned {
		pinned = append(pinned, room)
	}
	if fmt.Sprint(pinned) != "[kept]" {
		t.Errorf("pinned are %v", pinned)
	}

	write(l, "a", "a") // generations 3 and 4 crash
	l = open()
	expect(l, "a", " 1 3 <nil>") // the oldest unreleased entry is of the first
	write(l, "b", "b")
	l = open()
	for _, room := range []string{"a", "b", "kept", "never"} {
		expect(l, room, " 1 4 <nil>")
	}
	r, err := l.Room("n", "a", "a")
	if err != nil {
		t.Fatal(err)
	}
	r.Release(1)
	r.Close()
	expect(l, "a", " 0 0 <nil>")
	expect(l, "b", " 1 4 <nil>")
}
