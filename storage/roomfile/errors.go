package roomfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/denrooms/den/storage/sqlite"
)

// The errors of a room's file, to be matched with errors.Is. Package storage has them under the same names.
var (
	ErrNotDatabase = errors.New("not a Den room database")                            // the file is not a Den room. It was left as it was
	ErrNewer       = errors.New("written by a newer version of Den")                  // a newer Den wrote the file. It was left as it was
	ErrInUse       = errors.New("in use")                                             // somebody else has the file or the directory open
	ErrFull        = errors.New("full")                                               // the disk is full
	ErrReadOnly    = errors.New("read-only")                                          // the file or its directory cannot be written
	ErrIO          = errors.New("I/O error")                                          // the disk failed
	ErrCorrupt     = errors.New("corrupt")                                            // the file is damaged
	ErrInterrupted = errors.New("interrupted")                                        // an interrupt ended the statement
	ErrForbidden   = errors.New("forbidden statement")                                // a room's handler may not run the statement
	ErrConstraint  = errors.New("constraint failed")                                  // a UNIQUE, NOT NULL, CHECK or foreign-key constraint, or a RAISE, refused the statement
	ErrTooLarge    = errors.New("too large")                                          // more changed rows, or a larger value, than the limits allow
	ErrMisuse      = errors.New("misuse")                                             // the call is not allowed in this state, or an argument is not
	ErrClosed      = errors.New("closed")                                             // what the call is for was closed
	ErrName        = errors.New("bad name")                                           // a namespace or a room name breaks the rules
	ErrExists      = errors.New("exists already")                                     // there is a file of this name already, and it is not overwritten
	ErrLogMissing  = errors.New("the commit log that the file belongs to is missing") // the file's last transactions are in another commit log
	ErrLogMismatch = errors.New("the file and the commit log do not fit together")    // the file and the commit log contradict each other
)

// Error is an error of SQLite. A mistake in SQL (a syntax error, an unknown column) has no Kind.
type Error struct {
	Code    int    // extended result code, see sqlite.org/rescode.html
	Message string // SQLite's text: for logs, never for clients
	SQL     string // the statement, "" if there is none
	Kind    error  // the sentinel of the code, or nil
}

func (e *Error) Error() string {
	if e.Kind != nil {
		return fmt.Sprintf("storage: %v: %s (%d)", e.Kind, e.Message, e.Code)
	}
	return fmt.Sprintf("storage: %s (%d)", e.Message, e.Code)
}

// Unwrap returns e.Kind.
func (e *Error) Unwrap() error { return e.Kind }

// Failed returns an error of package sqlite as an *Error. It returns other errors as they are.
func Failed(err error) error {
	if e := ErrorOf(err); e != nil {
		return e
	}
	return err
}

// ErrorOf returns an error of package sqlite as an *Error, and nil for other errors.
func ErrorOf(err error) *Error {
	e, is := err.(*sqlite.Error)
	if !is {
		return nil
	}
	return &Error{Code: int(e.Code), Message: e.Message, SQL: e.SQL, Kind: kindOf(e.Code)}
}

// Said returns the error of a result code that came without a connection.
func Said(code sqlite.ResultCode) *Error {
	return &Error{Code: int(code), Message: code.String(), Kind: kindOf(code)}
}

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

// Diagnose adds a sentinel to an error of the operating system, or to SQLite's vague "cannot open", so that an operator knows
// where to look. path is the file.
func Diagnose(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	if _, system := errors.AsType[syscall.Errno](err); system && !errors.Is(err, ErrIO) {
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if sqlite.ResultCode(e.Code).Primary() == sqlite.ResultBusy {
		return fmt.Errorf("%w: another process, or another part of this one, has the file open", err)
	}
	if sqlite.ResultCode(e.Code).Primary() != sqlite.ResultCantOpen {
		return err
	}
	// The WAL cannot be made. Find out why.
	f, probe := os.CreateTemp(filepath.Dir(path), ".den-probe-")
	if probe == nil {
		os.Remove(f.Name())
		f.Close()
		return err
	}
	if errors.Is(probe, syscall.EROFS) || errors.Is(probe, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrReadOnly, probe)
	}
	return fmt.Errorf("%w: %w", err, probe)
}
