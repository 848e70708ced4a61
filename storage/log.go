package storage

// The room's file and the node's commit log. The log has what is durable; the file
// follows it, and holds the number of the newest transaction that it has.

import (
	"fmt"

	"github.com/denrooms/den/storage/roomfile"
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
