package transport

import (
	"encoding/binary"
	"unicode/utf8"
)

// Control frames as a server sends them (RFC 6455, section 5.5): two bytes of
// header, no mask, at most 125 bytes.

const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA

	finBit     = 0x80
	opcodeBits = 0x0F

	maxReason = 123 // bytes; a close frame has two for the code
)

// Close codes of the RFC's that syncproto does not send on a room's behalf.
const (
	closeProtocol = 1002 // the client broke the protocol
	closeNoStatus = 1005 // never sent: the client closed and said nothing
	closeAbnormal = 1006 // never sent: the line broke
)

// pingFrame makes a ping whose answer can be told from others'.
func pingFrame(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{finBit | opPing, 8}, number)
}

// closeFrame makes a close frame. A reason is cut at the start of a character;
// a code that no frame may carry becomes 1011, and 0 and 1005 mean none at all.
func closeFrame(code int, reason string) []byte {
	if code == 0 || code == closeNoStatus {
		return []byte{finBit | opClose, 0}
	}
	if !wireCode(code) {
		code = 1011
	}
	reason = clip(reason, maxReason)
	frame := make([]byte, 4, 4+len(reason))
	frame[0], frame[1] = finBit|opClose, byte(2+len(reason))
	binary.BigEndian.PutUint16(frame[2:], uint16(code))
	return append(frame, reason...)
}

func wireCode(code int) bool {
	switch code {
	case 1004, closeNoStatus, closeAbnormal, 1015:
		return false
	}
	return 1000 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

// pongFrame answers a ping.
func pongFrame(payload []byte) []byte {
	return append([]byte{finBit | opPong, byte(len(payload))}, payload...)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
