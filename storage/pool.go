package storage

// What the rooms of a namespace share.

import (
	"sync"
	"sync/atomic"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/internal/template"
	"github.com/denrooms/den/storage/pool"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// A Pool is what rooms with the same tables share: connections of files that were closed, for those that are opened next (32 at most,
// with 100 to 300 KB each), and what was found out once for all of them. The zero Pool is ready. Any goroutine may use it, and Close
// ends it.
type Pool struct {
	conns    pool.Pool[poolKey, *session.Workspace]
	template templateSlot
	plain    templateSlot // what rooms begin with before there is a template, see plain.go
	files    roomfile.Known
	tables   definitions // of the synced tables
}

// PoolOptions say what a Pool may use.
type PoolOptions = pool.Options

// NewPool makes a Pool.
func NewPool(o PoolOptions) *Pool {
	p := new(Pool)
	p.conns.Options = o
	return p
}

// ClearWALs makes a directory for PoolOptions.WALs, and removes what an earlier process has left in it.
func ClearWALs(f FS, dir string) error { return pool.ClearWALs(f, dir) }

// Close closes the connections that the Pool keeps; from then on it keeps none.
func (p *Pool) Close() { p.conns.Close() }

// Wait blocks until no connection is being prepared in the background.
func (p *Pool) Wait() { p.conns.Wait() }

// A poolKey is what a connection cannot change from one file to the next.
type poolKey struct {
	schema                        string // template.SchemaPages
	fs                            vfs.FS
	maxBytes, cacheBytes          int64
	maxValueBytes, statementCache int
	durable                       bool
}

// templateSlot is where a Pool keeps its template; nil: none so far.
type templateSlot struct {
	atomic.Pointer[template.Template]
}

// maxDefinitions is how many sets of synced tables a Pool remembers: as many as there are versions of the program's
// tables among its rooms.
const maxDefinitions = 64

// definitions are sets of tables' definitions by their digests.
type definitions struct {
	mu   sync.Mutex
	sets map[string]changes.Definitions
}

func (d *definitions) get(digest string) changes.Definitions {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sets[digest]
}

func (d *definitions) put(digest string, tables changes.Definitions) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sets == nil || len(d.sets) >= maxDefinitions {
		d.sets = make(map[string]changes.Definitions)
	}
	d.sets[digest] = tables
}
