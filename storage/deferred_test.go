package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/internal/nodelog"
)

// begun makes a new room with two transactions that nobody has seen.
func (n *nursery) begun(name string) *DB {
	n.t.Helper()
	d := n.logOnly(name)
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
		"seen, closed": func(d *DB) error { d.KeepIfEmpty(); return d.Close() },
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

// heldLife is a first life of a kind's first room, which writes rows of 3 KB before anybody sees it, and some after. It returns how many
// rows are acknowledged, as far as the disk lets it come.
func (n *nursery) heldLife(before, after int) (acknowledged, tried int) {
	log, err := OpenLog(LogOptions{Dir: n.dir + "/_log", FS: n.fs})
	if err != nil {
		return 0, 0
	}
	n.log = log
	defer log.Close()
	d, err := Open(n.options("r"))
	if err != nil {
		return 0, 0
	}
	defer d.Close()
	d.Withhold()
	insert := func() error {
		tried++
		_, err := d.Exec(`INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, tried, strings.Repeat("x", 3000))
		return err
	}
	if _, err := d.Exec(todosTable2); err != nil {
		return 0, 0
	}
	for range before {
		if insert() != nil {
			return 0, tried
		}
	}
	d.AfterCommit()
	if !d.store.withheld() {
		n.t.Errorf("%d rows are not withheld", before)
	}
	if d.Keep() != nil {
		return 0, tried
	}
	acknowledged = tried
	for range after {
		if insert() != nil {
			break
		}
		acknowledged = tried
		d.AfterCommit()
	}
	return acknowledged, tried
}

// TestInvariantGateDeferredPowerCut cuts the power at each change of the disk in the first life of a room that nobody has seen at first: what
// Keep and later transactions acknowledged is there, and before that there is all or nothing of a transaction.
func TestInvariantGateDeferredPowerCut(t *testing.T) {
	for _, before := range []int{2, 40} { // what waits fits into one write of the WAL, and does not
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			for after := 1; cutHeld(t, before, after); after += 6 / shorter(6, 1) {
			}
		})
	}
}

// cutHeld cuts the power at the after-th change of the disk, and reports whether it came to that.
func cutHeld(t *testing.T, before, after int) (cut bool) {
	t.Helper()
	const more = 12
	n, disk := emptyNursery(t, uint64(after))
	defer n.pool.Close()
	disk.CrashAfter(after)
	acknowledged, tried := n.heldLife(before, more)
	cut = disk.Stats().Crashes > 0
	disk.Crash()
	if err := disk.Restart(); err != nil {
		t.Fatal(err)
	}
	n.restart()
	d := n.open("r")
	found := 0
	if len(tablesOf(t, d)) > 0 {
		found = len(query(t, d, `SELECT id FROM todos`))
	}
	if found < acknowledged || found > tried {
		t.Fatalf("cut %d: %d rows are there, %d were acknowledged and %d tried", after, found, acknowledged, tried)
	}
	if !cut && (after < 5 || acknowledged != before+more) {
		t.Errorf("%d points to cut at, and %d rows", after, acknowledged)
	}
	checkConsistent(t, d)
	if err := errors.Join(d.Close(), n.log.Close()); err != nil {
		t.Fatal(err)
	}
	return cut
}

// TestHeldGrows: a room of which nobody knows keeps its transactions in memory up to withheldBytes, and then it is kept.
func TestHeldGrows(t *testing.T) {
	n, _ := emptyNursery(t, 1)
	n.restart()
	d := n.open("r")
	d.Withhold()
	mustExec(t, d, todosTable2)
	rows := 0
	for d.store.withheld() {
		if rows++; rows > 2*withheldBytes/3000 {
			t.Fatal("it is withheld for ever")
		}
		add(t, d, rows, strings.Repeat("x", 3000))
		d.AfterCommit()
	}
	if rows < 50 || d.store.inMemory() {
		t.Errorf("it was kept after %d rows; without a file: %v", rows, d.store.inMemory())
	}
	d.Fence() // as if the process had died
	d = n.open("r")
	if got := len(query(t, d, `SELECT id FROM todos`)); got != rows {
		t.Errorf("%d rows are there, want %d", got, rows)
	}
	checkConsistent(t, d)
}

// TestDeferredLog: what is withheld reads like a room's part of the log, and is not in the log.
func TestDeferredLog(t *testing.T) {
	log := newMemLog()
	room, err := log.Room("n", "r", "e")
	if err != nil {
		t.Fatal(err)
	}
	h := &nodelog.Deferred{RoomLog: room}
	look := func() string {
		first, last, err := h.Range()
		text := fmt.Sprintf("%d to %d, %d, %v;", first, last, h.Last(), err)
		for after := range uint64(4) {
			text += fmt.Sprintf(" after %d:", after)
			if err := h.Replay(after, func(e LogEntry) error { text += " " + string(e.Payload); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		text += "; back:"
		if err := h.Backward(func(e LogEntry) (bool, error) { text += " " + string(e.Payload); return e.Number > 2, nil }); err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got, want := look(), "0 to 0, 0, <nil>; after 0: after 1: after 2: after 3:; back:"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for n, text := range []string{"one", "two", "three"} {
		piece := []byte(text)
		if err := h.Append(LogEntry{Number: uint64(n + 1), Payload: piece[:1]}, piece[1:2], piece[2:]); err != nil {
			t.Fatal(err)
		}
		clear(piece) // it is the caller's
	}
	h.Release(3)
	if got, want := look(), "1 to 3, 3, <nil>; after 0: one two three after 1: two three after 2: three after 3:; back: three two"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	stop := errors.New("stop")
	if err := h.Replay(1, func(LogEntry) error { return stop }); err != stop {
		t.Errorf("replayed with %v", err)
	}
	if err := h.Backward(func(LogEntry) (bool, error) { return true, stop }); err != stop {
		t.Errorf("walked back with %v", err)
	}
	if room.Last() != 0 {
		t.Error("the log has it")
	}
}

// TestWithheldHistory: a room that nobody has seen has a history, as far as it goes.
func TestWithheldHistory(t *testing.T) {
	n := newNursery(t)
	d := n.begun("r")
	path := t.TempDir() + "/copy.db"
	if err := d.CopyAt(path, Point{Seq: d.Seq() - 1}); err != nil {
		t.Fatal(err)
	}
	c, err := openBeside(d.o.FS, path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := fmt.Sprint(ownQuery(t, c, `SELECT id FROM todos`)); got != "[[1]]" || !d.Withheld() {
		t.Errorf("rows %s; withheld: %v", got, d.Withheld())
	}
	if err := d.Keep(); err != nil || d.Withheld() {
		t.Errorf("%v; withheld: %v", err, d.Withheld())
	}
	d.Fence()
	if err := d.Keep(); !errors.Is(err, ErrClosed) {
		t.Errorf("of one that is closed: %v", err)
	}
}

// TestKeepOnADiskThatFails: after an error of the disk nobody knows what the log has, and the room answers nothing any more; on a disk that was
// full Keep can be called again.
func TestKeepOnADiskThatFails(t *testing.T) {
	for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		r := newRig(t, 1)
		r.mustStart()
		d, err := Open(r.options("r"))
		if err != nil {
			t.Fatal(err)
		}
		d.Withhold()
		if _, err = d.Exec(todosTable2); err == nil {
			err = put(d, 1, "one")
		}
		if err != nil || !d.Withheld() {
			t.Fatal(err)
		}
		r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Suffix: ".log", Err: fault})
		err = d.Keep()
		r.disk.Heal()
		_, begun := d.Begin()
		if fault == syscall.EIO {
			if !errors.Is(err, ErrIO) || !errors.Is(begun, ErrIO) {
				t.Errorf("%v: Keep: %v, Begin behind it: %v", fault, err, begun)
			}
		} else if again := d.Keep(); !errors.Is(err, ErrFull) || begun != nil || again != nil || d.Withheld() {
			t.Errorf("%v: Keep: %v, Begin behind it: %v, Keep again: %v", fault, err, begun, again)
		}
		d.Fence()
		r.stop()
		r.close()
	}
}

// TestUnseenGivesItsConnection: the connection of a room that nobody has seen serves the next one, with transactions and without.
func TestUnseenGivesItsConnection(t *testing.T) {
	n := newNursery(t)
	for _, rows := range []int{0, 2} {
		d := n.open("unseen")
		waiting := n.pool.conns.Len()
		d.Withhold()
		for i := range rows {
			add(t, d, i, "text")
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if n.pool.conns.Len() != waiting+1 || len(n.files("unseen")) != 0 {
			t.Errorf("after %d rows %d connections wait, before %d, and there is %q", rows, n.pool.conns.Len(), waiting, n.files("unseen"))
		}
	}
}
