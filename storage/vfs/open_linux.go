package vfs

import (
	"io/fs"
	"os"
	"syscall"
)

// openFile is os.OpenFile, which would ask the poller for each file, by five system calls. The poller takes no files.
func openFile(path string, flag int) (*os.File, error) {
	fd, err := again(func() (int, error) { return syscall.Open(path, flag|syscall.O_CLOEXEC, filePermissions) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// rename is os.Rename, which would look first whether there is a directory of the new name.
func rename(from, to string) error {
	if _, err := again(func() (int, error) { return 0, syscall.Rename(from, to) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
