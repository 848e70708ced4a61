package segment

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/vfs"
)

// Errors, to be matched with errors.Is.
var (
	// ErrCorrupt: a file does not hold what was written to it.
	ErrCorrupt = errors.New("corrupt")
	// ErrIO: the disk failed.
	ErrIO = errors.New("I/O error")
	// ErrNewer: a newer Den wrote the file.
	ErrNewer = errors.New("written by a newer version of Den")
	// ErrOlder: a Den that was never released wrote the file.
	ErrOlder = errors.New("written by a version of Den that was never released")
)

// Corrupt returns an ErrCorrupt that says what is wrong with a file, and at which offset.
func Corrupt(file string, offset int64, what string) error {
	return fmt.Errorf("commitlog: %w: %s at %d: %s", ErrCorrupt, file, offset, what)
}

// CheckVersion returns ErrNewer or ErrOlder if a file has another version of its format than the known one.
func CheckVersion(file string, version, known uint32) error {
	switch {
	case version > known:
		return fmt.Errorf("commitlog: %w: %s has format %d, this Den knows %d", ErrNewer, file, version, known)
	case version < known:
		return fmt.Errorf("commitlog: %w: %s has format %d, this Den needs %d", ErrOlder, file, version, known)
	}
	return nil
}

// NotFull returns err, or, if err matches a full disk, an error of the same text that does not. It is for errors after which
// the content of the disk is unknown.
func NotFull(err error) error {
	if vfs.IsFull(err) {
		return errors.New(err.Error())
	}
	return err
}
