//go:build !linux

package vfs

import "os"

func openFile(path string, flag int) (*os.File, error) {
	return os.OpenFile(path, flag, filePermissions)
}

func rename(from, to string) error { return os.Rename(from, to) }
