package transport

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// A wire is the connection as coder/websocket sees it. It follows the frames that
// come over it, and so it knows when a socket stands between two messages: only
// there may it be parked, for the bytes of half a message are in coder/websocket's hands.
type wire struct {
	net.Conn

	// Immutable.
	active *active
	parks  bool // the connection is of a kind that can be parked, and it is wanted

	// Owned by the reader.
	early  []byte // read before this wire had the connection
	err    error  // with which the connection ended for reading
	frames boundary
	alarm  bool // there is a read deadline for parking

	// Protected by mu.
	mu      sync.Mutex
	bounded bool // the read deadline is the reader's end, and is not to be put off
}

// errParked ends the reader of a socket that has been parked. Nothing was lost with it.
var errParked = errors.New("transport: the socket has been parked")

// parkRetry is how soon a socket is looked at again that was quiet and could not be parked,
// because something was being sent to it.
const parkRetry = time.Millisecond

func (c *wire) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		if len(c.early) == 0 {
			c.early = nil
		}
		c.frames.pass(p[:n])
		return n, nil
	}
	h := c.active.s.h
	for {
		if c.parks && c.frames.between() && !c.alarm {
			c.ring(h.opts.ParkAfter)
		}
		n, err := c.Conn.Read(p)
		if n > 0 {
			c.active.s.heard.Store(h.now())
			c.frames.pass(p[:n])
			return n, nil
		}
		if !c.alarm || !errors.Is(err, os.ErrDeadlineExceeded) || c.isBounded() {
			c.err = err
			return 0, err
		}
		if c.rang() {
			return 0, errParked
		}
	}
}

// rang looks whether the socket is to be parked now that the alarm has gone off, and parks
// it; else it sets or clears the alarm.
func (c *wire) rang() (parked bool) {
	h := c.active.s.h
	if !c.frames.between() {
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
	c.bounded = true
	c.Conn.SetReadDeadline(time.Now().Add(within))
}

func (c *wire) isBounded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bounded
}

// Write queues one whole frame: coder/websocket writes nothing but control frames
// here, each with one flush of a buffer that holds any of them.
func (c *wire) Write(p []byte) (int, error) {
	c.active.link.control(p)
	return len(p), nil
}

// Close ends reading. The socket closes the connection, when its last frame is out.
func (c *wire) Close() error {
	c.bound(-time.Hour)
	return nil
}

// A boundary knows where in a client's frames a stream of bytes is (RFC 6455, section
// 5.2). What is no frame makes it say anything: coder/websocket finds that out.
type boundary struct {
	head  [14]byte
	have  int    // bytes of the header that is being read
	left  uint64 // bytes of the payload that are still to come
	inner bool   // a message has begun and its last frame has not
}

// between tells whether the next byte begins a message.
func (b *boundary) between() bool { return b.have == 0 && b.left == 0 && !b.inner }

// pass takes the next bytes of the stream.
func (b *boundary) pass(p []byte) {
	for len(p) > 0 {
		if b.left > 0 {
			n := min(b.left, uint64(len(p)))
			b.left -= n
			p = p[n:]
			continue
		}
		b.head[b.have] = p[0]
		b.have++
		p = p[1:]
		if b.have < 2 || b.have < headerSize(b.head[1]) {
			continue
		}
		if b.head[0]&opControl == 0 { // a control frame may come within a message
			b.inner = b.head[0]&finBit == 0
		}
		b.left = payloadLength(b.head[:b.have])
		b.have = 0
	}
}

const (
	opControl = 0x8
	maskBit   = 0x80
)

// headerSize is how long a frame's header is, by its second byte.
func headerSize(second byte) int {
	size := 2
	switch second &^ maskBit {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if second&maskBit != 0 {
		size += 4
	}
	return size
}

func payloadLength(header []byte) uint64 {
	switch n := header[1] &^ maskBit; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(header[2:]))
	case 127:
		return binary.BigEndian.Uint64(header[2:])
	default:
		return uint64(n)
	}
}

var _ net.Conn = (*wire)(nil)
