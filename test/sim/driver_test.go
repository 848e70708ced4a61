package sim

// The driver: what may happen next, one thing at a time, while the goroutines of the server are awaited.

import (
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A worker runs actors, so that one that hangs does not take the driver with it.
type worker struct {
	work chan func()
	busy bool
}

// A call is a call of the host's that waits for something.
type call struct {
	done bool
	err  error
}

func (w *world) wait() { synctest.Wait() }

// A clock waits after each call that it makes until what that has set going has come to rest: the
// next one is not made while a hook that was told to end still does.
type clock struct {
	*roomtest.Clock
	w *world
}

func (c clock) AfterFunc(d time.Duration, f func()) room.Timer {
	return c.Clock.AfterFunc(d, func() {
		c.w.hold(f)
	})
}

// background calls something that the driver must not wait for.
func (w *world) background(f func() error) *call {
	c := new(call)
	w.calls = append(w.calls, c)
	go func() { // ends when the room answers, or the server has shut down
		c.err = f()
		c.done = true
	}()
	return c
}

// exec lets a worker do a run, and waits until it is done or waits for something itself.
func (w *world) exec(run func()) {
	var idle *worker
	for _, k := range w.workers {
		if !k.busy {
			idle = k
		}
	}
	if idle == nil {
		idle = &worker{work: make(chan func())}
		w.workers = append(w.workers, idle)
		go func() { // ends when close closes work
			for run := range idle.work {
				run()
				idle.busy = false
			}
		}()
	}
	idle.busy = true
	w.hold(func() { idle.work <- run })
}

// hold does something that sets an actor going, and waits until that has come to rest; then calls in the background go on.
func (w *world) hold(do func()) {
	w.turn.hold()
	do()
	w.wait()
	for w.turn.next() { // one at a time; it may be the actor's run itself that waits
		w.wait()
	}
	w.turn.let()
}

// A turnstile holds calls in the background back while an actor runs, and then lets them go one after another.
type turnstile struct {
	mu      sync.Mutex
	held    bool // protected by mu, as is waiting
	waiting []chan struct{}
}

func (t *turnstile) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = true
}

func (t *turnstile) let() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = false
}

func (t *turnstile) wait() {
	t.mu.Lock()
	if !t.held {
		t.mu.Unlock()
		return
	}
	c := make(chan struct{})
	t.waiting = append(t.waiting, c)
	t.mu.Unlock()
	<-c
}

// next lets the first call go on. It reports whether there was one.
func (t *turnstile) next() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		return false
	}
	close(t.waiting[0])
	t.waiting = t.waiting[1:]
	return true
}

// move lets one of the things happen that may. It reports whether there was one.
func (w *world) move(rng *rand.Rand) bool {
	w.check()
	var list []move
	for i := range w.queue {
		list = append(list, move{4, func() { w.runActor(i) }})
	}
	for _, l := range w.open {
		list = l.moves(list)
	}
	if len(list) == 0 {
		return false
	}
	total := 0
	for _, m := range list {
		total += m.weight
	}
	at := rng.IntN(total)
	for _, m := range list {
		if at -= m.weight; at < 0 {
			w.stats.Moves++
			m.do()
			break
		}
	}
	w.check()
	return true
}

func (w *world) runActor(i int) {
	run := w.queue[i]
	w.queue = append(w.queue[:i:i], w.queue[i+1:]...)
	w.tracef("run %d", i)
	w.exec(run)
}

// settle lets everything happen, until nothing more can.
func (w *world) settle(rng *rand.Rand) {
	for range 20_000 {
		if !w.move(rng) || w.failure != "" {
			return
		}
	}
	w.failf("the system does not come to rest")
}

// finish lets everything happen until a call has returned.
func (w *world) finish(c *call, rng *rand.Rand, what string) {
	w.wait()
	for range 20_000 {
		if c.done {
			return
		}
		if len(w.queue) > 0 {
			w.runActor(rng.IntN(len(w.queue)))
			continue
		}
		if !w.busy() {
			break
		}
		w.clock.Advance(time.Second) // until the room goes on without the hook that hangs
		w.wait()
	}
	w.failf("%s does not end", what)
}

// busy reports whether a hook hangs.
func (w *world) busy() bool {
	for _, k := range w.workers {
		if k.busy {
			return true
		}
	}
	return false
}
