package storage

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/internal/walfile"
)

// DB is one room's database. One goroutine, the room's actor, uses the DB and its Batches and Rows. Interrupt, Fence, Seq
// and Epoch may be called from any goroutine. Each call holds the DB's mutex while SQLite works, so a Fence from another
// goroutine waits for the end of the call.
type DB struct {
	// immutable after Open
	o       Options
	epoch   string
	created bool // Open made the room

	sql   session.Session // its mutex protects the rest, and each call holds it
	store store

	header *fileHeader // the file's header at Open; nil: it may have changed since
	copies []*Copy     // under way, see copy.go
	batch  *Batch
	notes  notes // those in _den_meta
	warmed bool  // connections have been prepared for the next rooms
}

// A watcher is a DB as its session asks it.
type watcher DB

// HandlerWrites is session.Owner's.
func (d *watcher) HandlerWrites(deletes bool) {
	if b := d.batch; b != nil {
		b.adds = b.adds || !deletes
	}
}

// StatementFailed is session.Owner's. Some errors roll the whole transaction back underneath.
func (d *watcher) StatementFailed(e *Error, handlers bool) error {
	if handlers && d.store.roomIsFull(e, d.pagesBefore()) {
		e.Kind = ErrRoomFull
	}
	if d.sql.Fenced.Load() {
		e.Kind = ErrClosed
	}
	var err error = e
	if b := d.batch; b != nil && b.dead == nil && !b.ending && d.sql.Conn.AutocommitEnabled() {
		b.dead = fmt.Errorf("%w: %w", ErrBatchLost, err)
		err = b.dead
	}
	return err
}

// pagesBefore is how many pages the database had when the current action began; -1: not known.
func (d *watcher) pagesBefore() int64 {
	if d.batch == nil {
		return -1
	}
	return d.batch.pages
}

// Overwritten is session.Owner's. An action that has written more to the file than it may is refused.
func (d *watcher) Overwritten() bool {
	b := d.batch
	if b == nil || d.store.wal == nil || !d.sql.Changes.InAction() || d.store.wal.Entry.Size()-b.written <= b.maxWritten {
		return false
	}
	d.sql.Changes.Refuse(errTooMuch)
	return true
}

// handlerMay returns an error if a handler's statement may not run now.
func (d *DB) handlerMay() error {
	if d.batch != nil && d.batch.dead != nil {
		return d.batch.dead
	}
	return d.refused()
}

// Exec runs a handler's SQL: one statement with arguments, or several without. Inside an action it is part of the action.
// Outside it is an action of its own, stamped with Options.Now: its changes get into the change log, but no Commit reports
// them. The rows of a SELECT or RETURNING are dropped.
//
// Arguments may be nil, bool, integers, floats, string, []byte (nil is NULL), json.RawMessage (a text), time.Time (Unix
// milliseconds), named forms of these, and driver.Valuer. They are copied before Exec returns. NaN becomes NULL.
func (d *DB) Exec(sql string, args ...any) (Result, error) {
	if err := d.sql.Lock(); err != nil {
		return Result{}, err
	}
	if !d.sql.Changes.InAction() {
		d.sql.Mu.Unlock()
		return d.execAlone(sql, args)
	}
	defer d.sql.Mu.Unlock()
	if err := d.handlerMay(); err != nil {
		return Result{}, err
	}
	return d.sql.Exec(session.Handler, sql, args)
}

// execAlone runs an Exec outside an action, as an action of its own.
func (d *DB) execAlone(sql string, args []any) (res Result, err error) {
	b := d.batch
	mine := b == nil
	if mine {
		if b, err = d.Begin(); err != nil {
			return Result{}, err
		}
	}
	_, err = b.Do(d.o.Now().UnixMilli(), func() error {
		res, err = d.Exec(sql, args...)
		return err
	})
	if mine {
		if err != nil {
			return Result{}, errors.Join(err, b.Rollback())
		}
		err = b.Commit()
	}
	if err != nil {
		return Result{}, err
	}
	return res, nil
}

// Query runs a handler's statement that has rows. Outside an action it must not write. It takes arguments as Exec does.
func (d *DB) Query(sql string, args ...any) (*Rows, error) {
	if err := d.sql.Lock(); err != nil {
		return nil, err
	}
	defer d.sql.Mu.Unlock()
	if err := d.handlerMay(); err != nil {
		return nil, err
	}
	return d.sql.Query(session.Handler, sql, args)
}

// Seq returns the number of the last action that changed a row, including actions of the open batch.
func (d *DB) Seq() Seq { return d.sql.Changes.Seq() }

// Epoch returns the name of this history of the room, 32 hex digits. Keep must be called before the epoch is shown to
// anybody. Otherwise the room may begin again with the same epoch and another content.
func (d *DB) Epoch() string { return d.epoch }

// Options returns what the DB was opened with, with the defaults for what was left out.
func (d *DB) Options() Options { return d.o }

// Interrupt ends the statement that runs now, if one does, with ErrInterrupted;
// a write that it ends loses the batch (ErrBatchLost). Any goroutine may call it.
func (d *DB) Interrupt() { d.sql.Interrupt() }

// Created reports whether Open made the room.
func (d *DB) Created() bool { return d.created }

// Checkpoint writes the WAL's content to the file and syncs the file, so that the commit log need not keep it. It does nothing
// while a batch or rows are open.
func (d *DB) Checkpoint() error {
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	if d.batch != nil || len(d.sql.Results) > 0 {
		return nil
	}
	return diagnose(d.o.Path, d.store.checkpointBacklog())
}

// Withhold keeps the transactions of a log-only room in memory until Keep is called, or KeepIfEmpty and then Close. After 1 MB of
// pages the transactions are logged as if Keep had been called. Withhold does nothing if the room has a file or a transaction.
func (d *DB) Withhold() {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	if d.sql.Usable() == nil && d.store.inMemory() && d.store.number == 0 {
		d.store.room = &nodelog.Deferred{RoomLog: d.store.room}
		d.store.wal.Extra = withheldBytes - walfile.BufferBytes
	}
}

// Keep makes the transactions durable that Withhold has kept in memory, and implies KeepIfEmpty. Keep must return before anything of
// the room is shown to anybody, and before a transaction that is to be durable. Its errors are those of Commit. After ErrFull and
// ErrTooLarge it can be called again.
func (d *DB) Keep() error {
	d.KeepIfEmpty()
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	return d.store.appendDeferred()
}

// Withheld reports whether the room's transactions wait in memory because nobody has seen the room.
func (d *DB) Withheld() bool {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	return d.store.withheld()
}

// KeepIfEmpty makes Close keep the room even if it has no transaction, because somebody has seen its epoch. Any goroutine may
// call it.
func (d *DB) KeepIfEmpty() { d.store.keepIfEmpty.Store(true) }

// invalidate ends the Rows, the Batch and the Copies of the DB.
func (d *DB) invalidate() {
	d.sql.End()
	if b := d.batch; b != nil {
		b.dead = ErrClosed
		d.batch = nil
	}
	for len(d.copies) > 0 {
		d.copies[0].drop(ErrClosed)
	}
}

// A fileHeader is what a file says of itself at its beginning. It is all there is to know if the file has no WAL.
type fileHeader struct {
	empty   bool   // the file is empty, and nothing else is known
	changes int64  // SQLite's count of schema changes
	wal     bool   // SQLite will make a WAL
	schema  string // all that SQLite's parsed schema depends on; "": not known
}

// refused returns why the running action cannot be committed, whatever it does now.
func (d *DB) refused() error {
	(*watcher)(d).Overwritten()
	err := d.sql.Changes.Refused()
	if errors.Is(err, changes.ErrTooLarge) || err == errTooMuch {
		return fmt.Errorf("storage: %w: %w", ErrTooLarge, err)
	}
	return failed(err)
}

var errTooMuch = errors.New("the action writes more than Options.MaxActionBytes")
