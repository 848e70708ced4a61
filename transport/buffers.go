package transport

import "sync"

// The buffers into which messages and bodies are read. A message begins in a buffer of firstBytes. A longer
// message moves into larger ones as it arrives.

const (
	firstBytes  = 4 << 10  // most messages are not longer
	secondBytes = 16 << 10 // buffers of this size and of thirdBytes are pooled
	thirdBytes  = 64 << 10
)

var (
	messages = sync.Pool{New: func() any { b := make([]byte, 0, firstBytes); return &b }}
	seconds  = sync.Pool{New: func() any { b := make([]byte, 0, secondBytes); return &b }}
	thirds   = sync.Pool{New: func() any { b := make([]byte, 0, thirdBytes); return &b }}
)

// nextBytes returns the size of the buffer that follows a full one, after come bytes of the announced ones have
// arrived. Above thirdBytes it is at most twice come, and never more than announced.
func nextBytes(come int, announced uint64) int {
	switch {
	case come < firstBytes:
		return firstBytes
	case come < secondBytes:
		return secondBytes
	case come < thirdBytes:
		return thirdBytes
	default:
		return int(min(2*uint64(come), announced))
	}
}

// takeBuffer returns an empty buffer of a size that nextBytes returned.
func takeBuffer(size int) *[]byte {
	switch size {
	case secondBytes:
		return seconds.Get().(*[]byte)
	case thirdBytes:
		return thirds.Get().(*[]byte)
	}
	b := make([]byte, 0, size)
	return &b
}

// giveBuffer takes back a buffer that is no longer used.
func giveBuffer(b *[]byte) {
	switch cap(*b) {
	case secondBytes:
		seconds.Put(b)
	case thirdBytes:
		thirds.Put(b)
	}
}
