package hibernate

import (
	"errors"
	"math"
	"sync/atomic"
)

// ErrMemory is the error of a message that is refused because the node has no memory left for messages.
var ErrMemory = errors.New("hibernate: the node keeps as many bytes of messages as it may")

// A Memory is a budget of bytes that are kept for clients: messages that wait for a room or are being served, and frames that wait
// for a commit or for a socket. It counts the bytes and does not hold them. Bytes that were taken are given back once. A nil
// Memory counts nothing and has no limit. The methods are safe from any goroutine and do not block.
type Memory struct {
	limit int64
	whole *Memory // nil, or the Memory that it is a part of
	used  atomic.Int64
}

// NewMemory returns a Memory with a limit in bytes.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Part returns a Memory with a limit of its own. Its bytes count for m too.
func (m *Memory) Part(limit int64) *Memory { return &Memory{limit: limit, whole: m} }

// Admit takes n bytes. It takes none and returns ErrMemory if that would pass the limit.
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

// Take takes n bytes, even above the limit. It is for what can no longer be refused.
func (m *Memory) Take(n int) {
	for ; m != nil; m = m.whole {
		m.used.Add(int64(n))
	}
}

// Give gives n bytes back.
func (m *Memory) Give(n int) { m.Take(-n) }

// Used returns how many bytes are taken.
func (m *Memory) Used() int64 {
	if m == nil {
		return 0
	}
	return m.used.Load()
}

// Limit returns how many bytes may be taken.
func (m *Memory) Limit() int64 {
	if m == nil {
		return math.MaxInt64
	}
	return m.limit
}

// Free returns how many more bytes may be taken, of m and of the Memory that it is a part of; 0 if the limit is passed.
func (m *Memory) Free() int64 {
	free := int64(math.MaxInt64)
	for ; m != nil; m = m.whole {
		free = min(free, max(0, m.limit-m.used.Load()))
	}
	return free
}
