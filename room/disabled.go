package room

// Why an action that panics does not take the room from others. A panic ends the room's life. One that a client has called
// for does not count for the room's back-off: whoever connects again and again could keep the room down. But each
// new life costs a start. So an action type that has panicked or hung three times for one user is not run for him
// until a minute after the last time: it is answered with action_disabled. Who is nobody in particular is told from
// others by the connection; and because a connection is soon made, an action type that has panicked ten times in a room for such clients is
// not run there for those of them that come later, until a minute after the last time. The host remembers, because the life is over.

import (
	"fmt"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

func actionDisabled() error {
	return &Error{Code: syncproto.CodeActionDisabled, Message: "The action has failed too often, and is not run for a minute. Nothing was changed."}
}

func (l *life) culprit(conn *hibernate.Connection, action string) recent.Culprit {
	c := recent.Culprit{Room: l.key, Subject: conn.Identity.Subject, Action: action}
	if c.Subject == "" {
		c.Serial = conn.Serial
	}
	return c
}

// messageHook stands for OnMessage among the types of actions.
const messageHook = "\x00OnMessage"

// blamed runs what a client has called for, unless it is disabled, and notes a panic, and for Abandon whose it is.
func (t *turn) blamed(conn *hibernate.Connection, action string, run func() (storage.Commit, error)) (storage.Commit, error) {
	l := t.life
	who := l.culprit(conn, action)
	if l.host.culprits.Disabled(who, l.host.opts.Clock.Now()) {
		return storage.Commit{}, actionDisabled()
	}
	l.act(who)
	commit, err := run()
	l.act(recent.Culprit{})
	if stackOf(err) != nil {
		l.blame(who)
		if t.broken != nil && !storageFailed(t.broken) {
			t.broken = fmt.Errorf("%w: %w", actor.ErrSpared, t.broken)
		}
	}
	return commit, err
}

// blame notes a panic or a hang of what a client has called for, and logs what follows from it.
func (l *life) blame(who recent.Culprit) {
	if l.host.culprits.Note(who, l.host.opts.Clock.Now()) {
		l.log.Warn("a type of action is not run for a client for a minute, because it has failed three times",
			"action", who.Action, "subject", who.Subject, "hint", "the panics before this line have the stack")
	}
}

// act notes whose action is in work; the zero culprit: none is.
func (l *life) act(who recent.Culprit) {
	l.gate.Lock()
	defer l.gate.Unlock()
	l.acting = who
}
