package storage

// Rooms that nobody has seen. A log-only room (logonly.go) may have transactions before any client gets anything from the
// room, for example those of a hook that makes tables. Withhold keeps these transactions in memory. Keep appends them to the log, in
// order, before the first client gets something. If no client does, the room leaves nothing, so a scanner that calls ten
// thousand names does not make ten thousand rooms.

import "slices"

// A deferredLog is a room's part of the log whose entries are still in memory, until all of them are kept.
type deferredLog struct {
	RoomLog
	entries []LogEntry
	kept    bool // the log has all entries: the transaction that made the buffer overflow goes there too
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
	if h.kept {
		return h.RoomLog.Append(e, more...)
	}
	e.Payload = slices.Concat(append([][]byte{e.Payload}, more...)...)
	h.entries = append(h.entries, e)
	return nil
}

// Release does nothing, because the log has no entries yet.
func (h *deferredLog) Release(uint64) {}

// keep appends the entries to the log. After an error it can be called again.
func (h *deferredLog) keep() error {
	for len(h.entries) > 0 {
		if err := h.RoomLog.Append(h.entries[0]); err != nil {
			return err
		}
		h.entries = h.entries[1:]
	}
	h.kept = true
	return nil
}

// withheldBytes is how much of the WAL of a room that nobody has seen may wait in memory: 1 MB, about 250 pages.
const withheldBytes = 256 * frameSize
