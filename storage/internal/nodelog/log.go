// Package nodelog is what a room needs of the node's commit log. A transaction is durable when the log has it. The room's file follows
// the log and has the number of its newest transaction. NodeLog is such a log, in package commitlog; A Deferred is a room's part of a log
// whose entries still wait in memory; WithMoved adds those that were moved to a file.
package nodelog

import (
	"fmt"

	"github.com/denrooms/den/storage/roomfile"
)

// Log makes transactions durable. A node has one for all of its rooms; a cluster would have one that is replicated.
type Log interface {
	// ID names the log. A file notes it, and so knows this log again.
	ID() string
	// Generation returns how often the log was opened.
	Generation() uint64
	// Crashed returns the newest generation that was not closed, or 0.
	Crashed() uint64
	// Sync makes all entries durable, for a log whose Append does not.
	Sync() error
	// Candidates returns where to look for a room that has no file. epoch is the one in which the room was closed before all of
	// its entries were released, or "". from and to are the oldest and the newest generation that crashed and may have entries of
	// the room, or 0 and 0.
	Candidates(namespace, room string) (epoch string, from, to uint64, err error)
	// Room returns the part of one room in one of its histories. A part has one user at a time.
	Room(namespace, room, epoch string) (RoomLog, error)
}

// RoomLog is a room's part of a Log: its transactions, numbered 1, 2, 3 … without gaps.
type RoomLog interface {
	// Last returns the newest number that the log has, or 0.
	Last() uint64
	// Range returns the first and the last number that the log has, or 0 and 0.
	Range() (first, last uint64, err error)
	// Replay calls do with the entries whose numbers are above after, in order.
	Replay(after uint64, do func(LogEntry) error) error
	// Backward calls do with all entries that the log still has, the newest first.
	Backward(do func(LogEntry) (more bool, err error)) error
	// Append adds the next entry, whose payload continues with more, and returns when the entry is durable.
	Append(e LogEntry, more ...[]byte) error
	// Release tells the log that the room's file has all entries up to a number, and is synced.
	Release(through uint64)
	// Close ends the use. The log keeps entries that were not released for the next use.
	Close()
}

// LogEntry is one transaction.
type LogEntry = roomfile.Entry

// Mark is what a file says about the commit log, in _den_meta.
type Mark struct {
	Log   string // the log that the file's transactions went to; "": none so far
	Clean uint64 // the generation of it in which the file was closed with all transactions in it; 0: in use
	Since uint64 // the generation in which it came into use; 0: not known, or clean is set
}

// Number is the mark without the log, as the file has it.
func (m Mark) Number() int64 {
	if m.Clean != 0 {
		return int64(m.Clean)
	}
	return -int64(m.Since)
}

// MarkOf is the opposite of Number.
func MarkOf(log string, number int64) Mark {
	if number > 0 {
		return Mark{Log: log, Clean: uint64(number)}
	}
	return Mark{Log: log, Since: uint64(-number)}
}

// LogHint is what an operator can do about a file and a log that do not belong together.
const LogHint = "put the file and the log back that belong together, or restore a backup of the room"

// Whole reports whether a file with the mark needs nothing from the log. log is nil if there is none.
func (m Mark) Whole(log Log) (bool, error) {
	switch {
	case m.Log == "":
		return true, nil
	case log == nil && m.Clean != 0: // a caller that opens it without a log has checked that the log was closed
		return true, nil
	case log == nil:
		return false, fmt.Errorf("%w: %s; open it with the log, %s", roomfile.ErrLogMissing, m.Log, LogHint)
	case m.Log != log.ID() && m.Clean == 0:
		return false, fmt.Errorf("%w: the file was in use with the log %s, this one is %s; %s", roomfile.ErrLogMissing, m.Log, log.ID(), LogHint)
	case m.Log != log.ID():
		return true, nil
	case max(m.Clean, m.Since) > log.Generation():
		return false, fmt.Errorf("%w: the file was in use in generation %d of the log, which has come to %d: the log is an older copy; %s",
			roomfile.ErrLogMismatch, max(m.Clean, m.Since), log.Generation(), LogHint)
	}
	return m.Clean == log.Generation() || m.Clean > log.Crashed(), nil
}
