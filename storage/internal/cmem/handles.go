package cmem

import (
	"errors"
	"sync"
	"sync/atomic"
)

const (
	handlesPerChunk = 1024
	maxChunks       = 1024
)

// ErrNoHandle is the error of Handles.Add when a million handles are in use.
var ErrNoHandle = errors.New("no handle is free")

type chunk[T any] [handlesPerChunk]atomic.Pointer[T]

// Handles finds a Go object by a number. SQLite keeps such a number for its callbacks, because C
// memory must not hold Go pointers. The zero value is ready for use, 0 is never a handle, and all
// methods may be called by any goroutine. Find takes no lock and allocates nothing.
type Handles[T any] struct {
	chunks [maxChunks]atomic.Pointer[chunk[T]]
	mu     sync.Mutex
	last   int       // protected by mu
	free   []uintptr // protected by mu
}

// Add returns a handle that finds v until it is removed; then the number may be used again.
func (h *Handles[T]) Add(v *T) (uintptr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.free) - 1; n >= 0 {
		handle := h.free[n]
		h.free = h.free[:n]
		h.Set(handle, v)
		return handle, nil
	}
	if h.last+1 == handlesPerChunk*maxChunks {
		return 0, ErrNoHandle
	}
	h.last++
	handle := uintptr(h.last)
	if c := &h.chunks[handle/handlesPerChunk]; c.Load() == nil {
		c.Store(new(chunk[T]))
	}
	h.Set(handle, v)
	return handle, nil
}

// Set makes a handle in use find v, or nothing if v is nil.
func (h *Handles[T]) Set(handle uintptr, v *T) {
	h.chunks[handle/handlesPerChunk].Load()[handle%handlesPerChunk].Store(v)
}

// Find returns what a handle stands for, or nil.
func (h *Handles[T]) Find(handle uintptr) *T {
	c := h.chunks[handle/handlesPerChunk].Load()
	if c == nil {
		return nil
	}
	return c[handle%handlesPerChunk].Load()
}

// Remove ends a handle.
func (h *Handles[T]) Remove(handle uintptr) {
	h.Set(handle, nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = append(h.free, handle)
}
