package alarm

// How the clock calls the rooms that are due: one timer, a limited number of calls at the same time, and a growing pause
// before a room is called again whose call failed.

import (
	"context"
	"maps"
	"slices"
	"time"
)

const (
	// checkEvery is the longest that the clock relies on its timer. The machine's clock may be set, and timers stand
	// still while the machine sleeps.
	checkEvery = time.Minute
	// firstPause is how long the clock waits after a call that failed. The pause doubles each time, up to lastPause.
	firstPause, lastPause = time.Second, time.Minute
)

// enqueue moves an entry to its place in the queue. c.mu is held.
func (c *Clock) enqueue(e *entry) {
	if e.callAt == never {
		c.queue.remove(e)
		return
	}
	c.queue.put(e)
}

// callDue calls the rooms that are due, as many as may run at once.
func (c *Clock) callDue() {
	for again := true; again; {
		again = false
		c.mu.Lock()
		calls := c.takeDue()
		c.setTimer()
		c.mu.Unlock()
		for _, call := range calls {
			if err := c.o.Send(call); err != nil {
				c.done(call.Room, err)
				again = true // another room may run in its place
			}
		}
	}
}

// takeDue takes the entries that are due out of the queue and returns their calls. c.mu is held.
func (c *Clock) takeDue() (calls []Call) {
	now := c.o.Now().UnixMilli()
	for !c.closed && c.running < c.limit() && len(c.queue) > 0 && c.queue[0].callAt <= now {
		e := c.queue[0]
		c.queue.remove(e)
		if namespace := namespaceOf(e.room); !c.o.Known(namespace) {
			c.held[namespace] = append(c.held[namespace], e)
			e.held = true
			continue
		}
		e.running = true
		c.running++
		room := e.room
		calls = append(calls, Call{Room: room, CountFirst: c.afterCrashes() || e.failures > 0, Done: func(err error) {
			c.done(room, err)
			c.callDue()
		}})
	}
	return calls
}

// limit returns how many rooms may run alarms at the same time.
func (c *Clock) limit() int {
	if c.afterCrashes() {
		return min(c.o.MaxCalls, 1)
	}
	return c.o.MaxCalls
}

// afterCrashes reports whether the last process died before it had called all rooms with missed alarms, and this one has
// not called them either. Then one of them may be what ends the process, so the clock calls one at a time.
func (c *Clock) afterCrashes() bool { return c.missed > 0 && c.starts > 1 }

// done takes the result of a call.
func (c *Clock) done(room string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.rooms[room]
	c.running--
	e.running = false
	e.callAt = e.due
	if e.failures > 0 {
		c.failing--
	}
	if err == nil {
		e.failures = 0
	} else {
		c.failing++
		pause := min(firstPause<<min(e.failures, 6), lastPause)
		e.failures = min(e.failures+1, 100)
		e.callAt = max(e.callAt, c.o.Now().Add(pause).UnixMilli())
		c.o.Logger.Debug("a room did not run its alarms and is called again", "room", room, "in", pause, "err", err)
	}
	c.clearMissed(e)
	if e.due != never {
		c.enqueue(e)
	}
	c.forget(e)
	c.setTimer() // before WaitIdle returns, because its caller may move the clock's time
	if c.finished != nil {
		close(c.finished)
		c.finished = nil
	}
}

// clearMissed notes that a room with a missed alarm was called, or cannot be. c.mu is held.
func (c *Clock) clearMissed(e *entry) {
	if !e.missed {
		return
	}
	e.missed = false
	if c.missed--; c.missed == 0 && c.starts > 0 {
		c.starts = 0
		c.states = append(c.states, state{stateStarts, 0})
	}
}

// setTimer sets the timer to what comes next. c.mu is held.
func (c *Clock) setTimer() {
	wait := time.Duration(-1)
	if len(c.queue) > 0 || c.behind() || len(c.held) > 0 && !c.warned {
		wait = c.untilCheck()
	} else {
		c.checkAt = 0
	}
	if len(c.queue) > 0 && c.running < c.limit() {
		wait = min(wait, max(time.UnixMilli(c.queue[0].callAt).Sub(c.o.Now()), 0))
	}
	switch {
	case c.closed || wait < 0:
		if c.timer != nil {
			c.timer.Stop()
		}
	case c.timer == nil:
		c.timer = c.o.AfterFunc(wait, c.onTimer)
	default:
		c.timer.Reset(wait)
	}
}

// untilCheck returns how long it is until the next check. A check that is planned is not put off, or a clock that is told of
// new times again and again would never write its index. c.mu is held.
func (c *Clock) untilCheck() time.Duration {
	now := c.o.Now()
	if latest := now.Add(checkEvery).UnixMilli(); c.checkAt == 0 || c.checkAt > latest { // later: the machine's clock was set back
		c.checkAt = latest
	}
	return max(time.UnixMilli(c.checkAt).Sub(now), 0)
}

// onTimer runs in the timer's goroutine.
func (c *Clock) onTimer() {
	c.mu.Lock()
	now := c.o.Now().UnixMilli()
	flush := !c.closed && c.behind() && (now-c.flushed >= checkEvery.Milliseconds() || now < c.flushed)
	if flush || now >= c.checkAt {
		c.checkAt = 0
	}
	if now-c.opened >= checkEvery.Milliseconds() {
		c.warnHeld()
	}
	c.mu.Unlock()
	if flush {
		if err := c.flush(); err != nil {
			c.o.Logger.Error("the index of alarms was not written", "err", err)
		}
	}
	c.callDue()
}

// warnHeld logs once which namespaces are not registered although their rooms have alarms. The program has had a minute to
// register them. c.mu is held.
func (c *Clock) warnHeld() {
	if len(c.held) == 0 || c.warned {
		return
	}
	c.warned = true
	for _, namespace := range slices.Sorted(maps.Keys(c.held)) {
		held := c.held[namespace]
		c.o.Logger.Warn("alarms are due in rooms of a namespace that is not registered, and wait", "namespace", namespace, "rooms", len(held))
		for _, e := range held {
			c.clearMissed(e)
		}
	}
}

// WaitIdle blocks until no room is due and none runs alarms, or until ctx is done. A room whose call failed is called later,
// and WaitIdle does not wait for that.
func (c *Clock) WaitIdle(ctx context.Context) error {
	for {
		c.mu.Lock()
		due := c.limit() > 0 && len(c.queue) > 0 && c.queue[0].callAt <= c.o.Now().UnixMilli()
		if c.closed || c.running == 0 && !due {
			c.mu.Unlock()
			return nil
		}
		if c.finished == nil {
			c.finished = make(chan struct{})
		}
		finished := c.finished
		c.mu.Unlock()
		if due {
			c.callDue()
		}
		select {
		case <-finished:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
