//go:build !linux

package vfs

import "os"

// syncData syncs a file.
func syncData(f *os.File) error { return f.Sync() }
