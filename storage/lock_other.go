//go:build !linux && !darwin

package storage

// lockDescription does nothing. On Windows SQLite's own locks belong to the open file.
func lockDescription(uintptr) (rc int32, done bool) { return 0, false }
