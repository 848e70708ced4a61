package nodelog

// Rooms that nobody has seen. A log-only room of package storage may have transactions before any client gets anything from the
// room, for example those of a hook that makes tables. DB.Withhold keeps these transactions in memory. DB.Keep appends them to the log, in
// order, before the first client gets something. If no client does, the room leaves nothing, so a scanner that calls ten
// thousand names does not make ten thousand rooms.

import "slices"

// A Deferred is a room's part of the log whose entries are still in memory, until all of them are kept.
type Deferred struct {
	RoomLog
	entries []LogEntry
	kept    bool // the log has all entries: the transaction that made the buffer overflow goes there too
}

// Last is RoomLog's.
func (h *Deferred) Last() uint64 {
	if n := len(h.entries); n > 0 {
		return h.entries[n-1].Number
	}
	return h.RoomLog.Last()
}

// Range is RoomLog's.
func (h *Deferred) Range() (first, last uint64, err error) {
	if len(h.entries) == 0 {
		return h.RoomLog.Range()
	}
	return h.entries[0].Number, h.Last(), nil
}

// Replay is RoomLog's.
func (h *Deferred) Replay(after uint64, do func(LogEntry) error) error {
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

// Backward is RoomLog's.
func (h *Deferred) Backward(do func(LogEntry) (more bool, err error)) error {
	for _, e := range slices.Backward(h.entries) {
		if more, err := do(e); err != nil || !more {
			return err
		}
	}
	return nil
}

// Append is RoomLog's.
func (h *Deferred) Append(e LogEntry, more ...[]byte) error {
	if h.kept {
		return h.RoomLog.Append(e, more...)
	}
	e.Payload = slices.Concat(append([][]byte{e.Payload}, more...)...)
	h.entries = append(h.entries, e)
	return nil
}

// Release does nothing, because the log has no entries yet.
func (h *Deferred) Release(uint64) {}

// Keep appends the entries to the log. After an error it can be called again.
func (h *Deferred) Keep() error {
	for len(h.entries) > 0 {
		if err := h.RoomLog.Append(h.entries[0]); err != nil {
			return err
		}
		h.entries = h.entries[1:]
	}
	h.kept = true
	return nil
}
