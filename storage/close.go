package storage

// Closing a room: its file gets all of its transactions, and its connection goes to the pool.

import (
	"errors"

	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/sqlite"
)

// Close closes the file after a checkpoint that moves everything from its WAL into it. A batch that is open is rolled back. Further
// calls return nil.
func (d *DB) Close() error {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	if d.sql.Closed {
		return nil
	}
	err := d.prepareClose()
	d.store.noteDamage()
	if err != nil {
		return diagnose(d.o.Path, errors.Join(err, d.closeConnection()))
	}
	if d.leaveConnection() {
		d.store.closeRoomLog()
		return nil
	}
	return diagnose(d.o.Path, d.closeConnection())
}

// prepareClose ends open rows and the open batch, and completes the file.
func (d *DB) prepareClose() error {
	d.sql.EndResults()
	if b := d.batch; b != nil {
		d.sql.Changes.EndAction()
		b.abort()
		b.dead, d.batch = ErrClosed, nil
		b.restore()
	}
	return d.completeFile()
}

// completeFile makes the file independent of the log, and notes that in the file.
func (d *DB) completeFile() error {
	if d.store.wal == nil || d.sql.Broken != nil {
		return nil
	}
	if d.store.inMemory() {
		return d.completeInMemory()
	}
	return d.completeExisting()
}

// completeExisting is completeFile for a room with a file.
func (d *DB) completeExisting() error {
	if d.store.mark.Clean != 0 || d.store.mark.Log != d.o.Log.ID() { // nothing has changed
		d.store.noteClean()
		return nil
	}
	if err := d.markClean(); err != nil && !errors.Is(err, ErrFull) { // on a full disk the file stays without the mark
		return err
	}
	return d.store.emptyWAL()
}

// completeInMemory is completeFile for a log-only room: it makes the file, unless nobody has seen the room.
func (d *DB) completeInMemory() error {
	if d.store.discardable() {
		if d.store.number == 0 || d.store.emptyMemoryWAL() == nil { // otherwise the connection is not pooled
			d.store.noteClean()
		}
		return nil
	}
	if d.store.number > 0 {
		if err := d.markClean(); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
		if !d.store.inMemory() { // the transaction was too large to wait, so it has made the file
			return d.store.emptyWAL()
		}
		if err := d.store.checkpointMemory(); err != nil {
			return err
		}
	}
	switch err := makeWhole(d.o, d.sql.Conn.Files.Memory().Bytes()); {
	case errors.Is(diagnose(d.o.Path, err), ErrFull): // the room stays in the log
		return nil
	case err != nil:
		return err
	}
	d.store.room.Release(d.store.number)
	d.store.noteClean()
	return nil
}

// markClean writes the note that the file contains all of its transactions.
func (d *DB) markClean() error {
	if err := d.sql.Do(session.Begin); err != nil {
		return err
	}
	b := d.newBatch()
	b.leaving, b.wrote = true, true
	if err := b.setMark(nodelog.Mark{Log: d.o.Log.ID(), Clean: d.o.Log.Generation()}); err != nil {
		b.abort()
		b.dead, d.batch = errOver, nil
		b.restore()
		return err
	}
	return b.commit()
}

// Fence ends the DB from another goroutine, for an actor that hangs: it stops the running statement, waits until that call has
// returned, rolls back what was not committed, and closes the file. After Fence every call on the DB, its Batches and Rows returns
// ErrClosed, and nothing in the file changes. A batch whose Commit had begun may have been committed.
func (d *DB) Fence() {
	d.sql.Fenced.Store(true)
	d.Interrupt()
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	if !d.sql.Closed {
		d.store.noteDamage()
	}
	d.closeConnection()
}

// closeConnection closes the connection. The mutex is held.
func (d *DB) closeConnection() error {
	if d.sql.Closed {
		return nil
	}
	d.invalidate()
	made := !d.store.inMemory() // the room has a file
	d.store.unwrapWAL()
	var err error
	if d.store.room != nil || d.sql.Broken != nil || d.sql.Conn.Files != nil && d.sql.Conn.Files.Moved() { // Den has checkpointed the WAL, or the log has its content
		err = failed(d.sql.Conn.SetConfig(sqlite.ConfigNoCheckpoint, 1))
	}
	err = errors.Join(err, failed(d.sql.Conn.Close())) // rolls an open transaction back
	if d.store.state == fileClean && made {
		err = errors.Join(err, d.store.removeWAL())
	}
	if d.store.state == fileSuspect && made {
		err = errors.Join(err, d.o.File().MarkOrRemember())
	}
	d.store.closeRoomLog()
	return err
}
