package room

import "time"

// A Clock is where a host takes the time from. A test kit's clock stands still
// until it is told to go on.
type Clock interface {
	// Now is the time.
	Now() time.Time
	// AfterFunc calls f in its own goroutine when d has passed.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is a call that a Clock will make. See [time.Timer].
type Timer interface {
	// Stop takes the call back, and tells whether it was still to come.
	Stop() bool
	// Reset puts the call d from now, and tells whether it was still to come.
	Reset(d time.Duration) bool
}

// SystemClock is the machine's clock.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time                            { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
