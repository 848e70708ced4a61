package storage

// Closing a room: its file gets all of its transactions, and its connection goes to the pool.

import (
	"errors"

	"github.com/denrooms/den/storage/pool"
	"github.com/denrooms/den/storage/sqlite"
)

// Close closes the file after a checkpoint that moves everything from its WAL into it. A batch that is open is rolled back. Further
// calls return nil.
func (d *DB) Close() error {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	if d.sql.closed {
		return nil
	}
	err := d.prepareClose()
	d.store.noteDamage()
	if err != nil {
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

// completeFile makes the file independent of the log, and notes that in the file.
func (d *DB) completeFile() error {
	if d.store.wal == nil || d.sql.broken != nil {
		return nil
	}
	if d.store.inMemory() {
		return d.completeInMemory()
	}
	return d.completeExisting()
}

// completeExisting is completeFile for a room with a file.
func (d *DB) completeExisting() error {
	if d.store.mark.clean != 0 || d.store.mark.log != d.o.Log.ID() { // nothing has changed
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
	switch err := makeWhole(d.o, d.sql.c.Files.Memory().Bytes()); {
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
	if err := d.sql.do(d.sql.tx.begin); err != nil {
		return err
	}
	b := d.newBatch()
	b.leaving, b.wrote = true, true
	if err := b.setMark(mark{log: d.o.Log.ID(), clean: d.o.Log.Generation()}); err != nil {
		b.abort()
		b.dead, d.batch = errOver, nil
		b.restore()
		return err
	}
	return b.commit()
}

// leaveConnection puts the DB's connection into the pool if the file is whole, and reports whether it has. Then the file is closed.
func (d *DB) leaveConnection() bool {
	if !d.o.pools() || d.store.wal == nil || d.store.state != fileClean || d.sql.broken != nil || d.sql.fenced.Load() || len(d.copies) > 0 {
		return false
	}
	schema := d.sql.schemaNow()
	if schema == "" || d.sql.hasVirtualTables() {
		return false
	}
	wal := pool.WAL{File: d.store.wal.base, Path: d.o.Path + "-wal", SyncDir: func() error { return d.o.File().SyncDir() }}
	d.o.Pool.conns.Put(d.o.poolKey(schema), d.detach(), wal)
	return true
}

// detach takes the connection out of a DB, which is closed then.
func (d *DB) detach() *connection {
	d.invalidate()
	d.sql.recorder = d.sql.changes.Renew()
	for _, c := range d.sql.caches {
		for s := range c.All() {
			s.Info.used = false
		}
	}
	d.sql.uninstall()
	d.store.wal.giveMemory(d.sql.workspace)
	c := d.sql.c
	d.store.wal, d.sql.c, d.sql.workspace = nil, nil, nil
	return c
}

// Fence ends the DB from another goroutine, for an actor that hangs: it stops the running statement, waits until that call has
// returned, rolls back what was not committed, and closes the file. After Fence every call on the DB, its Batches and Rows returns
// ErrClosed, and nothing in the file changes. A batch whose Commit had begun may have been committed.
func (d *DB) Fence() {
	d.sql.fenced.Store(true)
	d.Interrupt()
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	if !d.sql.closed {
		d.store.noteDamage()
	}
	d.closeConnection()
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
	if d.store.state == fileClean && made {
		err = errors.Join(err, d.store.removeWAL())
	}
	if d.store.state == fileSuspect && made {
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
	for len(d.copies) > 0 {
		d.copies[0].drop(ErrClosed)
	}
}
