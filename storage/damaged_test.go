package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// tamper runs SQL on a room's file that is closed, as a program could that has no respect for Den's tables.
func tamper(t *testing.T, path, sql string) {
	t.Helper()
	c, err := dbfile.Open(HostFS().SQLite(), path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.ExecScript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA ignore_check_constraints = 1; "+sql), c.Close()); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// What Den reads of its own tables may be anything. It is refused as corrupt, and nothing panics.
func TestInvariantIsolationOfDamagedTables(t *testing.T) {
	garbage := []string{"'text'", "-1", "x'ff'", "1.5", "x''", "9223372036854775807", "x'0103'", "x'01030000000000000000000000'", "x'0104ffffffff'", "x'80808080808080808080ff'"}
	if raceEnabled || testing.Short() { // each takes a room of its own
		garbage = garbage[:2]
	}
	columns := map[string][]string{
		"_den_tables":  {"name", "stale", "floor"},
		"_den_changes": {"number", "at", "first", "last", "highs", "entries"},
	}
	refused := 0
	try := func(sql string) {
		o := testOptions(t)
		log, err := OpenLog(LogOptions{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		o.Log = log
		d := powerRoom(t, o)
		for id := range 5 {
			if err := put(d, id, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		tamper(t, o.Path, sql)
		d, err = Open(o)
		if err == nil {
			err = use(d)
			d.Fence()
		}
		if err != nil {
			refused++
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForgotten) && !errors.Is(err, ErrLogMismatch) && !errors.Is(err, ErrLogMissing) && !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for table, names := range columns {
		for _, name := range names {
			for _, value := range garbage {
				try(fmt.Sprintf("UPDATE %s SET %s = %s", table, name, value))
			}
		}
	}
	for _, name := range []string{"namespace", "room", "epoch", "floor", "created_at", "log", "clean", "prepared", "tables", "tended", "alarm"} {
		for _, value := range append(garbage, "NULL") {
			if name == "namespace" || name == "room" {
				continue // ErrWrongRoom
			}
			try(fmt.Sprintf("INSERT OR REPLACE INTO _den_meta VALUES ('%s', %s)", name, value))
		}
	}
	if least := 5 * len(garbage); refused < least {
		t.Errorf("%d were refused, %d at least should be", refused, least)
	}
}

// use does with a room what a life does.
func use(d *DB) error {
	_, err := d.Exec(todosTable2)
	if err == nil {
		err = d.Sync("todos")
	}
	if err != nil {
		return err
	}
	d.Table("todos").SeqAt(int64(1))
	if rows, err := d.Table("todos").Since(0); err == nil {
		for rows.Next() {
		}
		if err := rows.Err(); err != nil {
			return err
		}
	} else {
		return err
	}
	if err := put(d, 77, "y"); err != nil {
		return err
	}
	return d.Close()
}

// Columns of the wrong type end the rows with an error.
func TestRowsOfAnotherType(t *testing.T) {
	d := openTodos(t)
	for _, read := range []func(*Rows){
		func(r *Rows) { r.Int(0) },
		func(r *Rows) { r.Float(1) },
		func(r *Rows) { r.Bytes(1) },
		func(r *Rows) { r.Int(2) },
	} {
		rows, err := d.Query(`SELECT 'text', 1, NULL UNION ALL SELECT 'more', 2, NULL`)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			read(rows)
			n++
		}
		if err := rows.Err(); n != 1 || !errors.Is(err, ErrMisuse) {
			t.Errorf("%d rows, %v", n, err)
		}
	}
}

// One room that is refused does not keep the log: its entries move to a file beside its own, and when the
// room's file is repaired it has everything.
func TestInvariantIsolationOfTheLog(t *testing.T) {
	for _, end := range []string{"kill", "cut", "close"} {
		t.Run(end, func(t *testing.T) {
			r := newRig(t, 7)
			defer r.close()
			r.mustStart()
			d := r.mustOpen("bad")
			want := map[int]string{}
			for id := range 20 {
				want[id] = strings.Repeat("x", 100*id)
				if err := put(d, id, want[id]); err != nil {
					t.Fatal(err)
				}
			}
			r.kill(d)
			path := r.options("bad").Path
			flip := func() {
				t.Helper()
				if err := r.disk.Corrupt(path, 0, []byte{0xff}); err != nil {
					t.Fatal(err)
				}
			}
			flip()
			r.mustStart()
			_, err := r.open("bad")
			if !errors.Is(err, ErrNotDatabase) || !strings.Contains(err.Error(), path+roomfile.EntriesSuffix) {
				t.Fatalf("%v; want ErrNotDatabase, and where the entries are", err)
			}
			switch end {
			case "kill":
				r.kill()
			case "cut":
				r.cut()
			case "close":
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
			}
			r.mustStart()
			most := 0
			for round := range 40 {
				other := r.mustOpen(fmt.Sprint("other", round%3))
				for id := range 20 {
					if err := put(other, id, strings.Repeat("y", 2000)); err != nil {
						t.Fatal(err)
					}
				}
				if err := other.Close(); err != nil {
					t.Fatal(err)
				}
				most = max(most, r.log.Stats().Segments)
			}
			if most > 5 {
				t.Errorf("the log had up to %d segments", most)
			}
			if _, err = r.open("bad"); !errors.Is(err, ErrNotDatabase) {
				t.Errorf("the second time: %v", err)
			}
			flip()
			d = r.mustOpen("bad")
			if got, err := rowsOf(d); err != nil || difference(want, got) != "the same" {
				t.Errorf("repaired: %v, %s", err, difference(want, got))
			}
			want[100] = "after"
			if err := put(d, 100, "after"); err != nil {
				t.Fatal(err)
			}
			r.cut(d)
			if err := r.expect("bad", cutResult{want: want}); err != nil {
				t.Errorf("after the repair: %v", err)
			}
			if there, err := roomfile.Exists(r.fs, path+roomfile.EntriesSuffix); err != nil || there {
				t.Errorf("the entries' file is there: %v, %v", there, err)
			}
		})
	}
}

// A file of entries that is damaged is not looked over: what is in it was acknowledged.
func TestDamagedEntriesFile(t *testing.T) {
	r := newRig(t, 8)
	defer r.close()
	r.mustStart()
	d := r.mustOpen("bad")
	for id := range 5 {
		if err := put(d, id, "x"); err != nil {
			t.Fatal(err)
		}
	}
	r.kill(d)
	path := r.options("bad").Path
	r.disk.Corrupt(path, 0, []byte{0xff})
	r.mustStart()
	if _, err := r.open("bad"); err == nil {
		t.Fatal("opened")
	}
	r.disk.Corrupt(path, 0, []byte{0xff})
	whole, err := r.disk.Read(path + roomfile.EntriesSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		damaged := append([]byte{}, whole...)
		damaged[at] ^= 0x10
		r.disk.Write(path+roomfile.EntriesSuffix, damaged)
		d, err := r.open("bad")
		if err == nil {
			d.Fence()
			t.Fatalf("a flipped bit at %d of %d was looked over", at, len(whole))
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLogMismatch) && !errors.Is(err, ErrNewer) {
			t.Fatalf("at %d: %v", at, err)
		}
	}
	r.disk.Write(path+roomfile.EntriesSuffix, whole[:len(whole)/2])
	if _, err := r.open("bad"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("half of it: %v", err)
	}
	r.disk.Write(path+roomfile.EntriesSuffix, whole)
	d = r.mustOpen("bad")
	if got, err := rowsOf(d); err != nil || len(got) != 5 {
		t.Errorf("%d rows, %v", len(got), err)
	}
	r.stop(d)
}

// The seq of a restored room is above all that it has answered with, however often it could not be read.
func TestRestoreSeqNeverGoesBack(t *testing.T) {
	o := testOptions(t)
	log, err := OpenLog(LogOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	o.Log = log
	d := powerRoom(t, o)
	backup := filepath.Join(t.TempDir(), "b.db")
	if err := errors.Join(put(d, 1, "x"), archived.write(d, backup)); err != nil {
		t.Fatal(err)
	}
	for range 150 {
		if err := put(d, 2, "y"); err != nil {
			t.Fatal(err)
		}
	}
	highest := d.Seq()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for i, damage := range []string{"garbage", "garbage", "", "gone", "garbage", "note", "garbage", "gone"} {
		switch damage {
		case "garbage", "note":
			write(t, o.Path, strings.Repeat("garbage ", 1000))
			if damage == "note" {
				write(t, o.Path+roomfile.SeqSuffix, "den-seq 1 5 00000000\n")
			}
		case "gone":
			if err := os.Remove(o.Path); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := restoreOver(o, backup); err != nil {
			t.Fatal(err)
		}
		d, err := openWithTodos(o)
		if err != nil {
			t.Fatal(err)
		}
		if d.Seq() <= highest {
			t.Errorf("restore %d (%s): seq %d, the room had answered with %d", i, damage, d.Seq(), highest)
		}
		for range 100 {
			if err := put(d, 3, "z"); err != nil {
				t.Fatal(err)
			}
		}
		highest = d.Seq()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A log that was relaxed when the power went may lack what a room's file has, whatever it is opened as next.
func TestRelaxedThenDurable(t *testing.T) {
	ahead := 0
	for seed := range uint64(60) {
		r := newRig(t, seed)
		r.relaxed = true
		r.mustStart()
		d := r.mustOpen("r")
		for id := range 40 + int(seed) {
			if err := put(d, id, strings.Repeat("x", 500)); err != nil {
				t.Fatal(err)
			}
			d.AfterCommit()
		}
		r.cut(d)
		r.relaxed = false
		r.mustStart()
		d, err := r.open("r")
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			r.stop()
			r.close()
			continue
		}
		if last := d.store.room.Last(); last < d.store.number {
			ahead++
		}
		want, err := rowsOf(d)
		if err != nil {
			t.Fatal(err)
		}
		want[1000] = "after"
		if err := put(d, 1000, "after"); err != nil {
			t.Fatal(err)
		}
		r.cut(d)
		if err := r.expect("r", cutResult{want: want}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		r.close()
	}
	if ahead == 0 {
		t.Error("no file was ahead of the log: the test tests nothing")
	}
}

// A room whose epoch is damaged is refused, also where a relaxed log may have lost what the file leads to. The seq of a
// restore is above all that the room has answered with.
func TestDamagedEpoch(t *testing.T) {
	r := newRig(t, 2)
	defer r.close()
	r.alone, r.relaxed = true, true
	for bit := 0; bit < 32*8; bit += 5 {
		r.mustStart()
		d := r.mustOpen("r")
		if err := errors.Join(put(d, 1, "x"), archived.write(d, fmt.Sprintf("/backup/%d.db", bit)), put(d, 2, "y"), d.Checkpoint(), put(d, 3, "z")); err != nil {
			t.Fatal(err)
		}
		answered, epoch := d.Seq(), d.Epoch()
		r.cut(d)
		path := r.options("r").Path
		now, err := r.disk.Read(path)
		at := bytes.Index(now, []byte("epoch"+epoch))
		if err != nil || at < 0 {
			t.Fatalf("no epoch %s: %v", epoch, err)
		}
		now[at+len("epoch")+bit/8] ^= 1 << (bit % 8)
		r.disk.Write(path, now)
		r.mustStart()
		if d, err := r.open("r"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("bit %d: %v", bit, err)
			if err == nil {
				d.Fence()
			}
		}
		if _, err := restoreOver(r.options("r"), fmt.Sprintf("/backup/%d.db", bit)); err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		d = r.mustOpen("r")
		if d.Seq() <= answered {
			t.Errorf("bit %d: restored to seq %d, and had answered with %d", bit, d.Seq(), answered)
		}
		if err := errors.Join(d.Close(), r.stop()); err != nil {
			t.Fatal(err)
		}
	}
}

// A file with a flipped bit in its header opens as it was, or is refused with an error that has a name; and a restore takes its
// place.
func TestDamagedHeader(t *testing.T) {
	r := newRig(t, 1)
	defer r.close()
	r.mustStart()
	d := r.mustOpen("r")
	if err := errors.Join(put(d, 1, "x"), archived.write(d, "/b.db"), put(d, 2, "y"), d.Close()); err != nil {
		t.Fatal(err)
	}
	path := r.options("r").Path
	step := 1
	if raceEnabled || testing.Short() {
		step = 7
	}
	refused := 0
	for bit := 0; bit < headerSize*8; bit += step {
		now, err := r.disk.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		now[bit/8] ^= 1 << (bit % 8)
		r.disk.Write(path, now)
		d, err := r.open("r")
		if err == nil {
			d.Fence()
		} else {
			refused++
			if !Refused(err) {
				t.Errorf("bit %d: %v", bit, err)
			}
		}
		if _, err := restoreOver(r.options("r"), "/b.db"); err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		d = r.mustOpen("r")
		if rows, err := rowsOf(d); err != nil || len(rows) != 1 || rows[1] != "x" {
			t.Fatalf("bit %d: after a restore: %v, %v", bit, rows, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if refused < headerSize*8/step/4 {
		t.Errorf("%d refused", refused)
	}
}

// A damaged file is never found sound, whatever the disk refuses while it is looked through.
func TestCheckOnAFailingDisk(t *testing.T) {
	r := newRig(t, 1)
	defer r.close()
	r.alone = true
	r.mustStart()
	d := r.mustOpen("r")
	for id := range 40 {
		if err := put(d, id, strings.Repeat("x", 2000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.Close(), r.stop()); err != nil {
		t.Fatal(err)
	}
	o, err := r.options("r").WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkFile(t.Context(), o, o.Path); err != nil {
		t.Fatal(err)
	}
	f, err := r.fs.Open(o.Path, os.O_RDWR)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 100), 12*pageSize)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, checkFile(t.Context(), o, o.Path), ErrCorrupt)
	failed := 0
	for after := range 100 {
		r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpRead, Suffix: ".db", After: after, Times: 1, Err: syscall.EIO})
		err := checkFile(t.Context(), o, o.Path)
		r.disk.Heal()
		if err == nil {
			t.Errorf("a read fails after %d: it is found sound", after)
		} else if errors.Is(err, ErrIO) {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no check met the failing disk: this tests nothing")
	}
}

// A batch whose part of the change log cannot be written is lost as a whole: a client that comes back would not get what it changed.
func TestBatchWithoutItsChanges(t *testing.T) {
	o := testOptions(t)
	d := powerRoom(t, o)
	last := ownQuery(t, d, "SELECT max(number) FROM _den_changes")[0][0]
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	tamper(t, o.Path, fmt.Sprintf("CREATE UNIQUE INDEX once ON _den_changes (at) WHERE number > %v", last)) // all batches are of one moment
	want := map[int]string{}
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	for len(want) < 5 && put(d, len(want), "x") == nil {
		want[len(want)] = "x"
	}
	if len(want) == 5 {
		t.Error("batches were committed")
	}
	seq := d.Seq()
	for range 2 {
		if rows, err := rowsOf(d); err != nil || !maps.Equal(rows, want) || d.Seq() != seq || int(seq) != len(want) {
			t.Errorf("%v: %s; seq %d, want %d", err, difference(want, rows), d.Seq(), seq)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if d, err = Open(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
