// Package awake has the rooms that are awake: it knows which have been idle for long, and limits how many there are.
// One timer serves all of them. Using a room costs one atomic store. The set finds out where the room is in the order
// when its time to sleep seems to have come.
package awake

import (
	"container/heap"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/actor"
)

const (
	// wakeWait is how long a room that is called for waits until another has gone to sleep, if the most rooms are
	// awake.
	wakeWait = 5 * time.Second
	// wakeTick is how often it looks for a room that may sleep.
	wakeTick = 100 * time.Millisecond
	// retireGroup is how many rooms go to sleep at the same time: each closes files.
	retireGroup = 64
	// retireWait is how long a group may take before the next one begins.
	retireWait = 5 * time.Second
)

// ErrFull: as many rooms are in use as may be awake.
var ErrFull = errors.New("too many rooms are awake")

// Options of a Set.
type Options struct {
	Now       func() time.Time                      // the time
	AfterFunc func(d time.Duration, f func()) Timer // calls f in its own goroutine when d has passed
	After     time.Duration                         // a room that has been idle for this long goes to sleep; negative: never
	Most      int                                   // rooms that may be awake
	Waits     bool                                  // goroutines may wait for others; false if a test decides the order of everything
	Contain   func(f func())                        // keeps a panic in the timer's goroutine from the process

	// Retire asks a life to end. ended is closed when it has ended; nil if nobody waits for that.
	Retire func(key actor.Key, number uint64) (ended <-chan struct{}, asked bool)
}

// A Timer is a pending call of AfterFunc; see [time.Timer].
type Timer interface {
	Stop() bool                 // cancels the call
	Reset(d time.Duration) bool // changes it to d from now
}

// A Member is a life, as the set sees it.
type Member struct {
	key    actor.Key
	number uint64
	rests  func(time.Time) bool

	used atomic.Int64 // when it last did something, Unix nanoseconds

	// Protected by the set's mu.

	seen int64 // what the set knows of used
	rank int   // its index in the set; -1: none
}

// Init makes a member of a life. rests reports whether the life has no work that its sleep would end.
func (m *Member) Init(key actor.Key, number uint64, rests func(now time.Time) bool) {
	m.key, m.number, m.rests, m.rank = key, number, rests, -1
}

// A Set has the lives of a host. Its methods are safe from any goroutine.
type Set struct {
	o Options // immutable

	// Protected by mu.

	mu     sync.Mutex
	lives  byUse
	count  int             // places that are taken, including those that a waiter was given
	queue  []chan struct{} // those who wait for a place, in order; closed when it is given
	timer  Timer           // nil: none is set
	closed bool            // no timer is set any more
}

// Init prepares the set.
func (s *Set) Init(o Options) { s.o = o }

// byUse is a heap of lives, the first of which was used the longest ago. A life's key may be older than its last use,
// never newer.
type byUse []*Member

func (h byUse) Len() int           { return len(h) }
func (h byUse) Less(i, j int) bool { return h[i].seen < h[j].seen }
func (h byUse) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].rank, h[j].rank = i, j
}
func (h *byUse) Push(v any) {
	l := v.(*Member)
	l.rank = len(*h)
	*h = append(*h, l)
}
func (h *byUse) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.rank = -1
	return l
}

// Enter takes a place for a life. If none is free, the idle room that was used the longest ago is put to sleep. If
// none is free for long, Enter returns ErrFull.
func (s *Set) Enter(m *Member) error {
	s.mu.Lock()
	if s.count < s.o.Most || !s.o.Waits {
		s.count++
		s.add(m)
		s.mu.Unlock()
		return nil
	}
	given := make(chan struct{})
	s.queue = append(s.queue, given)
	s.mu.Unlock()
	if !s.wait(given) {
		return ErrFull
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(m)
	return nil
}

// wait waits for a place, and reports whether it has been given.
func (s *Set) wait(given chan struct{}) bool {
	tick := make(chan struct{}, 1)
	timer := s.o.AfterFunc(wakeTick, func() { tick <- struct{}{} }) // has room: it is set again only after a receive
	defer timer.Stop()
	for range wakeWait / wakeTick {
		s.evict()
		select {
		case <-given:
			return true
		case <-tick:
			timer.Reset(wakeTick)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.queue {
		if other == given {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			return false
		}
	}
	return true // it has just been given
}

// add adds a life that has a place to the order. mu is held.
func (s *Set) add(m *Member) {
	m.used.Store(s.o.Now().UnixNano())
	m.seen = m.used.Load()
	heap.Push(&s.lives, m)
	if s.timer == nil && s.o.After > 0 && !s.closed {
		s.timer = s.o.AfterFunc(s.o.After, s.check)
	}
}

// Leave gives a life's place back. A second call does nothing.
func (s *Set) Leave(m *Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.rank < 0 {
		return
	}
	heap.Remove(&s.lives, m.rank)
	if len(s.queue) > 0 && s.count <= s.o.Most {
		close(s.queue[0])
		s.queue = s.queue[1:]
		return
	}
	s.count--
}

// Touch notes that a life is being used.
func (s *Set) Touch(m *Member) { m.used.Store(s.o.Now().UnixNano()) }

// evict asks the idle room that was used the longest ago to sleep.
func (s *Set) evict() {
	now := s.o.Now()
	for range s.len() {
		l := s.next(now, now)
		if l == nil {
			return
		}
		if !l.rests(now) {
			continue
		}
		if _, asked := s.o.Retire(l.key, l.number); asked {
			return
		}
	}
}

func (s *Set) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lives)
}

// next returns the life that was used the longest ago, unless that was after before, and moves it to the end of the
// order, as if it were used now: it ends, or it cannot and is checked later.
func (s *Set) next(before, now time.Time) *Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.lives) > 0 {
		l := s.lives[0]
		if used := l.used.Load(); used > l.seen {
			l.seen = used
			heap.Fix(&s.lives, 0)
			continue
		}
		if l.seen > before.UnixNano() {
			return nil
		}
		l.seen = now.UnixNano()
		heap.Fix(&s.lives, 0)
		return l
	}
	return nil
}

// check is the timer's function.
func (s *Set) check() {
	s.o.Contain(s.sweep)
	s.again()
}

// sweep puts to sleep the rooms that have been idle for long.
func (s *Set) sweep() {
	now := s.o.Now()
	var going []<-chan struct{}
	for {
		l := s.next(now.Add(-s.o.After), now)
		if l != nil && l.rests(now) {
			if ended, _ := s.o.Retire(l.key, l.number); ended != nil {
				going = append(going, ended)
			}
		}
		if s.o.Waits && (l == nil || len(going) == retireGroup) {
			s.await(going)
			going = going[:0]
		}
		if l == nil {
			return
		}
	}
}

// await waits until lives have ended, but not longer than retireWait in all, so that a room whose file cannot be
// closed keeps no other room awake. It uses real time, because a test's clock stands still meanwhile.
func (s *Set) await(going []<-chan struct{}) {
	enough := time.NewTimer(retireWait)
	defer enough.Stop()
	for _, ended := range going {
		select {
		case <-ended:
		case <-enough.C:
			return
		}
	}
}

// again sets the timer for the first life that may have to sleep, if there is one.
func (s *Set) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	if len(s.lives) == 0 || s.closed {
		return
	}
	due := time.Duration(s.lives[0].seen - s.o.Now().UnixNano() + int64(s.o.After))
	s.timer = s.o.AfterFunc(max(due, time.Millisecond), s.check)
}

// Close stops the timer. Lives may come and go afterwards.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
