package room

// Connections of rooms that have gone to sleep stay for those that wake next, for a while:
// storage.Kind. One timer lets them go.

import (
	"maps"
	"slices"
	"time"

	"github.com/denrooms/den/storage"
)

// walsDir is where connections keep their WALs that no room uses.
const walsDir = "_wal"

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
	if h.opts.Dispatcher != nil || h.stopping.Load() {
		return
	}
	if work := db.Stock(); work != nil {
		h.stocking.Go(func() { h.contain("making connections in stock", work) })
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
	h.stocking.Wait()
	for _, ns := range h.kinds() {
		h.contain("closing spare connections", ns.kind.Close)
	}
}
