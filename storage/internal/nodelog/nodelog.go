package nodelog

// The commit log of one node: package commitlog, with the errors of package roomfile.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/denrooms/den/storage/commitlog"
	"github.com/denrooms/den/storage/roomfile"
)

// NodeLog is a node's commit log: the Log of all of its rooms. Any goroutine may use it.
type NodeLog struct {
	*commitlog.Log
	relaxed bool
}

// OpenLog opens a node's commit log, or makes it.
func OpenLog(o commitlog.Options) (*NodeLog, error) {
	if request := o.RequestCheckpoint; request != nil {
		o.RequestCheckpoint = func(namespace, room string) { request(namespace, WithNUL.Replace(room)) }
	}
	l, err := commitlog.Open(o)
	if err != nil {
		return nil, Error(err)
	}
	return &NodeLog{l, o.Relaxed}, nil
}

// Relaxed reports whether the log may lack transactions that were acknowledged.
func (l *NodeLog) Relaxed() bool { return l.relaxed }

// Abandon gives up what the files of Lost had: see commitlog.Log.Abandon.
func (l *NodeLog) Abandon() (files []string, err error) {
	files, err = l.Log.Abandon()
	return files, Error(err)
}

// Abandoned is Log's.
func (l *NodeLog) Abandoned(namespace, room, epoch string) bool {
	return l.Log.Abandoned(namespace, withoutNUL.Replace(room), epoch)
}

// Sync is Log's.
func (l *NodeLog) Sync() error { return Error(l.Log.Sync()) }

// Close ends the log well. Rooms must have been closed before.
func (l *NodeLog) Close() error { return Error(l.Log.Close()) }

// HasUnreleased reports whether rooms may need entries of the log.
func (l *NodeLog) HasUnreleased() bool { return l.Log.Crashed() != 0 || l.Log.Stats().Pinned > 0 }

// Room is Log's.
func (l *NodeLog) Room(namespace, room, epoch string) (RoomLog, error) {
	r, err := l.Log.Room(namespace, withoutNUL.Replace(room), epoch)
	if err != nil {
		return nil, RoomError(err)
	}
	return roomLog{r}, nil
}

// A room's name may hold the one byte that the log's names may not.
var withoutNUL, WithNUL = strings.NewReplacer(`\`, `\\`, "\x00", `\0`), strings.NewReplacer(`\\`, `\`, `\0`, "\x00")

// Candidates is Log's.
func (l *NodeLog) Candidates(namespace, room string) (epoch string, from, to uint64, err error) {
	epoch, from, to, err = l.Log.Candidates(namespace, withoutNUL.Replace(room))
	return epoch, from, to, RoomError(err)
}

// Epochs is Log's.
func (l *NodeLog) Epochs(namespace, room string) ([]string, error) {
	epochs, err := l.Log.Epochs(namespace, withoutNUL.Replace(room))
	return epochs, RoomError(err)
}

// Pinned yields the rooms that were closed and have not released all of their entries.
func (l *NodeLog) Pinned(yield func(namespace, room string) bool) {
	l.Log.Pinned(func(namespace, room string) bool { return yield(namespace, WithNUL.Replace(room)) })
}

// Unrecovered yields the rooms that have entries of a run that crashed, and were not opened since.
func (l *NodeLog) Unrecovered(yield func(namespace, room string) bool) {
	l.Log.Unrecovered(func(namespace, room string) bool { return yield(namespace, WithNUL.Replace(room)) })
}

// Forget releases all entries of a room that is not open, because its file was replaced.
func (l *NodeLog) Forget(namespace, room string) { l.Log.Forget(namespace, withoutNUL.Replace(room)) }

// roomLog is a room's part of a NodeLog, with this package's entries and errors.
type roomLog struct{ *commitlog.Room }

func (r roomLog) Range() (first, last uint64, err error) {
	first, last, err = r.Room.Range()
	return first, last, RoomError(err)
}

func (r roomLog) Append(e LogEntry, more ...[]byte) error {
	return Error(r.Room.Append(commitlog.Entry(e), more...))
}

func (r roomLog) Replay(after uint64, do func(LogEntry) error) error {
	var ours error
	err := r.Room.Replay(after, func(e commitlog.Entry) error {
		ours = do(LogEntry(e))
		return ours
	})
	if ours != nil {
		return ours
	}
	return RoomError(err)
}

func (r roomLog) Backward(do func(LogEntry) (bool, error)) error {
	var ours error
	err := r.Room.Backward(func(e commitlog.Entry) (more bool, err error) {
		more, ours = do(LogEntry(e))
		return more, ours
	})
	if ours != nil {
		return ours
	}
	return RoomError(err)
}

// RoomError is Error for a room that needs what is missing. An operator can give that up.
func RoomError(err error) error {
	err = Error(err)
	if errors.Is(err, commitlog.ErrLost) {
		err = fmt.Errorf("%w; put the file back, or restore a backup of the room, or give up what is missing with den log -abandon", err)
	}
	return err
}

// Error wraps an error of the log with the error of package roomfile that it means.
func Error(err error) error {
	for _, e := range []struct{ theirs, ours error }{
		{commitlog.ErrFull, roomfile.ErrFull},
		{commitlog.ErrTooLarge, roomfile.ErrTooLarge},
		{commitlog.ErrCorrupt, roomfile.ErrLogMismatch},
		{commitlog.ErrGap, roomfile.ErrLogMismatch},
		{commitlog.ErrLost, roomfile.ErrLogMissing},
		{commitlog.ErrNewer, roomfile.ErrNewer},
		{commitlog.ErrOlder, roomfile.ErrLogMismatch},
		{commitlog.ErrMisuse, roomfile.ErrInUse},
		{commitlog.ErrClosed, roomfile.ErrClosed},
	} {
		if errors.Is(err, e.theirs) {
			return fmt.Errorf("%w: %w", e.ours, err)
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", roomfile.ErrIO, err)
	}
	return err
}
