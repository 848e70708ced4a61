package room

// Connections of rooms that have gone to sleep stay for those that wake next, for a while:
// storage.Kind. One timer lets them go.

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/denrooms/den/storage"
)

// spareTick is how often it is looked for connections that nobody has wanted.
const spareTick = 10 * time.Second

// tendSpares sees to it that the connections go that a life may just have left.
func (h *Host) tendSpares() {
	if h.stopping.Load() || !h.tending.CompareAndSwap(false, true) {
		return
	}
	h.opts.Clock.AfterFunc(spareTick, func() {
		h.tending.Store(false)
		now, more := h.opts.Clock.Now(), false
		for _, ns := range h.kinds() {
			h.contain("closing spare connections", func() { more = ns.kind.Tend(now) || more })
		}
		if more {
			h.tendSpares()
		}
	})
}

// stock has connections made for rooms that begin next, if there are too few. Under a test's own
// Dispatcher nothing happens beside the rooms.
func (h *Host) stock(db *storage.DB) {
	if h.opts.inner.Dispatcher != nil || h.stopping.Load() {
		return
	}
	if work := db.Stock(); work != nil {
		h.stocking.run(func() { h.contain("making connections in stock", work) })
	}
}

// A tally counts what runs beside. Its wait may come while something begins, which a WaitGroup does not allow. The zero value is ready.
type tally struct {
	mu   sync.Mutex
	n    int
	none sync.Cond // nothing runs
}

func (t *tally) run(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	go func() { // ends with f
		defer t.ended()
		f()
	}()
}

func (t *tally) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 {
		t.none.Broadcast()
	}
}

// wait waits until nothing runs.
func (t *tally) wait() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.none.L = &t.mu
	for t.n > 0 {
		t.none.Wait()
	}
}

// kinds are the namespaces that are registered now. No lock is held while files of theirs are closed.
func (h *Host) kinds() []*namespace {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Values(h.namespaces))
}

// closeSpares closes what is left of them.
func (h *Host) closeSpares() {
	h.stocking.wait()
	for _, ns := range h.kinds() {
		h.contain("closing spare connections", ns.kind.Close)
	}
}
