package faultdisk

// Operations: they are counted, some fail, and at one of them the power is cut.

import (
	"strings"
	"syscall"
)

// Op is a kind of operation.
type Op uint8

// The operations. OpOpen is a change only where it makes a file.
const (
	OpOpen Op = iota
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpSyncDir
	OpDelete
	OpRename
	ops
)

func (o Op) String() string {
	if o >= ops {
		return "?"
	}
	return [ops]string{"open", "read", "write", "truncate", "sync", "sync of a directory", "delete", "rename"}[o]
}

// Fault says which operations fail, and how.
//
// SQLite sees what its own VFS would give it: IOERR_WRITE, _READ, _TRUNCATE,
// _FSYNC and _DELETE, CANTOPEN, FULL for a write with ENOSPC, and nothing for the
// directory behind a journal's sync (IOERR_DIR_FSYNC behind a delete).
type Fault struct {
	// Op is what fails.
	Op Op
	// Err is syscall.EIO or ENOSPC. 0 means EIO.
	Err syscall.Errno
	// Suffix limits the fault to files (OpSyncDir: directories) whose name ends
	// so, as in "-wal". "" means all.
	Suffix string
	// After is how many such operations succeed first.
	After int
	// Times is how many fail then. 0 means one, a negative number all.
	Times int
}

// Fail adds a fault. Of several that fit an operation the oldest decides, and the
// others count it too.
func (d *Disk) Fail(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.Err == 0 {
		f.Err = syscall.EIO
	}
	if f.Times == 0 {
		f.Times = 1
	}
	d.faults = append(d.faults, &f)
}

// Heal takes all faults away, and a power cut that CrashAfter has set.
func (d *Disk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults, d.fuse = nil, 0
}

// judge counts an operation and decides whether it fails.
func (d *Disk) judge(op Op, name string) error {
	d.stats.Ops[op]++
	if d.off {
		return ErrPowerCut
	}
	var err error
	for _, f := range d.faults {
		if f.Op != op || f.Times == 0 || !strings.HasSuffix(name, f.Suffix) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		if f.Times > 0 {
			f.Times--
		}
		if err == nil {
			err = f.Err
		}
	}
	if err != nil {
		d.stats.Faults++
	}
	return err
}

// burn counts a change toward the power cut that CrashAfter has set. It is
// called when a write is in the cache and a sync not yet on the disk.
func (d *Disk) burn() error {
	d.stats.Changes++
	if d.fuse == 0 {
		return nil
	}
	if d.fuse--; d.fuse > 0 {
		return nil
	}
	d.cut()
	return ErrPowerCut
}

// Stats counts what happened on a disk.
type Stats struct {
	Ops     [ops]int // operations, failed ones too
	Changes int      // what CrashAfter counts
	Faults  int      // operations that failed because of Fail
	Dropped int      // failed syncs that dropped the dirty pages

	Crashes int        // power cuts
	Fates   [fates]int // files with unsynced content in a cut
	// Writes, unsynced in a cut, and what became of them.
	Kept, Torn, Lost int
	// Entries of directories, likewise.
	EntriesKept, EntriesLost int
}

// Stats returns the counters.
func (d *Disk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}
