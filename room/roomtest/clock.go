package roomtest

import (
	"sync"
	"time"

	"github.com/denrooms/den/room"
)

// Start is where virtual time begins.
var Start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// A Clock is a room.Clock that stands still until Advance. It is safe from any
// goroutine.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	serial int
	timers map[*timer]struct{}
}

type timer struct {
	clock  *Clock
	at     time.Time
	serial int // breaks ties: first set, first called
	call   func()
}

// NewClock makes a clock that shows Start.
func NewClock() *Clock { return &Clock{now: Start, timers: make(map[*timer]struct{})} }

// Now is the virtual time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc calls f when the clock has been advanced by d.
func (c *Clock) AfterFunc(d time.Duration, f func()) room.Timer {
	t := &timer{clock: c, call: f}
	t.Reset(d)
	return t
}

// Reset sets the timer again and reports whether it was set.
func (t *timer) Reset(d time.Duration) bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	_, active := c.timers[t]
	c.serial++
	t.at, t.serial = c.now.Add(d), c.serial
	c.timers[t] = struct{}{}
	return active
}

// Stop takes the timer out and reports whether it was set.
func (t *timer) Stop() bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	_, active := c.timers[t]
	delete(c.timers, t)
	return active
}

// Advance lets time pass and calls, one after another in the order of their times,
// what falls due. It returns when the calls have.
func (c *Clock) Advance(d time.Duration) { c.advance(d, func() {}) }

// advance calls after after each call.
func (c *Clock) advance(d time.Duration, after func()) {
	c.mu.Lock()
	end := c.now.Add(d)
	c.mu.Unlock()
	for {
		next := c.due(end)
		if next == nil {
			return
		}
		next.call()
		after()
	}
}

// due takes out the next timer up to end and moves the clock to its time, or to
// end if there is none.
func (c *Clock) due(end time.Time) *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next *timer
	for t := range c.timers {
		if t.at.After(end) {
			continue
		}
		if next == nil || t.at.Before(next.at) || t.at.Equal(next.at) && t.serial < next.serial {
			next = t
		}
	}
	if next == nil {
		c.now = end
		return nil
	}
	delete(c.timers, next)
	if next.at.After(c.now) {
		c.now = next.at
	}
	return next
}

// Step sets the clock back or forth without calling anything, as an operator or a
// time server may do to a machine's clock.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
