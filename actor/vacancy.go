package actor

import (
	"context"
	"math"
	"slices"
)

// What happens if an inbox is full. A reader of a socket waits until there is a place, and reads no more
// meanwhile: SendOrWait. A message that cannot wait, because it belongs to something that the actor has in
// work, ignores the limit: Push.
//
// The goroutine that makes a place also puts a waiting message there, so a later message cannot be faster.
// Waiting messages are tried in the order in which they came.

// limit returns the limit of Options.
func (s *System) limit() limit { return limit{s.opts.MailboxSize, s.opts.MailboxBytes} }

// unlimited returns the limit for messages that ignore it.
func unlimited() limit { return limit{math.MaxInt, math.MaxInt} }

// Push is Send for a message that must not be refused because others have filled the inbox. It ignores MailboxSize and
// MailboxBytes. The caller must bound the number of such messages.
func (s *System) Push(key Key, msg any, reply func(v any, err error)) error {
	e := envelope(msg)
	e.reply = reply
	return s.post(key, e, unlimited())
}

// A Waiting is a message that waits for a place in an inbox.
type Waiting struct {
	cell *cell
	e    *Envelope
	over chan struct{}
	err  error // set before over is closed
}

// Over returns a channel that is closed when the message no longer waits.
func (w *Waiting) Over() <-chan struct{} { return w.over }

// Err returns why the message was not queued, or nil if it was. It may be called after Over has been closed.
func (w *Waiting) Err() error { return w.err }

// TakeBack takes the message back if it still waits, and reports whether it did. The message is then not sent, and its
// reply function is not called.
func (w *Waiting) TakeBack() bool {
	c := w.cell
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, w)
	if i < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	return true
}

// end notes that a message no longer waits. The cell's lock is held.
func (w *Waiting) end(err error) {
	w.err = err
	close(w.over)
}

// SendOrWait is Send, but if the inbox has no place for the message, the message waits for one. Then w is not nil.
func (s *System) SendOrWait(key Key, msg any, reply func(v any, err error)) (w *Waiting, err error) {
	e := envelope(msg)
	e.reply = reply
	return s.sendOrWait(key, e)
}

func (s *System) sendOrWait(key Key, e *Envelope) (*Waiting, error) {
	c, err := s.enter(key)
	if err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	if s.closed.Load() {
		return nil, ErrStopped
	}
	if c.queue.admits(e, s.limit()) {
		return nil, c.enqueue(e, s.limit())
	}
	w := &Waiting{cell: c, e: e, over: make(chan struct{})}
	c.waiting = append(c.waiting, w)
	return w, nil
}

// RequestWhenVacant is Request, but if the inbox has no place for the message, the message waits for one. If ctx ends first, the error is
// ErrOverloaded. placed is called once, when the message no longer waits.
func (s *System) RequestWhenVacant(ctx context.Context, key Key, msg any, placed func()) (any, error) {
	c := s.calls.Get().(*call)
	e := envelope(msg)
	e.ctx, e.reply = ctx, c.reply
	w, err := s.sendOrWait(key, e)
	if w != nil {
		select {
		case <-w.over:
			err = w.err
		case <-ctx.Done():
			if err = ErrOverloaded; !w.TakeBack() {
				<-w.over
				err = w.err
			}
		}
	}
	placed()
	if err != nil {
		s.calls.Put(c)
		return nil, err
	}
	return s.await(ctx, c)
}

// vacate queues the waiting messages for which there is a place now. The lock is held.
func (c *cell) vacate() {
	if len(c.waiting) == 0 {
		return
	}
	most := c.system.limit()
	rest := c.waiting[:0]
	for _, w := range c.waiting {
		switch {
		case c.system.closed.Load():
			w.end(ErrStopped)
		case c.queue.admits(w.e, most):
			w.end(c.enqueue(w.e, most))
		default:
			rest = append(rest, w)
		}
	}
	clear(c.waiting[len(rest):])
	if c.waiting = rest; len(rest) == 0 {
		c.waiting = nil
	}
}

// refuseWaiting queues all waiting messages, because the queue is about to be refused. The lock is held.
func (c *cell) refuseWaiting() {
	for _, w := range c.waiting {
		w.end(c.enqueue(w.e, unlimited()))
	}
	c.waiting = nil
}
