package room

// Connections of rooms that have gone to sleep are kept for a while, for the rooms that wake next: storage.Pool.

import (
	"path/filepath"
	"time"

	"github.com/denrooms/den/storage"
)

// newPool makes what the rooms of a namespace share. Under a test's own Dispatcher nothing happens beside the rooms.
func (n *node) newPool() *storage.Pool {
	o := storage.PoolOptions{
		WALs: filepath.Join(n.opts.Dir, walsDir),
		AfterFunc: func(d time.Duration, f func()) (stop func() bool) {
			return n.opts.Clock.AfterFunc(d, func() { n.contain("closing connections that nobody uses", f) }).Stop
		},
	}
	if n.opts.inner.Dispatcher == nil {
		o.Background = func(f func()) {
			go n.contain("preparing connections", f) // ends when two wait: a millisecond or two
		}
	}
	return storage.NewPool(o)
}

// closePools closes the connections that are left.
func (n *node) closePools() {
	for _, ns := range n.namespacesNow() {
		n.contain("closing connections", ns.pool.Close)
	}
}
