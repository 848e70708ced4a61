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

// keepCells is up to which size the map of an empty shard is kept.
const keepCells = 64

// System is a set of actors, one for each key that is in use. Its methods are safe
// from any goroutine.
type System struct {
	// Immutable.

	factory Factory
	opts    Options
	seed    maphash.Seed
	proto   *scheduler
	ctx     context.Context // Start's; ends with Shutdown
	cancel  context.CancelFunc
	empty   chan struct{} // closed by whoever takes the last cell away after sealed

	lives  atomic.Uint64 // the number that was given out last
	count  atomic.Int64  // cells in all shards
	closed atomic.Bool   // nothing is accepted any more
	sealed atomic.Bool   // closed, and every cell is in its map: count only falls
	last   sync.Once     // closes empty
	calls  sync.Pool     // *call

	shards [shardCount]shard
}

// shard holds a part of the keys. A goroutine may lock it while it holds a cell's
// lock, not the other way about (a new cell excepted, which nobody else can have).
type shard struct {
	mu      sync.RWMutex
	cells   map[Key]*cell
	peak    int          // the most cells since the map was made
	resting map[Key]rest // actors that back off; they have no cell
}

// rest is what is left of an actor that backs off.
type rest struct {
	until    time.Time
	failures int
	cause    error
}

// NewSystem makes a System. It holds no goroutine as long as no actor has work, but
// call Shutdown at the end, so that the lives are stopped.
func NewSystem(f Factory, o Options) *System {
	o.setDefaults()
	s := &System{factory: f, opts: o, seed: maphash.MakeSeed(), proto: newScheduler(o), empty: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.calls.New = func() any { return newCall() }
	return s
}

// Send queues a message, and starts the actor if it is not awake. If it returns nil,
// reply (which may be nil) is called exactly once, from the actor's goroutine or, when
// the message is refused later, from another one; it must not block. On an error
// nothing was queued and reply is not called: ErrOverloaded, ErrStopped, that of Options.Admit, or an
// *UnavailableError while the actor backs off.
func (s *System) Send(key Key, msg any, reply func(v any, err error)) error {
	e := envelope(msg)
	e.reply = reply
	return s.post(key, e, s.limit())
}

// SendAwake is Push to an actor that has a life now, which may be starting or ending. To
// one that has none nothing is sent: ErrAsleep.
func (s *System) SendAwake(key Key, msg any, reply func(v any, err error)) error {
	c := s.find(key)
	if c == nil {
		return ErrAsleep
	}
	e := envelope(msg)
	e.reply = reply
	return s.postTo(c, e, unlimited())
}

// Request sends a message and waits for its answer. When ctx ends first it stops
// waiting and returns the context's error; the message stays queued and may still be
// applied. Errors are those of Send and those that the actor answers.
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
		return nil, context.Cause(ctx) // c is not used again: its answer may still come
	}
}

// A call carries the one answer of a Request. It holds one, so reply never blocks.
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

// Awake is how many actors have a life, one that starts or ends included.
func (s *System) Awake() int { return int(s.count.Load()) }

// Has tells whether an actor has a life, one that starts or ends included.
func (s *System) Has(key Key) bool {
	sh := s.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.cells[key] != nil
}

// Keys are the keys of those actors, sorted. They are collected shard by shard, not
// at one moment.
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

// postTo queues a message, unless its sender has its share waiting. The cell's lock is held, and released.
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

// enqueue puts a message into the inbox, if its bytes may be taken. The lock is held.
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

// charge takes the bytes of a message that is about to be queued.
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

// shard finds a key's shard. The two hashes are not simply combined by XOR: a room
// may be named as its namespace is.
func (s *System) shard(key Key) *shard {
	h := maphash.String(s.seed, key.Room) + 31*maphash.String(s.seed, key.Namespace)
	return &s.shards[h%shardCount]
}

// find gives a key's cell, locked, or nil.
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
		c.mu.Unlock() // it left the map before its lock was free
	}
}

// enter gives a key's cell, locked, and makes it if there is none.
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

// create puts a new cell in its place, locked and still without a life. It gives nil
// if another goroutine was faster.
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

// forgotten tells whether an actor that backed off starts afresh.
func (s *System) forgotten(r rest, now time.Time) bool {
	return now.Sub(r.until) >= s.opts.Backoff.Reset
}

// sweep looks at a few records and drops those that are forgotten. It runs for each
// record that is made and more, so that they don't pile up.
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

// discard takes a cell, whose lock the caller holds, out of its map. With r it leaves
// a record that its actor backs off.
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
