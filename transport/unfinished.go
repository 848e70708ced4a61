package transport

import (
	"container/heap"
	"sync"

	"github.com/denrooms/den/hibernate"
)

// Messages and bodies that have not arrived whole count towards the node's memory (room.Options.Memory), as far as
// they do not fit into the buffer that each reader has (firstBytes). Together they may use half of it. If they need
// more, the connection with the largest is ended, and among equal ones the oldest: it is closed with 4002, or answered
// with overloaded. So a client that holds much for long is ended, and a message that arrives quickly passes. Lock
// order: unfinished.mu, then link.mu and wire.mu.

// An unfinished is the budget for all connections of a handler. Its methods are safe for concurrent use.
type unfinished struct {
	memory *hibernate.Memory // immutable: a part of the node's
	full   func()            // immutable: called when the memory is used up, with mu held

	// Protected by mu.

	mu    sync.Mutex
	seq   uint64   // number of the last message that began
	heaps heldHeap // those that can be ended
}

// A held is the memory that one connection has for a message. It belongs to one goroutine, except the fields that
// unfinished.mu protects.
type held struct {
	owner evictable // immutable; nil if it cannot be ended from outside
	took  bool      // owned by the goroutine: there is something to release

	// Protected by unfinished.mu.

	bytes int
	since uint64
	at    int  // its place in the heap, from 1; 0 if it is not in the heap
	gone  bool // it was ended, and no longer counts
}

// An evictable is a connection that can be ended while it reads. evict does not block.
type evictable interface{ evict() }

func newUnfinished(memory *hibernate.Memory, largest int64, full func()) *unfinished {
	most := memory.Limit()
	return &unfinished{memory: memory.Part(max(most/2, min(most, largest))), full: full}
}

// grow counts n more bytes for a message. It returns false if the message's owner must end, because its message is the
// largest or because it was ended already.
func (u *unfinished) grow(h *held, n int) (ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for !h.gone && u.memory.Admit(n) != nil {
		u.full()
		if len(u.heaps) == 0 || u.heaps[0] == h {
			return false
		}
		largest := u.heaps[0]
		u.drop(largest)
		largest.gone = true
		largest.owner.evict()
	}
	if h.gone {
		return false
	}
	h.took = true
	h.bytes += n
	switch {
	case h.at > 0:
		heap.Fix(&u.heaps, h.at-1)
	case h.owner != nil:
		u.seq++
		h.since = u.seq
		heap.Push(&u.heaps, h)
	}
	return true
}

// settle notes that a message is complete. The message counts until it is released, and its owner can no longer be ended.
// settle returns false if the owner was ended already.
func (u *unfinished) settle(h *held) (ok bool) {
	if !h.took {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if h.at > 0 {
		heap.Remove(&u.heaps, h.at-1)
	}
	return !h.gone
}

// release gives back all memory of a message.
func (u *unfinished) release(h *held) {
	if !h.took {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	h.took = false
	u.drop(h)
}

// drop is release with mu held.
func (u *unfinished) drop(h *held) {
	if h.at > 0 {
		heap.Remove(&u.heaps, h.at-1)
	}
	u.memory.Give(h.bytes)
	h.bytes = 0
}

// A heldHeap has at its top the one that is ended first.
type heldHeap []*held

func (q heldHeap) Len() int { return len(q) }
func (q heldHeap) Less(i, j int) bool {
	if q[i].bytes != q[j].bytes {
		return q[i].bytes > q[j].bytes
	}
	return q[i].since < q[j].since
}

func (q heldHeap) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i+1, j+1
}

func (q *heldHeap) Push(x any) {
	h := x.(*held)
	*q = append(*q, h)
	h.at = len(*q)
}

func (q *heldHeap) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	h.at = 0
	return h
}
