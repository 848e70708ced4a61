package hibernate

import (
	"runtime"
	"syscall"
	"time"
)

// wakeup is how late a goroutine goes on that was blocked in a system call, as one is that syncs a file.
func wakeup() time.Duration {
	const blocked = time.Millisecond
	began := time.Now()
	pause := syscall.NsecToTimespec(int64(blocked))
	if syscall.Nanosleep(&pause, nil) != nil {
		return 0 // a signal has ended it
	}
	runtime.Gosched() // behind the others that are ready
	return max(0, time.Since(began)-blocked)
}
