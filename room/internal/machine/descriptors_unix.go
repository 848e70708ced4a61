//go:build unix

package machine

import (
	"math"
	"syscall"
)

// Descriptors returns how many descriptors the process may have, 0 if there is no limit. Go has raised it to what the
// system allows when the program began.
func Descriptors() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur)
}
