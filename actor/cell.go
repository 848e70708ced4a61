package actor

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// cell is an actor in use: its inbox, which outlives its lives, and its life of now.
type cell struct {
	// Immutable.

	system *System
	key    Key

	mu sync.Mutex // protects the rest, and the life's fields that say so

	queue    inbox
	life     *life           // never nil once start was called
	stop     *request        // to end the life after some more messages; nil if there is none
	failures int             // of lives in succession that did not get Reset old
	gone     bool            // it is out of the map
	quiet    []chan struct{} // closed when it has nothing to do; see System.Quiet
	waiting  []*Waiting      // what waits for a place, in the order in which it came; see System.SendOrWait
}

// A request is what all who wait in Stop have asked for.
type request struct {
	left int           // how many of the queue are to be served before
	done chan struct{} // closed by the cell when it is fulfilled
}

// start begins a new life. The lock is held.
func (c *cell) start() {
	s := c.system
	c.life = &life{cell: c, number: s.lives.Add(1), pid: s.proto.spawn()}
	c.life.wake()
}

// askStop asks for the end of the life once what is queued now has been served. The
// lock is held. The channel is closed when that is done.
func (c *cell) askStop() <-chan struct{} {
	if c.stop == nil {
		c.stop = &request{done: make(chan struct{})}
	}
	c.queue.settle() // so that what is served until then is what was queued now
	c.stop.left = c.queue.len()
	c.life.wake()
	return c.stop.done
}

// after decides what follows a life that is over: the next one, back-off, or nothing.
// The lock is held. What it returns is to be refused when the lock is free.
func (c *cell) after(l *life, reason StopReason) (refused []*Envelope) {
	if l.delay > 0 {
		c.refuseWaiting()
		refused = c.queue.take(nil, c.queue.len())
		c.leave(&rest{until: l.failed.Add(l.delay), failures: c.failures, cause: l.cause})
		return refused
	}
	c.vacate() // an empty inbox takes any message, so nothing waits where nothing is queued
	fulfilled := c.stop != nil && c.stop.left == 0
	if c.queue.len() == 0 && (fulfilled || reason != StopFailed) {
		c.leave(nil)
		return nil
	}
	if fulfilled {
		close(c.stop.done)
		c.stop = nil
	}
	c.start()
	return nil
}

// requeue puts what has no answer yet back to the front of the queue, for the next
// life, and gives what is to be refused: nothing, or all if there was no progress. The
// lock is held.
func (c *cell) requeue(batch []*Envelope) (refused []*Envelope) {
	var again []*Envelope
	for _, e := range batch {
		if !e.answered.Load() {
			again = append(again, e)
		}
	}
	if len(again) == len(batch) {
		return batch
	}
	c.queue.putBack(again)
	if c.stop != nil {
		c.stop.left += len(again)
	}
	return nil
}

// spare puts back to the front of the queue, for the next life, what a life that hung has not begun, and gives what
// is to be refused. Where it has begun nothing, all is: it may have hung over any of them. The lock is held.
func (c *cell) spare(batch []*Envelope) (refused []*Envelope) {
	var spared []*Envelope
	for _, e := range batch {
		if e.begun.Load() || e.answered.Load() {
			refused = append(refused, e)
		} else {
			spared = append(spared, e)
		}
	}
	if len(refused) == 0 {
		return spared
	}
	c.queue.putBack(spared)
	if c.stop != nil {
		c.stop.left += len(spared)
	}
	return refused
}

// hush tells those who wait for it that there is nothing to do. The lock is held.
func (c *cell) hush() {
	for _, q := range c.quiet {
		close(q)
	}
	c.quiet = nil
}

// leave ends the cell. The lock is held, the queue is empty.
func (c *cell) leave(r *rest) {
	c.gone = true
	c.system.discard(c, r)
	c.hush()
	if c.stop != nil {
		close(c.stop.done)
		c.stop = nil
	}
}

// count counts a failure of a life, and gives the delay that follows it: none for the
// first one after a good time, and none for one that is a sender's. A life that did not even begin always has one.
func (c *cell) count(l *life, now time.Time) time.Duration {
	b := c.system.opts.Backoff
	if l.began.IsZero() {
		c.failures++
		return b.delay(c.failures - 1)
	}
	if errors.Is(l.cause, ErrSpared) {
		return 0
	}
	if now.Sub(l.began) >= b.Reset {
		c.failures = 0
	}
	c.failures++
	if c.failures == 1 {
		return 0
	}
	return b.delay(c.failures - 2)
}

// refuse answers what has no answer yet. No lock is held.
func (c *cell) refuse(envs []*Envelope, err error) {
	for _, e := range envs {
		if e.answered.Load() {
			continue
		}
		protect(func() error { e.Reply(nil, err); return nil }, func(err error) {
			if err != nil {
				c.log("a reply function failed", err)
			}
		})
	}
}

// log reports what broke, with the stack if it was a panic.
func (c *cell) log(msg string, err error) {
	args := []any{"namespace", c.key.Namespace, "room", c.key.Room, "err", err}
	level := slog.LevelError
	if p, ok := errors.AsType[*PanicError](err); ok {
		args = append(args, "stack", string(p.Stack))
	} else if errors.Is(err, ErrReported) {
		level = slog.LevelDebug
	}
	c.system.opts.Logger.Log(context.Background(), level, msg, args...)
}
