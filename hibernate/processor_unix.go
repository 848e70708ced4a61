//go:build unix

package hibernate

import (
	"syscall"
	"time"
)

// processorTime is how much processor time the process has used.
func processorTime() (spent time.Duration, known bool) {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0, false
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), true
}
