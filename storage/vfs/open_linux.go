package vfs

import (
	"io/fs"
	"os"
	"syscall"
)

// openFile opens a file as os.OpenFile does, without the five system calls that register it with the poller, which does not
// support regular files.
func openFile(path string, flag int) (*os.File, error) {
	fd, err := again(func() (int, error) { return syscall.Open(path, flag|syscall.O_CLOEXEC, filePermissions) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// rename renames a file as os.Rename does, without first checking whether the new name is a directory.
func rename(from, to string) error {
	if _, err := again(func() (int, error) { return 0, syscall.Rename(from, to) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
