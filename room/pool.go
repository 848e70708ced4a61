package room

// Connections of rooms that have gone to sleep are kept for a while, for the rooms that wake next: storage.Pool.

import (
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/denrooms/den/storage"
)

// newPool makes what the rooms of a namespace share. Under a test's own Dispatcher nothing happens beside the rooms.
func (h *Host) newPool() *storage.Pool {
	o := storage.PoolOptions{
		WALs: filepath.Join(h.opts.Dir, walsDir),
		AfterFunc: func(d time.Duration, f func()) (stop func() bool) {
			return h.opts.Clock.AfterFunc(d, func() { h.contain("closing connections that nobody uses", f) }).Stop
		},
	}
	if h.opts.inner.Dispatcher == nil {
		o.Background = func(f func()) {
			go h.contain("preparing connections", f) // ends when two wait: a millisecond or two
		}
	}
	return storage.NewPool(o)
}

// namespacesNow are the namespaces that are registered now. No lock is held while something is done with them.
func (h *Host) namespacesNow() []*namespace {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Values(h.namespaces))
}

// closePools closes the connections that are left.
func (h *Host) closePools() {
	for _, ns := range h.namespacesNow() {
		h.contain("closing connections", ns.pool.Close)
	}
}
