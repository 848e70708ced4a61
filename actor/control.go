package actor

import (
	"context"
	"fmt"
	"sync"
)

// stopWorkers is how many lives Shutdown stops at the same time. The end of a life writes
// to the disk, and each such call holds a thread.
const stopWorkers = 64

// Stop ends an actor's life after it has served what is queued now. Messages that arrive
// later are served by the next life, which begins when this one has ended. If there are
// none, nothing of the actor remains. If the actor backs off, Stop removes its record, so
// that the next Send starts a life at once. If the actor is not awake, Stop does nothing. ctx ends
// the waiting, but not the stopping.
func (s *System) Stop(ctx context.Context, key Key) error {
	c := s.find(key)
	if c == nil {
		s.forget(key)
		return nil
	}
	done := c.askStop()
	c.mu.Unlock()
	return wait(ctx, done)
}

// Retire ends a life that has nothing to do. Messages that arrive later are served by the next life.
//
//	the life                             Retire                                        ended                    asked
//	has nothing in work and queued       ends it                                       closed when it is over   true
//	has a batch in work, nothing queued  ends it after the batch, if nothing has come  nil                      true
//	has more to do, or is not current    does nothing                                  nil                      false
func (s *System) Retire(key Key, life uint64) (ended <-chan struct{}, asked bool) {
	c := s.find(key)
	if c == nil {
		return nil, false
	}
	defer c.mu.Unlock()
	l := c.life
	switch {
	case l.number != life || c.queue.len() > 0 || c.stop != nil:
		return nil, false
	case l.phase == working:
		l.retire = retireIfIdle
		return nil, true
	case l.phase != idle || l.token:
		return nil, false
	}
	l.retire = retireNow
	l.wake()
	return l.whenEnded(), true
}

// Quiet waits until no actor has anything to do: nothing is queued or in work, and no life is
// beginning or ending. It is for tests in which nobody sends meanwhile. ctx ends the waiting.
func (s *System) Quiet(ctx context.Context) error {
	for busy := true; busy; {
		busy = false
		for _, key := range s.Keys() {
			c := s.find(key)
			if c == nil {
				continue
			}
			if !c.life.token && c.queue.len() == 0 {
				c.mu.Unlock()
				continue
			}
			busy = true
			quiet := make(chan struct{})
			c.quiet = append(c.quiet, quiet)
			c.mu.Unlock()
			if err := wait(ctx, quiet); err != nil {
				return err
			}
		}
	}
	return nil
}

// Kill ends an actor's life after the batch in work. What is queued waits for the next
// life. It is for tests that want a crash. ctx ends only the waiting.
func (s *System) Kill(ctx context.Context, key Key) error {
	c := s.find(key)
	if c == nil {
		s.forget(key)
		return nil
	}
	l := c.life
	l.killed = true
	ended := l.whenEnded()
	l.wake()
	c.mu.Unlock()
	return wait(ctx, ended)
}

// Ended waits until the actor's life has ended, if it is ending. If the life goes on, or there is none, Ended
// returns at once.
func (s *System) Ended(ctx context.Context, key Key) error {
	c := s.find(key)
	if c == nil {
		return nil
	}
	l := c.life
	if l.phase != closing && l.phase != stopping {
		c.mu.Unlock()
		return nil
	}
	ended := l.whenEnded()
	c.mu.Unlock()
	return wait(ctx, ended)
}

// Abandon gives up a life whose Start, Receive or Stop hangs. It calls the behavior's Abandon on
// the caller's goroutine, refuses the batch with an *UnavailableError that is ErrAbandoned, and
// lets the next life take the queue. This counts as a failure. Whatever the hanging call does
// later has no effect on the next life.
//
// Abandon does nothing and returns false if the life is no longer the actor's, is in none of these
// calls, or is being abandoned already. It also returns false if the behavior's Abandon panicked.
// A watchdog calls it, and never the Behavior itself.
func (s *System) Abandon(key Key, life uint64) bool {
	c := s.find(key)
	if c == nil {
		return false
	}
	l := c.life
	was := l.phase
	if l.number != life || l.behavior == nil || was != starting && was != working && was != stopping {
		c.mu.Unlock()
		return false
	}
	l.phase = fencing
	c.mu.Unlock()
	fenced := false
	protect(func() error { l.behavior.Abandon(); return nil }, func(err error) { fenced = l.fenced(was, err) })
	return fenced
}

// Shutdown accepts no more messages, lets every actor serve what it has queued, and
// stops every life. If ctx ends first, Shutdown returns its error, and the lives continue
// to end without being waited for. Shutdown may be called again, to wait again.
func (s *System) Shutdown(ctx context.Context) error {
	s.closed.Store(true)
	cells := s.seal()
	s.stopAll(ctx, cells)
	select {
	case <-s.empty:
	case <-ctx.Done():
	}
	s.cancel()
	s.proto.close()
	select {
	case <-s.empty:
		return nil
	default:
		return fmt.Errorf("actor: shutdown left %d actors: %w", s.Awake(), context.Cause(ctx))
	}
}

// seal returns all cells. After it has visited all shards, no cell can be added, because
// the system is closed.
func (s *System) seal() []*cell {
	var cells []*cell
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, c := range sh.cells {
			cells = append(cells, c)
		}
		sh.resting = nil
		sh.mu.Unlock()
	}
	s.sealed.Store(true)
	if s.count.Load() == 0 {
		s.last.Do(func() { close(s.empty) })
	}
	return cells
}

// stopAll stops all cells, stopWorkers at a time. When ctx ends, it requests the stop of the rest at once.
func (s *System) stopAll(ctx context.Context, cells []*cell) {
	todo := make(chan *cell)
	var workers sync.WaitGroup
	for range min(stopWorkers, len(cells)) {
		// They end when todo is closed, or ctx ends, below.
		workers.Go(func() {
			for c := range todo {
				c.mu.Lock()
				if c.gone {
					c.mu.Unlock()
					continue
				}
				done := c.askStop()
				c.mu.Unlock()
				_ = wait(ctx, done) // Shutdown returns ctx's error
			}
		})
	}
	for _, c := range cells {
		todo <- c
	}
	close(todo)
	workers.Wait()
}

// forget removes the record of an actor that backs off.
func (s *System) forget(key Key) {
	sh := s.shard(key)
	sh.mu.Lock()
	delete(sh.resting, key)
	sh.mu.Unlock()
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done: // both were ready
		return nil
	default:
		return context.Cause(ctx)
	}
}
