//go:build linux || darwin

package storage

// The lock of a room's file, where the system has locks that belong to an open file description
// (man 2 fcntl, "Open file description locks"). SQLite's own belong to the process: closing any other
// descriptor of the file drops them, whether a backup, a look at the header or the program that
// embeds Den has opened it. Both kinds exclude each other, so other processes' SQLite finds the file
// locked.

import (
	"errors"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// The bytes that SQLite locks: sqlite.org/src/file/src/os.h, PENDING_BYTE and what follows.
const (
	lockStart = 0x40000000
	lockBytes = 512
)

// lockDescription locks a file of SQLite's unix VFS for this open file alone. done is false where the
// file system has no such locks.
func lockDescription(file uintptr) (rc int32, done bool) {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: lockStart, Len: lockBytes}
	err := syscall.FcntlFlock(uintptr((*sqlite3.TunixFile)(cmem.Pointer(file)).Fh), setDescriptionLock, &lock)
	switch {
	case err == nil:
		return sqlite3.SQLITE_OK, true
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES):
		return sqlite3.SQLITE_BUSY, true
	}
	return 0, false
}
