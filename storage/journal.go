package storage

// The room's file and the node's commit log. The log has what is durable; the file
// follows it, and holds the number of the newest transaction that it has.

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// Log is what makes transactions durable. A node has one for all of its rooms; a cluster
// would have one that is replicated.
type Log interface {
	// ID names the log: a file tells by it whether it has met this log before.
	ID() string
	// Generation counts how often the log was opened.
	Generation() uint64
	// Crashed is the newest generation that did not end well; 0 for none.
	Crashed() uint64
	// Sync makes durable what Append has not, where it does not do that itself.
	Sync() error
	// Candidates says where to look for a room that has no file: epoch is the one in which it was
	// closed without having released all, "" if it was not; from and to are the generations, the
	// oldest and the newest, that may have left something of it when they crashed, 0 and 0: none.
	Candidates(namespace, room string) (epoch string, from, to uint64, err error)
	// Room gives the part of one room in one of its histories. It has one user at a time.
	Room(namespace, room, epoch string) (RoomLog, error)
}

// RoomLog is a room's part of a Log: its transactions, numbered 1, 2, 3 … without gaps.
type RoomLog interface {
	// Last is the newest number that the log has, 0 for none.
	Last() uint64
	// Range is the first and the last number that the log has, 0 and 0 for none.
	Range() (first, last uint64, err error)
	// Replay gives the entries with numbers above after, in order.
	Replay(after uint64, do func(LogEntry) error) error
	// Backward gives all entries that the log still has, the newest first.
	Backward(do func(LogEntry) (more bool, err error)) error
	// Append adds the next entry, whose payload goes on with more, and returns when it is durable.
	Append(e LogEntry, more ...[]byte) error
	// Release says that the room's file has all up to a number, and is synced.
	Release(through uint64)
	// Close ends the use. What was not released is kept for the next one.
	Close()
}

// LogEntry is one transaction.
type LogEntry = roomfile.Entry

// mark is what a file says about the commit log, in _den_meta.
type mark struct {
	log   string // the log that the file's transactions went to; "": none so far
	clean uint64 // the generation of it in which the file was closed with all in it; 0: in use
	since uint64 // the generation in which it came into use; 0: not known, or clean is set
}

// number is the mark without the log, as the file has it.
func (m mark) number() int64 {
	if m.clean != 0 {
		return int64(m.clean)
	}
	return -int64(m.since)
}

// markOf is the opposite of number.
func markOf(log string, number int64) mark {
	if number > 0 {
		return mark{log: log, clean: uint64(number)}
	}
	return mark{log: log, since: uint64(-number)}
}

// logHint is what an operator can do about a file and a log that do not go together.
const logHint = "put the file and the log back that belong together, or restore a backup of the room"

// whole tells whether a file with the mark needs nothing from the log, which is nil where there is none.
func (m mark) whole(log Log) (bool, error) {
	switch {
	case m.log == "":
		return true, nil
	case log == nil && m.clean != 0: // who opens it without has seen to it that the log ended well
		return true, nil
	case log == nil:
		return false, fmt.Errorf("%w: %s; open it with the log, %s", ErrLogMissing, m.log, logHint)
	case m.log != log.ID() && m.clean == 0:
		return false, fmt.Errorf("%w: the file was in use with the log %s, this one is %s; %s", ErrLogMissing, m.log, log.ID(), logHint)
	case m.log != log.ID():
		return true, nil
	case max(m.clean, m.since) > log.Generation():
		return false, fmt.Errorf("%w: the file was in use in generation %d of the log, which has come to %d: the log is an older copy; %s",
			ErrLogMismatch, max(m.clean, m.since), log.Generation(), logHint)
	}
	return m.clean == log.Generation() || m.clean > log.Crashed(), nil
}

// catchUp has the file take from the log what it lacks. again tells that it has, and that
// the connection must be made anew.
func (d *DB) catchUp(room RoomLog) (again bool, err error) {
	whole, err := d.mark.whole(d.o.Log)
	if err != nil {
		return false, err
	}
	if whole && room.Last() <= d.number {
		room.Release(d.number)
		return false, nil
	}
	first, last, err := room.Range()
	switch {
	case err != nil:
		return false, err
	case last == 0: // all was released
		room.Release(d.number)
		return false, nil
	case first > d.number+1:
		if err := room.Replay(d.number, func(LogEntry) error { return nil }); errors.Is(err, ErrLogMissing) {
			return false, err // a file of the log is gone, and not the room's too old
		}
		return false, fmt.Errorf("%w: the file has transactions up to %d, the log begins at %d: the file is too old; %s", ErrLogMismatch, d.number, first, logHint)
	case last > d.number && bug.On("replay-none"):
	case last > d.number:
		return !bug.On("replay-last"), d.replay(room)
	}
	if last < d.number {
		if err := d.ahead(last); err != nil {
			return false, err
		}
	}
	if err := d.checkpoint(sqlite.CheckpointTruncate); err != nil {
		return false, err
	}
	room.Release(max(last, d.number))
	return false, nil
}

// ahead refuses a file that has more than the log, unless the log did not promise to
// have everything when the file was used last, or an operator has given up a part of it since.
func (d *DB) ahead(last uint64) error {
	if r, ok := d.o.Log.(interface {
		Relaxed() bool
		RelaxedCrash() uint64
	}); ok && (r.Relaxed() || r.RelaxedCrash() != 0 && d.mark.since <= r.RelaxedCrash()) {
		return nil
	}
	if l, ok := d.o.Log.(interface {
		Abandoned(namespace, room, epoch string) bool
	}); ok && l.Abandoned(d.o.Namespace, d.o.Room, d.epoch) {
		return nil
	}
	return fmt.Errorf("%w: the file has transactions up to %d, the log ends at %d: the log has lost something; %s", ErrLogMismatch, d.number, last, logHint)
}

// commit runs SQLite's COMMIT, which writes to the commit log first (see wal).
func (d *DB) commit() error {
	w := d.wal
	if w == nil {
		err := d.sql.do(d.sql.tx.commit)
		if err == nil {
			d.notes.committed()
		}
		return err
	}
	if w.logOnly && d.room.Last() < d.number { // a log that is relaxed has lost what it did not sync: with it, how the room began
		w.unlogged = w.pages
	}
	w.armed, w.refused = true, nil
	err := d.sql.do(d.sql.tx.commit)
	if err == nil {
		d.notes.committed()
	}
	w.armed = false
	ahead := w.logged
	w.logged = false
	switch {
	case err != nil && ahead && bug.On("full"):
	case err != nil && ahead: // the next life takes it from the log
		// Not %w: a disk that is full is no reason to say that nothing has changed.
		err = fmt.Errorf("%w: the commit log has the transaction, and the file could not take it: %v", ErrIO, err)
		d.suspect = true
	case w.refused != nil:
		err = w.refused
		w.refused = nil
		w.reset()
	case errors.Is(err, ErrIO):
		d.suspect = true
	}
	return err
}

// append is called by the WAL's WriteAt when a transaction is about to commit.
func (d *DB) append(payload []byte, more ...[]byte) error {
	pagelog.SetLayout(payload, d.layout)
	return d.room.Append(LogEntry{Number: d.number + 1, Seq: uint64(d.Seq()), At: d.batch.at, Payload: payload}, more...)
}

// markInUse writes, in the first transaction of a life, the note that the file is in use: from now on the file may need the log.
// It also writes the other notes that are due.
func (d *DB) markInUse() error {
	var inUse mark // without a log the file is complete
	if log := d.o.Log; log != nil {
		inUse = mark{log: log.ID(), since: log.Generation()}
	}
	if d.mark != inUse {
		if err := d.setMark(inUse); err != nil {
			return err
		}
	}
	return d.writeNotes()
}

func (d *DB) setMark(m mark) error {
	err := d.putMeta("clean", m.number())
	if err == nil && m.log != d.mark.log {
		err = d.putMeta("log", m.log)
	}
	if err == nil {
		d.batch.marked, d.batch.was = true, d.mark
		d.mark = m
	}
	return err
}

// checkpointBytes is how large the WAL gets before it is written into the file.
const checkpointBytes = 4 << 20

// Checkpoint writes the WAL's content to the file and syncs the file, so that the commit log need not keep it. It does nothing
// while a batch or rows are open.
func (d *DB) Checkpoint() error {
	if err := d.sql.lock(); err != nil {
		return err
	}
	defer d.sql.mu.Unlock()
	if d.batch != nil || len(d.sql.results) > 0 {
		return nil
	}
	return diagnose(d.o.Path, d.checkpointBacklog())
}

// checkpointBacklog is Checkpoint with the mutex held.
func (d *DB) checkpointBacklog() error {
	if d.wal == nil || d.released == d.number {
		return nil
	}
	var err error
	switch {
	case bug.On("release-early"):
	case d.inMemory():
		err = d.checkpointAndMaterialize()
	default:
		err = d.checkpoint(sqlite.CheckpointPassive)
	}
	if err != nil {
		return err
	}
	d.released = d.number
	d.room.Release(d.number)
	return nil
}

// checkpoint runs SQLite's; it fails where not all of the WAL came over.
func (d *DB) checkpoint(mode sqlite.CheckpointMode) error {
	if d.wal != nil { // else a power cut could leave a file that has more than the log
		if err := d.o.Log.Sync(); err != nil {
			return err
		}
	}
	var failure *Error
	if d.wal != nil { // which may only now be made
		if err := d.wal.flush(); err != nil {
			failure = roomfile.Said(ioCode(err))
			failure.SQL = "checkpoint"
		}
	}
	if err := d.nameWAL(); err != nil {
		return err
	}
	if failure == nil {
		logged, done, err := d.sql.c.Checkpoint(mode)
		if err == nil && logged == done {
			return nil
		}
		if err == nil {
			return fmt.Errorf("%w: a checkpoint wrote %d of %d frames", ErrInUse, done, logged)
		}
		failure = roomfile.ErrorOf(err)
	}
	if !errors.Is(failure, ErrFull) {
		d.sql.broken, d.suspect = failure, true
	}
	return failure
}

// nameWAL makes the WAL's name survive a power cut, before anything of it is written into
// the file: SQLite does so too, and does not look whether it succeeded. A file that has a
// part of its WAL and lost the rest can be brought forward by nobody.
func (d *DB) nameWAL() error {
	if d.named {
		return nil
	}
	if err := d.o.File().SyncDir(); err != nil {
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
	d.named = true
	return nil
}

// completeFile makes the file independent of the log, and notes that in the file.
func (d *DB) completeFile() error {
	if d.wal == nil || d.sql.broken != nil {
		return nil
	}
	if d.inMemory() {
		return d.completeInMemory()
	}
	return d.completeExisting()
}

// completeExisting is completeFile for a room with a file.
func (d *DB) completeExisting() error {
	if d.mark.clean != 0 || d.mark.log != d.o.Log.ID() { // nothing has changed
		d.checkpointed = d.sql.c.Files.Empty()
		return nil
	}
	if err := d.markClean(); err != nil && !errors.Is(err, ErrFull) { // on a full disk the file stays without the mark
		return err
	}
	return d.emptyWAL()
}

// emptyWAL checkpoints the whole WAL, so that the log need not keep its content.
func (d *DB) emptyWAL() error {
	d.wal.keepFile = d.o.Pool != nil && d.o.Pool.conns.WALs != ""
	switch err := d.checkpoint(sqlite.CheckpointTruncate); {
	case errors.Is(err, ErrFull): // its content stays in the WAL and in the log
		return nil
	case err != nil:
		return err
	}
	d.room.Release(d.number)
	d.checkpointed = d.sql.c.Files.Empty()
	return nil
}

// markClean writes the note that the file contains all of its transactions.
func (d *DB) markClean() error {
	if err := d.sql.do(d.sql.tx.begin); err != nil {
		return err
	}
	b := d.newBatch()
	b.leaving, b.wrote = true, true
	if err := d.setMark(mark{log: d.o.Log.ID(), clean: d.o.Log.Generation()}); err != nil {
		b.abort()
		b.dead, d.batch = errOver, nil
		d.restore(b)
		return err
	}
	return b.commit()
}
