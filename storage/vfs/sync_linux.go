package vfs

import (
	"errors"
	"io/fs"
	"syscall"
)

// syncDir makes a directory's entries survive a power cut. It does not use os.Open, which would try to register the directory
// with the poller.
func syncDir(dir string) error {
	fd, err := again(func() (int, error) {
		return syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	if _, err = again(func() (int, error) { return 0, syscall.Fsync(fd) }); err != nil {
		err = &fs.PathError{Op: "sync", Path: dir, Err: err}
	}
	return errors.Join(err, syscall.Close(fd))
}

// again repeats a system call that a signal interrupted.
func again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
