package actor

import (
	"errors"
	"runtime/debug"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
)

// phase is the phase of a life. It moves down this list, and back and forth between idle and
// working. From fencing it goes back if the behavior's Abandon failed.
type phase uint8

const (
	starting phase = iota // until Start has returned
	idle                  // between batches
	working               // in Receive
	fencing               // in Abandon; Start, Receive or Stop hangs, or has just returned
	closing               // on the way to Stop
	stopping              // in Stop
	over                  // nothing of it runs, or it is fenced
)

// life is one life of an actor: a Behavior, and the protoactor actor that runs it.
type life struct {
	// Immutable.

	cell   *cell
	number uint64
	pid    *proto.PID

	// Owned by the actor's goroutine.

	buffer []*Envelope // the next batch's memory

	// Protected by cell.mu.

	phase    phase
	behavior Behavior // nil until the factory has made it
	token    bool     // a run is scheduled or running; stays true at the end
	killed   bool     // the life must stop after the batch in work
	retire   retirement
	spent    bool          // its protoactor actor cannot be reused: a call hangs in it, or has ended its goroutine
	batch    []*Envelope   // what is in work
	left     int           // how many messages more may still return
	began    time.Time     // when Start succeeded
	ended    chan struct{} // closed when the life is over; nil if nobody waits
	late     *outcome      // what Start or Receive returned during fencing
	unfenced error         // Abandon panicked: the life ends when the call returns

	// Set when the life fails, before closing, and only read afterwards.

	failed time.Time
	delay  time.Duration // of the back-off
	cause  error
}

// retirement says whether a life must stop because it has nothing to do.
type retirement uint8

const (
	retireNot    retirement = iota
	retireIfIdle            // after the batch in work, if nothing is queued then
	retireNow               // the life had nothing to do
)

type outcome struct{ err error }

// whenEnded returns a channel that is closed when the life is over. The cell's lock is held.
func (l *life) whenEnded() <-chan struct{} {
	if l.ended == nil {
		l.ended = make(chan struct{})
	}
	return l.ended
}

// wake schedules a run of the life. The cell's lock is held.
func (l *life) wake() {
	if !l.token {
		l.token = true
		l.cell.system.proto.send(l)
	}
}

// run is one run of the actor. It continues as long as there is work. It is called on
// the actor's goroutine.
func (l *life) run() {
	goesOn := l.begin()
	for goesOn {
		goesOn = l.serve()
	}
}

// begin makes and starts the behavior, in the life's first run.
func (l *life) begin() (goesOn bool) {
	l.cell.mu.Lock()
	first := l.phase == starting
	l.cell.mu.Unlock()
	if !first {
		return true
	}
	protect(l.start, func(err error) { _, goesOn = l.returned(err) })
	return goesOn
}

func (l *life) start() error {
	s := l.cell.system
	b := s.factory(l.cell.key, l.number)
	l.cell.mu.Lock()
	l.behavior = b
	first := l.cell.queue.first()
	l.cell.mu.Unlock()
	return b.Start(s.ctx, first)
}

// serve serves a batch, or stops the life.
func (l *life) serve() (goesOn bool) {
	batch, reason := l.next()
	if reason != 0 {
		l.stop(reason)
		return false
	}
	if len(batch) == 0 {
		return false
	}
	protect(
		func() error { return l.behavior.Receive(batch, l.more) },
		func(err error) { batch, goesOn = l.returned(err) },
	)
	if goesOn {
		l.cell.refuse(batch, ErrUnanswered)
		l.buffer = recycle(batch)
	}
	return goesOn
}

// next takes a batch, or returns the reason why the life must stop, or neither if there is no
// work.
func (l *life) next() (batch []*Envelope, reason StopReason) {
	c := l.cell
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.phase != idle: // the life is over
		return nil, 0
	case l.killed:
		l.phase = closing
		return nil, StopKilled
	case c.stop != nil && c.stop.left == 0:
		l.phase = closing
		return nil, StopRequested
	case l.retire == retireNow || l.retire == retireIfIdle && c.queue.len() == 0:
		l.phase = closing
		return nil, StopIdle
	case c.queue.len() == 0:
		l.token = false
		c.hush()
		return nil, 0
	}
	l.phase, l.retire = working, retireNot
	l.left = min(c.system.opts.MaxBatch, c.queue.len())
	l.batch = l.take(l.buffer, c.system.opts.FirstBatch)
	return l.batch, 0
}

// take appends messages for the batch in work to dst. The cell's lock is held.
func (l *life) take(dst []*Envelope, n int) []*Envelope {
	c, before := l.cell, len(dst)
	n = min(n, l.left)
	if c.stop != nil {
		n = min(n, c.stop.left)
	}
	dst = c.queue.take(dst, n)
	taken := len(dst) - before
	l.left -= taken
	if c.stop != nil {
		c.stop.left -= taken
	}
	c.vacate()
	return dst
}

// more is the function that Receive gets, see Behavior.
func (l *life) more(n int) []*Envelope {
	l.cell.mu.Lock()
	defer l.cell.mu.Unlock()
	if l.phase != working {
		return nil
	}
	before := len(l.batch)
	l.batch = l.take(l.batch, n)
	return l.batch[before:len(l.batch):len(l.batch)]
}

// returned handles the result of Start or Receive. It reports whether the life goes on, and returns the batch that was in
// work.
func (l *life) returned(err error) (batch []*Envelope, goesOn bool) {
	c := l.cell
	c.mu.Lock()
	l.spent = l.spent || err == errExited
	if l.phase == fencing {
		l.late = &outcome{err}
	}
	if l.phase != starting && l.phase != working {
		c.mu.Unlock()
		return nil, false // the life is or will be abandoned; if Abandon fails, fenced calls returned again
	}
	if l.phase == starting && err != nil {
		l.fail(err, l.over)
		return nil, false
	}
	if l.phase == starting {
		l.began = c.system.opts.Now()
	}
	if err == nil {
		err = l.unfenced
	}
	if err != nil {
		l.fail(err, l.stop)
		return nil, false
	}
	batch = l.batch
	l.phase, l.batch = idle, nil
	c.mu.Unlock()
	return batch, true
}

// fail ends a failed life. It refuses the messages of the batch that are not put back, and then
// calls end. The cell's lock is held, and released.
func (l *life) fail(cause error, end func(StopReason)) {
	c := l.cell
	l.failed, l.cause = c.system.opts.Now(), cause
	l.delay = c.count(l, l.failed)
	batch := l.batch
	if _, panicked := errors.AsType[*PanicError](cause); !panicked && errors.Is(cause, ErrRequeue) {
		batch = c.requeue(batch)
	}
	if cause == ErrAbandoned {
		batch = c.spare(batch)
	}
	l.phase, l.batch = closing, nil
	c.mu.Unlock()
	c.log("an actor failed", cause)
	c.refuse(batch, l.unavailable())
	end(StopFailed)
}

func (l *life) unavailable() error {
	return &UnavailableError{RetryAfter: l.delay, Cause: l.cause}
}

// stop calls the behavior's Stop. The phase is closing.
func (l *life) stop(reason StopReason) {
	l.cell.mu.Lock()
	l.phase = stopping
	l.cell.mu.Unlock()
	protect(func() error { l.behavior.Stop(reason); return nil }, func(err error) {
		if err != nil {
			l.cell.log("an actor's stop failed", err)
		}
		l.cell.mu.Lock()
		l.spent = l.spent || err == errExited
		l.cell.mu.Unlock()
		l.over(reason)
	})
}

// over ends the life. It is called when nothing of the life runs any more or it is fenced, so that the
// next one may begin. A second call, of a Stop that was abandoned, does nothing.
func (l *life) over(reason StopReason) {
	c := l.cell
	c.mu.Lock()
	if l.phase == over {
		c.mu.Unlock()
		return
	}
	l.phase = over
	if l.spent {
		c.system.proto.remove(l.pid)
	} else {
		c.system.proto.release(l.pid)
	}
	refused := c.after(l, reason)
	if l.ended != nil {
		close(l.ended) // after c.after, so that waiters see whether the actor is gone
	}
	c.mu.Unlock()
	c.refuse(refused, l.unavailable())
}

// fenced handles the result of the behavior's Abandon, and reports whether the life is
// fenced.
func (l *life) fenced(was phase, err error) bool {
	c := l.cell
	c.mu.Lock()
	if l.phase != fencing { // the life was in Stop, which has returned
		c.mu.Unlock()
		return true
	}
	l.phase, l.spent = was, err == nil
	if err == nil && was == stopping && !l.failed.IsZero() { // the life had failed before
		c.mu.Unlock()
		l.over(StopFailed)
		return true
	}
	if err == nil {
		l.fail(ErrAbandoned, l.over)
		return true
	}
	l.unfenced = err
	late := l.late
	c.mu.Unlock()
	c.log("an actor could not be abandoned", err)
	if late != nil {
		l.returned(late.err)
	}
	return false
}

// protect calls f, and then done with its result, even if f panics or ends its
// goroutine.
func protect(f func() error, done func(error)) {
	err := errExited
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		done(err)
	}()
	err = f()
}
