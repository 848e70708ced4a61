package room

// Why an action that panics does not take the room from others. A panic ends the room's life. One that a client has called
// for does not count for the room's back-off: whoever connects again and again could keep the room down. But each
// new life costs a start. So an action type that has panicked or hung three times for one user is not run for him
// until a minute after the last time: it is answered with action_disabled. Who is nobody in particular is told from
// others by the connection; and because a connection is soon made, an action type that has panicked ten times in a room for such clients is
// not run there for those of them that come later, until a minute after the last time. The host remembers, because the life is over.

import (
	"fmt"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
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

func actionDisabled() error {
	return &Error{Code: syncproto.CodeActionDisabled, Message: "The action has failed too often, and is not run for a minute. Nothing was changed."}
}

// A culprit is who has called what.
type culprit struct {
	room    Key
	subject string
	serial  uint64 // of the connection; 0 where there is a subject
	action  string
}

func (l *life) culprit(conn *hibernate.Connection, action string) culprit {
	c := culprit{room: l.key, subject: conn.Identity.Subject, action: action}
	if c.subject == "" {
		c.serial = conn.Serial
	}
	return c
}

// messageHook stands for OnMessage among the types of actions.
const messageHook = "\x00OnMessage"

// blamed runs what a client has called for, unless it is disabled, and notes a panic, and for Abandon whose it is.
func (t *turn) blamed(conn *hibernate.Connection, action string, unit func() (storage.Commit, error)) (storage.Commit, error) {
	l := t.life
	who := l.culprit(conn, action)
	if l.host.culprits.disabled(who, l.host.opts.Clock.Now()) {
		return storage.Commit{}, actionDisabled()
	}
	l.act(who)
	commit, err := unit()
	l.act(culprit{})
	if stackOf(err) != nil {
		l.blame(who)
		if t.broken != nil && !storageFailed(t.broken) {
			t.broken = fmt.Errorf("%w: %w", actor.ErrSpared, t.broken)
		}
	}
	return commit, err
}

// blame notes a panic or a hang of what a client has called for, and logs what follows from it.
func (l *life) blame(who culprit) {
	if l.host.culprits.note(who, l.host.opts.Clock.Now()) {
		l.log.Warn("a type of action is not run for a client for a minute, because it has failed three times",
			"action", who.action, "subject", who.subject, "hint", "the panics before this line have the stack")
	}
}

// act notes whose action is in work; the zero culprit: none is.
func (l *life) act(who culprit) {
	l.gate.Lock()
	defer l.gate.Unlock()
	l.acting = who
}

// panics are those of the last minute. The zero value is ready; its methods are safe from any goroutine.
type panics struct {
	mu  sync.Mutex
	all map[culprit]panicked
}

type panicked struct {
	times int
	last  time.Time
	since uint64 // of anonymous ones together: the serial of the connection for which the limit was reached
}

// anonymous stands for all users of a room who are nobody in particular, if who is one of them.
func (who culprit) anonymous() (all culprit, is bool) {
	is = who.serial != 0
	who.serial = 0
	return who, is
}

// disabled reports whether an action type is not to be run for a user.
func (p *panics) disabled(who culprit, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.all[who]; of.times >= maxPanics && !of.over(now) {
		return true
	}
	all, is := who.anonymous()
	of := p.all[all]
	return is && of.times >= maxAnonymousPanics && !of.over(now) && who.serial > of.since
}

// note counts a panic, and reports whether the action type is disabled from now on.
func (p *panics) note(who culprit, now time.Time) (disabled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all, is := who.anonymous(); is {
		p.count(all, who.serial, now)
	}
	return p.count(who, 0, now) == maxPanics
}

// count counts a panic, and gives how many there have been. mu is held.
func (p *panics) count(who culprit, serial uint64, now time.Time) int {
	of := p.all[who]
	if of.over(now) {
		of = panicked{}
	}
	if of.times++; of.times == maxAnonymousPanics {
		of.since = serial
	}
	of.last = now
	if p.all == nil {
		p.all = make(map[culprit]panicked)
	}
	if len(p.all) >= maxCulprits {
		p.sweep(now)
	}
	p.all[who] = of
	return of.times
}

// sweep forgets what is over, and one that is not where there are too many. mu is held.
func (p *panics) sweep(now time.Time) {
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
