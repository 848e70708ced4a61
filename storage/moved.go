package storage

// The entries of a room that is refused, in NAME.entries beside its file: see package roomfile. When the room is refused they
// are moved there out of the commit log. When its file can be opened again, they come before the log's.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/denrooms/den/storage/roomfile"
)

// forgetter is what a Log can do that keeps entries which rooms still need.
type forgetter interface {
	// Epochs are those of which the log keeps entries of a room that is not open.
	Epochs(namespace, room string) ([]string, error)
	// Forget lets go of them.
	Forget(namespace, room string)
}

// Refused reports whether an error of Open is one that waiting does not mend.
func Refused(err error) bool {
	for _, e := range []error{ErrInUse, ErrFull, ErrReadOnly, ErrClosed, ErrInterrupted} {
		if errors.Is(err, e) {
			return false
		}
	}
	for _, e := range []error{ErrNotDatabase, ErrCorrupt, ErrNewer, ErrWrongRoom, ErrLogMismatch, ErrLogMissing, ErrIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sayMoved moves a refused room's entries out of the log, and adds to why it is refused where they are now. If
// what keeps them in the log is the same, it is not said twice.
func sayMoved(refused error, o Options) error {
	moved, err := moveEntries(o)
	switch {
	case moved != "":
		return fmt.Errorf("%w; what the commit log had of the room was moved to %s", refused, moved)
	case err == nil:
		return refused
	case strings.Contains(refused.Error(), err.Error()):
		return fmt.Errorf("%w; the commit log keeps what it has of the room", refused)
	}
	return fmt.Errorf("%w; the commit log keeps what it has of the room (%v)", refused, err)
}

// moveEntries moves a refused room's entries out of the log, and returns the path of the file that has them, "" if
// there are none. After an error the log keeps them.
func moveEntries(o Options) (path string, err error) {
	log, ok := o.Log.(forgetter)
	if !ok {
		return "", nil
	}
	epochs, err := log.Epochs(o.Namespace, o.Room)
	if err != nil || len(epochs) == 0 {
		return "", err
	}
	f := o.File()
	if err := f.MakeNamesDurable(); err != nil {
		return "", err
	}
	old, err := readEntries(o)
	if err != nil {
		return "", err
	}
	defer old.Close()
	err = f.WriteEntries(o.Log.ID(), epochs, old, func(epoch string) (roomfile.Part, error) { return o.part(epoch) })
	if err != nil {
		return "", err
	}
	log.Forget(o.Namespace, o.Room)
	return o.Path + roomfile.EntriesSuffix, nil
}

// readEntries opens the file of entries. It returns nil if there is none.
func readEntries(o Options) (*roomfile.Entries, error) {
	if o.Log != nil {
		return o.File().ReadEntries()
	}
	path := o.Path + roomfile.EntriesSuffix
	there, err := roomfile.Exists(o.FS, path)
	if there {
		err = fmt.Errorf("%w: %s has transactions that the file lacks; open it with a log", ErrLogMissing, path)
	}
	return nil, err
}
