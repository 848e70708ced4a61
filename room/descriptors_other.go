//go:build !unix

package room

// descriptorLimit is how many descriptors the process may have; 0: there is no limit.
func descriptorLimit() int { return 0 }
