package commitlog

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// Where a room may be found that is known by its name only: among those that were closed with
// unreleased entries, and in the generations that crashed, as long as it was not recovered.
func TestCandidates(t *testing.T) {
	dir := t.TempDir()
	open := func() *Log { return mustOpen(t, Options{Dir: dir}) }
	expect := func(l *Log, room, want string) {
		t.Helper()
		epoch, from, to, err := l.Candidates("n", room)
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

// A room that has entries of several epochs to recover is given once, with whoever asks deciding how far it goes; Epochs names them all.
func TestUnrecoveredEpochs(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	l := mustOpen(t, o)
	for _, name := range []string{"one", "two"} {
		for _, epoch := range []string{"e3", "e1", "e2"} {
			r, err := l.Room("party", name, epoch)
			if err != nil {
				t.Fatal(err)
			}
			for n := uint64(1); n <= 12; n++ { // some segments
				if err := r.Append(Entry{Number: n, Payload: make([]byte, 500)}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	closed, err := l.Room("party", "two", "e4")
	if err == nil {
		err = closed.Append(Entry{Number: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if got, err := l.Epochs("party", "two"); fmt.Sprint(got) != "[e1 e2 e3 e4]" || err != nil {
		t.Errorf("before the crash: %v, %v", got, err)
	}
	d.Kill()
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	defer mustClose(t, l)
	if got := unrecovered(l); got != "one two" {
		t.Errorf("to recover are %s", got)
	}
	for range l.Unrecovered {
		break
	}
	if got, err := l.Epochs("party", "two"); fmt.Sprint(got) != "[e1 e2 e3 e4]" || err != nil {
		t.Errorf("after the crash: %v, %v", got, err)
	}
	if got, err := l.Epochs("party", "three"); len(got) > 0 || err != nil {
		t.Errorf("of a room that was never there: %v, %v", got, err)
	}
	r, err := l.Room("party", "two", "e2")
	if err != nil {
		t.Fatal(err)
	}
	r.Release(12) // of all epochs
	if got, err := l.Epochs("party", "two"); len(got) > 0 || err != nil {
		t.Errorf("after it was released: %v, %v", got, err)
	}
	if got := unrecovered(l); got != "one" {
		t.Errorf("to recover are %s", got)
	}
}

// Pinned gives rooms in the order of their names, as far as whoever asks wants.
func TestPinnedInOrder(t *testing.T) {
	l := mustOpen(t, testOptions(faultdisk.New(1), newClock()))
	defer mustClose(t, l)
	for _, name := range []string{"c", "a", "d", "b"} {
		r := mustRoom(t, l, name)
		appendUpTo(t, r, 1, 1)
		r.Close()
	}
	var all []string
	l.Pinned(func(_, room string) bool {
		all = append(all, room)
		return room != "c"
	})
	if fmt.Sprint(all) != "[a b c]" {
		t.Errorf("given are %v", all)
	}
}
