package hibernate

import (
	"errors"
	"math"
	"sync/atomic"
)

// ErrMemory is returned where a message is refused because the node has no memory left for messages.
var ErrMemory = errors.New("hibernate: the node keeps as many bytes of messages as it may")

// A Memory counts bytes that are kept for clients: messages that wait for a room or are in work, and
// frames that wait for a commit or for a socket. It is a budget and holds none of them. Whoever has taken
// bytes gives the same number back, once. A nil Memory counts nothing and has no limit. Its methods are safe from
// any goroutine, and never block.
type Memory struct {
	limit int64
	whole *Memory // of which it is a part; nil: of none
	used  atomic.Int64
}

// NewMemory makes a Memory with a limit in bytes.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Part makes a Memory with a limit of its own, whose bytes count for m too.
func (m *Memory) Part(limit int64) *Memory { return &Memory{limit: limit, whole: m} }

// Admit takes n bytes, or returns ErrMemory where the limit would be passed.
func (m *Memory) Admit(n int) error {
	if m == nil {
		return nil
	}
	if m.used.Add(int64(n)) > m.limit {
		m.used.Add(-int64(n))
		return ErrMemory
	}
	if err := m.whole.Admit(n); err != nil {
		m.used.Add(-int64(n))
		return err
	}
	return nil
}

// Take takes n bytes, over the limit too: of what cannot be refused any more.
func (m *Memory) Take(n int) {
	for ; m != nil; m = m.whole {
		m.used.Add(int64(n))
	}
}

// Give gives n bytes back.
func (m *Memory) Give(n int) { m.Take(-n) }

// Used is how many bytes are taken.
func (m *Memory) Used() int64 {
	if m == nil {
		return 0
	}
	return m.used.Load()
}

// Limit is how many bytes may be taken.
func (m *Memory) Limit() int64 {
	if m == nil {
		return math.MaxInt64
	}
	return m.limit
}

// Free is how many bytes may still be taken, of m and of what it is a part of; 0 where the limit is passed.
func (m *Memory) Free() int64 {
	free := int64(math.MaxInt64)
	for ; m != nil; m = m.whole {
		free = min(free, max(0, m.limit-m.used.Load()))
	}
	return free
}
