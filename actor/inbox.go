package actor

import "slices"

// keepCap is up to which capacity an empty buffer of envelopes is kept for the next
// burst. 64 pointers are 512 bytes.
const keepCap = 64

// inbox is a first-in-first-out queue that gives its memory back after a burst. Who
// puts bounds it.
type inbox struct {
	queue []*Envelope // queue[head:] waits
	head  int
}

func (b *inbox) len() int { return len(b.queue) - b.head }

func (b *inbox) put(e *Envelope) {
	if len(b.queue) == cap(b.queue) && b.head > len(b.queue)/2 {
		n := copy(b.queue, b.queue[b.head:])
		clear(b.queue[n:])
		b.queue, b.head = b.queue[:n], 0
	}
	b.queue = append(b.queue, e)
}

// first is the oldest message, nil if there is none.
func (b *inbox) first() any {
	if b.len() == 0 {
		return nil
	}
	return b.queue[b.head].Message
}

// take moves up to n envelopes to dst, oldest first.
func (b *inbox) take(dst []*Envelope, n int) []*Envelope {
	taken := b.queue[b.head : b.head+min(n, b.len())]
	dst = append(dst, taken...)
	clear(taken)
	b.head += len(taken)
	if b.head == len(b.queue) {
		b.queue, b.head = recycle(b.queue), 0
	}
	return dst
}

// putBack puts envelopes in front of all that wait, in their order.
func (b *inbox) putBack(envs []*Envelope) {
	if len(envs) == 0 {
		return
	}
	b.queue, b.head = append(slices.Clone(envs), b.queue[b.head:]...), 0
}

// recycle empties a buffer for its next use, or lets a big one go.
func recycle(buf []*Envelope) []*Envelope {
	if cap(buf) > keepCap {
		return nil
	}
	clear(buf)
	return buf[:0]
}
