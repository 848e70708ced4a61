package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
)

// begun makes a new room with two transactions that nobody has seen.
func (n *nursery) begun(name string) *DB {
	n.t.Helper()
	d := n.born(name)
	d.Withhold()
	add(n.t, d, 1, "one")
	add(n.t, d, 2, "two")
	return d
}

// TestHeldLeavesNothing: what a room has done that nobody has seen is gone when it is closed.
func TestHeldLeavesNothing(t *testing.T) {
	n := newNursery(t)
	for i := range 3 {
		d := n.begun("r")
		if got := len(query(t, d, `SELECT id FROM todos`)); got != 2 || !d.Created() {
			t.Errorf("visit %d: %d rows, created %v", i, got, d.Created())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if last := n.lastOf(d); last != 0 {
			t.Errorf("visit %d: the log has %d entries", i, last)
		}
		if _, err := os.Stat(n.options("r").Path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("visit %d left %q, %v", i, n.files("r"), err)
		}
	}
}

// lastOf is how far the log has come with a room that is closed.
func (n *nursery) lastOf(d *DB) uint64 {
	n.t.Helper()
	part, err := d.o.part(d.epoch)
	if err != nil {
		n.t.Fatal(err)
	}
	defer part.Close()
	return part.Last()
}

// TestHeldIsKept: once Keep has returned, all of it is in the log in its order, and so is what follows; also where nothing but Seen
// was called before the room was closed.
func TestHeldIsKept(t *testing.T) {
	for how, see := range map[string]func(d *DB) error{
		"keep":         (*DB).Keep,
		"keep, closed": func(d *DB) error { return errors.Join(d.Keep(), d.Close()) },
		"seen, closed": func(d *DB) error { d.Seen(); return d.Close() },
		"settled":      (*DB).Checkpoint,
	} {
		t.Run(how, func(t *testing.T) {
			n := newNursery(t)
			d := n.begun("r")
			want := fmt.Sprint(query(t, d, `SELECT * FROM todos`))
			if err := see(d); err != nil {
				t.Fatal(err)
			}
			epoch, seq := d.Epoch(), d.Seq()
			d.Fence() // as if the process had died
			d = n.open("r")
			if got := fmt.Sprint(query(t, d, `SELECT * FROM todos`)); got != want || d.Epoch() != epoch || d.Seq() != seq {
				t.Errorf("epoch %s and seq %d with %s, want %s and %d with %s", d.Epoch(), d.Seq(), got, epoch, seq, want)
			}
		})
	}
}
