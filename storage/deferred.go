package storage

// Rooms that nobody has seen yet. A room that begins in the commit log (born.go) may have transactions of its own before
// anybody gets anything of it: those of a hook that makes its tables. Withhold keeps them in memory, and Keep
// gives them to the log, in their order, before the first thing that somebody gets. If nobody gets anything, the room
// leaves nothing: a scanner that calls ten thousand names makes no ten thousand rooms.

import (
	"errors"
	"slices"
)

// A deferredLog is a room's part of the log that has nothing so far: its entries are here.
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

// Release does nothing: the log has nothing to let go.
func (h *deferredLog) Release(uint64) {}

// withheldBytes is how much of the WAL of a room that nobody has seen waits in memory: 1 MB, about 250 pages.
const withheldBytes = 256 * frameSize

// Withhold has the transactions of a new room without a file wait in memory until Keep is called, or Seen and then Close. If they
// write more than 1 MB of pages, they are kept as if Keep had been called. Withhold does nothing where the room has a file, or a
// transaction.
func (d *DB) Withhold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.usable() == nil && d.unsettled() && d.number == 0 {
		d.room = &deferredLog{RoomLog: d.room}
		d.wal.more = withheldBytes - gatherBytes
	}
}

// Keep makes durable what Withhold has kept in memory, and notes that somebody knows of the room, see Seen. It has to return
// before anything of the room is shown to anybody, and before a transaction that is to be durable. Its errors are those of
// Commit: after ErrFull and ErrTooLarge it can be called again.
func (d *DB) Keep() error {
	d.Seen()
	if err := d.lock(); err != nil {
		return err
	}
	defer d.mu.Unlock()
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
				d.broken = err
			}
			return err
		}
		h.entries = h.entries[1:]
	}
	d.room = h.RoomLog
	d.wal.more = len(d.wal.buf) // what has waited goes on to wait until AfterCommit, when nobody waits for it
	return nil
}

// Withheld reports whether the room's transactions wait in memory, because nobody knows of the room.
func (d *DB) Withheld() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.withheld()
}

// withheld is Withheld with the mutex held.
func (d *DB) withheld() bool {
	_, is := d.room.(*deferredLog)
	return is
}

// unseen reports whether nothing of the room is in the log, and nobody knows of it.
func (d *DB) unseen() bool {
	if d.seen.Load() {
		return false
	}
	h, deferred := d.room.(*deferredLog)
	return d.number == 0 || deferred && h.RoomLog.Last() == 0
}
