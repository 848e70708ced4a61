package room

// Connections of rooms that have gone to sleep are pooled for the rooms that wake next: storage.Pool.

import (
	"path/filepath"
	"time"

	"github.com/denrooms/den/storage"
)

// newPool returns what the rooms of a namespace share. With a test's Dispatcher nothing runs in the background.
func (n *node) newPool() *storage.Pool {
	o := storage.PoolOptions{
		WALs: filepath.Join(n.opts.Dir, walsDir),
		AfterFunc: func(d time.Duration, f func()) (stop func() bool) {
			return n.opts.Clock.AfterFunc(d, func() { n.contain("closing unused connections", f) }).Stop
		},
	}
	if n.opts.inner.Dispatcher == nil {
		o.Background = func(f func()) {
			go n.contain("preparing connections", f) // ends within a millisecond or two
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
