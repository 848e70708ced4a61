package dbfile

import "syscall"

// errFull is what the system says of a disk that is full.
const errFull = syscall.Errno(112)
