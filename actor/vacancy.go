package actor

import "math"

// What to do when an inbox is full. Whoever reads messages off a socket waits until there is
// room, and reads no more meanwhile: Send, and Vacant where that is ErrOverloaded. What cannot wait, because it belongs
// to something that is in the actor's hands already, goes past the limit: Push.

// unlimited is the limit of an inbox for what goes past it.
const unlimited = math.MaxInt

// Push is Send for a message that must not be lost because others have filled the inbox: MailboxSize
// does not hold for it. The caller bounds how many there can be.
func (s *System) Push(key Key, msg any, reply func(v any, err error)) error {
	return s.post(key, &Envelope{Message: msg, reply: reply}, unlimited)
}

// Vacant returns a channel that is closed when the actor's inbox has room, which it may have lost
// again when the caller hears of it, or when the actor is no longer awake.
func (s *System) Vacant(key Key) <-chan struct{} {
	c := s.find(key)
	if c == nil {
		return closed()
	}
	defer c.mu.Unlock()
	if c.queue.len() < s.opts.MailboxSize {
		return closed()
	}
	if c.vacant == nil {
		c.vacant = make(chan struct{})
	}
	return c.vacant
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// vacate tells those who wait for room that there is some, if that is so. The lock is held.
func (c *cell) vacate() {
	if c.vacant != nil && (c.gone || c.queue.len() < c.system.opts.MailboxSize) {
		close(c.vacant)
		c.vacant = nil
	}
}
