package transport

import "sync"

// The buffers that messages and bodies are read into. A message begins in one of firstBytes; a longer one
// moves into larger ones, as it comes.

const (
	firstBytes  = 4 << 10  // most messages are not longer
	secondBytes = 16 << 10 // such buffers, and those of thirdBytes, are used again
	thirdBytes  = 64 << 10
)

var (
	messages = sync.Pool{New: func() any { b := make([]byte, 0, firstBytes); return &b }}
	seconds  = sync.Pool{New: func() any { b := make([]byte, 0, secondBytes); return &b }}
	thirds   = sync.Pool{New: func() any { b := make([]byte, 0, thirdBytes); return &b }}
)

// nextBytes is how large a buffer follows one that is full, where so many bytes have come of so many that were announced. Above
// thirdBytes it is at most twice what has come, and never more than was announced.
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

// takeBuffer gives an empty buffer of a size that nextBytes has named.
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

// giveBuffer takes a buffer back that nobody uses any more.
func giveBuffer(b *[]byte) {
	switch cap(*b) {
	case secondBytes:
		seconds.Put(b)
	case thirdBytes:
		thirds.Put(b)
	}
}
