package transport

import "github.com/denrooms/den/hibernate"

// What waits in a link's queue counts for the node's memory (room.Options.Memory), from when it is queued until it is
// taken to be written. A frame counts once, in however many queues it waits. The 16 KiB that a
// flusher has in its hands do not count.

// A queued is a frame on its way to the socket.
type queued struct {
	wire  []byte           // header and payload
	frame *hibernate.Frame // whose wire it is; nil: the link's own, as a ping or a close is
	then  func()           // to be called when it has been written; nil: nobody wants to know
}

func queue(f *hibernate.Frame) queued { return queued{wire: f.Wire(), frame: f} }

// keep takes the memory of what is about to wait.
func (q queued) keep(m *hibernate.Memory) queued {
	if q.frame != nil {
		q.frame.Keep(m)
	} else {
		m.Take(len(q.wire))
	}
	return q
}

// drop gives back what keep took.
func (q queued) drop(m *hibernate.Memory) {
	if q.frame != nil {
		q.frame.Drop()
	} else {
		m.Give(len(q.wire))
	}
}

// room is how much more may wait where the first of some frames counts. mu is held.
func (l *link) room(frames []*hibernate.Frame) int {
	return int(min(frames[0].Room(l.opts.memory), int64(l.opts.SendQueueBytes)))
}

// dropUrgent gives back what the first n of the urgent frames took. mu is held.
func (l *link) dropUrgent(n int) {
	for _, wire := range l.urgent[:n] {
		l.opts.memory.Give(len(wire))
	}
	clear(l.urgent[:n])
	if l.urgent = l.urgent[n:]; len(l.urgent) == 0 {
		l.urgent = nil
	}
}

// dropQueue drops what waits from the nth frame on that has not been taken. mu is held.
func (l *link) dropQueue(n int) {
	waiting := l.queue[min(l.head+n, len(l.queue)):]
	for _, q := range waiting {
		q.drop(l.opts.memory)
	}
	clear(waiting)
	l.queue = l.queue[:len(l.queue)-len(waiting)]
}

// SendThen is Send, and reports whether something of what was sent waits. If so, then is called when that has
// been written, from the flusher and with no lock held, unless the socket ends before.
func (s *socket) SendThen(then func(), frames ...*hibernate.Frame) (waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(frames)
	return s.active != nil && s.active.link.follow(then)
}

// follow has then called when all that waits now has been written. It is false if nothing waits, or the link is closing.
func (l *link) follow(then func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen || l.head == len(l.queue) {
		return false
	}
	last := &l.queue[len(l.queue)-1]
	if before := last.then; before != nil {
		last.then = func() { before(); then() }
	} else {
		last.then = then
	}
	return true
}

// callBack calls those who wanted to know of what has been written.
func callBack(calls []func()) {
	for _, call := range calls {
		call()
	}
}
