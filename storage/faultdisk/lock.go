package faultdisk

// SQLite's five lock levels, between the handles of this process.

import (
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// highest is the highest lock that other handles hold on the file.
func (h *handle) highest() int32 {
	level := int32(sqlite3.SQLITE_LOCK_NONE)
	for other := range h.n.locks {
		if other != h {
			level = max(level, other.lock)
		}
	}
	return level
}

func (h *handle) setLock(level int32) {
	h.lock = level
	if level == sqlite3.SQLITE_LOCK_NONE {
		delete(h.n.locks, h)
		return
	}
	if h.n.locks == nil {
		h.n.locks = map[*handle]struct{}{}
	}
	h.n.locks[h] = struct{}{}
}

// raise takes a higher lock, or leaves BUSY behind; on the way to EXCLUSIVE a
// PENDING stays, which keeps new readers out.
func (h *handle) raise(level int32) int32 {
	others := h.highest()
	switch level {
	case sqlite3.SQLITE_LOCK_SHARED:
		if others >= sqlite3.SQLITE_LOCK_PENDING {
			return sqlite3.SQLITE_BUSY
		}
	case sqlite3.SQLITE_LOCK_RESERVED:
		if others >= sqlite3.SQLITE_LOCK_RESERVED {
			return sqlite3.SQLITE_BUSY
		}
	default:
		if others >= sqlite3.SQLITE_LOCK_RESERVED {
			return sqlite3.SQLITE_BUSY
		}
		if others >= sqlite3.SQLITE_LOCK_SHARED {
			h.setLock(sqlite3.SQLITE_LOCK_PENDING)
			return sqlite3.SQLITE_BUSY
		}
	}
	h.setLock(level)
	return sqlite3.SQLITE_OK
}

func xLock(_ *libc.TLS, file uintptr, level int32) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_LOCK
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	switch {
	case h.d.off || h.boot != h.d.boot:
		return sqlite3.SQLITE_IOERR_LOCK
	case h.lock >= level:
		return sqlite3.SQLITE_OK
	}
	return h.raise(level)
}

func xUnlock(_ *libc.TLS, file uintptr, level int32) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_UNLOCK
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.off || h.boot != h.d.boot {
		return sqlite3.SQLITE_IOERR_UNLOCK
	}
	if h.lock > level {
		h.setLock(level)
	}
	return sqlite3.SQLITE_OK
}

func xCheckReservedLock(_ *libc.TLS, file, out uintptr) int32 {
	h := handleOf(file)
	if h == nil {
		return sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.off || h.boot != h.d.boot {
		return sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK
	}
	reserved := int32(0)
	if max(h.lock, h.highest()) >= sqlite3.SQLITE_LOCK_RESERVED {
		reserved = 1
	}
	cmem.PutInt32(out, reserved)
	return sqlite3.SQLITE_OK
}
