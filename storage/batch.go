package storage

// Batches and actions: one transaction for all actions that had queued up, and one savepoint for each action.

import (
	"errors"
	"fmt"
	"math"

	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/sqlite"
)

// Batch is a transaction over several actions. A DB has one at a time.
type Batch struct {
	d       *DB
	dead    error        // why it cannot go on: ErrBatchLost, ErrClosed, ErrMisuse after its end
	ending  bool         // Den itself is ending the transaction
	bare    bool         // the current action has no savepoint, because it is the first that writes
	schema  bool         // an action of it changed the schema
	wrote   bool         // something has been written that stays
	marked  bool         // it has changed what the file says about the commit log
	leaving bool         // it says that the file needs no log
	at      int64        // the time of the newest action
	was     nodelog.Mark // what the file said about the commit log before

	// Of the action in work.

	before     int64 // rows written by the connection when it began
	pages      int64 // of the database when it began; -1: it cannot fill the room
	written    int   // bytes of the commit log's entry when it began
	maxWritten int   // what it may add to them
	adds       bool  // it had a statement that does more than delete
}

// Begin starts a batch. The actor ends it with Commit or Rollback.
func (d *DB) Begin() (*Batch, error) {
	if err := d.sql.Lock(); err != nil {
		return nil, err
	}
	defer d.sql.Mu.Unlock()
	if d.batch != nil {
		return nil, fmt.Errorf("storage: %w: Begin while a batch is open", ErrMisuse)
	}
	if d.store.wal != nil && d.store.wal.End >= d.o.CheckpointBytes && len(d.sql.Results) == 0 {
		if err := d.store.checkpointBacklog(); err != nil && d.sql.Broken != nil {
			return nil, err
		}
	}
	if err := d.sql.Do(session.Begin); err != nil {
		return nil, err
	}
	return d.newBatch(), nil
}

func (d *DB) newBatch() *Batch {
	d.batch = &Batch{d: d, at: d.o.Now().UnixMilli(), maxWritten: d.o.MaxActionBytes}
	d.sql.Changes.Begin(d.store.number+1, d.batch.at)
	if d.store.wal != nil {
		d.store.wal.DiskFull = false
	}
	return d.batch
}

// Do runs an action: all that fn's SQL does happens, or nothing. After an error or a panic of fn (which goes on to the caller) nothing
// of the action remains and the batch can go on, unless the error is ErrBatchLost. at is the action's time in Unix milliseconds,
// which goes into the tombstones of deleted rows.
//
// fn may handle the error of a failed statement and go on. Do closes Rows that fn leaves open.
//
// Errors besides fn's own: ErrConstraint for a violated deferred foreign key and for a synced row with a NULL id, ErrTooLarge,
// ErrBatchLost, ErrClosed.
func (b *Batch) Do(at int64, fn func() error) (Commit, error) {
	if err := b.enter(at); err != nil {
		return Commit{}, err
	}
	returned := false
	defer func() {
		if !returned {
			b.leave(errPanicked) // fn panicked, or ended its goroutine
		}
	}()
	err := fn()
	returned = true
	return b.leave(err)
}

var errPanicked = errors.New("the action panicked")

func (b *Batch) enter(at int64) error {
	d := b.d
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	if b.dead != nil {
		return b.dead
	}
	if d.sql.Changes.InAction() {
		return fmt.Errorf("storage: %w: an action inside of an action", ErrMisuse)
	}
	if err := d.sql.Recorded(d.sql.Changes.Spill()); err != nil {
		return err
	}
	if err := b.measure(); err != nil {
		return err
	}
	b.bare = !d.sql.Conn.Writing() // nothing has been written that a rollback could take along
	if !b.bare {
		if err := d.sql.Do(session.Savepoint); err != nil {
			return err
		}
	}
	b.at, b.before, b.adds = at, d.sql.Conn.TotalChanges(), false
	if d.store.wal != nil {
		b.written = d.store.wal.Entry.Size()
	}
	d.sql.Changes.BeginAction(at)
	return nil
}

// leave ends the action. After an error it undoes the action.
func (b *Batch) leave(failed error) (Commit, error) {
	d := b.d
	if err := d.sql.Lock(); err != nil {
		return Commit{}, err
	}
	defer d.sql.Mu.Unlock()
	defer d.sql.Changes.EndAction()
	d.sql.CloseResults()
	refused := d.refused()
	if failed == nil {
		failed = refused
	}
	if b.dead != nil {
		return Commit{}, errors.Join(refused, b.lost()) // it may be why
	}
	if failed != nil {
		return Commit{}, b.undo(failed)
	}
	c, err := b.finishAction()
	if err != nil {
		if b.dead != nil {
			return Commit{}, b.lost()
		}
		return Commit{}, b.undo(err)
	}
	return c, nil
}

// finishAction checks the action and has the recorder make its Commit and its part of the change log.
func (b *Batch) finishAction() (Commit, error) {
	d := b.d
	if d.sql.Conn.DeferredForeignKeys() {
		return Commit{}, &Error{Code: int(sqlite.ResultConstraintForeignKey), Message: "FOREIGN KEY constraint failed", Kind: ErrConstraint}
	}
	if err := b.fits(); err != nil {
		return Commit{}, err
	}
	c, err := d.sql.Changes.FinishAction()
	if err != nil {
		return Commit{}, d.sql.Recorded(err)
	}
	if !b.bare {
		if err := d.sql.Do(session.Release); err != nil {
			return Commit{}, err
		}
	}
	schema := d.sql.Changes.ChangesSchema()
	b.schema = b.schema || schema
	b.wrote = b.wrote || c.Seq != 0 || schema || d.sql.Conn.TotalChanges() != b.before
	return c, nil
}

// undo rolls the action back and returns why.
func (b *Batch) undo(why error) error {
	d := b.d
	d.sql.Changes.UndoAction()
	err := b.rollbackAction()
	if err != nil && b.dead == nil {
		b.dead = fmt.Errorf("%w: %w", ErrBatchLost, err)
		b.abort()
	}
	if d.sql.Changes.ChangesSchema() {
		err = errors.Join(err, d.startOver())
	}
	if b.dead != nil {
		return errors.Join(why, b.lost())
	}
	if err != nil {
		return errors.Join(why, err)
	}
	return why
}

// rollbackAction rolls back what the current action wrote.
func (b *Batch) rollbackAction() error {
	d := b.d
	if !b.bare {
		if err := d.sql.Do(session.RollbackTo); err != nil {
			return err
		}
		return d.sql.Do(session.Release)
	}
	b.ending = true
	defer func() { b.ending = false }()
	if !d.sql.Conn.AutocommitEnabled() {
		if err := d.sql.Do(session.Rollback); err != nil {
			return err
		}
	}
	return d.sql.Do(session.Begin)
}

// lost resets the DB's memory after SQLite has rolled the transaction back.
func (b *Batch) lost() error {
	if d := b.d; d.batch == b {
		d.batch = nil
		b.restore()
	}
	return b.dead
}

// abort rolls a failed transaction back. Its own errors do not matter.
func (b *Batch) abort() {
	b.ending = true
	if !b.d.sql.Conn.AutocommitEnabled() {
		b.d.sql.Do(session.Rollback)
	}
	b.ending = false
}

// restore resets the DB's memory to the state before the batch.
func (b *Batch) restore() {
	d := b.d
	d.sql.Changes.Rollback()
	d.notes.rolledBack()
	if b.marked {
		d.store.mark = b.was
	}
	if b.schema || d.sql.Changes.ChangesSchema() {
		if err := d.startOver(); err != nil && d.sql.Broken == nil {
			d.sql.Broken = err
		}
	}
}

// Changed reports whether the batch has anything to commit.
func (b *Batch) Changed() bool {
	d := b.d
	if err := d.sql.Lock(); err != nil {
		return false
	}
	defer d.sql.Mu.Unlock()
	return b.dead == nil && b.wrote
}

// Commit makes the batch durable and ends it. After an error nothing of the batch happened, except after ErrIO, when that is
// unknown. After ErrIO or ErrCorrupt all further calls of the DB fail, and it must be closed.
func (b *Batch) Commit() error {
	d := b.d
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	if b.dead != nil {
		return b.dead
	}
	if d.sql.Changes.InAction() {
		return fmt.Errorf("storage: %w: Commit inside of an action", ErrMisuse)
	}
	return b.commit()
}

// commit is Commit with the mutex held.
func (b *Batch) commit() error {
	d := b.d
	b.ending = true
	err := b.finish()
	switch {
	case err != nil:
	case b.wrote:
		err = d.store.commit(d.Seq(), b.at)
	case !d.sql.Conn.AutocommitEnabled():
		err = d.sql.Do(session.Rollback)
	}
	if err != nil {
		b.abort()
		if errors.Is(err, ErrIO) || errors.Is(err, ErrCorrupt) {
			d.sql.Broken = err
		}
		b.dead, d.batch = err, nil
		b.restore()
		return err
	}
	b.dead, d.batch = errOver, nil
	d.sql.Changes.Commit()
	if b.wrote {
		d.notes.committed()
		d.store.number++
		if b.marked && d.store.wal != nil {
			d.store.state = fileNoted
		}
	}
	return nil
}

var errOver = fmt.Errorf("storage: %w: the batch is over", ErrMisuse)

// finish writes what is part of every transaction: its row of the change log with its number, and in the first transaction of a
// life the note that the file is in use.
func (b *Batch) finish() error {
	d := b.d
	if !b.wrote {
		return nil
	}
	if !b.leaving {
		if err := b.markInUse(); err != nil {
			return err
		}
	}
	floor := d.sql.Changes.Floor()
	if err := d.sql.Changes.Finish(Seq(d.o.History), d.o.Retention.Milliseconds()); err != nil {
		return d.sql.Recorded(err)
	}
	if now := d.sql.Changes.Floor(); now != floor {
		return putMeta(&d.sql, "floor", int64(now))
	}
	return nil
}

// AfterCommit does the work that can wait until the actor has sent the replies. It writes the note that the file is in use to the
// WAL. The note must be there even if the process dies, because a file without it is taken for complete if the log is lost too. The
// note is not written by the transaction itself, because making the WAL's file can take longer than the transaction. AfterCommit
// also makes the file of a log-only room that has grown, and has connections prepared for the next rooms (PoolOptions.Background).
func (d *DB) AfterCommit() {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	if d.sql.Usable() != nil || d.batch != nil {
		return
	}
	switch {
	case d.store.inMemory():
		d.store.materializeIfDue()
	case d.store.state == fileNoted:
		d.store.state = fileInUse
		_ = d.store.wal.Flush() // else, on a disk that is full, later
	}
	d.warm()
}

// Rollback rolls the whole batch back. It does nothing if the batch has ended.
func (b *Batch) Rollback() error {
	d := b.d
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	if d.sql.Closed || d.batch != b {
		return nil
	}
	if d.sql.Changes.InAction() {
		return fmt.Errorf("storage: %w: Rollback inside of an action", ErrMisuse)
	}
	b.ending = true
	var err error
	if !d.sql.Conn.AutocommitEnabled() {
		err = d.sql.Do(session.Rollback)
	}
	b.dead = errOver
	d.batch = nil
	b.restore()
	return err
}

// markInUse writes, in the first transaction of a life, the note that the file is in use: from now on the file may need the log.
// It also writes the other notes that are due.
func (b *Batch) markInUse() error {
	d := b.d
	var inUse nodelog.Mark // without a log the file is complete
	if log := d.o.Log; log != nil {
		inUse = nodelog.Mark{Log: log.ID(), Since: log.Generation()}
	}
	if d.store.mark != inUse {
		if err := b.setMark(inUse); err != nil {
			return err
		}
	}
	return d.notes.write()
}

func (b *Batch) setMark(m nodelog.Mark) error {
	d := b.d
	err := putMeta(&d.sql, "clean", m.Number())
	if err == nil && m.Log != d.store.mark.Log {
		err = putMeta(&d.sql, "log", m.Log)
	}
	if err == nil {
		b.marked, b.was = true, d.store.mark
		d.store.mark = m
	}
	return err
}

// startOver is reload after a schema change was rolled back: statements were compiled for it.
func (d *DB) startOver() error {
	d.sql.Forget()
	return d.reload()
}

// reload reads all tables' definitions. What was declared stays so.
func (d *DB) reload() error {
	if h := d.header; h != nil {
		d.sql.SchemaVersion, d.header = h.changes, nil
	} else if err := d.sql.ReadSchemaVersion(); err != nil {
		return err
	}
	unfit, fresh, err := d.sql.Changes.LoadTables(d.notes.definitions())
	if err != nil {
		return d.sql.Recorded(err)
	}
	if len(unfit) > 0 && d.batch != nil {
		d.batch.schema = true // if it is rolled back, they have to be given up again
	}
	for _, t := range unfit {
		if err := d.alone(func() error { return d.sql.Recorded(d.sql.Changes.GiveUp(t)) }); err != nil {
			return err
		}
	}
	if fresh {
		d.notes.noteDefinitions()
	}
	return nil
}

// DoUnbounded is Do without the limits of Options.MaxChanges, MaxChangeBytes and MaxActionBytes: for a
// migration, which may change every row. What it changes is held in memory until it ends.
func (b *Batch) DoUnbounded(at int64, fn func() error) (Commit, error) {
	o := b.d.o
	b.limit(math.MaxInt, math.MaxInt, math.MaxInt)
	defer b.limit(o.MaxChanges, o.MaxChangeBytes, o.MaxActionBytes)
	return b.Do(at, fn)
}

func (b *Batch) limit(rows, bytes, written int) {
	b.d.sql.Mu.Lock()
	defer b.d.sql.Mu.Unlock()
	b.d.sql.Changes.Limit(rows, bytes)
	b.maxWritten = written
}

// alone runs what writes to Den's own tables, as a part of the open batch or as a transaction of its own. The mutex is held.
func (d *DB) alone(write func() error) error {
	if d.batch != nil {
		before := d.sql.Conn.TotalChanges()
		err := write()
		d.batch.wrote = d.batch.wrote || !d.sql.Changes.InAction() && d.sql.Conn.TotalChanges() != before
		return err
	}
	if err := d.sql.Do(session.Begin); err != nil {
		return err
	}
	b := d.newBatch()
	if err := write(); err != nil {
		b.abort()
		b.dead, d.batch = errOver, nil
		b.restore()
		return err
	}
	b.wrote = d.sql.Conn.Writing()
	return b.commit()
}

// measure notes how long the database is before an action.
func (b *Batch) measure() (err error) {
	b.pages = -1
	if b.d.store.mayFill() {
		b.pages, err = b.d.sql.PageCount()
	}
	return err
}

// fits refuses an action that has made the database longer than it may be.
func (b *Batch) fits() error {
	d := b.d
	if b.pages < 0 || !b.adds {
		return nil
	}
	pages, err := d.sql.PageCount()
	if err == nil && pages > d.o.limitPages() && pages > b.pages {
		err = ErrRoomFull
	}
	return err
}
