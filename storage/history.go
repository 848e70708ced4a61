package storage

// The room as it was: from the file as it is, walked back by the entries that the commit
// log still has.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// A Point in a room's history: the newest state whose Seq is not above Seq and, where
// Time is set, whose time is not after it. A Seq of 0 means any.
type Point struct {
	Seq  Seq
	Time time.Time
}

func (p Point) isBehind(e LogEntry) bool {
	return (p.Seq == 0 || e.Seq <= uint64(p.Seq)) && (p.Time.IsZero() || e.At <= p.Time.UnixMilli())
}

// CopyAt writes the room as it was at a point in its history into a new file, synced,
// which must not exist. It takes as long as a copy of the file and the way back from now,
// and the room waits. No batch may be open. The file tells of the same
// history; Restore makes a room of it. A *HistoryError says how far the history goes: it matches
// ErrNoHistory or ErrNotYet.
func (d *DB) CopyAt(path string, p Point) error {
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	switch {
	case d.batch != nil:
		return fmt.Errorf("storage: %w: CopyAt while a batch is open", ErrMisuse)
	}
	newest, err := position(&d.sql)
	if err == nil {
		err = p.notYet(newest, d.o.Now())
	}
	if err != nil {
		return err
	}
	if now := pointOf(newest); d.store.room == nil {
		return &HistoryError{Asked: p, Oldest: now, Newest: now, Err: fmt.Errorf("%w, because the room has no commit log", ErrNoHistory)}
	}
	if err = copyTo(&d.sql, d.o.FS, path); err == nil {
		err = d.rewind(path, p, newest)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = errors.Join(err, roomfile.RemoveIfThere(d.o.FS, path))
	}
	return diagnose(path, err)
}

// rewind takes transactions back in a copy of the file.
func (d *DB) rewind(path string, p Point, newest LogEntry) error {
	f, err := d.o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	r := rewinder(d, dbfile.NewDatabase(f, path), func(from string) (pagelog.File, error) {
		return dbfile.NewDatabase(f, path), copyOver(d.o.FS, from, f) // the file at from may have no checksums
	})
	reached := d.store.number == 0
	err = d.store.room.Backward(func(e LogEntry) (bool, error) {
		if err := pagelog.CheckOrder(e.Number, r.Number); err != nil {
			return false, pagesError(err)
		}
		if reached = p.isBehind(e); reached {
			return false, nil
		}
		if ok, err := r.Revert(e.Number, e.Payload); err != nil || !ok {
			return false, pagesError(err)
		}
		reached = r.Number == 0 // before the first transaction: the room was empty
		return !reached, nil
	})
	incomplete := errors.Is(err, ErrLogIncomplete)
	if err == nil || incomplete {
		err = r.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && !reached {
		err = endOfHistory(d.o.FS, path, p, r.Number, newest)
	}
	if end, is := errors.AsType[*HistoryError](err); is && incomplete {
		end.Err = fmt.Errorf("%w, because a file of the commit log is missing", ErrNoHistory)
	}
	return err
}

// rewinder begins the way back in a copy of the file. next makes it go on with another file.
func rewinder(d *DB, f pagelog.File, next func(path string) (pagelog.File, error)) *pagelog.Rewinder {
	return &pagelog.Rewinder{File: f, Number: d.store.number, Layout: d.store.layout, Archive: d.o.archive(d.epoch), Switch: next}
}

// copyOver writes a file's content over an open one.
func copyOver(f FS, from string, to vfs.File) error {
	size, err := f.Size(from)
	if err != nil {
		return err
	}
	source, err := f.Open(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := to.Truncate(0); err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(source, 0, size))
	return err
}

// archive is where the files are that Compact has replaced, and the room's history leads through.
func (o Options) archive(epoch string) pagelog.Archive {
	return pagelog.Archive{FS: o.FS, Dir: o.Past, Owner: pagelog.ArchiveOwner(o.Namespace, o.Room, epoch)}
}

// SweepPast removes the files from a directory of Options.Past that were replaced before a time, and what is
// no such file. One of the future, because the clock was set back, is taken for one of now. It returns how many
// are left. Nobody has to have called it; the files stay until then.
func SweepPast(f FS, dir string, before, now time.Time) (left int, err error) {
	return pagelog.Archive{FS: f, Dir: dir}.Sweep(before, now)
}

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
func position(ses *session.Session) (e LogEntry, err error) {
	err = ses.Each("SELECT number, last, at FROM _den_changes ORDER BY id DESC LIMIT 1", func(r *Rows) {
		e = LogEntry{Number: uint64(r.Int(0)), Seq: uint64(r.Int(1)), At: r.Int(2)}
	})
	return e, err
}

// IsAt reports whether the room as it is now is what a point names. That needs no history.
func (d *DB) IsAt(p Point) (bool, error) {
	if err := d.sql.Lock(); err != nil {
		return false, err
	}
	defer d.sql.Mu.Unlock()
	newest, err := position(&d.sql)
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
