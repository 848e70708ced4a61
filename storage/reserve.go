package storage

// How a room that has reached its largest size can still be emptied. An action that makes the database longer than Options.MaxBytes is
// refused with ErrRoomFull. An action that only deletes may use a reserve, as Den's own tables may, so that a tombstone, a reply and a
// client's number always fit. An action only deletes if each of its statements is a DELETE, or an UPDATE that sets deleted_at,
// whatever their triggers write.
//
// SQLite's own limit is the end of the reserve. A handler's statement that reaches it fails with ErrRoomFull too, and may have lost
// its batch.

const (
	// leastReserve and reservePart say how large the reserve is, in pages: so many, or that part of the limit.
	leastReserve = 1024
	reservePart  = 64
	// alwaysChecked is the highest limit with which each action is checked, in pages. With a higher limit an action is
	// checked only if the database is at least half full when the action begins.
	alwaysChecked = 1 << 16
	// nearlyFull is how many pages below the limit a room without a commit log counts as full when SQLite
	// says so: it may as well be the disk.
	nearlyFull = 1 << 14
)

// limitPages is how many pages a room's actions may fill.
func (o Options) limitPages() int64 { return o.MaxBytes / pageSize }

// hardPages is the limit with the reserve.
func (o Options) hardPages() int64 {
	return o.limitPages() + max(leastReserve, o.limitPages()/reservePart)
}

// mayFill reports whether an action could fill the room.
func (st *store) mayFill() bool {
	limit := st.o.limitPages()
	return st.wal == nil || limit <= alwaysChecked || int64(st.wal.Pages) >= limit/2
}

// roomIsFull reports whether a handler's error of SQLite, "database or disk is full", is about the room's limit and not about the disk.
func (st *store) roomIsFull(e *Error, before int64) bool {
	if e.Kind != ErrFull {
		return false
	}
	if st.wal != nil {
		return !st.wal.DiskFull
	}
	return before >= max(st.o.limitPages()-nearlyFull, 0)
}
