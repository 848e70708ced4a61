//go:build !denbugs

// Package bug has the switches of deliberate bugs. The simulation in test/sim proves with them that it would find a real
// one: each is a mistake that somebody could make, at the place where it would be made. A normal build has none of them:
// On is a constant false there, and the compiler drops what stands behind it.
package bug

// On reports whether a bug is switched on, by its name. It is false.
func On(string) bool { return false }
