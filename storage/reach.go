package storage

// How far a room's history goes, and the errors for a point that is not in it.

import (
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/storage/roomfile"
)

// ErrNoHistory: the commit log does not go back that far, or the room has no commit log.
var ErrNoHistory = errors.New("the history does not go back that far")

// ErrNotYet: the room has not come that far: the Seq was never given, or the Time has not come.
var ErrNotYet = errors.New("the room has not come that far")

// A HistoryError reports that a room's state at a Point is not available, and which states are. It matches ErrNoHistory or ErrNotYet,
// which is its Err.
type HistoryError struct {
	Asked  Point
	Oldest Point // the oldest state that is available; zero: it was not looked for
	Newest Point // the room as it is; zero if it has no history at all yet
	Err    error
}

// Error names the state that was asked for and those that are available, for operators.
func (e *HistoryError) Error() string {
	text := fmt.Sprintf("the state at %v cannot be had: %v; ", e.Asked, e.Err)
	if e.Oldest != (Point{}) {
		text += fmt.Sprintf("the oldest is at %v, ", e.Oldest)
	}
	return text + fmt.Sprintf("the newest is at %v", e.Newest)
}

// Unwrap returns e.Err.
func (e *HistoryError) Unwrap() error { return e.Err }

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

// pointOf is the state that a transaction left.
func pointOf(e LogEntry) Point { return Point{Seq: Seq(e.Seq), Time: time.UnixMilli(e.At)} }

// position is the newest transaction that the file has. The mutex is held.
func (ses *session) position() (e LogEntry, err error) {
	err = ses.each("SELECT number, last, at FROM _den_changes ORDER BY id DESC LIMIT 1", func(r *Rows) {
		e = LogEntry{Number: uint64(r.Int(0)), Seq: uint64(r.Int(1)), At: r.Int(2)}
	})
	return e, err
}

// IsAt reports whether the room as it is now is what a point names. That needs no history.
func (d *DB) IsAt(p Point) (bool, error) {
	if err := d.sql.lock(); err != nil {
		return false, err
	}
	defer d.sql.mu.Unlock()
	newest, err := d.sql.position()
	if err == nil {
		err = p.notYet(newest, d.o.Now())
	}
	return err == nil && p.isBehind(newest), err
}

// notYet returns the error for a point that the room has not come to; nil: it has. A clock that was set
// back does not keep anybody from the room as it is.
func (p Point) notYet(newest LogEntry, now time.Time) error {
	late := p.Time.After(now) && p.Time.UnixMilli() > newest.At
	if uint64(p.Seq) <= newest.Seq && !late {
		return nil
	}
	return &HistoryError{Asked: p, Newest: pointOf(newest), Err: ErrNotYet}
}

// endOfHistory decides about a copy that was walked back to where the log begins: it is what was asked for, or the oldest state
// that there is. number is that of the transaction that left it, newest the one
// that left the room as it is.
func endOfHistory(f FS, path string, p Point, number uint64, newest LogEntry) error {
	oldest, err := roomfile.LastIn(f, path)
	switch {
	case err != nil:
		return err
	case oldest.Number != number:
		return fmt.Errorf("%w: what transaction %d left says that it is of transaction %d", ErrLogMismatch, number, oldest.Number)
	case p.isBehind(oldest):
		return nil
	}
	return &HistoryError{Asked: p, Oldest: pointOf(oldest), Newest: pointOf(newest), Err: ErrNoHistory}
}
