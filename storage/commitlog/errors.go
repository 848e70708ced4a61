package commitlog

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// What can go wrong, to be matched with errors.Is. The texts name files and offsets: they
// are for operators, never for clients.
var (
	// ErrCorrupt: the log's files do not hold what was written to them.
	ErrCorrupt = segment.ErrCorrupt
	// ErrGap: entries between those that the room has and those that the log holds are gone.
	ErrGap = errors.New("entries are missing")
	// ErrLost: a file that the log should have is not there.
	ErrLost = errors.New("a part of the log is missing")
	// ErrIO: the disk failed. Whether Append's entry was written is not known: it may be in the log
	// after a crash. If it is known that it was not, ErrUnwritten comes with it.
	ErrIO = segment.ErrIO
	// ErrFull: the disk is full. Append's entry is certainly not in the log, now and after a crash:
	// ErrUnwritten comes with it. A sync that fails because the disk is full gives ErrIO.
	ErrFull = errors.New("full")
	// ErrUnwritten comes with ErrFull and ErrIO of an Append whose entry is certainly not in the log.
	ErrUnwritten = errors.New("nothing was written")
	// ErrTooLarge: an entry above MaxEntry, or names above MaxNames.
	ErrTooLarge = errors.New("too large")
	// ErrMisuse: the calls came in an order that makes no sense.
	ErrMisuse = errors.New("misuse")
	// ErrClosed: the Log or the Room was closed.
	ErrClosed = errors.New("closed")
	// ErrNewer: a newer Den wrote the log. It was left as it was.
	ErrNewer = segment.ErrNewer
	// ErrOlder: a Den that was never released wrote the log. It was left as it was.
	ErrOlder = segment.ErrOlder
)

// failure makes ErrFull or ErrIO of an error of the file system.
func failure(what string, err error) error {
	kind := ErrIO
	if vfs.IsFull(err) {
		kind = ErrFull
	}
	return fmt.Errorf("commitlog: %s: %w: %w", what, kind, err)
}

// unknownOutcome makes ErrIO of an error after which it is not known what is on the disk, whatever the
// error was: it does not match what means that a disk is full.
func unknownOutcome(what string, err error) error {
	return fmt.Errorf("commitlog: %s: %w: %w", what, ErrIO, segment.NotFull(err))
}

// unwritten adds ErrUnwritten.
func unwritten(err error) error { return fmt.Errorf("%w; %w", err, ErrUnwritten) }

// failureOrNil is failure where there may be no error.
func failureOrNil(what string, err error) error {
	if err == nil {
		return nil
	}
	return failure(what, err)
}

// errShort: a file ended, or a read gave less than it should.
var errShort = errors.New("less was read than there should be")

// errMissing says which segment is missing.
func errMissing(number uint64) error {
	return fmt.Errorf("commitlog: %w: %s", ErrLost, segment.Name(number))
}

// errRoomDamaged is the error of a room whose newest entries are damaged, and gone since.
func errRoomDamaged(last uint64) error {
	return fmt.Errorf("commitlog: %w: the room's entries up to %d were damaged", ErrCorrupt, last)
}

func misuse(what string) error { return fmt.Errorf("commitlog: %w: %s", ErrMisuse, what) }

func errClosed() error { return fmt.Errorf("commitlog: %w", ErrClosed) }
