//go:build unix

package dbfile

import (
	"path/filepath"
	"syscall"
	"testing"
)

// Where an open file has no locks of its own, the process has them, and two files in it still exclude each other.
func TestLocksOfTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	a, endA := lockFile(t, path)
	b, endB := lockFile(t, path)
	defer endB()
	a.state.ofProcess, b.state.ofProcess = true, true
	for i, step := range []struct{ got, want string }{
		{code0(a.Lock(Exclusive)), "ok"}, {code0(b.Lock(Shared)), "busy"}, {code0(b.Lock(Exclusive)), "busy"},
		{code0(a.Unlock(None)), "ok"}, {code0(b.Lock(Exclusive)), "busy"}, // the file is a's until it is closed
	} {
		if step.got != step.want {
			t.Errorf("step %d: %s, want %s", i, step.got, step.want)
		}
	}
	c, endC := lockFile(t, path) // has locks of its own, as another process would
	defer endC()
	if got := code0(a.Lock(Exclusive)) + code0(c.Lock(Shared)); setDescriptionLock != 0 && got != "okbusy" {
		t.Errorf("beside a lock of another kind: %s", got)
	}
	endA()
	if got := code0(b.Lock(Exclusive)); got != "ok" {
		t.Errorf("after the other one was closed: %s", got)
	}
}

// errFull is what the system says of a disk that is full.
const errFull = syscall.ENOSPC
