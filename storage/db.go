package storage

import (
	"errors"
	"fmt"
	"github.com/denrooms/den/storage/sqlite"
)

// Value is a column's value: nil, int64, float64, string or []byte.
type Value = sqlite.Value

// Type is the storage class of a value.
type Type = sqlite.Type

// The storage classes, in SQLite's sorting order but that numbers sort together.
const (
	Null    = sqlite.Null
	Integer = sqlite.Integer
	Float   = sqlite.Float
	Text    = sqlite.Text
	Blob    = sqlite.Blob
)

// Result is what a statement without rows did.
type Result struct {
	RowsAffected int64 // rows that the statement itself changed; triggers' rows are not counted
	LastInsertID int64 // rowid of the last insert
}

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
	if s != nil && d.roomIsFull(e, s) {
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

// Fence ends the DB from another goroutine, for an actor that hangs: it stops
// the running statement, waits until that call has returned, rolls back what was
// not committed, and closes the file. When Fence has returned, every call on the
// DB, its Batches and Rows gives ErrClosed, and nothing in the file will change.
// A batch whose Commit had begun may have been committed.
func (d *DB) Fence() {
	d.sql.fenced.Store(true)
	d.Interrupt()
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	d.closeConnection()
}

// Close closes the file, after a checkpoint that moves everything from its WAL
// into it. A batch that is open is rolled back. Further calls return nil.
func (d *DB) Close() error {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	if d.sql.closed {
		return nil
	}
	if err := d.prepareClose(); err != nil {
		return diagnose(d.o.Path, errors.Join(err, d.closeConnection()))
	}
	if d.leaveConnection() {
		return d.store.closeRoomLog()
	}
	return diagnose(d.o.Path, d.closeConnection())
}

// prepareClose ends open rows and the open batch, and completes the file.
func (d *DB) prepareClose() error {
	for len(d.sql.results) > 0 {
		d.sql.results[0].err = ErrClosed
		d.sql.results[0].finish()
	}
	if b := d.batch; b != nil {
		d.sql.changes.EndAction()
		b.abort()
		b.dead, d.batch = ErrClosed, nil
		b.restore()
	}
	return d.completeFile()
}

// closeConnection closes the connection. The mutex is held.
func (d *DB) closeConnection() error {
	if d.sql.closed {
		return nil
	}
	d.invalidate()
	made := !d.store.inMemory() // the room has a file
	d.store.unwrapWAL()
	var err error
	if d.store.room != nil || d.sql.broken != nil || d.sql.c.Files != nil && d.sql.c.Files.Moved() { // Den has checkpointed the WAL, or the log has its content
		err = failed(d.sql.c.SetConfig(sqlite.ConfigNoCheckpoint, 1))
	}
	err = errors.Join(err, failed(d.sql.c.Close())) // rolls an open transaction back
	if d.store.checkpointed && made {
		err = errors.Join(err, d.store.removeWAL())
	}
	if d.store.suspect && made {
		err = errors.Join(err, d.o.File().MarkOrRemember())
	}
	return errors.Join(err, d.store.closeRoomLog())
}

// invalidate ends the Rows, the Batch and the Copies of the DB.
func (d *DB) invalidate() {
	d.sql.closed = true
	for len(d.sql.results) > 0 {
		r := d.sql.results[0]
		r.err = ErrClosed
		r.finish()
	}
	if b := d.batch; b != nil {
		b.dead = ErrClosed
		d.batch = nil
	}
	d.sql.changes.EndAction()
	d.sql.alive.Lock()
	d.sql.running = nil
	d.sql.alive.Unlock()
	d.dropCopies()
}
