package room

import (
	"context"
	"sync"
	"time"
)

// A watch ends hooks that take too long: first their context and their SQL, and if that does not help, the life.
type watch struct {
	room  *room
	limit time.Duration
	timer Timer

	mu      sync.Mutex
	running bool // a turn is in work
	name    string
	hook    *hookContext
	since   time.Time // when the hook began; zero between hooks
	warned  bool      // its time is over and its SQL was interrupted
}

func (w *watch) init(r *room) {
	w.room, w.limit = r, r.node.opts.ActionTimeout
}

func (w *watch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = true
	if w.timer == nil {
		w.timer = w.room.node.opts.Clock.AfterFunc(w.limit, w.check)
	} else {
		w.timer.Reset(w.limit)
	}
}

// allow sets another limit for what comes next.
func (w *watch) allow(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = limit
	if w.running {
		w.timer.Reset(limit)
	}
}

func (w *watch) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	w.timer.Stop()
}

func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *watch) enter(name string, c *Context) {
	w.mu.Lock()
	w.name, w.hook, w.since, w.warned = name, &c.ctx, c.ctx.began, false
	w.mu.Unlock()
}

func (w *watch) leave() (late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since, w.hook = time.Time{}, nil
	return w.warned
}

func (w *watch) current() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.name
}

// check runs in the timer's goroutine.
func (w *watch) check() {
	r := w.room
	r.node.contain("ending a hook of "+r.name, func() {
		if w.hangs() {
			r.node.actors.Abandon(r.key, r.number)
		}
	})
}

// hangs ends the time of a hook, and reports whether the hook has still not returned long after that. If so, it first
// fences the life: a turn that went on later would commit what neither the host nor the next life knows of.
func (w *watch) hangs() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		return false
	}
	if w.since.IsZero() {
		w.timer.Reset(w.limit)
		return false
	}
	took := w.room.now().Sub(w.since)
	if took < w.limit {
		w.timer.Reset(w.limit - took)
		return false
	}
	if w.warned {
		w.room.fenceHung()
		return true
	}
	w.warned = true
	w.hook.finish(context.DeadlineExceeded)
	w.timer.Reset(w.limit)
	w.room.db.Interrupt() // under the lock, so that this hook is the one interrupted
	return false
}

// A hookContext ends when the watch finds that the hook's time is over, or when the hook has returned. It allocates a
// channel only if somebody waits for it.
type hookContext struct {
	began    time.Time
	deadline time.Time

	mu   sync.Mutex
	done chan struct{} // nil until somebody asks for it
	err  error
}

func (h *hookContext) Deadline() (time.Time, bool) { return h.deadline, true }

func (h *hookContext) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

func (h *hookContext) Done() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done == nil {
		h.done = make(chan struct{})
		if h.err != nil {
			close(h.done)
		}
	}
	return h.done
}

func (h *hookContext) finish(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return
	}
	h.err = err
	if h.done != nil {
		close(h.done)
	}
}
