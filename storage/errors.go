package storage

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/sqlite"
)

// What can go wrong, to be matched with errors.Is. An error that SQLite gave is
// an *Error and wraps one of these where one fits; plain SQL mistakes (a syntax
// error, an unknown column) wrap none.
var (
	// ErrNotDatabase: the file is not a Den room. It was left as it was.
	ErrNotDatabase = errors.New("not a Den room database")
	// ErrNewer: a newer Den wrote the file. It was left as it was.
	ErrNewer = errors.New("written by a newer version of Den")
	// ErrWrongRoom: the file holds another room than the one asked for.
	ErrWrongRoom = errors.New("database belongs to another room")
	// ErrInUse: somebody else has the file or the directory open.
	ErrInUse = errors.New("in use")
	// ErrFull: the disk is full.
	ErrFull = errors.New("full")
	// ErrRoomFull: the room has reached its own limit, Options.MaxBytes. What only deletes is
	// not refused with it.
	ErrRoomFull = errors.New("the room is full")
	// ErrReadOnly: the file or its directory cannot be written.
	ErrReadOnly = errors.New("read-only")
	// ErrIO: the disk failed. After it in Batch.Commit the outcome is unknown
	// and the DB answers nothing any more: close it and open the file again.
	ErrIO = errors.New("I/O error")
	// ErrCorrupt: the file is damaged.
	ErrCorrupt = errors.New("corrupt")
	// ErrClosed: the DB was closed or fenced, or the Rows outlived their action.
	ErrClosed = errors.New("closed")
	// ErrInterrupted: DB.Interrupt ended the statement.
	ErrInterrupted = errors.New("interrupted")
	// ErrForbidden: a handler's statement that rooms may not run.
	ErrForbidden = errors.New("forbidden statement")
	// ErrConstraint: a UNIQUE, NOT NULL, CHECK, foreign-key or RAISE refusal.
	ErrConstraint = errors.New("constraint failed")
	// ErrBatchLost: SQLite rolled the whole batch back underneath, earlier
	// actions of it included. The batch is dead; the DB is usable.
	ErrBatchLost = errors.New("batch lost")
	// ErrTooLarge: more changed rows, or a larger value, than the limits allow.
	ErrTooLarge = errors.New("too large")
	// ErrMisuse: the calls came in an order that makes no sense.
	ErrMisuse = errors.New("misuse")
	// ErrName: a namespace or a room name outside of the rules.
	ErrName = errors.New("bad name")
)

// Error is what SQLite answered.
type Error struct {
	Code    int    // extended result code, see sqlite.org/rescode.html
	Message string // SQLite's text: for logs, never for clients
	SQL     string // the statement, "" where there is none
	kind    error
}

func (e *Error) Error() string {
	if e.kind != nil {
		return fmt.Sprintf("storage: %v: %s (%d)", e.kind, e.Message, e.Code)
	}
	return fmt.Sprintf("storage: %s (%d)", e.Message, e.Code)
}

// Unwrap gives the sentinel of this package that the code stands for, or nil.
func (e *Error) Unwrap() error { return e.kind }

// failed gives an error that came from package sqlite as this package's.
func failed(err error) error {
	if e := errorOf(err); e != nil {
		return e
	}
	return err
}

// errorOf is failed for an error that SQLite returned; nil: it is none.
func errorOf(err error) *Error {
	e, is := err.(*sqlite.Error)
	if !is {
		return nil
	}
	return &Error{Code: int(e.Code), Message: e.Message, SQL: e.SQL, kind: kindOf(e.Code)}
}

// said makes the error of what was not asked through a connection.
func said(code sqlite.ResultCode) *Error {
	return &Error{Code: int(code), Message: code.String(), kind: kindOf(code)}
}

// kindOf maps a result code to the sentinel that callers match.
func kindOf(code sqlite.ResultCode) error {
	switch code.Primary() {
	case sqlite.ResultConstraint:
		return ErrConstraint
	case sqlite.ResultFull:
		return ErrFull
	case sqlite.ResultReadOnly, sqlite.ResultPerm:
		return ErrReadOnly
	case sqlite.ResultBusy, sqlite.ResultLocked:
		return ErrInUse
	case sqlite.ResultIOErr, sqlite.ResultCantOpen:
		return ErrIO
	case sqlite.ResultCorrupt:
		return ErrCorrupt
	case sqlite.ResultNotADB:
		return ErrNotDatabase
	case sqlite.ResultInterrupt:
		return ErrInterrupted
	case sqlite.ResultAuth:
		return ErrForbidden
	case sqlite.ResultTooBig:
		return ErrTooLarge
	case sqlite.ResultMisuse:
		return ErrMisuse
	}
	return nil
}
