package recent

import (
	"sync"
	"time"

	"github.com/denrooms/den/actor"
)

const (
	// maxPanics is how many panics of an action type one user has.
	maxPanics = 3
	// maxAnonymousPanics is how many those have together in a room who are nobody in particular.
	maxAnonymousPanics = 10
	// disabledFor is for how long after the last one the action type is not run.
	disabledFor = time.Minute
	// maxCulprits is how many pairs of user and action type a host remembers.
	maxCulprits = 4096
)

// A Culprit is who has called what.
type Culprit struct {
	Room    actor.Key
	Subject string
	Serial  uint64 // of the connection; 0 where there is a subject
	Action  string
}

// Panics are those of the last minute. The zero value is ready; its methods are safe from any goroutine.
type Panics struct {
	mu  sync.Mutex
	all map[Culprit]panicked
}

type panicked struct {
	times int
	last  time.Time
	since uint64 // of anonymous ones together: the serial of the connection for which the limit was reached
}

// anonymous stands for all users of a room who are nobody in particular, if who is one of them.
func (who Culprit) anonymous() (all Culprit, is bool) {
	is = who.Serial != 0
	who.Serial = 0
	return who, is
}

// Disabled reports whether an action type is not to be run for a user.
func (p *Panics) Disabled(who Culprit, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.all[who]; of.times >= maxPanics && !of.over(now) {
		return true
	}
	all, is := who.anonymous()
	of := p.all[all]
	return is && of.times >= maxAnonymousPanics && !of.over(now) && who.Serial > of.since
}

// Note counts a panic, and reports whether the action type is disabled from now on.
func (p *Panics) Note(who Culprit, now time.Time) (disabled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all, is := who.anonymous(); is {
		p.count(all, who.Serial, now)
	}
	return p.count(who, 0, now) == maxPanics
}

// count counts a panic, and gives how many there have been. mu is held.
func (p *Panics) count(who Culprit, serial uint64, now time.Time) int {
	of := p.all[who]
	if of.over(now) {
		of = panicked{}
	}
	if of.times++; of.times == maxAnonymousPanics {
		of.since = serial
	}
	of.last = now
	if p.all == nil {
		p.all = make(map[Culprit]panicked)
	}
	if len(p.all) >= maxCulprits {
		p.sweep(now)
	}
	p.all[who] = of
	return of.times
}

// sweep forgets what is over, and one that is not where there are too many. mu is held.
func (p *Panics) sweep(now time.Time) {
	for who, of := range p.all {
		if of.over(now) {
			delete(p.all, who)
		}
	}
	for who := range p.all {
		if len(p.all) < maxCulprits {
			return
		}
		delete(p.all, who)
	}
}

// over reports whether panics no longer count. A clock that was set back ends them, too.
func (of panicked) over(now time.Time) bool {
	past := now.Sub(of.last)
	return past < 0 || past >= disabledFor
}
