package transport

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/denrooms/den/syncproto"
)

// A client's frames (RFC 6455, section 5.2), as a server must check them.
//
//	byte 0      FIN, three reserved bits, four bits of opcode
//	byte 1      mask bit, seven bits of length; 126 and 127 announce a longer one
//	2 or 8      the longer length, big-endian
//	4           the mask
//	…           the payload, each byte XORed with one of the mask

const (
	opControl    = 0x8
	reservedBits = 0x70
	maskBit      = 0x80
	maxHeader    = 14
	maxControl   = 125 // bytes of a control frame's payload
)

// A header is the header of one frame.
type header struct {
	op   byte
	fin  bool
	size uint64 // of the payload
	mask [4]byte
}

// A violation is an error of the client for which its socket is closed.
type violation struct {
	code   int
	reason string
}

func (v *violation) Error() string { return "transport: the client violated the protocol: " + v.reason }

func protocolError() error { return &violation{closeProtocol, "protocol_error"} }
func notUTF8() error       { return &violation{syncproto.CloseInvalidData, "not_utf8"} }
func tooLarge() error {
	return &violation{syncproto.CloseTooBig, string(syncproto.CodeTooLarge)}
}

// overloaded closes the socket too, but is not the client's error: no memory is left for what it sends.
func overloaded() error {
	return &violation{syncproto.CloseOverloaded, string(syncproto.CodeOverloaded)}
}

// headerSize returns the length of a frame's header, given its second byte.
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

// checkHeader checks the first two bytes of a client's frame. inner says that a message has begun
// and its last frame has not arrived.
func checkHeader(first, second byte, inner bool) error {
	op, size := first&opcodeBits, second&^maskBit
	switch {
	case first&reservedBits != 0, second&maskBit == 0:
		return protocolError()
	case op == opClose, op == opPing, op == opPong:
		if first&finBit == 0 || size > maxControl {
			return protocolError()
		}
	case op == opText, op == opBinary:
		if inner {
			return protocolError()
		}
	case op != 0 || !inner:
		return protocolError()
	}
	return nil
}

// parseHeader reads a whole header that checkHeader has passed.
func parseHeader(b []byte) (h header, err error) {
	h = header{op: b[0] & opcodeBits, fin: b[0]&finBit != 0, size: uint64(b[1] &^ maskBit)}
	switch h.size {
	case 126:
		h.size = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.size = binary.BigEndian.Uint64(b[2:])
	}
	copy(h.mask[:], b[len(b)-4:])
	if h.size > math.MaxInt64 { // RFC 6455: the most significant bit must be 0
		return h, protocolError()
	}
	return h, nil
}

// unmask unmasks p, which begins at byte at of the payload.
func unmask(p []byte, mask [4]byte, at uint64) {
	var key [8]byte
	for i := range key {
		key[i] = mask[(at+uint64(i))%4]
	}
	word := binary.NativeEndian.Uint64(key[:])
	for len(p) >= 8 {
		binary.NativeEndian.PutUint64(p, binary.NativeEndian.Uint64(p)^word)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= key[i]
	}
}

// parseClose checks and parses the payload of a client's close frame.
func parseClose(payload []byte) (code int, reason string, err error) {
	switch {
	case len(payload) == 0:
		return closeNoStatus, "", nil
	case len(payload) == 1:
		return 0, "", protocolError()
	}
	code = int(binary.BigEndian.Uint16(payload))
	if !wireCode(code) {
		return 0, "", protocolError()
	}
	if !utf8.Valid(payload[2:]) {
		return 0, "", notUTF8()
	}
	return code, string(payload[2:]), nil
}

// A utf8Check checks a text that arrives in parts, and fails at the first byte that cannot be
// valid UTF-8. The zero utf8Check is ready for use.
type utf8Check struct {
	part [utf8.UTFMax]byte // the beginning of a character
	have int
}

// feed checks the next part, and reports whether the text is valid so far.
func (u *utf8Check) feed(p []byte) bool {
	for u.have > 0 && len(p) > 0 {
		u.part[u.have] = p[0]
		u.have++
		p = p[1:]
		if !utf8.FullRune(u.part[:u.have]) {
			continue
		}
		if !utf8.Valid(u.part[:u.have]) {
			return false
		}
		u.have = 0
	}
	whole := len(p)
	for back := 1; back < utf8.UTFMax && back <= len(p); back++ {
		if start := len(p) - back; utf8.RuneStart(p[start]) {
			if !utf8.FullRune(p[start:]) {
				whole = start
			}
			break
		}
	}
	if whole < len(p) {
		u.have = copy(u.part[:], p[whole:])
	}
	return utf8.Valid(p[:whole])
}

// complete reports whether the text may end here.
func (u *utf8Check) complete() bool { return u.have == 0 }
