package storage

// Rooms that nobody has seen. A log-only room (logonly.go) may have transactions before any client gets anything from the
// room, for example those of a hook that makes tables. Withhold keeps these transactions in memory. Keep appends them to the log, in
// order, before the first client gets something. If no client does, the room leaves nothing, so a scanner that calls ten
// thousand names does not make ten thousand rooms.

import (
	"errors"
	"slices"
)

// A deferredLog is a room's part of the log whose entries are still in memory.
type deferredLog struct {
	RoomLog
	entries []LogEntry
}

func (h *deferredLog) Last() uint64 {
	if n := len(h.entries); n > 0 {
		return h.entries[n-1].Number
	}
	return h.RoomLog.Last()
}

func (h *deferredLog) Range() (first, last uint64, err error) {
	if len(h.entries) == 0 {
		return h.RoomLog.Range()
	}
	return h.entries[0].Number, h.Last(), nil
}

func (h *deferredLog) Replay(after uint64, do func(LogEntry) error) error {
	for _, e := range h.entries {
		if e.Number <= after {
			continue
		}
		if err := do(e); err != nil {
			return err
		}
	}
	return nil
}

func (h *deferredLog) Backward(do func(LogEntry) (more bool, err error)) error {
	for _, e := range slices.Backward(h.entries) {
		if more, err := do(e); err != nil || !more {
			return err
		}
	}
	return nil
}

func (h *deferredLog) Append(e LogEntry, more ...[]byte) error {
	e.Payload = slices.Concat(append([][]byte{e.Payload}, more...)...)
	h.entries = append(h.entries, e)
	return nil
}

// Release does nothing, because the log has no entries yet.
func (h *deferredLog) Release(uint64) {}

// withheldBytes is how much of the WAL of a room that nobody has seen may wait in memory: 1 MB, about 250 pages.
const withheldBytes = 256 * frameSize

// Withhold keeps the transactions of a log-only room in memory until Keep is called, or KeepIfEmpty and then Close. After 1 MB of
// pages the transactions are logged as if Keep had been called. Withhold does nothing if the room has a file or a transaction.
func (d *DB) Withhold() {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	if d.sql.usable() == nil && d.inMemory() && d.number == 0 {
		d.room = &deferredLog{RoomLog: d.room}
		d.wal.extra = withheldBytes - bufferBytes
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
	return d.appendDeferred()
}

// appendDeferred is Keep with the mutex held.
func (d *DB) appendDeferred() error {
	h, is := d.room.(*deferredLog)
	if !is {
		return nil
	}
	for len(h.entries) > 0 {
		if err := h.RoomLog.Append(h.entries[0]); err != nil {
			if errors.Is(err, ErrIO) || errors.Is(err, ErrCorrupt) {
				d.sql.broken = err
			}
			return err
		}
		h.entries = h.entries[1:]
	}
	d.room = h.RoomLog
	d.wal.extra = len(d.wal.buf) // these frames wait on until AfterCommit
	return nil
}

// Withheld reports whether the room's transactions wait in memory because nobody has seen the room.
func (d *DB) Withheld() bool {
	d.sql.mu.Lock()
	defer d.sql.mu.Unlock()
	return d.withheld()
}

// withheld is Withheld with the mutex held.
func (d *DB) withheld() bool {
	_, is := d.room.(*deferredLog)
	return is
}

// discardable reports whether nobody has seen the room and the log has nothing of it.
func (d *DB) discardable() bool {
	if d.keepIfEmpty.Load() {
		return false
	}
	h, deferred := d.room.(*deferredLog)
	return d.number == 0 || deferred && h.RoomLog.Last() == 0
}
