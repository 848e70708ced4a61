package commitlog

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// Errors, to be matched with errors.Is. The texts name files and offsets. They are for operators, not for clients.
var (
	// ErrCorrupt: the log's files do not hold what was written to them.
	ErrCorrupt = segment.ErrCorrupt
	// ErrGap: entries between those that the room has and those that the log has are missing.
	ErrGap = errors.New("entries are missing")
	// ErrLost: a segment is missing, or damaged, that the log needs or a room may need.
	ErrLost = errors.New("a part of the log is missing")
	// ErrIO: the disk failed. Unless the error of an Append matches ErrUnwritten too, the entry may be in the log after a crash.
	ErrIO = segment.ErrIO
	// ErrFull: the disk is full. The entry of the Append is not in the log, and will not be after a crash: the error
	// matches ErrUnwritten too. A sync that fails because the disk is full gives ErrIO.
	ErrFull = errors.New("full")
	// ErrUnwritten: the entry of an Append is certainly not in the log. It comes with ErrFull or ErrIO.
	ErrUnwritten = errors.New("nothing was written")
	// ErrTooLarge: an entry above MaxEntry, or names above MaxNames.
	ErrTooLarge = errors.New("too large")
	// ErrMisuse: a call is not allowed in this state, or an argument is not.
	ErrMisuse = errors.New("misuse")
	// ErrClosed: the Log or the Room is closed.
	ErrClosed = errors.New("closed")
	// ErrNewer: a newer version of Den wrote the log. It was not changed.
	ErrNewer = segment.ErrNewer
	// ErrOlder: a version of Den that was never released wrote the log. It was not changed.
	ErrOlder = segment.ErrOlder
)

// failure wraps an error of the file system in ErrFull or ErrIO.
func failure(what string, err error) error {
	kind := ErrIO
	if vfs.IsFull(err) {
		kind = ErrFull
	}
	return fmt.Errorf("commitlog: %s: %w: %w", what, kind, err)
}

// unknownOutcome wraps an error after which the content of the disk is unknown in ErrIO. The result never matches a full disk.
func unknownOutcome(what string, err error) error {
	return fmt.Errorf("commitlog: %s: %w: %w", what, ErrIO, segment.NotFull(err))
}

func unwritten(err error) error { return fmt.Errorf("%w; %w", err, ErrUnwritten) }

// errShort: a file is shorter than it should be.
var errShort = errors.New("less was read than there should be")

func errMissing(number uint64) error {
	return fmt.Errorf("commitlog: %w: %s", ErrLost, segment.Name(number))
}

// errRoomDamaged is the error of a room whose newest entries were damaged, and were deleted since.
func errRoomDamaged(last uint64) error {
	return fmt.Errorf("commitlog: %w: the room's entries up to %d were damaged", ErrCorrupt, last)
}

func misuse(what string) error { return fmt.Errorf("commitlog: %w: %s", ErrMisuse, what) }

func errClosed() error { return fmt.Errorf("commitlog: %w", ErrClosed) }
