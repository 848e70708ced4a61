package room

import (
	"fmt"
	"slices"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// How a room applies each action once, numbered or not, and answers it.

// actions serves the actions that clients send.
type actions struct {
	room      *room
	numbers   *numbers
	replies   *replyStore
	holds     *holds
	peers     *peers
	answers   *answers
	publisher *publisher
}

// action applies an action and answers it, or repeats the answer that it had before.
func (ac *actions) action(t *turn, m *actionMessage) error {
	if m.mutation != 0 {
		return ac.mutate(t, m)
	}
	m.commit = 0
	reply, state, err := ac.replies.find(m)
	switch {
	case err != nil:
		return t.storageError(err)
	case state == replies.Other:
		ac.noteEarlier(t, m, nil, duplicateID())
		return duplicateID()
	case state == replies.Same:
		ac.noteEarlier(t, m, reply, nil)
		return ac.answers.answerAgain(t, m, reply)
	}
	done, err := ac.apply(t, m)
	if err != nil {
		return err
	}
	var bare *hibernate.Frame
	if ac.holds.held(m.conn, m.channel) {
		bare = bareReply(m.channel, m.id, done.value, done.cursor)
	}
	ac.holds.reply(t, m, done.reply, bare, ac.room.db.Seq())
	if len(done.mine) > 0 {
		m.commit = ac.room.db.Seq()
	}
	ac.remember(m, done)
	return nil
}

// apply applies an action and returns the reply to it.
func (ac *actions) apply(t *turn, m *actionMessage) (done applied, err error) {
	if m.refused != nil {
		return done, m.refused
	}
	if !slices.Contains(ac.room.ns.channels, m.channel) {
		return done, unknownChannel()
	}
	c := t.context(m.conn, nil)
	commit, err := ac.runForClient(t, m.conn, m.action.Type, func() (storage.Commit, error) {
		return t.runHook(c, m.action.Type, func() error {
			var result any
			var err error
			if m.bound != nil {
				result, err = ac.call(c, m)
			} else {
				result, err = ac.room.handler.OnAction(c, m.channel, m.action)
			}
			if err == nil {
				done.value, err = encodeValue(result)
			}
			return err
		})
	})
	if err != nil {
		return applied{}, err
	}
	t.out = append(t.out, c.out...)
	done.reply, done.mine = ac.publisher.publish(t, commit, m, done.value)
	done.cursor = ac.room.cursor()
	return done, nil
}

// mutate applies a numbered action if it is the next one, or repeats the answer that it had before.
func (ac *actions) mutate(t *turn, m *actionMessage) error {
	if err := ac.answers.releaseAll(t, m.conn, ""); err != nil { // the published client does not number its actions
		return t.storageError(err)
	}
	at, err := ac.numbers.markOf(m.client, m.conn.Identity.Subject)
	if err != nil {
		return t.storageError(err)
	}
	now := ac.room.now()
	switch {
	case m.mutation <= at.last && bug.On("twice"):
		done, err := ac.apply(t, m)
		if err == nil {
			t.send(m.conn, done.reply)
		}
		return err
	case m.mutation <= at.last:
		return ac.repeat(t, m)
	case at.last == 0 && ac.numbers.mayBeForgotten(m.client, now):
		return notKnown(0, now)
	}
	if err := ac.numbers.takeOver(at, m.conn); err != nil {
		return err
	}
	if m.mutation != at.last+1 {
		return ac.outOfTurn(t, at, now)
	}
	at.begun = true
	return ac.run(t, m, at)
}

// run runs the next numbered action and stores its outcome, unless the action keeps its number.
func (ac *actions) run(t *turn, m *actionMessage, at *mark) error {
	if at.hung {
		tries, err := ac.numbers.triesOf(m)
		if err != nil {
			return t.storageError(err)
		}
		if tries >= maxTries {
			ac.storeOutcome(t, m, at, applied{reply: outcomeOf(m, poisoned())})
			return nil
		}
	}
	ac.room.running.Store(m)
	done, err := ac.apply(t, m)
	ac.room.running.Store(nil)
	if err == nil {
		ac.storeOutcome(t, m, at, done)
		return nil
	}
	means := judge(err)
	switch {
	case means == verdictKept:
		return err
	case m.mutation != at.last+1: // the action lost the batch, and with it an earlier action
		return storage.ErrBatchLost
	case means == verdictTried:
		tries, failed := ac.numbers.countTry(t, m)
		if failed != nil {
			return t.storageError(failed)
		}
		if tries < maxTries {
			return tryAgain(err)
		}
		err = poisoned()
	}
	ac.storeOutcome(t, m, at, applied{reply: outcomeOf(m, err)})
	return nil
}

// storeOutcome uses up a number. The reply is its outcome.
func (ac *actions) storeOutcome(t *turn, m *actionMessage, at *mark, done applied) {
	t.send(m.conn, done.reply)
	ac.remember(m, done)
	if at.last == at.stored {
		ac.numbers.marked = append(ac.numbers.marked, at)
	}
	at.last = m.mutation
	if at.hung {
		at.hung = false
		ac.room.node.recent.hangs.Forget(recent.Client{Room: ac.room.key, ID: at.client, Subject: at.subject})
	}
}

// repeat answers a numbered action that was answered before.
func (ac *actions) repeat(t *turn, m *actionMessage) error {
	reply, state, err := ac.replies.find(m)
	switch {
	case err != nil:
		return t.storageError(err)
	case state == replies.None:
		err = alreadyApplied()
	case state == replies.Other:
		err = duplicateID()
	}
	ac.noteEarlier(t, m, reply, err)
	if err != nil {
		return err
	}
	return ac.answers.answerAgain(t, m, reply)
}

// outOfTurn refuses a number that is too high, and says which one must come first. An unknown client is told so
// before anything of it is applied.
func (ac *actions) outOfTurn(t *turn, at *mark, now time.Time) error {
	if at.last == 0 && !at.begun {
		tried, err := ac.numbers.wasTried(at.client, at.subject)
		if err != nil {
			return t.storageError(err)
		}
		if !tried {
			return notKnown(1, now)
		}
		at.begun = true
	}
	gap := &gapError{next: at.last + 1}
	return &Error{Code: syncproto.CodeMutationGap, Message: fmt.Sprintf("Number %d has not come yet.", gap.next), cause: gap}
}

// runForClient runs what a client has asked for, unless it is disabled. It records a panic, and tells Abandon for
// which client the hook runs.
func (ac *actions) runForClient(t *turn, conn *hibernate.Connection, action string, run func() (storage.Commit, error)) (storage.Commit, error) {
	who := ac.room.callerOf(conn, action)
	if ac.room.node.recent.panics.Disabled(who, ac.room.now()) {
		return storage.Commit{}, actionDisabled()
	}
	ac.room.setCaller(who)
	commit, err := run()
	ac.room.setCaller(recent.Caller{})
	if stackOf(err) != nil {
		ac.room.noteFailure(who)
		if t.broken != nil && !storageFailed(t.broken) {
			t.broken = fmt.Errorf("%w: %w", actor.ErrSpared, t.broken)
		}
	}
	return commit, err
}

// noteEarlier notes an answer of an earlier turn.
func (ac *actions) noteEarlier(t *turn, m *actionMessage, reply *hibernate.Frame, err error) {
	if !ac.remembers(m) {
		t.earlier = append(t.earlier, earlierAnswer{m, reply, err})
	}
}

// remembers reports whether the turn in work has applied an action under a message's id or number.
func (ac *actions) remembers(m *actionMessage) bool {
	if m.mutation != 0 {
		at := ac.numbers.known[clientKey{m.client, m.conn.Identity.Subject}]
		return at == nil || m.mutation > at.stored
	}
	return ac.replies.remembered > 0 && ac.replies.store.Waits(m.key, ac.replies.waiting)
}

// remember keeps an action's reply in case the action comes again. If the reply is too long, it is kept without its
// rows, and if the value alone is too long, without that.
func (ac *actions) remember(m *actionMessage, done applied) {
	r := &ac.replies.store
	reply := done.reply
	if !r.Fits(len(reply.Payload())) {
		if reply = done.short(m, done.value); !r.Fits(len(reply.Payload())) {
			reply = done.short(m, nil)
		}
	}
	if ac.replies.remembered == 0 {
		ac.replies.waiting = r.Pending()
	}
	ac.replies.remembered++
	r.Add(m.key, m.digest, reply.Payload())
}

// messageHook stands for OnMessage among the action types.
const messageHook = "\x00OnMessage"

// How the room stays usable for others while one client's action panics. A panic ends the room's life. If a client
// caused it, it does not count for the room's back-off: otherwise a client that keeps connecting could keep the room
// down. But each new life costs a start. So after an action type has panicked or hung three times for one user, it is
// answered with action_disabled for that user until a minute after the last time. Clients without a user are told
// apart by their connections. Because a new connection is cheap, an action type that has panicked ten times in a room
// for such clients is disabled for all of them that connect later, until a minute after the last time. The host
// remembers all this, because the life ends.

func actionDisabled() error {
	return &Error{Code: syncproto.CodeActionDisabled, Message: "The action has failed too often and is not run for a minute. Nothing was changed."}
}

// call runs the method of a bound action.
func (ac *actions) call(c *Context, m *actionMessage) (any, error) {
	in := m.in
	if m.bound.inTurn {
		var err error
		if in, err = ac.room.node.decodePayload(m); err != nil {
			return nil, err
		}
	}
	return m.bound.call(ac.room.handler, c, in)
}
