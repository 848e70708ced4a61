// Package history goes through a room's transactions, as the commit log has them: it replays those that a file lacks, and says which
// of the room's states are available.
package history

import (
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// A Point in a room's history: the newest state whose Seq is not above Seq and, where
// Time is set, whose time is not after it. A Seq of 0 means any.
type Point struct {
	Seq  changes.Seq
	Time time.Time
}

// NotBefore reports whether the point is not before the state that a transaction left.
func (p Point) NotBefore(e nodelog.LogEntry) bool {
	return (p.Seq == 0 || e.Seq <= uint64(p.Seq)) && (p.Time.IsZero() || e.At <= p.Time.UnixMilli())
}

// ErrNoHistory: the commit log does not go back that far, or the room has no commit log.
var ErrNoHistory = errors.New("the history does not go back that far")

// ErrNotYet: the room has not come that far: the Seq was never given, or the Time has not come.
var ErrNotYet = errors.New("the room has not come that far")

// An Error reports that a room's state at a Point is not available, and which states are. It matches ErrNoHistory or ErrNotYet,
// which is its Err.
type Error struct {
	Asked  Point
	Oldest Point // the oldest state that is available; zero: it was not looked for
	Newest Point // the room as it is; zero if it has no history at all yet
	Err    error
}

// Error names the state that was asked for and those that are available, for operators.
func (e *Error) Error() string {
	text := fmt.Sprintf("the state at %v cannot be had: %v; ", e.Asked, e.Err)
	if e.Oldest != (Point{}) {
		text += fmt.Sprintf("the oldest is at %v, ", e.Oldest)
	}
	return text + fmt.Sprintf("the newest is at %v", e.Newest)
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// pointTime is how a Point's time is written: to the millisecond, because a time that was cut off
// would be before the state that it is of.
const pointTime = "2006-01-02T15:04:05.000Z"

// String is like "seq 42 (2026-11-20T10:00:00.000Z)".
func (p Point) String() string {
	at := p.Time.UTC().Format(pointTime)
	switch {
	case p.Time.IsZero():
		return fmt.Sprintf("seq %d", p.Seq)
	case p.Seq == 0:
		return at
	}
	return fmt.Sprintf("seq %d (%s)", p.Seq, at)
}

// PointOf is the state that a transaction left.
func PointOf(e nodelog.LogEntry) Point {
	return Point{Seq: changes.Seq(e.Seq), Time: time.UnixMilli(e.At)}
}

// Position is the newest transaction that the file has. The mutex is held.
func Position(ses *session.Session) (e nodelog.LogEntry, err error) {
	err = ses.Each("SELECT number, last, at FROM _den_changes ORDER BY id DESC LIMIT 1", func(r *session.Rows) {
		e = nodelog.LogEntry{Number: uint64(r.Int(0)), Seq: uint64(r.Int(1)), At: r.Int(2)}
	})
	return e, err
}

// NotYet returns the error for a point that the room has not come to; nil: it has. A clock that was set
// back does not keep anybody from the room as it is.
func (p Point) NotYet(newest nodelog.LogEntry, now time.Time) error {
	late := p.Time.After(now) && p.Time.UnixMilli() > newest.At
	if uint64(p.Seq) <= newest.Seq && !late {
		return nil
	}
	return &Error{Asked: p, Newest: PointOf(newest), Err: ErrNotYet}
}

// EndOfHistory decides about a copy that was walked back to where the log begins: it is what was asked for, or the oldest state
// that there is. number is that of the transaction that left it, newest the one that left the room as it is.
func EndOfHistory(f vfs.FS, path string, p Point, number uint64, newest nodelog.LogEntry) error {
	oldest, err := roomfile.LastIn(f, path)
	switch {
	case err != nil:
		return err
	case oldest.Number != number:
		return fmt.Errorf("%w: what transaction %d left says that it is of transaction %d", roomfile.ErrLogMismatch, number, oldest.Number)
	case p.NotBefore(oldest):
		return nil
	}
	return &Error{Asked: p, Oldest: PointOf(oldest), Newest: PointOf(newest), Err: ErrNoHistory}
}

// PagesError wraps an error of package pagelog with the error of package roomfile that it means.
func PagesError(err error) error {
	for _, e := range []struct{ theirs, ours error }{
		{pagelog.ErrCorrupt, roomfile.ErrCorrupt},
		{pagelog.ErrNewer, roomfile.ErrNewer},
		{pagelog.ErrMismatch, roomfile.ErrLogMismatch},
		{pagelog.ErrDiverged, ErrNoHistory},
	} {
		if errors.Is(err, e.theirs) {
			return fmt.Errorf("%w: %w", e.ours, err)
		}
	}
	return err
}
