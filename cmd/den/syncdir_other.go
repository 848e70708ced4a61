//go:build !unix

package main

// syncDir does nothing, because directories cannot be synced on this system.
func syncDir(string) error { return nil }
