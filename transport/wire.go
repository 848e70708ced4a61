package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A wire is the receiving side of a connection. A read that stands between two messages
// waits no longer than until the socket may be parked.
type wire struct {
	net.Conn

	// Immutable.
	active *active
	parks  bool // the connection is of a kind that can be parked, and it is wanted

	// Owned by the reader.
	early []byte // read before this wire had the connection
	err   error  // with which the connection ended for reading
	alarm bool   // there is a read deadline for parking

	// Protected by mu.
	mu      sync.Mutex
	bounded bool // the read deadline is the reader's end, and is not to be put off
	severed bool // the reader is to end now; a later end does not count
}

// errParked ends the reader of a socket that has been parked. Nothing was lost with it.
var errParked = errors.New("transport: the socket has been parked")

// parkRetry is how soon a socket is looked at again that was quiet and could not be parked,
// because something was being sent to it.
const parkRetry = time.Millisecond

// take reads for the reader.
func (c *wire) take(p []byte, between bool) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		if len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	h := c.active.s.h
	for {
		if c.parks && between && !c.alarm {
			c.ring(h.opts.ParkAfter)
		}
		n, err := c.Conn.Read(p)
		if n > 0 {
			c.active.s.heard.Store(h.now())
			return n, nil
		}
		if !c.alarm || !errors.Is(err, os.ErrDeadlineExceeded) || c.isBounded() {
			if c.err = err; err == nil { // as a program's own connection may say
				c.err = io.ErrNoProgress
			}
			return 0, c.err
		}
		if c.rang(between) {
			return 0, errParked
		}
	}
}

// rang looks whether the socket is to be parked now that the alarm has gone off, and parks
// it; else it sets or clears the alarm.
func (c *wire) rang(between bool) (parked bool) {
	h := c.active.s.h
	if !between {
		c.ring(-1)
		return false
	}
	quiet := time.Duration(h.now() - c.active.s.heard.Load())
	if quiet < h.opts.ParkAfter {
		c.ring(h.opts.ParkAfter - quiet)
		return false
	}
	if c.active.s.park(c.active) {
		return true
	}
	c.ring(max(h.opts.ParkAfter, parkRetry))
	return false
}

// ring sets the alarm, or takes it away where after is negative.
func (c *wire) ring(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bounded {
		return
	}
	if after < 0 {
		c.alarm = false
		c.Conn.SetReadDeadline(time.Time{})
		return
	}
	c.alarm = true
	c.Conn.SetReadDeadline(time.Now().Add(after))
}

// bound gives the reader its end.
func (c *wire) bound(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.severed {
		return
	}
	c.bounded = true
	c.Conn.SetReadDeadline(time.Now().Add(within))
}

// cut ends the reader at once. After mend the connection can be read again, until the next bound.
func (c *wire) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.severed, c.bounded = true, true
	c.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *wire) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.severed = false
}

func (c *wire) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.severed
}

func (c *wire) isBounded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bounded
}
