package recent

import (
	"sync"
	"time"

	"github.com/denrooms/den/actor"
)

const (
	// maxPanics is how many panics of an action type disable it for one user.
	maxPanics = 3
	// maxAnonymousPanics is how many panics disable it for all clients of a room that have no user.
	maxAnonymousPanics = 10
	// disabledFor is how long after the last panic the action type is disabled.
	disabledFor = time.Minute
	// maxCallers is how many pairs of user and action type a host remembers.
	maxCallers = 4096
)

// A Caller is a client and the action type that it has called.
type Caller struct {
	Room    actor.Key
	Subject string
	Serial  uint64 // of the connection; 0 if there is a subject
	Action  string
}

// Panics are those of the last minute. The zero value is ready to use; its methods are safe from any goroutine.
type Panics struct {
	mu  sync.Mutex
	all map[Caller]panicked
}

type panicked struct {
	times int
	last  time.Time
	since uint64 // for all clients without a user: the serial of the connection that reached the limit
}

// anonymous returns the Caller that stands for all clients of a room without a user, if who is one of them.
func (who Caller) anonymous() (all Caller, is bool) {
	is = who.Serial != 0
	who.Serial = 0
	return who, is
}

// Disabled reports whether an action type is disabled for a caller.
func (p *Panics) Disabled(who Caller, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.all[who]; of.times >= maxPanics && !of.over(now) {
		return true
	}
	all, is := who.anonymous()
	of := p.all[all]
	return is && of.times >= maxAnonymousPanics && !of.over(now) && who.Serial > of.since
}

// Note counts a panic, and reports whether it disables the action type.
func (p *Panics) Note(who Caller, now time.Time) (disabled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all, is := who.anonymous(); is {
		p.count(all, who.Serial, now)
	}
	return p.count(who, 0, now) == maxPanics
}

// count counts a panic, and returns how many there have been. mu is held.
func (p *Panics) count(who Caller, serial uint64, now time.Time) int {
	of := p.all[who]
	if of.over(now) {
		of = panicked{}
	}
	if of.times++; of.times == maxAnonymousPanics {
		of.since = serial
	}
	of.last = now
	if p.all == nil {
		p.all = make(map[Caller]panicked)
	}
	if len(p.all) >= maxCallers {
		p.sweep(now)
	}
	p.all[who] = of
	return of.times
}

// sweep forgets the panics that no longer count, and others if there are too many. mu is held.
func (p *Panics) sweep(now time.Time) {
	for who, of := range p.all {
		if of.over(now) {
			delete(p.all, who)
		}
	}
	for who := range p.all {
		if len(p.all) < maxCallers {
			return
		}
		delete(p.all, who)
	}
}

// over reports whether panics no longer count. They also end if the clock is set back.
func (of panicked) over(now time.Time) bool {
	past := now.Sub(of.last)
	return past < 0 || past >= disabledFor
}
