package actor

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// shardCount keeps senders to different actors off each other's lock.
const shardCount = 256

// keepCells is the largest peak size with which the map of an empty shard is kept.
const keepCells = 64

// System is a set of actors, one for each key in use. Its methods are safe for
// concurrent use.
type System struct {
	// Immutable.

	factory Factory
	opts    Options
	seed    maphash.Seed
	proto   *scheduler
	ctx     context.Context // Start's; ends with Shutdown
	cancel  context.CancelFunc
	empty   chan struct{} // closed when the last cell is removed after sealed

	lives  atomic.Uint64 // the number of the last life
	count  atomic.Int64  // cells in all shards
	closed atomic.Bool   // no message is accepted any more
	sealed atomic.Bool   // closed, and every cell is in its map, so count only falls
	last   sync.Once     // closes empty
	calls  sync.Pool     // *call

	shards [shardCount]shard
}

// shard has a part of the keys. A goroutine may lock it while it holds a cell's lock, but
// not the reverse, except for a new cell, which no other goroutine has yet.
type shard struct {
	mu      sync.RWMutex
	cells   map[Key]*cell
	peak    int          // the most cells since the map was made
	resting map[Key]rest // actors that back off; they have no cell
}

// rest is the record of an actor that backs off.
type rest struct {
	until    time.Time
	failures int
	cause    error
}

// NewSystem returns a System. The caller must call Shutdown at the end, to stop the lives.
func NewSystem(f Factory, o Options) *System {
	o.setDefaults()
	s := &System{factory: f, opts: o, seed: maphash.MakeSeed(), proto: newScheduler(o), empty: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.calls.New = func() any { return newCall() }
	return s
}

// Send queues a message, and starts the actor if it is not awake. If it returns nil,
// reply (which may be nil) is called exactly once: on the actor's goroutine or, if the
// message is refused later, on another one. reply must not block. If Send returns an
// error, nothing was queued and reply is not called. The error is ErrOverloaded,
// ErrStopped, that of Options.Admit, or an *UnavailableError while the actor backs off.
func (s *System) Send(key Key, msg any, reply func(v any, err error)) error {
	e := envelope(msg)
	e.reply = reply
	return s.post(key, e, s.limit())
}

// SendAwake is Push to an actor that has a life, which may be starting or ending. If the
// actor has none, SendAwake sends nothing and returns ErrAsleep.
func (s *System) SendAwake(key Key, msg any, reply func(v any, err error)) error {
	c := s.find(key)
	if c == nil {
		return ErrAsleep
	}
	e := envelope(msg)
	e.reply = reply
	return s.postTo(c, e, unlimited())
}

// Request sends a message and waits for its answer. If ctx ends first, Request returns the
// context's error; the message stays queued and may still be applied. Other errors
// are those of Send and those that the actor answers.
func (s *System) Request(ctx context.Context, key Key, msg any) (any, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c := s.calls.Get().(*call)
	e := envelope(msg)
	e.ctx, e.reply = ctx, c.reply
	if err := s.post(key, e, s.limit()); err != nil {
		s.calls.Put(c)
		return nil, err
	}
	return s.await(ctx, c)
}

// await waits for the answer to a message that is queued.
func (s *System) await(ctx context.Context, c *call) (any, error) {
	select {
	case a := <-c.answer:
		s.calls.Put(c)
		return a.value, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-c.answer: // both were ready
		s.calls.Put(c)
		return a.value, a.err
	default:
		return nil, context.Cause(ctx) // c cannot be reused, because its answer may still come
	}
}

// A call carries the answer of a Request. Its channel has room for one, so reply never blocks.
type call struct {
	answer chan answer
	reply  func(v any, err error)
}

type answer struct {
	value any
	err   error
}

func newCall() *call {
	c := &call{answer: make(chan answer, 1)}
	c.reply = func(v any, err error) { c.answer <- answer{v, err} }
	return c
}

// Awake returns the number of actors that have a life, including those that start or end.
func (s *System) Awake() int { return int(s.count.Load()) }

// Has reports whether an actor has a life, including one that starts or ends.
func (s *System) Has(key Key) bool {
	sh := s.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.cells[key] != nil
}

// Keys returns the sorted keys of all actors that have a life. They are collected shard by
// shard, not at one moment.
func (s *System) Keys() []Key {
	var keys []Key
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for key := range sh.cells {
			keys = append(keys, key)
		}
		sh.mu.RUnlock()
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Room, b.Room))
	})
	return keys
}

func (s *System) post(key Key, e *Envelope, most limit) error {
	c, err := s.enter(key)
	if err != nil {
		return err
	}
	return s.postTo(c, e, most)
}

// postTo queues a message, unless the sender already uses its share. The cell's lock is held, and released.
func (s *System) postTo(c *cell, e *Envelope, most limit) error {
	defer c.mu.Unlock()
	if s.closed.Load() {
		return ErrStopped
	}
	if !c.queue.admits(e, most) {
		return ErrOverloaded
	}
	return c.enqueue(e, most)
}

// enqueue puts a message into the inbox, if Options.Admit allows its bytes. The lock is held.
func (c *cell) enqueue(e *Envelope, most limit) error {
	if err := c.system.charge(e, most); err != nil {
		return err
	}
	if _, is := e.Message.(Last); is {
		c.queue.settle()
	}
	c.queue.put(e)
	c.life.wake()
	return nil
}

// charge counts the bytes of a message that is about to be queued.
func (s *System) charge(e *Envelope, most limit) error {
	switch {
	case e.bytes == 0:
		return nil
	case most == unlimited():
		s.opts.Keep(e.bytes)
	default:
		if err := s.opts.Admit(e.bytes); err != nil {
			return err
		}
	}
	e.release = s.opts.Release
	return nil
}

// shard returns a key's shard. The two hashes are not combined by XOR, because a room may have the
// same name as its namespace.
func (s *System) shard(key Key) *shard {
	h := maphash.String(s.seed, key.Room) + 31*maphash.String(s.seed, key.Namespace)
	return &s.shards[h%shardCount]
}

// find returns a key's cell, locked, or nil.
func (s *System) find(key Key) *cell {
	sh := s.shard(key)
	for {
		sh.mu.RLock()
		c := sh.cells[key]
		sh.mu.RUnlock()
		if c == nil {
			return nil
		}
		c.mu.Lock()
		if !c.gone {
			return c
		}
		c.mu.Unlock() // the cell left the map meanwhile
	}
}

// enter returns a key's cell, locked, and makes it if there is none.
func (s *System) enter(key Key) (*cell, error) {
	for {
		if c := s.find(key); c != nil {
			return c, nil
		}
		c, err := s.create(key)
		if err != nil {
			return nil, err
		}
		if c != nil {
			c.start()
			return c, nil
		}
	}
}

// create makes a new cell, locked and still without a life. It returns nil if another
// goroutine was faster.
func (s *System) create(key Key) (*cell, error) {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s.closed.Load() {
		return nil, ErrStopped
	}
	if sh.cells[key] != nil {
		return nil, nil
	}
	c := &cell{system: s, key: key}
	if len(sh.resting) > 0 {
		now := s.opts.Now()
		r, ok := sh.resting[key]
		if ok && now.Before(r.until) {
			return nil, &UnavailableError{RetryAfter: r.until.Sub(now), Cause: r.cause}
		}
		if ok && !s.forgotten(r, now) {
			c.failures = r.failures
		}
		delete(sh.resting, key)
		s.sweep(sh, now)
	}
	if sh.cells == nil {
		sh.cells = make(map[Key]*cell)
	}
	c.mu.Lock()
	sh.cells[key] = c
	sh.peak = max(sh.peak, len(sh.cells))
	s.count.Add(1)
	return c, nil
}

// forgotten reports whether the failures of an actor that backed off no longer count.
func (s *System) forgotten(r rest, now time.Time) bool {
	return now.Sub(r.until) >= s.opts.Backoff.Reset
}

// sweep checks a few records and drops those that no longer count. It runs at least once
// for each new record, so that records do not accumulate.
func (s *System) sweep(sh *shard, now time.Time) {
	looked := 0
	for key, r := range sh.resting {
		if s.forgotten(r, now) {
			delete(sh.resting, key)
		}
		if looked++; looked == 4 {
			return
		}
	}
}

// discard removes a cell, whose lock the caller holds, from its map. If r is not nil, it leaves
// r as the record of an actor that backs off.
func (s *System) discard(c *cell, r *rest) {
	sh := s.shard(c.key)
	sh.mu.Lock()
	delete(sh.cells, c.key)
	if len(sh.cells) == 0 && sh.peak > keepCells {
		sh.cells, sh.peak = nil, 0 // a map does not shrink by itself
	}
	if r != nil && !s.closed.Load() {
		if sh.resting == nil {
			sh.resting = make(map[Key]rest)
		}
		s.sweep(sh, s.opts.Now())
		sh.resting[c.key] = *r
	}
	sh.mu.Unlock()
	if s.count.Add(-1) == 0 && s.sealed.Load() {
		s.last.Do(func() { close(s.empty) })
	}
}
