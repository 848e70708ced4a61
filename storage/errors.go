package storage

import (
	"errors"

	"github.com/denrooms/den/storage/commitlog"
	"github.com/denrooms/den/storage/internal/history"
	"github.com/denrooms/den/storage/roomfile"
)

// What can go wrong, to be matched with errors.Is. An error that SQLite gave is an *Error and wraps one of these where one fits;
// plain SQL mistakes (a syntax error, an unknown column) wrap none. Those without a text of their own here are package roomfile's.
var (
	ErrNotDatabase = roomfile.ErrNotDatabase // the file is not a Den room; it was left as it was
	ErrNewer       = roomfile.ErrNewer       // a newer Den wrote the file; it was left as it was
	ErrInUse       = roomfile.ErrInUse       // somebody else has the file or the directory open
	ErrFull        = roomfile.ErrFull        // the disk is full
	ErrReadOnly    = roomfile.ErrReadOnly    // the file or its directory cannot be written
	ErrCorrupt     = roomfile.ErrCorrupt     // the file is damaged
	ErrForbidden   = roomfile.ErrForbidden   // a handler's statement that rooms may not run
	ErrConstraint  = roomfile.ErrConstraint  // a UNIQUE, NOT NULL, CHECK, foreign-key or RAISE refusal
	ErrTooLarge    = roomfile.ErrTooLarge    // more changed rows or bytes, or a larger value, than the limits allow
	ErrMisuse      = roomfile.ErrMisuse      // the calls came in an order that makes no sense
	ErrInterrupted = roomfile.ErrInterrupted // DB.Interrupt ended the statement
	ErrName        = roomfile.ErrName        // a namespace or a room name outside of the rules
	ErrExists      = roomfile.ErrExists      // there is a file already, and it is not written over

	// ErrIO: the disk failed. After it in Batch.Commit the outcome is unknown
	// and the DB answers nothing any more: close it and open the file again.
	ErrIO = roomfile.ErrIO
	// ErrLogMissing: the file's last transactions are in another commit log than this one. ErrLogMismatch: the file and
	// the log contradict each other. In both cases file and log stay as they are.
	ErrLogMissing  = roomfile.ErrLogMissing
	ErrLogMismatch = roomfile.ErrLogMismatch

	// ErrLogIncomplete: a file of the log is missing, or damaged so that it is not known whose entries were there, and the room may
	// have had its newest entries in it. ErrLogMissing comes with it.
	ErrLogIncomplete = commitlog.ErrLost

	// ErrNoHistory: the commit log does not go back that far, or the room has no commit log.
	ErrNoHistory = history.ErrNoHistory
	// ErrNotYet: the room has not come that far: the Seq was never given, or the Time has not come.
	ErrNotYet = history.ErrNotYet

	// ErrWrongRoom: the file holds another room than the one asked for.
	ErrWrongRoom = errors.New("database belongs to another room")
	// ErrRoomFull: the room has reached its own limit, Options.MaxBytes. What only deletes is not refused with it.
	ErrRoomFull = errors.New("the room is full")
	// ErrClosed: the DB was closed or fenced, or the Rows outlived their action.
	ErrClosed = roomfile.ErrClosed
	// ErrBatchLost: SQLite rolled the whole batch back underneath, earlier
	// actions of it included. The batch is dead; the DB is usable.
	ErrBatchLost = errors.New("batch lost")
)

// Error is what SQLite answered.
type Error = roomfile.Error

func failed(err error) error                { return roomfile.Failed(err) }
func diagnose(path string, err error) error { return roomfile.Diagnose(path, err) }
