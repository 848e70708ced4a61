package actor

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// cell is an actor in use: its inbox, which outlives its lives, and its current life.
type cell struct {
	// Immutable.

	system *System
	key    Key

	mu sync.Mutex // protects the rest, and the life's fields that say so

	queue    inbox
	life     *life           // never nil after start was called
	stop     *request        // to end the life after some more messages; nil if there is none
	failures int             // consecutive failures of lives younger than Backoff.Reset
	gone     bool            // the cell is no longer in the map
	quiet    []chan struct{} // closed when the actor has nothing to do; see System.Quiet
	waiting  []*Waiting      // messages that wait for a place, in order of arrival; see System.SendOrWait
}

// A request is the request of all callers that wait in Stop.
type request struct {
	left int           // how many queued messages are to be served first
	done chan struct{} // closed by the cell when the life has ended
}

// start begins a new life. The lock is held.
func (c *cell) start() {
	s := c.system
	c.life = &life{cell: c, number: s.lives.Add(1), pid: s.proto.spawn()}
	c.life.wake()
}

// askStop requests the end of the life after everything that is queued now. The channel
// is closed when the life has ended. The lock is held.
func (c *cell) askStop() <-chan struct{} {
	if c.stop == nil {
		c.stop = &request{done: make(chan struct{})}
	}
	c.queue.settle() // so that exactly what is queued now is served first
	c.stop.left = c.queue.len()
	c.life.wake()
	return c.stop.done
}

// after decides what follows a life that is over: the next life, back-off, or nothing.
// The lock is held. The caller refuses the returned messages after it has unlocked.
func (c *cell) after(l *life, reason StopReason) (refused []*Envelope) {
	if l.delay > 0 {
		c.refuseWaiting()
		refused = c.queue.take(nil, c.queue.len())
		c.leave(&rest{until: l.failed.Add(l.delay), failures: c.failures, cause: l.cause})
		return refused
	}
	c.vacate() // an empty inbox accepts any message, so if nothing is queued, nothing waits
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

// requeue puts the unanswered messages back to the front of the queue, for the next
// life. If none of the batch was answered, it returns the whole batch, which is to be
// refused. The lock is held.
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

// spare puts the messages that a hanging life has not begun back to the front of the queue, for the next life, and
// returns those that are to be refused. If the life has begun none, all are refused, because any of them may be the
// cause. The lock is held.
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

// hush tells the waiting calls of System.Quiet that the actor has nothing to do. The lock is held.
func (c *cell) hush() {
	for _, q := range c.quiet {
		close(q)
	}
	c.quiet = nil
}

// leave ends the cell. The lock is held, and the queue is empty.
func (c *cell) leave(r *rest) {
	c.gone = true
	c.system.discard(c, r)
	c.hush()
	if c.stop != nil {
		close(c.stop.done)
		c.stop = nil
	}
}

// count counts a failure of a life, and returns the delay that follows it. There is none after the first
// failure of a life that was at least Backoff.Reset old, and none if a sender caused the failure. There is
// always one if the life did not begin.
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

// refuse answers the unanswered messages with err. No lock is held.
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

// log logs a failure, with the stack if it was a panic.
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
