package pool

import (
	"slices"
	"sync"
	"time"
)

const (
	// Max is how many connections a pool keeps.
	Max = 32
	// Idle is how many of them stay when nobody has wanted them for IdleTime, and how many Warm prepares.
	Idle = 2
	// IdleTime is how long a connection stays that nobody wants; it may be twice as long.
	IdleTime = 10 * time.Second
)

// Options say what a pool may use. The zero value is usable.
type Options struct {
	// WALs is a directory for the WAL files of connections that wait: it is there, empty, on the file system of
	// the databases, and used by no other process. ClearWALs makes it. "": connections keep no WAL file.
	WALs string
	// AfterFunc calls f in a goroutine of its own after d; stop takes that back. nil means time.AfterFunc.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// Background calls f, once, in another goroutine. nil: Warm does nothing.
	Background func(f func())
}

// Pool keeps connections that wait. Connections with equal keys are interchangeable. S is what the owner of a
// connection keeps with it. The zero Pool is ready; any goroutine may use it.
type Pool[K comparable, S State] struct {
	Options // immutable once the pool is used

	mu      sync.Mutex
	waiting []entry[K, S] // the one that was put last comes last
	ticks   int           // how often the timer has fired
	stop    func() bool   // stops the timer; nil: it is not set
	warming bool          // Warm is at work
	warmed  sync.Cond     // signals that it is not
	closed  bool
}

type entry[K comparable, S State] struct {
	key  K
	conn *Conn[S]
	tick int // Pool.ticks when it was put
}

// Put takes a connection whose database has no transaction open and all of its content in its file, and closes
// the file. wal is where the WAL is; its zero value: there is none. The pool owns the connection then.
func (p *Pool[K, S]) Put(key K, c *Conn[S], wal WAL) {
	c.rest(p.WALs, wal)
	p.add(key, c)
}

// add keeps a connection, and closes the one that has waited longest if there are too many.
func (p *Pool[K, S]) add(key K, c *Conn[S]) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.drop()
		return
	}
	var gone []entry[K, S]
	if n := len(p.waiting) + 1 - Max; n > 0 {
		gone = p.takeOldest(n)
	}
	p.waiting = append(p.waiting, entry[K, S]{key, c, p.ticks})
	p.setTimer()
	p.mu.Unlock()
	closeAll(gone)
}

// takeOldest takes the n connections out that have waited longest. The mutex is held.
func (p *Pool[K, S]) takeOldest(n int) []entry[K, S] {
	gone := slices.Clone(p.waiting[:n])
	p.waiting = slices.Delete(p.waiting, 0, n)
	return gone
}

// closeAll closes connections that are no longer in a pool. No mutex is held, because it takes a while.
func closeAll[K comparable, S State](gone []entry[K, S]) {
	for _, e := range gone {
		e.conn.drop()
	}
}

// Get returns the connection that was put last with an equal key, nil if there is none. The caller owns it.
func (p *Pool[K, S]) Get(key K) *Conn[S] {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, e := range slices.Backward(p.waiting) {
		if e.key == key {
			p.waiting = slices.Delete(p.waiting, i, i+1)
			return e.conn
		}
	}
	return nil
}

// Len is the number of connections that wait.
func (p *Pool[K, S]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// setTimer sets the timer if it is needed. The mutex is held.
func (p *Pool[K, S]) setTimer() {
	if p.stop != nil || p.closed || len(p.waiting) <= Idle {
		return
	}
	after := p.AfterFunc
	if after == nil {
		after = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	p.stop = after(IdleTime, p.tick)
}

// tick closes the connections that have waited since before the last tick, but for two.
func (p *Pool[K, S]) tick() {
	p.mu.Lock()
	old := 0
	for old < len(p.waiting)-Idle && p.waiting[old].tick < p.ticks {
		old++
	}
	gone := p.takeOldest(old)
	p.ticks++
	p.stop = nil
	p.setTimer()
	p.mu.Unlock()
	closeAll(gone)
}

// Warm prepares connections in the background, until two with the key wait. It calls begin, before it returns, only if
// there are fewer and it is not at work for an earlier call. prepare makes a connection; nil: it cannot.
func (p *Pool[K, S]) Warm(key K, begin func() (prepare func() *Conn[S])) {
	if !p.startWarm(key) {
		return
	}
	prepare := begin()
	p.Background(func() { // ends when there are enough
		defer p.endWarm()
		for p.lacks(key) {
			c := prepare()
			if c == nil {
				return
			}
			p.Put(key, c, WAL{})
		}
	})
}

func (p *Pool[K, S]) startWarm(key K) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Background == nil || p.warming || !p.wants(key) {
		return false
	}
	p.warming = true
	return true
}

func (p *Pool[K, S]) lacks(key K) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wants(key)
}

// wants is lacks with the mutex held.
func (p *Pool[K, S]) wants(key K) bool {
	n := 0
	for _, e := range p.waiting {
		if e.key == key {
			n++
		}
	}
	return n < Idle && !p.closed
}

func (p *Pool[K, S]) endWarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warming = false
	p.warmed.Broadcast()
}

// Wait blocks until Warm is not at work.
func (p *Pool[K, S]) Wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warmed.L = &p.mu
	for p.warming {
		p.warmed.Wait()
	}
}

// Close closes the connections that wait; a connection that is put later is closed at once. When Close has
// returned, Warm is not at work and the timer is not set.
func (p *Pool[K, S]) Close() {
	p.mu.Lock()
	p.closed = true
	gone := p.takeOldest(len(p.waiting))
	if p.stop != nil {
		p.stop()
	}
	p.mu.Unlock()
	closeAll(gone)
	p.Wait()
}
