package vfs

import (
	"errors"
	"os"
	"syscall"
)

// syncData syncs a file's content and as much of its metadata as reading it takes.
func syncData(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	failed := c.Control(func(fd uintptr) {
		for {
			if err = syscall.Fdatasync(int(fd)); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	})
	if err != nil {
		err = &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return errors.Join(failed, err)
}
