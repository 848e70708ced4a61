package faultdisk

// Operations: they are counted, some fail, and at one of them the power is cut.

import (
	"io"
	"strings"
	"syscall"
)

// Op is a kind of operation.
type Op uint8

// The operations. OpOpen is a change only where it makes a file. OpStat asks for a size, or whether a
// name is there. OpList lists a directory. OpStat, OpList and OpRead change nothing.
const (
	OpOpen Op = iota
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpSyncDir
	OpDelete
	OpRename
	OpMkdir
	OpStat
	OpList
	ops
)

// AllOps lists the operations.
func AllOps() []Op {
	list := make([]Op, ops)
	for i := range list {
		list[i] = Op(i)
	}
	return list
}

func (o Op) String() string {
	if o >= ops {
		return "?"
	}
	return [ops]string{"open", "read", "write", "truncate", "sync", "sync of a directory", "delete", "rename",
		"mkdir", "stat", "list"}[o]
}

// Fault says which operations fail, and how.
//
// SQLite sees what its own VFS would give it: IOERR_WRITE, _READ, _TRUNCATE, _FSYNC, _FSTAT and _DELETE, CANTOPEN, FULL for a write with
// ENOSPC, and nothing for the directory after a journal's sync (IOERR_DIR_FSYNC after a delete). IOERR_ACCESS is an exception: on Unix,
// SQLite takes a name for absent when it cannot ask for it.
type Fault struct {
	// Op is what fails.
	Op Op
	// Err is syscall.EIO or ENOSPC. 0 means EIO.
	Err syscall.Errno
	// Short: a read that fails fills a part of the buffer first. Without an Err it fails with io.ErrUnexpectedEOF then, and SQLite
	// sees IOERR_READ still: its IOERR_SHORT_READ says that the file ends there.
	Short bool
	// Suffix limits the fault to files (OpSyncDir, OpMkdir, OpList: directories) whose name ends so, as in "-wal". "" means all.
	Suffix string
	// After is how many such operations succeed first.
	After int
	// Times is how many fail then. 0 means one, a negative number all.
	Times int
}

// Fail adds a fault. Of several that fit an operation the oldest decides, and the others count it too.
func (d *Disk) Fail(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.Err == 0 && !(f.Short && f.Op == OpRead) {
		f.Err = syscall.EIO
	}
	if f.Times == 0 {
		f.Times = 1
	}
	d.faults = append(d.faults, &f)
}

// Heal takes all faults away, and power cuts that CrashAfter and CrashAt have set.
func (d *Disk) Heal() { d.locked(func() { d.faults, d.fuse, d.fuses = nil, 0, nil }) }

// shortRead is the error of a read that fills a part of the buffer.
type shortRead struct{ error }

func (e shortRead) Unwrap() error { return e.error }

// error is what an operation that the fault is for fails with.
func (f *Fault) error() error {
	var err error = f.Err
	if f.Err == 0 {
		err = io.ErrUnexpectedEOF
	}
	if f.Short {
		return shortRead{err}
	}
	return err
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
			err = f.error()
		}
	}
	if err != nil {
		d.stats.Faults++
		d.stats.Failed[op]++
	}
	return err
}

// A fuse is a power cut that is to come at an operation of a kind.
type fuse struct {
	op     Op
	suffix string
	n      int // how many such operations until then
}

// burn counts a change toward the power cuts that CrashAfter and CrashAt have set.
// It is called when a write is in the cache and a sync not yet on the disk.
func (d *Disk) burn(op Op, name string) error {
	d.stats.Changes++
	now := d.reach(op, name)
	if d.fuse > 0 {
		d.fuse--
		now = now || d.fuse == 0
	}
	return d.cutIf(now, op)
}

// pass counts an operation that changes nothing toward the power cuts of CrashAt.
func (d *Disk) pass(op Op, name string) error { return d.cutIf(d.reach(op, name), op) }

// reach reports whether an operation is one at which the power is to be cut.
func (d *Disk) reach(op Op, name string) (now bool) {
	for i := range d.fuses {
		if f := &d.fuses[i]; f.op == op && strings.HasSuffix(name, f.suffix) {
			f.n--
			now = now || f.n == 0
		}
	}
	return now
}

func (d *Disk) cutIf(now bool, op Op) error {
	if !now {
		return nil
	}
	d.stats.CutAt[op]++
	d.cut()
	return ErrPowerCut
}

// Stats counts what happened on a disk.
type Stats struct {
	Ops     [ops]int // operations, failed ones too
	Changes int      // what CrashAfter counts
	Faults  int      // operations that failed because of Fail
	Failed  [ops]int // these, by their kind
	Dropped int      // failed syncs that dropped the dirty pages
	// Entries of directories whose sync failed, and what that made of them: durable without anybody's being told, or pending still.
	Settled, Undecided int

	Crashes int        // power cuts
	CutAt   [ops]int   // those that CrashAfter and CrashAt have set, by the operation at which they came
	Fates   [fates]int // files with unsynced content in a cut
	// Writes, unsynced in a cut, and what became of them.
	Kept, Torn, Lost int
	// Entries of directories, likewise.
	EntriesKept, EntriesLost int
}

// Stats returns the counters.
func (d *Disk) Stats() (s Stats) {
	d.locked(func() { s = d.stats })
	return s
}
