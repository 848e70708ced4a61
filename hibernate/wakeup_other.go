//go:build !linux

package hibernate

import (
	"runtime"
	"time"
)

// wakeup is how late a goroutine goes on that has let others go first.
func wakeup() time.Duration {
	began := time.Now()
	runtime.Gosched()
	return time.Since(began)
}
