package storage

import (
	"errors"
	"fmt"
)

// DB is one room's database. One goroutine, the room's actor, uses the DB and its Batches and Rows. Interrupt, Fence, Seq
// and Epoch may be called from any goroutine. Each call holds the DB's mutex while SQLite works, so a Fence from another
// goroutine waits for the end of the call.
type DB struct {
	// immutable after Open
	o       Options
	epoch   string
	created bool // Open made the file

	sql   session // its mutex protects the rest, and each call holds it
	store store

	copies []*Copy // under way, see copy.go
	batch  *Batch
	notes  notes // those in _den_meta
	warmed bool  // connections have been prepared for the next rooms
}

// writes is owner's.
func (d *DB) writes(s *statement) {
	if b := d.batch; b != nil {
		b.adds = b.adds || !s.Info.deletes
	}
}

// statementFailed is owner's. Some errors roll the whole transaction back underneath.
func (d *DB) statementFailed(e *Error, s *statement) error {
	if s != nil && d.store.roomIsFull(e, s, d.batch) {
		e.Kind = ErrRoomFull
	}
	if d.sql.fenced.Load() {
		e.Kind = ErrClosed
	}
	var err error = e
	if b := d.batch; b != nil && b.dead == nil && !b.ending && d.sql.c.AutocommitEnabled() {
		b.dead = fmt.Errorf("%w: %w", ErrBatchLost, err)
		err = b.dead
	}
	return err
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
// Arguments may be nil, bool, integers, floats, string, []byte (nil is NULL),
// json.RawMessage (a text), time.Time (Unix milliseconds), named forms of these,
// and driver.Valuer. They are copied before Exec returns. NaN becomes NULL.
func (d *DB) Exec(sql string, args ...any) (Result, error) {
	if err := d.sql.lock(); err != nil {
		return Result{}, err
	}
	if !d.sql.changes.InAction() {
		d.sql.mu.Unlock()
		return d.execAlone(sql, args)
	}
	defer d.sql.mu.Unlock()
	if err := d.handlerMay(); err != nil {
		return Result{}, err
	}
	return d.sql.exec(handler, sql, args)
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
	if err := d.sql.lock(); err != nil {
		return nil, err
	}
	defer d.sql.mu.Unlock()
	if err := d.handlerMay(); err != nil {
		return nil, err
	}
	return d.sql.query(handler, sql, args)
}

// Seq returns the number of the last action that changed a row, including actions of the open batch.
func (d *DB) Seq() Seq { return d.sql.changes.Seq() }

// Epoch returns the name of this history of the room, 32 hex digits. Keep must be called before the epoch is shown to
// anybody. Otherwise the room may begin again with the same epoch and another content.
func (d *DB) Epoch() string { return d.epoch }

// Options returns what the DB was opened with, with the defaults for what was left out.
func (d *DB) Options() Options { return d.o }

// Interrupt ends the statement that runs now, if one does, with ErrInterrupted;
// a write that it ends loses the batch (ErrBatchLost). Any goroutine may call it.
func (d *DB) Interrupt() { d.sql.interrupt() }

// Created reports whether Open made the room.
func (d *DB) Created() bool { return d.created }

// Checkpoint writes the WAL's content to the file and syncs the file, so that the commit log need not keep it. It does nothing
// while a batch or rows are open.
func (d *DB) Checkpoint() error {
	if err := d.sql.lock(); err != nil {
		return err
	}
	defer d.sql.mu.Unlock()
	if d.batch != nil || len(d.sql.results) > 0 {
		return nil
	}
	return diagnose(d.o.Path, d.store.checkpointBacklog())
}

// Withhold keeps the transactions of a log-only room in memory until Keep is called, or KeepIfEmpty and then Close. After 1 MB of
// pages the transactions are logged as if Keep had been called. Withhold does nothing if the room has a file or a transaction.
func (d *DB) Withhold() {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	if d.sql.usable() == nil && d.store.inMemory() && d.store.number == 0 {
		d.store.room = &deferredLog{RoomLog: d.store.room}
		d.store.wal.extra = withheldBytes - bufferBytes
	}
}

// Keep makes the transactions durable that Withhold has kept in memory, and implies KeepIfEmpty. Keep must return before anything of
// the room is shown to anybody, and before a transaction that is to be durable. Its errors are those of Commit. After ErrFull and
// ErrTooLarge it can be called again.
func (d *DB) Keep() error {
	d.KeepIfEmpty()
	if err := d.sql.lock(); err != nil {
		return err
	}
	defer d.sql.mu.Unlock()
	return d.store.appendDeferred()
}

// Withheld reports whether the room's transactions wait in memory because nobody has seen the room.
func (d *DB) Withheld() bool {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	return d.store.withheld()
}

// KeepIfEmpty makes Close keep the room even if it has no transaction, because somebody has seen its epoch. Any goroutine may
// call it.
func (d *DB) KeepIfEmpty() { d.store.keepIfEmpty.Store(true) }
