package dbfile

import (
	"errors"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"
)

// hostTraits are those that SQLite's own VFS for Windows gives its files.
const hostTraits Traits = sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE | sqlite3.SQLITE_IOCAP_SUBPAGE_READ | sqlite3.SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN

// isFull knows Windows' own words for a full disk.
func isFull(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)
}
