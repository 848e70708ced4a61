package room

// The rooms that are awake: which of them have had nothing to do for long, and how many there
// may be. One timer serves all of them. A room that is used costs one atomic store; where it
// stands in the order is found out when its turn to sleep seems to have come.

import (
	"container/heap"
	"sync"
	"time"

	"github.com/denrooms/den/syncproto"
)

const (
	// alarmSoon is how close an alarm must be for its room to stay awake, and alarmLate how long one is
	// waited for that does not come.
	alarmSoon = time.Second
	alarmLate = time.Minute
	// wakeWait is how long a room that is called for waits until another has gone to sleep,
	// where as many are awake as may be.
	wakeWait = 5 * time.Second
	// wakeTick is how often it looks for one that may.
	wakeTick = 100 * time.Millisecond
	// retireGroup is how many rooms go to sleep at the same time: each closes files.
	retireGroup = 64
	// retireWait is how long a group may take before the next one goes.
	retireWait = 5 * time.Second
)

// awake is the set of a host's lives. Its methods are safe from any goroutine.
type awake struct {
	// Immutable.

	clock  Clock
	after  time.Duration // idle for so long, a room goes to sleep; negative: never
	most   int           // rooms that may be awake
	waits  bool          // a goroutine may wait for others; not under a test's own Dispatcher
	retire func(Key, uint64) (ended <-chan struct{}, asked bool)

	contain func(job string, f func()) // keeps a panic in the timer's goroutine from the process

	// Protected by mu.

	mu     sync.Mutex
	lives  byUse
	count  int             // places that are taken, those included that a waiter was given
	queue  []chan struct{} // who waits for a place, in order; closed when it is given
	timer  Timer           // nil: none is set
	closed bool            // no timer any more
}

// byUse is a heap of lives, of which the first was used the longest ago. A life's key may be
// older than its last use, never newer.
type byUse []*life

func (h byUse) Len() int           { return len(h) }
func (h byUse) Less(i, j int) bool { return h[i].seen < h[j].seen }
func (h byUse) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].rank, h[j].rank = i, j
}
func (h *byUse) Push(v any) {
	l := v.(*life)
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

// enter takes a place for a life. Where none is free, a room that is not in work is put to
// sleep, the one that was used the longest ago; if none is for long, it is overloaded.
func (a *awake) enter(l *life) error {
	a.mu.Lock()
	if a.count < a.most || !a.waits {
		a.count++
		a.add(l)
		a.mu.Unlock()
		return nil
	}
	given := make(chan struct{})
	a.queue = append(a.queue, given)
	a.mu.Unlock()
	if !a.wait(given) {
		return &Error{Code: syncproto.CodeOverloaded, Message: "Too many rooms are in use. Try again later."}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(l)
	return nil
}

// wait waits for a place, and tells whether it was given.
func (a *awake) wait(given chan struct{}) bool {
	tick := make(chan struct{}, 1)
	timer := a.clock.AfterFunc(wakeTick, func() { tick <- struct{}{} }) // has room: it is set again only behind a receive
	defer timer.Stop()
	for range wakeWait / wakeTick {
		a.evict()
		select {
		case <-given:
			return true
		case <-tick:
			timer.Reset(wakeTick)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, other := range a.queue {
		if other == given {
			a.queue = append(a.queue[:i:i], a.queue[i+1:]...)
			return false
		}
	}
	return true // it was given just now
}

// add puts a life that has a place into the order. mu is held.
func (a *awake) add(l *life) {
	l.used.Store(a.clock.Now().UnixNano())
	l.seen = l.used.Load()
	heap.Push(&a.lives, l)
	if a.timer == nil && a.after > 0 && !a.closed {
		a.timer = a.clock.AfterFunc(a.after, a.check)
	}
}

// leave gives a life's place back. A second call does nothing.
func (a *awake) leave(l *life) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.rank < 0 {
		return
	}
	heap.Remove(&a.lives, l.rank)
	if len(a.queue) > 0 && a.count <= a.most {
		close(a.queue[0])
		a.queue = a.queue[1:]
		return
	}
	a.count--
}

// touch notes that a life is used just now.
func (a *awake) touch(l *life) { l.used.Store(a.clock.Now().UnixNano()) }

// evict asks the room to sleep that was used the longest ago and may.
func (a *awake) evict() {
	now := a.clock.Now()
	for range a.len() {
		l := a.next(now, now)
		if l == nil {
			return
		}
		if !l.mayRest(now) {
			continue
		}
		if _, asked := a.retire(l.key, l.number); asked {
			return
		}
	}
}

func (a *awake) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.lives)
}

// next gives the life that was used the longest ago, if not after before, and puts it at the
// end of the order, as if it had been used now: it goes, or cannot and is looked at later.
func (a *awake) next(before, now time.Time) *life {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.lives) > 0 {
		l := a.lives[0]
		if used := l.used.Load(); used > l.seen {
			l.seen = used
			heap.Fix(&a.lives, 0)
			continue
		}
		if l.seen > before.UnixNano() {
			return nil
		}
		l.seen = now.UnixNano()
		heap.Fix(&a.lives, 0)
		return l
	}
	return nil
}

// check is the timer's.
func (a *awake) check() {
	a.contain("putting rooms to sleep", a.sweep)
	a.again()
}

// sweep puts to sleep who has had nothing to do for long.
func (a *awake) sweep() {
	now := a.clock.Now()
	var going []<-chan struct{}
	for {
		l := a.next(now.Add(-a.after), now)
		if l != nil && l.mayRest(now) {
			if ended, _ := a.retire(l.key, l.number); ended != nil {
				going = append(going, ended)
			}
		}
		if a.waits && (l == nil || len(going) == retireGroup) {
			a.await(going)
			going = going[:0]
		}
		if l == nil {
			return
		}
	}
}

// await waits until lives have ended, retireWait in all at most: one whose file cannot be closed, say, keeps no other
// room awake. That is real time, because a test's clock stands still meanwhile.
func (a *awake) await(going []<-chan struct{}) {
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

// again sets the timer for the first that may have to go, if there is one.
func (a *awake) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = nil
	if len(a.lives) == 0 || a.closed {
		return
	}
	due := time.Duration(a.lives[0].seen - a.clock.Now().UnixNano() + int64(a.after))
	a.timer = a.clock.AfterFunc(max(due, time.Millisecond), a.check)
}

// close ends the timer; lives may come and go on.
func (a *awake) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// mayRest tells whether a life has nothing under way that its sleep would end, and no alarm that
// is due at once. Whether it has messages, its actor knows.
func (l *life) mayRest(now time.Time) bool {
	alarm := time.UnixMilli(l.alarm.Load()).Sub(now)
	return l.work.Load() == 0 && (alarm > alarmSoon || alarm < -alarmLate)
}
