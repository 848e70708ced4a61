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

	waits  atomic.Int32           // in how many places it waits; see Keep
	memory atomic.Pointer[Memory] // for which it counts while it does: the first that it was kept for
}

// Keep notes that the frame waits in one more place: for a commit, in a socket's queue. However many
// they are, it counts once for a Memory: for m, or for the one that it was kept for first. Each Keep is ended by one Drop.
func (f *Frame) Keep(m *Memory) {
	if f.memory.Load() == nil {
		if m == nil {
			m = NewMemory(math.MaxInt64) // whoever takes must be who gives
		}
		f.memory.CompareAndSwap(nil, m)
	}
	if f.waits.Add(1) == 1 {
		f.memory.Load().Take(len(f.wire))
	}
}

// Drop notes that the frame no longer waits in one place.
func (f *Frame) Drop() {
	if f.waits.Add(-1) == 0 {
		f.memory.Load().Give(len(f.wire))
	}
}

// Room is how many bytes may still be taken where the frame counts; m is where it would if it had never been kept.
func (f *Frame) Room(m *Memory) int64 {
	if own := f.memory.Load(); own != nil {
		m = own
	}
	return m.Free()
}

// TextFrame makes a text message of what encode appends to the slice that it
// is given. The result must be valid UTF-8. size is a hint of its length.
func TextFrame(size int, encode func(dst []byte) []byte) *Frame {
	return newFrame(opText, size, encode)
}

// BinaryFrame makes a binary message of a copy of data.
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

// Payload is the message itself. It must not be changed.
func (f *Frame) Payload() []byte { return f.wire[f.payload:] }

// Wire is the message as one WebSocket frame, header and payload. It must not
// be changed.
func (f *Frame) Wire() []byte { return f.wire }

// Binary tells a binary message from a text one.
func (f *Frame) Binary() bool { return f.binary }
