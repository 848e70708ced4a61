package pagelog

import (
	"errors"
	"fmt"
)

// Errors of the package, for errors.Is. Errors of the file or the reader are returned unchanged.
var (
	// ErrCorrupt: the payload is damaged.
	ErrCorrupt = errors.New("an entry of the commit log cannot be read")
	// ErrNewer: a newer Den wrote the payload.
	ErrNewer = errors.New("an entry of the commit log is written by a newer version of Den")
	// ErrMismatch: the transaction cannot be applied to the database in its present state.
	ErrMismatch = errors.New("the transaction and the database do not fit together")
	// ErrDiverged: the transaction cannot be taken back, because a page differs from what the transaction wrote.
	ErrDiverged = errors.New("the database is not what the transaction left")
)

// A refusal is one of the errors above with a text that says what was found.
type refusal struct {
	kind error
	text string
}

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return r.text }

func (r *refusal) Unwrap() error { return r.kind }

// CheckOrder returns ErrMismatch if number is not the expected number.
func CheckOrder(number, expected uint64) error {
	if number == expected {
		return nil
	}
	return refuse(ErrMismatch, "transaction %d comes where %d should", number, expected)
}
