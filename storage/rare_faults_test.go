package storage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/internal/template"
	"github.com/denrooms/den/storage/roomfile"
)

// A room whose file cannot be completed when it is closed says so, because its operator is to learn of the disk. On a full disk that is no
// error: the log keeps what the file lacks. Nothing is lost either way.
func TestCloseOnADiskThatFails(t *testing.T) {
	for _, op := range []faultdisk.Op{faultdisk.OpWrite, faultdisk.OpSync, faultdisk.OpSyncDir} {
		for _, cause := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			if op != faultdisk.OpWrite && cause == syscall.ENOSPC {
				continue // no disk says so
			}
			t.Run(fmt.Sprint(op, " ", cause), func(t *testing.T) {
				r := newRig(t, 1)
				defer r.close()
				r.alone = true
				r.mustStart()
				r.rows(1)
				d := r.mustOpen("r")
				if err := put(d, 2, "text of 2"); err != nil {
					t.Fatal(err)
				}
				d.AfterCommit()
				r.disk.Fail(faultdisk.Fault{Op: op, Err: cause, Suffix: suffixOf(op), Times: -1})
				before := r.disk.Stats().Faults
				err := d.Close()
				switch met := r.disk.Stats().Faults > before; {
				case !met:
					t.Fatal("Close did not meet the fault: nothing is tested")
				case cause == syscall.ENOSPC && err != nil:
					t.Errorf("on a full disk: %v", err)
				case cause == syscall.EIO:
					wantError(t, err, ErrIO)
				}
				r.disk.Heal()
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				r.mustStart()
				if err := r.holds(numbered(1, 2)); err != nil {
					t.Error(err)
				}
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// suffixOf is that of the names that an operation of TestCloseOnADiskThatFails is to fail on.
func suffixOf(op faultdisk.Op) string {
	if op == faultdisk.OpSyncDir {
		return ""
	}
	return ".db"
}

// A file in rollback mode, as other programs leave it, is a room's in WAL mode once it was opened: by the header, and for SQLite.
func TestOpenOfAFileInRollbackMode(t *testing.T) {
	for name, log := range map[string]bool{"with a log": true, "without a log": false} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			if !log {
				o.Log = nil
			}
			d := powerRoom(t, o)
			if err := errors.Join(put(d, 1, "one"), d.Close()); err != nil {
				t.Fatal(err)
			}
			f, err := HostFS().Open(o.Path, os.O_RDWR)
			if err == nil {
				err = errors.Join(roomfile.SetJournalMode(dbfile.NewDatabase(f, ""), roomfile.RollbackMode), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			if header := fileContent(t, o.Path)[18:20]; header != "\x01\x01" {
				t.Fatalf("the file has the versions %q: nothing is tested", header)
			}
			d = openTest(t, o)
			if got := fmt.Sprint(ownQuery(t, d, "PRAGMA journal_mode"), ownQuery(t, d, "PRAGMA temp_store"), fileContent(t, o.Path)[18:20] == "\x02\x02"); got != "[[wal]] [[2]] true" {
				t.Errorf("journal_mode, temp_store, and whether the header says WAL: %s", got)
			}
			if got, err := rowsOf(d); err != nil || !maps.Equal(got, map[int]string{1: "one"}) {
				t.Errorf("the room holds %v, %v", got, err)
			}
		})
	}
}

// A loader's rows that break a rule which SQLite does not check as they come are refused all the same, as a constraint. The rule here
// depends on what was inserted last.
func TestLoaderRefusesBrokenRules(t *testing.T) {
	o := testOptions(t)
	_, err := archived.load(o, func(l *Loader) error {
		return errors.Join(
			execOne(l.Exec, `CREATE TABLE t (id INTEGER PRIMARY KEY, x CHECK (last_insert_rowid() < 100))`),
			execOne(l.Exec, `INSERT INTO t VALUES (5, 1)`),
			execOne(l.Exec, `INSERT INTO t VALUES (500, 1)`))
	})
	wantError(t, err, ErrConstraint)
	if left := dirNames(t, filepath.Dir(o.Path)); left != "" {
		t.Errorf("left: %s", left)
	}
}

// Of a room that has no transaction yet every state can be had: it was empty. Of one that has one, nothing is taken for an earlier state
// where the log has nothing any more.
func TestCopyAtBeforeTheFirstTransactions(t *testing.T) {
	o := testOptions(t)
	log := newMemLog()
	o.Log = log
	d := openTest(t, o)
	for n := range 3 {
		path := filepath.Join(t.TempDir(), "copy")
		kept := make(map[string][]LogEntry)
		for name, room := range log.rooms {
			kept[name], room.entries = room.entries, nil
		}
		switch err := d.CopyAt(path, Point{Time: time.UnixMilli(clock - 1)}); {
		case n == 0 && err != nil:
			t.Errorf("without a transaction: %v", err)
		case n > 0:
			wantError(t, err, ErrNoHistory)
		}
		for name, entries := range kept {
			log.rooms[name].entries = entries
		}
		mustExec(t, d, fmt.Sprintf(`CREATE TABLE t%d (x)`, n))
	}
}

// Files with the same schema are interchangeable for a connection that has parsed it, whatever they contain: what changes with the content is
// not compared, and what SQLite has read of the header is.
func TestSchemaPagesCompareTheSchemaAlone(t *testing.T) {
	o := testOptions(t)
	d := powerRoom(t, o)
	if err := errors.Join(put(d, 1, "one"), d.Close()); err != nil {
		t.Fatal(err)
	}
	content := []byte(fileContent(t, o.Path))
	schema := func(flip int) string {
		file := append([]byte(nil), content...)
		if flip >= 0 {
			file[flip] ^= 1
		}
		return template.SchemaPages(file[:pageSize], func(p []byte, off int64) error { copy(p, file[off:]); return nil })
	}
	same := schema(-1)
	if same == "" {
		t.Fatal("the file's schema is too large: nothing is tested")
	}
	for at := 16; at < headerSize; at++ {
		ofContent := at >= 24 && at < 40 || at >= 92 // change counter, pages, free pages; version-valid-for, SQLite's version
		if got := schema(at) == same; got != ofContent {
			t.Errorf("byte %d of the header: the schema is the same: %v, want %v", at, got, ofContent)
		}
	}
}

// A batch that changes the schema, and whose commit the disk refuses, leaves the first fault as what all later calls are told, also where
// the schema cannot be read again.
func TestFirstFaultStays(t *testing.T) {
	for after := range 4 {
		r := newRig(t, 1)
		r.alone = true
		r.mustStart()
		r.rows(1)
		d := r.mustOpen("r")
		b, err := d.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Do(clock, func() error { _, err := d.Exec(`CREATE TABLE more (x)`); return err }); err != nil {
			t.Fatal(err)
		}
		r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Times: -1})
		r.disk.Fail(faultdisk.Fault{Op: faultdisk.OpRead, After: after, Times: -1})
		first := b.Commit()
		_, later := d.Exec(`SELECT 1`)
		wantError(t, first, ErrIO)
		if later == nil || later.Error() != first.Error() {
			t.Errorf("%d reads: first %v, later %v", after, first, later)
		}
		r.disk.Heal()
		r.stop(d)
		r.close()
	}
}
