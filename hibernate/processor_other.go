//go:build !unix

package hibernate

import "time"

// processorTime is not known here.
func processorTime() (spent time.Duration, known bool) { return 0, false }
