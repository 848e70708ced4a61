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

// ErrCongested is the error of Enter if a new client would wait too long.
var ErrCongested = errors.New("hibernate: the node has too much to do to accept a new client")

// Shares gives each client an equal share of a congested node.
//
// While the node keeps up, no client is limited. To measure this, a timer blocks a goroutine in a system call for 1 ms,
// every 5 to 20 ms, and measures how late the goroutine continues. Goroutines that wait for a file's sync or for a
// message are equally late. The node is congested while this lateness is 3 ms or more and the process itself keeps half
// of the processors busy.
//
// Clients spend bytes: those that the node receives from a client, and those that it sends because of the client, once
// for each receiver. Each message costs UnitBytes more. In a client's first 10 s everything costs four times as much, so
// that clients which come and go do not displace those which stay.
//
// While the node is congested, a client that has spent n times UnitBytes is not read until n delays have passed, and at
// most for 10 s. The delay is the same for all clients, so all have the same share, and a client that asks for less
// does not wait. The delay grows while goroutines are late and falls while they are not, so what clients may spend
// follows what the node can do. It is at most 50 ms.
//
// The division is max-min fairness (Bertsekas and Gallager, "Data Networks", 1992, section 6.5). Finding the rate by
// measuring how late work is done comes from M. Welsh and D. Culler, "Adaptive Overload Control for Busy Internet
// Servers", USITS 2003.
//
// A nil Shares is never congested. The methods are safe for concurrent use, except Wait, see there.
type Shares struct {
	slow func() // immutable

	delay atomic.Int64 // of one unit, in nanoseconds; 0 while the node keeps up
	used  atomic.Bool  // Congested was called since the last tick

	mu    sync.Mutex
	timer *time.Timer // nil if Congested was not called for a while
	asked time.Time   // the last tick that found used set
	over  bool        // the timer was stopped for good
	load  processLoad

	newcomers map[string]*newcomers // by address
}

// A Share is what one client has spent. Its zero value has spent nothing.
type Share struct {
	spent atomic.Int64              // bytes that free does not include yet
	young atomic.Bool               // the client connected less than youngFor ago
	heir  atomic.Pointer[newcomers] // pay for what is spent after the client has left; nil before that

	// Owned by the reader of the client.

	free time.Time // when the client has paid for what it had spent
}

const (
	// UnitBytes is the number of bytes that cost as much as a message.
	UnitBytes = 16 << 10
	// burst is how many times UnitBytes a client that has sent nothing for a while may spend at once.
	burst = 32
	// A client is young for youngFor. What it spends then counts youngCost times.
	youngFor  = 10 * time.Second
	youngCost = 4
	// most is the longest time for which a client is not read, and mostNew the longest that a new client waits.
	most    = 10 * time.Second
	mostNew = 5 * time.Second

	// tickEvery is the interval of the measurements, and restEvery the interval while the node keeps up.
	tickEvery = 5 * time.Millisecond
	restEvery = 20 * time.Millisecond
	// tickLate is the lateness of a goroutine at which the node counts as congested.
	tickLate = 3 * time.Millisecond
	// idleAfter is the time after the last call of Congested at which the timer stops.
	idleAfter = time.Second

	// delayLeast is the shortest delay but 0. delayMost is the longest: with it, a client may still send 20 messages a
	// second.
	delayLeast = 100 * time.Microsecond
	delayMost  = 50 * time.Millisecond
)

// NewShares returns the Shares of a node. slow is called when the delay reaches its maximum. It may be nil.
func NewShares(slow func()) *Shares { return &Shares{slow: slow} }

// Congested reports whether the node is congested.
func (s *Shares) Congested() bool {
	if s == nil {
		return false
	}
	if !s.used.Load() && !s.used.Swap(true) {
		s.begin()
	}
	return s.delay.Load() > 0
}

// begin starts the timer if it is not running.
func (s *Shares) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil || s.over {
		return
	}
	s.asked, s.load = time.Now(), processLoad{}
	s.timer = time.AfterFunc(restEvery, s.tick)
}

// Stop stops the timer for good. The node is then never congested.
func (s *Shares) Stop() {
	if s != nil {
		s.Fix(0)
	}
}

// Fix stops the timer for good and sets the delay of a unit. It is for tests.
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

// observe adjusts the delay after a measurement, and calls slow when the delay reaches its maximum.
func (s *Shares) observe(late time.Duration) {
	if s.adjust(late) && s.slow != nil {
		s.slow()
	}
}

// adjust adjusts the delay after a measurement, and reports whether the delay has just reached its maximum.
func (s *Shares) adjust(late time.Duration) (slowest bool) {
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

// nextDelay returns the delay after a tick. If the goroutine was late, the delay doubles. Otherwise it falls by a 128th,
// so it is constant if one tick in 90 is late.
func nextDelay(delay time.Duration, late bool) time.Duration {
	if late {
		return min(max(2*delay, delayLeast), delayMost)
	}
	if delay -= delay / 128; delay < delayLeast {
		return 0
	}
	return delay
}

// Age sets how long the client has been connected.
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

// Wait returns for how long the client of a share must not be read: at most 10 s, and 0 while the node keeps up. Calls for
// one share must not run at the same time.
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

// later returns the time at which bytes more are paid for, if everything before is paid for at free.
func later(free, now time.Time, bytes int64, delay time.Duration) time.Time {
	const enough = int64(most/delayLeast) * UnitBytes // more bytes would always exceed most
	free = free.Add(time.Duration(min(bytes, enough) * int64(delay) / UnitBytes))
	if last := now.Add(most); free.After(last) {
		return last
	}
	return free
}

// newcomers are the new clients from one address, which have no Share yet. They have one share together. It also pays for
// what clients from that address have left unpaid, so a client gains nothing by reconnecting.
type newcomers struct {
	shares *Shares
	free   time.Time // when the next one may enter; protected by shares.mu
}

// mostAddresses is the number of addresses with newcomers of their own. All other addresses have one newcomers together.
const mostAddresses = 1 << 12

// from returns the newcomers of an address. mu is held.
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

// forget removes the addresses whose next newcomer need not wait. mu is held.
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

// Leave notes that a client from an address has left. The next clients from that address wait for what it still owes, and
// for what is spent because of it afterwards.
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

// Guest returns a share for a new client or request from an address. The next clients from that address pay for what it
// spends. Guest returns nil while the node keeps up.
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

// Enter waits until a new client or request from an address may enter, and charges it bytes. All new ones from one address
// have one share together. Enter waits at most 5 s. If it would have to wait longer, it returns ErrCongested at once. If ctx
// ends, it returns ctx's error.
func (s *Shares) Enter(ctx context.Context, address string, bytes int64) error {
	if !s.Congested() {
		return nil
	}
	wait, err := s.queue(address, bytes)
	if err != nil {
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

// pauseStep is the longest time that a client still waits after the node keeps up again.
const pauseStep = 100 * time.Millisecond

// Pause waits for a time in steps, each by a call of sleep. It returns early when the node keeps up again, or when sleep
// returns false.
func (s *Shares) Pause(wait time.Duration, sleep func(step time.Duration) bool) {
	for wait > 0 && s.Congested() {
		step := min(wait, pauseStep)
		if !sleep(step) {
			return
		}
		wait -= step
	}
}

// queue takes the next place among the newcomers of an address, and returns how long to wait for it.
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

// A processLoad measures whether the process keeps the processors busy. If it does not, a timer is late because of other
// processes, and reading clients more slowly would not help.
type processLoad struct {
	since time.Time
	spent time.Duration // processor time of the process at since
	high  bool          // in the last window
}

// loadWindow is the time over which the load is measured.
const loadWindow = 100 * time.Millisecond

// busy reports whether the process has used half of its processors in the last window. So clients are not slowed down
// further than to half of the processors, whatever else the machine does.
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
