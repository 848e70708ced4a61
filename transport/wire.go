package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A wire is the receiving side of a connection. A read between two messages waits only until the
// socket may be parked.
type wire struct {
	net.Conn

	// Immutable.
	active *active
	parks  bool // the connection can be parked, and the options want it

	// Owned by the reader.
	early []byte // read before this wire had the connection
	err   error  // the error with which reading ended
	alarm bool   // there is a read deadline for parking

	// Protected by mu.
	mu      sync.Mutex
	bounded bool // the read deadline ends the reader, and must not be extended
	cutOff  bool // the reader must end now; bound has no effect
}

// errParked ends the reader of a socket that has been parked. Nothing was lost with it.
var errParked = errors.New("transport: the socket has been parked")

// parkRetry is the shortest time after which parking is tried again, if a quiet socket could not be parked
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
			if c.err = err; err == nil { // an embedding program's own type of connection may do this
				c.err = io.ErrNoProgress
			}
			return 0, c.err
		}
		if c.parkTimerFired(between) {
			return 0, errParked
		}
	}
}

// parkTimerFired parks the socket if it has been quiet for long enough. Otherwise it sets or clears the
// alarm.
func (c *wire) parkTimerFired(between bool) (parked bool) {
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

// ring sets the alarm, or clears it if after is negative.
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

// bound makes the reader end within a time.
func (c *wire) bound(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cutOff {
		return
	}
	c.bounded = true
	c.Conn.SetReadDeadline(time.Now().Add(within))
}

// cut ends the reader at once. After clearCut the connection can be read again, until a bound.
func (c *wire) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutOff, c.bounded = true, true
	c.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *wire) clearCut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutOff = false
}

func (c *wire) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cutOff
}

func (c *wire) isBounded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bounded
}
