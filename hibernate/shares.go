package hibernate

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrCongested is returned where the node has too much to do for somebody new.
var ErrCongested = errors.New("hibernate: the node has too much to do for somebody new")

// Shares gives each client an equal share of a node that has too much to do.
//
// While the node keeps up, no client is limited. To see whether it keeps up, a timer blocks a goroutine in a system call
// for 1 ms, every 5 to 20 ms, and measures how late the goroutine goes on. A goroutine that has waited for a file's sync or
// for a message is as late. The node is congested while that lateness is 3 ms or more and the process itself keeps half
// of the processors busy. Then a client that has spent n times UnitBytes is not read before n delays have passed, and
// after 10 s in any case. The delay is the same for all clients, so all have the same share, and a client that asks for
// less is not held up. The delay grows while goroutines are late and falls while they are not, so what clients may spend
// follows what the node can do. It is 50 ms at most.
//
// Clients spend bytes: those that the node receives from a client, and those that it sends because of the client, once
// for each receiver. Each message costs UnitBytes more. In a client's first 10 s everything costs four times as much, so
// that clients which come and go do not take the place of those which stay.
//
// The division is max-min fairness (Bertsekas and Gallager, "Data Networks", 1992, section 6.5). Finding the rate by
// measuring how late work is done comes from M. Welsh and D. Culler, "Adaptive Overload Control for Busy Internet
// Servers", USITS 2003.
//
// A nil Shares is never congested. The methods are safe from any goroutine, except Wait: see there.
type Shares struct {
	slow func() // immutable

	delay atomic.Int64 // of one unit, in nanoseconds; 0: the node keeps up
	used  atomic.Bool  // somebody has asked since the last tick

	mu    sync.Mutex
	timer *time.Timer // nil: nobody has asked for a while
	asked time.Time   // when somebody was seen to have asked
	over  bool        // there is no timer any more
	load  processLoad

	newcomers map[string]*newcomers // by address
}

// A Share is what one client has spent. Its zero value has spent nothing.
type Share struct {
	spent atomic.Int64              // bytes that free does not have yet
	young atomic.Bool               // the client has not been there for long
	heir  atomic.Pointer[newcomers] // who pays for what is spent after the client has gone; nil: it has not

	// Owned by whoever reads the client.

	free time.Time // when the client has paid for what it had spent
}

const (
	// UnitBytes is how many bytes cost as much as a message.
	UnitBytes = 16 << 10
	// burst is how many times UnitBytes a client that has sent nothing for a while may spend at once.
	burst = 32
	// A client is young for youngFor, and spends youngCost times as much.
	youngFor  = 10 * time.Second
	youngCost = 4
	// most is the longest that a client is not read at a time, and mostNew the longest that somebody new waits.
	most    = 10 * time.Second
	mostNew = 5 * time.Second

	// tickEvery is how long it is until the next look, and restEvery while the node keeps up.
	tickEvery = 5 * time.Millisecond
	restEvery = 20 * time.Millisecond
	// tickLate is how late a goroutine goes on where the node is congested.
	tickLate = 3 * time.Millisecond
	// idleAfter is how long the timer goes on where nobody asks.
	idleAfter = time.Second

	// The delay is at least delayLeast where there is one. With delayMost, a client may send 20 messages a second in any
	// case.
	delayLeast = 100 * time.Microsecond
	delayMost  = 50 * time.Millisecond
)

// NewShares makes the Shares of a node. slow is called when clients have come to be read as slowly as they may be; nil: nobody
// wants to know.
func NewShares(slow func()) *Shares { return &Shares{slow: slow} }

// Congested reports whether the node has too much to do.
func (s *Shares) Congested() bool {
	if s == nil {
		return false
	}
	if !s.used.Load() && !s.used.Swap(true) {
		s.begin()
	}
	return s.delay.Load() > 0
}

// begin has the timer run, if it does not.
func (s *Shares) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil || s.over {
		return
	}
	s.asked, s.load = time.Now(), processLoad{}
	s.timer = time.AfterFunc(restEvery, s.tick)
}

// Stop ends the timer for good, and the node is congested no more.
func (s *Shares) Stop() {
	if s != nil {
		s.Fix(0)
	}
}

// Fix ends the timer, and has a unit's delay be the same from now on. It is for tests.
func (s *Shares) Fix(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.delay.Store(int64(delay))
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// tick measures how late a goroutine is.
func (s *Shares) tick() { s.observe(wakeup()) }

// observe sets the delay after a goroutine was late, and says when the delay has become the longest.
func (s *Shares) observe(late time.Duration) {
	if s.look(late) && s.slow != nil {
		s.slow()
	}
}

// look sets the delay after a goroutine was late, and reports whether it has come to be the longest.
func (s *Shares) look(late time.Duration) (slowest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil {
		return false
	}
	now := time.Now()
	if s.used.Swap(false) {
		s.asked = now
	} else if now.Sub(s.asked) >= idleAfter {
		s.timer = nil
		s.delay.Store(0)
		clear(s.newcomers)
		return false
	}
	busy := s.load.busy(now)
	delay := nextDelay(time.Duration(s.delay.Load()), busy && late >= tickLate)
	slowest = delay == delayMost && time.Duration(s.delay.Load()) < delayMost
	s.delay.Store(int64(delay))
	if delay > 0 {
		s.timer.Reset(tickEvery)
	} else {
		s.timer.Reset(restEvery)
	}
	return slowest
}

// nextDelay is the delay after a tick. It is doubled where the node is late, and else falls by a 128th, so it is
// constant where one tick in 90 is late.
func nextDelay(delay time.Duration, late bool) time.Duration {
	if late {
		return min(max(2*delay, delayLeast), delayMost)
	}
	if delay -= delay / 128; delay < delayLeast {
		return 0
	}
	return delay
}

// Age notes how long the client has been connected.
func (s *Share) Age(age time.Duration) { s.young.Store(age < youngFor) }

// Spend counts bytes. A nil Share counts nothing.
func (s *Share) Spend(bytes int64) {
	if s == nil {
		return
	}
	if s.young.Load() {
		bytes *= youngCost
	}
	s.spent.Add(bytes)
	if heir := s.heir.Load(); heir != nil {
		heir.spend(s.spent.Swap(0))
	}
}

// Wait returns how long the client of a share must not be read: 10 s at most, and 0 while the node keeps up. Calls for one
// share must not run at the same time.
func (s *Shares) Wait(share *Share) time.Duration {
	bytes, delay := share.spent.Swap(0), time.Duration(s.delay.Load())
	if delay == 0 {
		return 0
	}
	now := time.Now()
	if share.young.Load() && share.free.IsZero() {
		share.free = now
	}
	if rested := now.Add(-burst * delay); share.free.Before(rested) {
		share.free = rested
	}
	share.free = later(share.free, now, bytes, delay)
	return max(0, share.free.Sub(now))
}

// later is when somebody has paid for more bytes, who has paid for all before at free.
func later(free, now time.Time, bytes int64, delay time.Duration) time.Time {
	const enough = int64(most/delayLeast) * UnitBytes // more takes longer than is waited at most
	free = free.Add(time.Duration(min(bytes, enough) * int64(delay) / UnitBytes))
	if last := now.Add(most); free.After(last) {
		return last
	}
	return free
}

// Newcomers are those who come from one address and have no Share yet. They share one, and it pays what those owe who
// have left: a client does not gain by coming again.
type newcomers struct {
	shares *Shares
	free   time.Time // when the next one is let in; protected by shares.mu
}

// mostAddresses is how many addresses have newcomers of their own. All others share.
const mostAddresses = 1 << 12

// from is the newcomers from an address. mu is held.
func (s *Shares) from(address string) *newcomers {
	if n := s.newcomers[address]; n != nil {
		return n
	}
	if len(s.newcomers) >= mostAddresses {
		s.forget(time.Now())
	}
	if len(s.newcomers) >= mostAddresses {
		address = ""
	}
	n := s.newcomers[address]
	if n == nil {
		if s.newcomers == nil {
			s.newcomers = make(map[string]*newcomers)
		}
		n = &newcomers{shares: s}
		s.newcomers[address] = n
	}
	return n
}

// forget forgets the addresses whose next newcomer need not wait. mu is held.
func (s *Shares) forget(now time.Time) {
	maps.DeleteFunc(s.newcomers, func(_ string, n *newcomers) bool { return !n.free.After(now) })
}

func (n *newcomers) spend(bytes int64) {
	delay := time.Duration(n.shares.delay.Load())
	if delay == 0 || bytes <= 0 {
		return
	}
	n.shares.mu.Lock()
	defer n.shares.mu.Unlock()
	n.pay(time.Now(), bytes, delay)
}

// pay counts bytes. shares.mu is held.
func (n *newcomers) pay(now time.Time, bytes int64, delay time.Duration) {
	if n.free.Before(now) {
		n.free = now
	}
	n.free = later(n.free, now, bytes, delay)
}

// Leave notes that a client that came from an address has gone. The next clients from that address wait for what it still
// owes, and for what is spent because of it after that.
func (s *Shares) Leave(share *Share, address string) {
	if s == nil || share == nil {
		return
	}
	delay := time.Duration(s.delay.Load())
	if delay == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, now := s.from(address), time.Now()
	share.heir.Store(n)
	owed := int64(max(0, share.free.Sub(now))) * UnitBytes / int64(delay)
	n.pay(now, share.spent.Swap(0)+owed, delay)
}

// Guest returns a share for a new client or request from an address. The next clients from that address pay for what is spent of
// it. It returns nil while the node keeps up.
func (s *Shares) Guest(address string) *Share {
	if !s.Congested() {
		return nil
	}
	guest := new(Share)
	s.mu.Lock()
	defer s.mu.Unlock()
	guest.heir.Store(s.from(address))
	return guest
}

// Enter waits until a new client or request from an address may come in, and charges it so many bytes. All new ones from one
// address have one share together. Enter waits 5 s at most. Where it would have to wait longer it returns ErrCongested at once,
// and it returns ctx's error when ctx ends.
func (s *Shares) Enter(ctx context.Context, address string, bytes int64) error {
	if !s.Congested() {
		return nil
	}
	wait, err := s.queue(address, bytes)
	if wait <= 0 || err != nil {
		return err
	}
	s.Pause(wait, func(step time.Duration) bool {
		timer := time.NewTimer(step)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			err = ctx.Err()
			return false
		}
	})
	return err
}

// pauseStep is how long a client waits on after the node has come to keep up.
const pauseStep = 100 * time.Millisecond

// Pause waits for a time in steps, each by a call of sleep. It ends early when the node keeps up again, and when sleep returns
// false.
func (s *Shares) Pause(wait time.Duration, sleep func(step time.Duration) bool) {
	for wait > 0 && s.Congested() {
		step := min(wait, pauseStep)
		if !sleep(step) {
			return
		}
		wait -= step
	}
}

// queue takes the next place among those who are new, and gives how long it is to be waited for.
func (s *Shares) queue(address string, bytes int64) (wait time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, now := s.from(address), time.Now()
	if wait = max(0, n.free.Sub(now)); wait > mostNew {
		return 0, ErrCongested
	}
	n.pay(now, bytes, time.Duration(s.delay.Load()))
	return wait, nil
}

// A processLoad knows whether the process keeps processors busy. Where it does not, a timer is late because of other
// processes, and to read clients more slowly would help nobody.
type processLoad struct {
	since time.Time
	spent time.Duration // processor time of the process at since
	high  bool          // in the last window
}

// loadWindow is how long the load is measured.
const loadWindow = 100 * time.Millisecond

// busy reports whether the process has lately used half of the processors that it may use. So no client is read more
// slowly than it takes to keep half of them busy, whatever else the machine does.
func (l *processLoad) busy(now time.Time) bool {
	passed := now.Sub(l.since)
	if passed < loadWindow {
		return l.high
	}
	spent, known := processorTime()
	l.high = !known || !l.since.IsZero() && 2*(spent-l.spent) >= passed*time.Duration(min(runtime.NumCPU(), runtime.GOMAXPROCS(0)))
	l.since, l.spent = now, spent
	return l.high
}
