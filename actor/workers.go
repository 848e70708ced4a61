package actor

import "sync"

// keepWorkers is the maximum number of goroutines that wait for their next run.
const keepWorkers = 16

// workers runs actors on reused goroutines. SQLite's calls are deep, so a new goroutine
// would grow and copy its stack several times in every run. That was a tenth of the
// time of a durable action.
type workers struct {
	mu     sync.Mutex
	idle   []chan func() // waiting goroutines; the last one was used last, and its stack is in the cache
	closed bool
}

// schedule makes a goroutine call run soon.
func (w *workers) schedule(run func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		next <- run // does not block: the channel has room for one, and is empty while in idle
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

// close ends the waiting goroutines. The others end after their runs.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}
