package vfs

import "syscall"

// errorsOfAFullDisk includes Windows' own errors ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL.
var errorsOfAFullDisk = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, 39, 112}
