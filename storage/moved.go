package storage

// The entries of a room that is refused, in NAME.entries beside its file: see package roomfile. When the room is refused they
// are moved there out of the commit log. When its file can be opened again, they come before the log's.

import (
	"errors"
	"fmt"
	"math"
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

// withMoved puts the moved's entries of an epoch before those that the log has, if there are some above the number
// that the room's own file has reached. A file of entries that was removed may be there again after a power cut.
func withMoved(moved *roomfile.Entries, room RoomLog, epoch string, reached uint64) RoomLog {
	places := moved.Of(epoch)
	n := len(places)
	if n == 0 {
		return room
	}
	if last := places[n-1]; !last.Damaged && last.Number <= reached {
		moved.Remove()
		return room
	}
	return &patchedLog{RoomLog: room, moved: moved, places: places}
}

// plain returns a room's part of the log without the moved entries, once the room's file has them.
func plain(room RoomLog) RoomLog {
	if p, ok := room.(*patchedLog); ok {
		return p.RoomLog
	}
	return room
}

// patchedLog is a room's part of the log, with entries before it that were moved out of it.
type patchedLog struct {
	RoomLog
	moved  *roomfile.Entries
	places []roomfile.Place // at least one
}

// newest is the number of the newest entry that was moved. The error says that there were others,
// which were damaged.
func (p *patchedLog) newest() (uint64, error) {
	last := p.places[len(p.places)-1]
	if last.Damaged {
		return 0, fmt.Errorf("%w: some of the entries that the commit log had of the room were damaged; restore a backup of it", ErrLogMismatch)
	}
	return last.Number, nil
}

func (p *patchedLog) Last() uint64 {
	number, err := p.newest()
	if err != nil {
		return math.MaxUint64 // whoever asks for it finds out
	}
	return max(number, p.RoomLog.Last())
}

func (p *patchedLog) Range() (first, last uint64, err error) {
	number, err := p.newest()
	if err != nil {
		return 0, 0, err
	}
	_, last, err = p.RoomLog.Range()
	return p.places[0].Number, max(last, number), err
}

func (p *patchedLog) Replay(after uint64, do func(LogEntry) error) error {
	number, err := p.newest()
	if err != nil {
		return err
	}
	for _, place := range p.places {
		if place.Number <= after {
			continue
		}
		e, err := p.moved.Read(place)
		if err == nil {
			err = do(e)
		}
		if err != nil {
			return err
		}
	}
	if after = max(after, number); p.RoomLog.Last() <= after {
		return nil
	}
	return p.RoomLog.Replay(after, do)
}

// Release removes the file when the room's own has all that is in it.
func (p *patchedLog) Release(through uint64) {
	if number, err := p.newest(); err == nil && through >= number {
		p.moved.Remove()
	}
	p.RoomLog.Release(through)
}
