package room_test

import (
	"testing"
	"time"
)

// within waits for what a test's room has to do, for seconds: where it never does, the test fails by its own name, and not
// all of the package by the time that go test gives it.
func within[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case v = <-ch:
	case <-limit.C:
		t.Fatalf("%s: waiting for %s for 20 s", t.Name(), what)
	}
	return v
}
