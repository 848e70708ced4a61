//go:build denbugs

// Package bug has the switches of deliberate bugs. This is the build that has them: the tag denbugs, for tests only.
package bug

import "os"

// On reports whether a bug is switched on: whether the environment's DEN_BUG has its name.
func On(name string) bool { return os.Getenv("DEN_BUG") == name }
