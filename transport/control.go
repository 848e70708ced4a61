package transport

import (
	"encoding/binary"
	"unicode/utf8"
)

// Control frames that a server sends (RFC 6455, section 5.5): two bytes of
// header, no mask, at most 125 bytes of payload.

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

// Close codes of RFC 6455 that a room does not send.
const (
	closeProtocol = 1002 // the client violated the protocol
	closeNoStatus = 1005 // never sent: the client closed without a code
	closeAbnormal = 1006 // never sent: the connection broke
)

// pingFrame makes a ping with a number, by which its pong is recognised.
func pingFrame(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{finBit | opPing, 8}, number)
}

// closeFrame makes a close frame. It cuts a long reason at the start of a character. A
// code that no frame may have becomes 1011. The codes 0 and 1005 stand for no code.
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
