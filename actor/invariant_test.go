package actor

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "the seed of the random tests; 0: another one each time")

// seeded gives a test's seed, and prints it.
func seeded(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with -seed=%d", seed)
	return seed
}

func source(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// A resource is what only one life of an actor may hold. Between opening and closing
// it the life may use it; a use by a life that does not hold it is counted as a fault.
type resource struct {
	holder atomic.Uint64 // the life
	most   atomic.Int64  // lives so far
}

func (r *resource) open(t *testing.T, life uint64) {
	if !r.holder.CompareAndSwap(0, life) {
		t.Errorf("life %d begins while %d lives", life, r.holder.Load())
	}
	r.most.Add(1)
}

func (r *resource) close(t *testing.T, life uint64) {
	if !r.holder.CompareAndSwap(life, 0) {
		t.Errorf("life %d ends while %d lives", life, r.holder.Load())
	}
}

// writer is a Behavior with slow, failing and hanging calls, all by the seed.
type writer struct {
	t    *testing.T
	res  *resource
	s    **System
	key  Key
	life uint64
	rand *rand.Rand

	mu       sync.Mutex
	fenced   bool
	open     bool
	inside   atomic.Int32
	stopped  bool
	watchdog sync.WaitGroup
}

func (w *writer) pause() { time.Sleep(time.Duration(w.rand.IntN(20)) * time.Millisecond) }

// enter checks that no two methods of a life run at once.
func (w *writer) enter() func() {
	if w.inside.Add(1) != 1 {
		w.t.Errorf("life %d: two calls at once", w.life)
	}
	if w.stopped {
		w.t.Errorf("life %d: a call after its end", w.life)
	}
	return func() { w.inside.Add(-1) }
}

func (w *writer) Start(context.Context, any) error {
	defer w.enter()()
	if !w.locked(func() { w.res.open(w.t, w.life); w.open = true }) {
		return errBroken
	}
	w.pause()
	if w.rand.IntN(10) == 0 {
		w.locked(func() { w.res.close(w.t, w.life); w.open = false })
		return errBroken
	}
	return nil
}

// locked calls f unless the life is fenced, as a database does.
func (w *writer) locked(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.fenced {
		f()
	}
	return !w.fenced
}

// write is what must not happen to another life's resource.
func (w *writer) write() {
	if holder := w.res.holder.Load(); holder != w.life {
		w.t.Errorf("life %d writes while %d lives", w.life, holder)
	}
}

func (w *writer) Receive(batch []*Envelope, _ func(int) []*Envelope) error {
	defer w.enter()()
	for _, e := range batch {
		switch w.rand.IntN(60) {
		case 0:
			panic("oh no")
		case 1:
			return errBroken
		case 2:
			return fmt.Errorf("%w: %w", ErrRequeue, errBroken)
		case 3:
			w.hang()
		case 4:
			w.pause()
		}
		if !w.locked(w.write) {
			e.Reply("from the grave", nil) // too late: ignored
			continue
		}
		e.Reply(nil, nil)
	}
	return nil
}

// hang is given up by a watchdog of its own, some time before or after it is over.
func (w *writer) hang() {
	patience := time.Duration(w.rand.IntN(100)) * time.Millisecond
	w.watchdog.Go(func() { // ends by itself
		time.Sleep(patience)
		(*w.s).Abandon(w.key, w.life)
	})
	time.Sleep(time.Duration(w.rand.IntN(100)) * time.Millisecond)
}

func (w *writer) Stop(StopReason) {
	defer w.enter()()
	if w.rand.IntN(20) == 0 {
		w.hang()
	}
	w.pause()
	w.locked(func() { w.res.close(w.t, w.life); w.open = false })
	w.stopped = true
}

func (w *writer) Abandon() {
	time.Sleep(5 * time.Millisecond) // the fence takes its time; the life may still write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fenced = true
	if w.open { // else Start had not opened it yet, or closed it again
		w.res.close(w.t, w.life)
	}
}

// TestInvariantSingleWriter: lives with slow ends, that break, hang and are given up,
// under many goroutines that send, stop, kill and abandon at random: never do two live
// at once, and every message gets its one answer.
func TestInvariantSingleWriter(t *testing.T) {
	seed := seeded(t)
	rounds := 60
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			bubble(t, func(t *testing.T) { singleWriter(t, seed+uint64(round)) })
		})
	}
}

func singleWriter(t *testing.T, seed uint64) {
	const goroutines, steps, keys = 8, 100, 3
	var s *System
	resources := make(map[Key]*resource)
	for i := range keys {
		resources[Key{"rooms", fmt.Sprint(i)}] = &resource{}
	}
	s = NewSystem(func(key Key, life uint64) Behavior {
		return &writer{t: t, res: resources[key], s: &s, key: key, life: life, rand: source(seed, life)}
	}, Options{MailboxSize: 20, MaxBatch: 5, Backoff: Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}, Logger: discard()})
	r := newReplies(t)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rnd := source(seed, 1000+uint64(g))
			for i := range steps {
				key := Key{"rooms", fmt.Sprint(rnd.IntN(keys))}
				randomStep(s, rnd, key, [2]int{g, i}, r)
				time.Sleep(time.Duration(rnd.IntN(8)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Second) // for those that were given up and still sleep
	r.complete()
	checkEmpty(t, s)
	for key, res := range resources {
		if res.holder.Load() != 0 || res.most.Load() < 3 {
			t.Errorf("%v: held by %d at the end, after %d lives", key, res.holder.Load(), res.most.Load())
		}
	}
}

func randomStep(s *System, rnd *rand.Rand, key Key, msg any, r *replies) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(30))*time.Millisecond)
	defer cancel()
	switch n := rnd.IntN(20); n {
	case 0:
		s.Stop(ctx, key)
	case 1:
		s.Kill(ctx, key)
	case 2:
		s.Abandon(key, s.lives.Load()-uint64(rnd.IntN(3)))
	case 3:
		s.Retire(key, s.lives.Load()-uint64(rnd.IntN(3)))
	case 4:
		s.Request(ctx, key, msg)
	default:
		reply := r.to(msg)
		if err := s.Send(key, msg, reply); err != nil {
			reply(nil, err) // the refusal is the answer: a second one is a fault
		}
	}
}

// TestSchedules runs one actor step by step in schedules made from seeds, against a
// model: accepted messages are served in order or refused, none twice, none is lost.
func TestSchedules(t *testing.T) {
	seed := seeded(t)
	n := 50
	if testing.Short() {
		n = 10
	}
	for i := range n {
		if schedule(t, seed+uint64(i)); t.Failed() {
			t.Fatalf("seed %d", seed+uint64(i))
		}
	}
}

func schedule(t *testing.T, seed uint64) {
	rnd := source(seed, 0)
	var runs []func()
	c := newClock()
	alive, last := 0, -1 // lives, and the last message served
	b := scripted{
		start: func(*scripted) error {
			if rnd.IntN(8) == 0 {
				return errBroken
			}
			alive++
			return nil
		},
		receive: each(func(_ *scripted, e *Envelope) error {
			if alive != 1 {
				t.Errorf("%d lives", alive)
			}
			switch rnd.IntN(20) {
			case 0:
				panic("oh no")
			case 1:
				return ErrRequeue
			}
			if i := e.Message.(int); i <= last {
				t.Errorf("%d was served after %d", i, last)
			} else {
				last = i
			}
			e.Reply(nil, nil)
			return nil
		}),
		stop: func(*scripted, StopReason) { alive-- },
	}
	s := newTest(t, b, Options{MailboxSize: 8, MaxBatch: 3, Now: c.Now, Dispatcher: func(run func()) { runs = append(runs, run) }})
	r := newReplies(t)
	runOne := func() {
		i := rnd.IntN(len(runs))
		run := runs[i]
		runs = append(runs[:i], runs[i+1:]...)
		run()
	}
	for i := range 2000 {
		switch n := rnd.IntN(20); {
		case n == 0:
			s.Stop(canceled(), key)
		case n == 1:
			s.Kill(canceled(), key)
		case n == 2:
			c.add(time.Duration(rnd.IntN(int(time.Second))))
		case n < 12:
			reply := r.to(i)
			if err := s.Send(key, i, reply); err != nil {
				reply(nil, err)
			}
		case len(runs) > 0:
			runOne()
		}
	}
	s.Shutdown(canceled())
	for len(runs) > 0 {
		runOne()
	}
	r.complete()
	checkEmpty(t, s)
	if alive != 0 {
		t.Errorf("%d lives at the end", alive)
	}
}

// TestManyKeys: nothing is left of keys that were touched and stopped, in the map or
// in protoactor.
func TestManyKeys(t *testing.T) {
	s := newTest(t, scripted{}, Options{})
	const keys = 5000
	for i := range keys {
		mustSend(t, s, Key{"rooms", fmt.Sprint(i)}, i, nil)
	}
	if n := s.Awake(); n != keys {
		t.Errorf("%d are awake, want %d", n, keys)
	}
	for _, k := range s.Keys() {
		if err := s.Stop(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	checkEmpty(t, s)
}

// TestRestCostsNoGoroutine: actors at rest keep no goroutine of their own and no timer;
// what they ran on waits for the next run, a few for all of them, and ends with the
// system: else the bubble would not end.
func TestRestCostsNoGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := NewSystem(func(Key, uint64) Behavior { return &scripted{} }, Options{})
		var all sync.WaitGroup
		for i := range 200 {
			all.Add(1)
			if err := s.Send(Key{"rooms", fmt.Sprint(i)}, i, func(any, error) { all.Done() }); err != nil {
				t.Fatal(err)
			}
		}
		all.Wait()
		synctest.Wait()
		w := &s.proto.workers
		w.mu.Lock()
		n := len(w.idle)
		w.mu.Unlock()
		if n < 1 || n > keepWorkers {
			t.Errorf("behind 200 actors at rest %d goroutines wait, want 1 to %d", n, keepWorkers)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
