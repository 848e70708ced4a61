//go:build !unix

package machine

// Descriptors is how many descriptors the process may have; 0: there is no limit.
func Descriptors() int { return 0 }
