package actor

import "math"

// What to do when an inbox has no place. Whoever reads messages off a socket waits until there is
// one, and reads no more meanwhile: Send, and Vacant where that is ErrOverloaded. What cannot wait, because it belongs
// to something that is in the actor's hands already, goes past the limit: Push.

// limit is what Options say.
func (s *System) limit() limit { return limit{s.opts.MailboxSize, s.opts.MailboxBytes} }

// unlimited is the limit of an inbox for what goes past it.
func unlimited() limit { return limit{math.MaxInt, math.MaxInt} }

// Push is Send for a message that must not be lost because others have filled the inbox: MailboxSize
// and MailboxBytes do not hold for it. The caller bounds how many there can be.
func (s *System) Push(key Key, msg any, reply func(v any, err error)) error {
	e := envelope(msg)
	e.reply = reply
	return s.post(key, e, unlimited())
}

// A waiter waits for a place for one message.
type waiter struct {
	e      *Envelope // of that message, which is not sent
	vacant chan struct{}
}

// Vacant returns a channel that is closed when the actor's inbox has a place for a message, which it may have lost
// again when the caller hears of it, or when the actor is no longer awake. Who waited first is told first.
func (s *System) Vacant(key Key, msg any) <-chan struct{} {
	w := waiter{envelope(msg), make(chan struct{})}
	c := s.find(key)
	if c == nil {
		close(w.vacant)
		return w.vacant
	}
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, w)
	c.vacate()
	return w.vacant
}

// vacate tells those who wait for a place that there is one, but no more of them than there are places for. If
// nothing waits in the inbox all are told, because some may not listen any more. The lock is held.
func (c *cell) vacate() {
	if len(c.waiting) == 0 {
		return
	}
	most, all := c.system.limit(), c.gone || c.queue.len() == 0
	var coming limit
	rest := c.waiting[:0]
	for _, w := range c.waiting {
		if !all && !c.queue.admits(w.e, most, coming) {
			rest = append(rest, w)
			continue
		}
		coming.count++
		coming.bytes += w.e.bytes
		close(w.vacant)
	}
	clear(c.waiting[len(rest):])
	if c.waiting = rest; len(rest) == 0 {
		c.waiting = nil
	}
}
