package hibernate

import (
	"encoding/binary"
	"math"
	"sync/atomic"
)

// headRoom is the longest header that a server's WebSocket frame can have:
// two bytes, and eight for the length (RFC 6455, section 5.2; a server's
// frames carry no mask).
const headRoom = 10

const (
	opText   = 0x1
	opBinary = 0x2
	finBit   = 0x80
)

// A Frame is one message to clients, encoded once and shared by every socket
// that gets it. Its bytes hold room for a WebSocket header in front of the
// payload: a server's frames are not masked, so header and payload are the
// same for all, and a broadcast costs one encoding and no copy.
//
// A Frame is immutable and safe from any goroutine.
type Frame struct {
	wire    []byte
	payload int // where the payload starts in wire
	binary  bool

	// Safe from any goroutine.

	waits  atomic.Int32           // number of places where it waits; see Keep
	memory atomic.Pointer[Memory] // the one that it counts for while it waits: that of the first Keep
}

// Keep records that the frame waits in one more place, for a commit or in a socket's queue. However many places there are, the
// frame counts once, and for one Memory: that of the first Keep. Each Keep needs one Drop.
func (f *Frame) Keep(m *Memory) {
	if f.memory.Load() == nil {
		if m == nil {
			m = NewMemory(math.MaxInt64) // a later Keep must not choose another one
		}
		f.memory.CompareAndSwap(nil, m)
	}
	if f.waits.Add(1) == 1 {
		f.memory.Load().Take(len(f.wire))
	}
}

// Drop records that the frame no longer waits in one of the places.
func (f *Frame) Drop() {
	if f.waits.Add(-1) == 0 {
		f.memory.Load().Give(len(f.wire))
	}
}

// Room returns how many more bytes the Memory may take that the frame counts for, or m if the frame was never kept.
func (f *Frame) Room(m *Memory) int64 {
	if own := f.memory.Load(); own != nil {
		m = own
	}
	return m.Free()
}

// TextFrame returns a text message with what encode appends to its argument, which must be valid UTF-8. size is a hint of the
// message's length in bytes.
func TextFrame(size int, encode func(dst []byte) []byte) *Frame {
	return newFrame(opText, size, encode)
}

// BinaryFrame returns a binary message with a copy of data.
func BinaryFrame(data []byte) *Frame {
	return newFrame(opBinary, len(data), func(dst []byte) []byte { return append(dst, data...) })
}

func newFrame(op byte, size int, encode func([]byte) []byte) *Frame {
	buf := encode(make([]byte, headRoom, headRoom+size))
	n := len(buf) - headRoom
	var start int
	switch {
	case n < 126:
		start = headRoom - 2
		buf[start+1] = byte(n)
	case n <= 0xffff:
		start = headRoom - 4
		buf[start+1] = 126
		binary.BigEndian.PutUint16(buf[start+2:], uint16(n))
	default: // the header fills all of headRoom
		buf[1] = 127
		binary.BigEndian.PutUint64(buf[2:], uint64(n))
	}
	buf[start] = finBit | op
	return &Frame{wire: buf[start:], payload: headRoom - start, binary: op == opBinary}
}

// Payload returns the message itself. It must not be changed.
func (f *Frame) Payload() []byte { return f.wire[f.payload:] }

// Wire returns the message as one WebSocket frame, header and payload. It must not be changed.
func (f *Frame) Wire() []byte { return f.wire }

// Binary reports whether the message is a binary one.
func (f *Frame) Binary() bool { return f.binary }
