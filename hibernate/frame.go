package hibernate

import "encoding/binary"

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
	default:
		start = headRoom - 10
		buf[start+1] = 127
		binary.BigEndian.PutUint64(buf[start+2:], uint64(n))
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
