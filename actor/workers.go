package actor

import "sync"

// keepWorkers is how many goroutines wait for their next run.
const keepWorkers = 16

// workers runs actors on goroutines that are used again. SQLite's calls are deep, and
// a new goroutine would grow its stack, copying it several times, in every run: that
// was a tenth of a whole durable action.
type workers struct {
	mu     sync.Mutex
	idle   []chan func() // who waits; the last one came last, and its stack is the warmest
	closed bool
}

// schedule has run called by some goroutine, soon.
func (w *workers) schedule(run func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		next <- run // does not block: it has room for one, and is in idle when it is empty
		return
	}
	go w.work(run) // ends when enough others wait, or the system is shut down
}

func (w *workers) work(run func()) {
	next := make(chan func(), 1)
	for run != nil {
		run()
		if !w.wait(next) {
			return
		}
		run = <-next // closed by close
	}
}

func (w *workers) wait(next chan func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= keepWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// close ends those who wait; the others end behind their runs.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}
