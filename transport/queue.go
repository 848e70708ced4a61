package transport

import "github.com/denrooms/den/hibernate"

// What waits in a link's queue counts towards the node's memory (room.Options.Memory), from when it is queued until it is
// taken to be written. A frame counts once, in however many queues it waits. The up to 16 KiB that a
// flusher is writing do not count.

// A queued is a frame on its way to the socket.
type queued struct {
	wire  []byte           // header and payload
	frame *hibernate.Frame // the frame with these bytes; nil for the link's own, such as a ping or a close
	then  func()           // called when the frame has been written; may be nil
}

func queue(f *hibernate.Frame) queued { return queued{wire: f.Wire(), frame: f} }

// keep counts the memory of a frame that begins to wait.
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

// room returns how many bytes may wait when frames are to be queued. mu is held.
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

// dropQueue drops all waiting frames but the first n. mu is held.
func (l *link) dropQueue(n int) {
	waiting := l.queue[min(l.head+n, len(l.queue)):]
	for _, q := range waiting {
		q.drop(l.opts.memory)
	}
	clear(waiting)
	l.queue = l.queue[:len(l.queue)-len(waiting)]
}

// SendThen is Send, and reports whether something waits to be written. If so, the flusher calls then, with no lock
// held, when all of it has been written, unless the socket ends before.
func (s *socket) SendThen(then func(), frames ...*hibernate.Frame) (waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(frames)
	return s.active != nil && s.active.link.follow(then)
}

// follow registers then, which is called when all that waits now has been written. It returns false if nothing waits or
// the link is closing.
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

// runCalls calls the functions that were registered for what has been written.
func runCalls(calls []func()) {
	for _, call := range calls {
		call()
	}
}
