//go:build unix && !linux && !darwin

package dbfile

// setDescriptionLock is 0: there are no locks of an open file.
const setDescriptionLock = 0
