package commitlog

import (
	"errors"
	"fmt"
	"syscall"
)

// What can go wrong, to be matched with errors.Is. The texts name files and offsets: they
// are for operators, never for clients.
var (
	// ErrCorrupt: the log's files do not hold what was written to them.
	ErrCorrupt = errors.New("corrupt")
	// ErrGap: entries between those that the room has and those that the log holds are gone.
	ErrGap = errors.New("entries are missing")
	// ErrLost: a file that the log should have is not there.
	ErrLost = errors.New("a part of the log is missing")
	// ErrIO: the disk failed. Nothing of what the call was about counts as written.
	ErrIO = errors.New("I/O error")
	// ErrFull: the disk is full, as ErrIO.
	ErrFull = errors.New("full")
	// ErrTooLarge: an entry above MaxEntry, or names above MaxNames.
	ErrTooLarge = errors.New("too large")
	// ErrMisuse: the calls came in an order that makes no sense.
	ErrMisuse = errors.New("misuse")
	// ErrClosed: the Log or the Room was closed.
	ErrClosed = errors.New("closed")
	// ErrNewer: a newer Den wrote the log. It was left as it was.
	ErrNewer = errors.New("written by a newer version of Den")
	// ErrOlder: a Den that was never released wrote the log. It was left as it was.
	ErrOlder = errors.New("written by a version of Den that was never released")
)

// failure makes ErrFull or ErrIO of an error of the file system.
func failure(what string, err error) error {
	kind := ErrIO
	if errors.Is(err, syscall.ENOSPC) || isFull(err) {
		kind = ErrFull
	}
	return fmt.Errorf("commitlog: %s: %w: %w", what, kind, err)
}

// failureOrNil is failure where there may be no error.
func failureOrNil(what string, err error) error {
	if err == nil {
		return nil
	}
	return failure(what, err)
}

// errShort: a file ended, or a read gave less than it should.
var errShort = errors.New("less was read than there should be")

// corrupt says what is wrong, and where.
func corrupt(file string, offset int64, what string) error {
	return fmt.Errorf("commitlog: %w: %s at %d: %s", ErrCorrupt, file, offset, what)
}

// lost says which segment is missing.
func lost(number uint64) error { return fmt.Errorf("commitlog: %w: %s", ErrLost, segmentName(number)) }

func misuse(what string) error { return fmt.Errorf("commitlog: %w: %s", ErrMisuse, what) }

func closed() error { return fmt.Errorf("commitlog: %w", ErrClosed) }
