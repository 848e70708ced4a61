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
	_ = syscall.Nanosleep(&pause, nil) // a signal that ends it early makes nobody late
	runtime.Gosched()                  // behind the others that are ready
	return max(0, time.Since(began)-blocked)
}
