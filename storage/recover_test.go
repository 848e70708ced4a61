package storage

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

// A room is in the log only. The power goes while its file is made: what is then in its place has everything,
// because the log keeps nothing for certain of what a file has.
func TestInvariantGateRecoverFromLogCut(t *testing.T) {
	made := 0
	for at := 1; ; at++ {
		n, disk := onDisk(t, uint64(at))
		const actions = 5
		d := n.logOnly("r")
		for i := range actions {
			mustExec(t, d, `INSERT INTO todos VALUES (?, ?, 0, 0, NULL)`, i+1, "text")
		}
		d.Fence()
		disk.Kill()
		if err := disk.Restart(); err != nil {
			t.Fatal(err)
		}
		n.restart()
		o := n.options("r")
		cuts := disk.Stats().Crashes
		disk.CrashAfter(at)
		if d, err := Open(o); err == nil {
			d.Fence()
		}
		over := disk.Stats().Crashes == cuts
		disk.CrashAfter(0)
		disk.Crash()
		if err := disk.Restart(); err != nil {
			t.Fatal(err)
		}
		if size, err := n.fs.Size(o.Path); err == nil && size > 0 {
			made++
			if rows, err := rowsAlone(disk, n.fs, o.Path); err != nil || rows != actions {
				t.Errorf("change %d: the file has %d rows of %d, %v", at, rows, actions, err)
			}
		}
		if over {
			break
		}
	}
	if made == 0 {
		t.Error("no cut came when the file was there")
	}
}

// rowsAlone counts what a room's file has without its WAL and the log.
func rowsAlone(disk *faultdisk.Disk, fsys FS, path string) (n int, err error) {
	content, err := disk.Read(path)
	if err != nil {
		return 0, err
	}
	disk.Write("/alone.db", content)
	f, err := fsys.Open("/alone.db", os.O_RDWR)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(roomfile.SetJournalMode(dbfile.NewDatabase(f, ""), roomfile.RollbackMode), f.Close()); err != nil {
		return 0, err
	}
	d, err := openBeside(fsys, "/alone.db")
	if err != nil {
		return 0, err
	}
	err = d.sql.Each("SELECT count(*) FROM todos", func(rows *Rows) { n = int(rows.Int(0)) })
	if err = errors.Join(err, d.Close(), disk.Remove("/alone.db")); err != nil {
		return n, fmt.Errorf("alone: %w", err)
	}
	return n, nil
}
