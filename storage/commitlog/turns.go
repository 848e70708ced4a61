package commitlog

// The order in which goroutines write to the log: one at a time, the leader. The first that comes leads, and hands
// over to the request that has waited longest.

import "sync"

// turns is the queue of the goroutines that want to write.
type turns struct {
	mu    *sync.Mutex // of the log; protects what follows
	queue []*request
	led   bool       // there is a leader
	group []*request // owned by the leader
}

// A request is a goroutine's place in the queue.
type request struct {
	room *Room // that appends; nil: the caller wants the log for itself
	wake chan role

	entry  Entry
	pieces [][]byte // of the payload, after entry.Payload
	size   int      // of the payload, in bytes
	at     uint32   // offset of the record in the segment
	crc    uint32
	flags  uint8
	err    error
}

// A role is what a request has become when its wait ends.
type role uint8

const (
	leader role = iota
	done        // another leader has written the entry
)

// enqueue queues r, and returns when r leads or is done. mu is held at the call, and is free at the return.
func (t *turns) enqueue(r *request) role {
	t.queue = append(t.queue, r)
	if !t.led {
		t.led = true
		t.mu.Unlock()
		return leader
	}
	if r.wake == nil {
		r.wake = make(chan role, 1) // the leader sends once for each request
	}
	t.mu.Unlock()
	return <-r.wake
}

// handOver makes the request that has waited longest the leader. mu is held.
func (t *turns) handOver() {
	if len(t.queue) == 0 {
		t.led = false
		return
	}
	t.queue[0].wake <- leader
}

// dequeue moves n requests from the queue into the leader's group. mu is held.
func (t *turns) dequeue(n int) []*request {
	t.group = append(t.group[:0], t.queue[:n]...)
	rest := copy(t.queue, t.queue[n:])
	clear(t.queue[rest:])
	t.queue = t.queue[:rest]
	return t.group
}

// groupSize returns how many of the queued requests are written together. mu is held.
func (t *turns) groupSize() int {
	bytes := 0
	for i, r := range t.queue {
		if r.room == nil {
			return i
		}
		if bytes += r.size; i > 0 && bytes > groupBytes {
			return i
		}
	}
	return len(t.queue)
}
