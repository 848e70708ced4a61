package actor

import (
	"context"
	"math"
	"slices"
)

// What to do when an inbox has no place. Whoever reads messages off a socket waits until there is
// one, and reads no more meanwhile: SendOrWait. What cannot wait, because it belongs
// to something that is in the actor's hands already, goes past the limit: Push.
//
// A message that waits is put into the inbox by whoever makes a place there, so nobody who comes later is faster. Those that wait are looked
// at in the order in which they came.

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

// A Waiting is a message that waits for a place in an inbox.
type Waiting struct {
	cell *cell
	e    *Envelope
	over chan struct{}
	err  error // set before over is closed
}

// Over is closed when the message waits no more.
func (w *Waiting) Over() <-chan struct{} { return w.over }

// Err is why the message was not queued, nil if it was. It is called after Over has been closed.
func (w *Waiting) Err() error { return w.err }

// TakeBack reports whether the message still waits, and takes it back then: it is not sent, and its reply function not called.
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

// end says that a message waits no more. The cell's lock is held.
func (w *Waiting) end(err error) {
	w.err = err
	close(w.over)
}

// SendOrWait is Send, but a message for which the inbox has no place waits for one. Then w is not nil.
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

// RequestWhenVacant is Request, but a message for which the inbox has no place waits for one, until ctx ends: that is ErrOverloaded. placed is
// called once, when the message waits no more.
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

// vacate queues what waits for a place, as far as there is one. The lock is held.
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

// refuseWaiting queues all that waits, because the queue is about to be refused. The lock is held.
func (c *cell) refuseWaiting() {
	for _, w := range c.waiting {
		w.end(c.enqueue(w.e, unlimited()))
	}
	c.waiting = nil
}
