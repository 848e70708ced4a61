//go:build !windows && !linux

package vfs

import (
	"errors"
	"os"
)

// syncDir makes a directory's entries survive a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
