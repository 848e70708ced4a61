package storage

// The commit log of one node: package commitlog, with this package's errors.

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/denrooms/den/storage/commitlog"
)

// LogOptions says where a node's commit log is. All but Dir may be zero.
type LogOptions struct {
	// Dir is the log's directory, which is made if it is missing. Required.
	Dir string
	// FS is where it is. nil means the machine's.
	FS FS
	// Relaxed has Append return before the disk has synced: NodeLog.Sync does that, and a
	// power cut takes what came after the last one.
	Relaxed bool
	// History is how long entries are kept that no room needs any more, for CopyAt.
	// 0 means not at all.
	History time.Duration
	// SegmentBytes is how large one of its files gets. 0 means 8 MiB, and up to 32 in a long log.
	SegmentBytes int64
	// MaxUnreleased is how many bytes of entries that rooms still need may lie there before
	// RequestCheckpoint asks for checkpoints. 0 means 256 MiB.
	MaxUnreleased int64
	// RequestCheckpoint is called with the room that keeps the oldest of them, without locks.
	RequestCheckpoint func(namespace, room string)
	// Now is the clock, Random makes the log's name, Logger gets what an operator should
	// know. nil means time.Now, crypto/rand and slog.Default().
	Now    func() time.Time
	Random io.Reader
	Logger *slog.Logger
}

// NodeLog is a node's commit log: the Log of all of its rooms. Any goroutine may use it.
type NodeLog struct {
	*commitlog.Log
	relaxed bool
}

// OpenLog opens a node's commit log, or makes it.
func OpenLog(o LogOptions) (*NodeLog, error) {
	if o.FS == nil {
		o.FS = HostFS()
	}
	durability := commitlog.Durable
	if o.Relaxed {
		durability = commitlog.Relaxed
	}
	l, err := commitlog.Open(commitlog.Options{
		FS: o.FS, Dir: o.Dir, Durability: durability, SegmentBytes: o.SegmentBytes, History: o.History,
		MaxUnreleased: o.MaxUnreleased, RequestCheckpoint: o.requestCheckpoint(), Now: o.Now, Random: o.Random, Logger: o.Logger,
	})
	if err != nil {
		return nil, logError(err)
	}
	return &NodeLog{l, o.Relaxed}, nil
}

// Relaxed reports whether the log may lack transactions that were acknowledged.
func (l *NodeLog) Relaxed() bool { return l.relaxed }

// Abandon gives up what the files of Lost had: see commitlog.Log.Abandon.
func (l *NodeLog) Abandon() (files []string, err error) {
	files, err = l.Log.Abandon()
	return files, logError(err)
}

// Abandoned is Log's.
func (l *NodeLog) Abandoned(namespace, room, epoch string) bool {
	return l.Log.Abandoned(namespace, withoutNUL.Replace(room), epoch)
}

// Sync is Log's.
func (l *NodeLog) Sync() error { return logError(l.Log.Sync()) }

// Close ends the log well. Rooms must have been closed before.
func (l *NodeLog) Close() error { return logError(l.Log.Close()) }

// HasUnreleased reports whether rooms may need entries of the log.
func (l *NodeLog) HasUnreleased() bool { return l.Log.Crashed() != 0 || l.Log.Stats().Pinned > 0 }

// Room is Log's.
func (l *NodeLog) Room(namespace, room, epoch string) (RoomLog, error) {
	r, err := l.Log.Room(namespace, withoutNUL.Replace(room), epoch)
	if err != nil {
		return nil, roomLogError(err)
	}
	return roomLog{r}, nil
}

// A room's name may hold the one byte that the log's names may not.
var withoutNUL, withNUL = strings.NewReplacer(`\`, `\\`, "\x00", `\0`), strings.NewReplacer(`\\`, `\`, `\0`, "\x00")

// requestCheckpoint is RequestCheckpoint with the rooms' own names.
func (o LogOptions) requestCheckpoint() func(namespace, room string) {
	if o.RequestCheckpoint == nil {
		return nil
	}
	return func(namespace, room string) { o.RequestCheckpoint(namespace, withNUL.Replace(room)) }
}

// Candidates is Log's.
func (l *NodeLog) Candidates(namespace, room string) (epoch string, from, to uint64, err error) {
	epoch, from, to, err = l.Log.Candidates(namespace, withoutNUL.Replace(room))
	return epoch, from, to, roomLogError(err)
}

// Epochs is Log's.
func (l *NodeLog) Epochs(namespace, room string) ([]string, error) {
	epochs, err := l.Log.Epochs(namespace, withoutNUL.Replace(room))
	return epochs, roomLogError(err)
}

// Pinned yields the rooms that were closed and have not released all of their entries.
func (l *NodeLog) Pinned(yield func(namespace, room string) bool) {
	l.Log.Pinned(func(namespace, room string) bool { return yield(namespace, withNUL.Replace(room)) })
}

// Unrecovered yields the rooms that have entries of a run that crashed, and were not opened since.
func (l *NodeLog) Unrecovered(yield func(namespace, room string) bool) {
	l.Log.Unrecovered(func(namespace, room string) bool { return yield(namespace, withNUL.Replace(room)) })
}

// Forget releases all entries of a room that is not open, because its file was replaced.
func (l *NodeLog) Forget(namespace, room string) { l.Log.Forget(namespace, withoutNUL.Replace(room)) }

// roomLog is a room's part of a NodeLog, with this package's entries and errors.
type roomLog struct{ *commitlog.Room }

func (r roomLog) Range() (first, last uint64, err error) {
	first, last, err = r.Room.Range()
	return first, last, roomLogError(err)
}

func (r roomLog) Append(e LogEntry, more ...[]byte) error {
	return logError(r.Room.Append(commitlog.Entry(e), more...))
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
	return roomLogError(err)
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
	return roomLogError(err)
}

// ErrLogIncomplete: a file of the log is missing, or damaged so that it is not known whose entries were
// there, and the room may have had its newest entries in it. ErrLogMissing comes with it.
var ErrLogIncomplete = commitlog.ErrLost

// roomLogError is logError for a room that needs what is missing. An operator can give that up.
func roomLogError(err error) error {
	err = logError(err)
	if errors.Is(err, ErrLogIncomplete) {
		err = fmt.Errorf("%w; put the file back, or restore a backup of the room, or give up what is missing with den log -abandon", err)
	}
	return err
}

// logError wraps an error of the log with the error of this package that it means.
func logError(err error) error {
	for _, e := range []struct{ theirs, ours error }{
		{commitlog.ErrFull, ErrFull},
		{commitlog.ErrTooLarge, ErrTooLarge},
		{commitlog.ErrCorrupt, ErrLogMismatch},
		{commitlog.ErrGap, ErrLogMismatch},
		{commitlog.ErrLost, ErrLogMissing},
		{commitlog.ErrNewer, ErrNewer},
		{commitlog.ErrOlder, ErrLogMismatch},
		{commitlog.ErrMisuse, ErrInUse},
		{commitlog.ErrClosed, ErrClosed},
	} {
		if errors.Is(err, e.theirs) {
			return fmt.Errorf("%w: %w", e.ours, err)
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrIO, err)
	}
	return err
}
