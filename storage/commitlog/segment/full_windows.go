package segment

import (
	"errors"
	"syscall"
)

// isFull knows Windows' own words for a full disk.
func isFull(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)
}
