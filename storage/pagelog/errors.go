package pagelog

import (
	"errors"
	"fmt"
)

// Errors of the package, to be matched with errors.Is. Those of the reader or the file that pages are read from
// and written to come as they are.
var (
	// ErrCorrupt: the payload is none, or is damaged.
	ErrCorrupt = errors.New("an entry of the commit log cannot be read")
	// ErrNewer: a newer Den wrote the payload.
	ErrNewer = errors.New("an entry of the commit log is written by a newer version of Den")
	// ErrMismatch: the transaction does not lead on from the database as it is.
	ErrMismatch = errors.New("the transaction and the database do not fit together")
	// ErrDiverged: the transaction cannot be taken back, because a page is not what it left.
	ErrDiverged = errors.New("the database is not what the transaction left")
)

// A refusal is one of the errors with what was found in its place: its text stands for itself.
type refusal struct {
	kind error
	text string
}

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return r.text }

func (r *refusal) Unwrap() error { return r.kind }

// CheckOrder returns ErrMismatch for a transaction that comes where another should.
func CheckOrder(number, expected uint64) error {
	if number == expected {
		return nil
	}
	return refuse(ErrMismatch, "transaction %d comes where %d should", number, expected)
}
