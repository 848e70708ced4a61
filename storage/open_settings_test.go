package storage

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// settings are what Den sets for a room's connection, as SQLite has them.
func settings(t *testing.T, d *DB) string {
	t.Helper()
	all := ""
	for _, name := range []string{"max_page_count", "cache_size", "journal_size_limit", "secure_delete", "synchronous", "temp_store", "foreign_keys", "journal_mode"} {
		all += fmt.Sprint(name, ownQuery(t, d, "PRAGMA "+name), " ")
	}
	return all
}

// A room that was opened although the disk has failed once has all of its settings: a limit that was not set would be none.
func TestSettingsOfARoomWhoseDiskFailsOnce(t *testing.T) {
	base := newRig(t, 1)
	defer base.close()
	base.alone = true
	base.mustStart()
	base.rows(1)
	d := base.mustOpen("r")
	want := settings(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := base.stop(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, op := range []faultdisk.Op{faultdisk.OpRead, faultdisk.OpOpen, faultdisk.OpStat} {
		for after := range 60 {
			r := base.cloned(uint64(after) + 1)
			r.mustStart()
			r.disk.Fail(faultdisk.Fault{Op: op, After: after})
			d, err := Open(r.options("r"))
			fired := r.disk.Stats().Faults > 0
			r.disk.Heal()
			if err != nil {
				refused++
			} else if got := settings(t, d); got != want {
				t.Errorf("%v %d failed, and the room has %s, want %s", op, after, got, want)
			}
			r.stop(d)
			r.close()
			if !fired {
				break
			}
		}
	}
	if refused == 0 {
		t.Error("no failure kept the room from being opened: nothing is tested")
	}
}
