//go:build !windows

package vfs

import "syscall"

var errorsOfAFullDisk = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT}
