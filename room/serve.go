package room

import (
	"fmt"
	"slices"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// A batch is the messages that share a turn and its commit. It ends with Options.MaxBatch messages, with batchBytes
// of what clients have sent, or batchTime after it began, whichever is first, so that nobody waits for the hooks of
// everybody who has queued up. What is left over stays in the mailbox, where it takes turns with what comes
// meanwhile. Therefore a turn takes its messages in steps: firstMessages, and then as many again as it has served,
// until half of its time is over.

const (
	// batchBytes is how much of what clients have sent a batch takes, in bytes. A longer message has a batch of its
	// own.
	batchBytes = 1 << 20
	// batchTime is how long a batch takes further messages.
	batchTime = 10 * time.Millisecond
	// singleTime is how long a batch takes further messages from senders with many waiting, if it has one of a client
	// that had no other: that client waits for its answer.
	singleTime = 2 * time.Millisecond
	// firstMessages is how many messages a turn begins with.
	firstMessages = 2
)

// A supply returns up to n more messages for the turn in work; see [actor.Behavior].
type supply func(n int) []*actor.Envelope

// serveTurn serves messages in one turn, which the caller commits. It returns those that are left over. If
// uncounted is true, count must be called before they are served.
func (l *life) serveTurn(batch []*actor.Envelope, more supply) (t *turn, rest []*actor.Envelope, uncounted bool) {
	t = &turn{room: &l.room}
	l.reader.quota = l.reader.newQuota()
	l.turns.give(t, len(batch))
	b := batchLimits{clock: l.room.node.opts.Clock, began: l.room.now(), alone: l.room.alone > 0}
	l.room.alone = max(l.room.alone-1, 0)
	for t.broken == nil { // a broken life leaves the rest to the next one
		if len(batch) == 0 && b.early() {
			batch = more(b.messages)
			l.noteUse(batch)
			uncounted = l.counts(batch)
		}
		if len(batch) == 0 || uncounted || !b.admits(batch[0]) {
			break
		}
		env := batch[0]
		batch = batch[1:]
		env.Begin()
		l.serveCounted(t, env)
	}
	return t, batch, uncounted
}

// afterCommit does what follows the commit of a turn.
func (l *life) afterCommit(t *turn) {
	if t.checkpoint && t.broken == nil {
		if err := l.room.db.Checkpoint(); err != nil {
			l.room.log.Error("a checkpoint failed", "err", err)
		}
	}
	if t.broken == nil {
		t.broken = l.maintain()
	}
	l.reader.dropIdle()
}

// How an action that loses its whole batch is kept from doing so again and again. The clients send the other actions
// of the batch once more, probably together with the same action, which would make them lose that batch too. So after
// such a loss a room gives each of its next messages its own turn and commit. The same holds after a hook that hung,
// which also loses its batch. The room keeps to that over a sleep.

// batchLimits decide when a batch ends.
type batchLimits struct {
	clock    Clock
	began    time.Time
	alone    bool // the batch has only one message
	single   bool // the batch has a message that was its sender's only one
	messages int
	bytes    int
}

// admits reports whether a message goes into the batch, and counts it.
func (b *batchLimits) admits(env *actor.Envelope) bool {
	b.bytes += inputOf(env.Message)
	limit := batchTime
	if b.single && !env.Single() {
		limit = singleTime
	}
	if b.messages > 0 && (b.alone || b.bytes > batchBytes || b.clock.Now().Sub(b.began) >= limit) {
		return false
	}
	b.messages++
	b.single = b.single || env.Single()
	return true
}

// early reports whether there is time for as many messages again.
func (b *batchLimits) early() bool {
	return !b.alone && b.messages > 0 && b.clock.Now().Sub(b.began) < batchTime/2
}

// counts reports whether something must be written down before the messages are served.
func (l *life) counts(batch []*actor.Envelope) bool {
	hung := !l.room.node.recent.hangs.None()
	return slices.ContainsFunc(batch, func(env *actor.Envelope) bool {
		switch m := env.Message.(type) {
		case *alarmMessage:
			return m.countFirst
		case *actionMessage:
			return hung && m.mutation != 0
		}
		return false
	})
}

// count writes down, before a turn, what earlier lives have left to note about its messages.
func (l *life) count(batch []*actor.Envelope) error {
	l.alarms.countTries(batch)
	return l.numbers.countHangs(batch)
}

// serveCounted is serve, and charges the client for what the message makes the room send.
func (l *life) serveCounted(t *turn, env *actor.Envelope) {
	switch m := env.Message.(type) {
	case *actionMessage:
		t.share = m.share
	case *syncMessage:
		t.share = m.share
	case *rawMessage:
		t.share = m.share
	case *connectMessage:
		t.share = m.share
	case *closeMessage:
		t.share = m.share
	case *requestMessage:
		t.share = m.share
	case *thenMessage:
		t.share = m.share
		t.share.Spend(hibernate.UnitBytes) // it counts as a message too
	}
	if t.share == nil {
		l.serve(t, env)
		return
	}
	before := len(t.out)
	l.serve(t, env)
	bytes := int64(0)
	for _, d := range t.out[min(before, len(t.out)):] {
		for _, f := range d.frames {
			bytes += int64(len(f.Wire()) * len(d.to))
		}
	}
	t.share.Spend(bytes)
	t.share = nil
}

// refuse sends a client the refusal of its message in its place among the turn's frames, so that it comes before the
// answer to what the client sent later. Refusals of other messages are left to their senders.
func (l *life) refuse(t *turn, message any, err error) bool {
	switch m := message.(type) {
	case *actionMessage:
		t.send(m.conn, refusal(m, err))
	case *rawMessage:
		t.send(m.conn, refusal(m, err))
	case *syncMessage:
		if passing(err) {
			return false // its session retries
		}
		t.send(m.conn, refusal(m, err))
	default:
		return false
	}
	return true
}

// serve serves one message.
func (l *life) serve(t *turn, env *actor.Envelope) {
	var value any
	var err error
	switch m := env.Message.(type) {
	case *actionMessage:
		err = l.actions.action(t, m)
	case *syncMessage:
		var next *syncMessage
		if next, err = l.answers.sync(t, m); next != nil {
			value = next
		}
	case *connectMessage:
		value, err = l.connect(t, m)
	case *closeMessage:
		err = l.close(t, m)
	case *rawMessage:
		err = l.raw(t, m)
	case *requestMessage:
		value, err = l.request(t, m)
	case *thenMessage:
		err = l.room.work.then(t, m)
	case *holdMessage:
		err = l.answers.checkHold(t, m.conn)
	case *alarmMessage:
		if err = l.alarms.runDue(t, m); t.broken != nil {
			return // the clock is told when the life has ended
		}
		t.answers = append(t.answers, answer{env: env, err: err, late: true})
		return
	case checkpointMessage:
		t.checkpoint = true
	case rosterMessage:
		t.flush, l.roster.planned = true, false
	case *scrubMessage:
		m.next, m.err = storage.Scrub(l.room.db, m.from)
	case *liveTaskMessage:
		t.after = append(t.after, func() { m.do(&l.room) })
	}
	if storageFailed(err) && !full(err) && t.broken == nil { // in whatever part of the code
		t.broken = err
	}
	if err != nil && t.lost == nil && t.broken == nil && l.refuse(t, env.Message, err) {
		err = nil
	}
	t.answers = append(t.answers, answer{env: env, value: value, err: err})
}

// Receive serves what has queued up, and what comes meanwhile, in one turn or in several, each with one commit.
func (l *life) Receive(batch []*actor.Envelope, more func(n int) []*actor.Envelope) error {
	l.noteUse(batch)
	l.room.watch.arm()
	defer l.room.watch.disarm()
	if err := l.runDue(); err != nil {
		return l.giveUp(err)
	}
	var late []answer
	for uncounted := true; len(batch) > 0; {
		if uncounted {
			if err := l.count(batch); err != nil {
				return l.giveUp(err)
			}
		}
		var t *turn
		t, batch, uncounted = l.serveTurn(batch, more)
		l.commit(t)
		l.afterCommit(t)
		late = append(late, t.answers...)
		l.turns.takeAnswers(t)
		if t.broken != nil {
			return l.giveUp(t.broken)
		}
	}
	l.room.watch.disarm()
	giveLate(late)
	l.room.db.AfterCommit()
	return nil
}

// noteUse notes that the room is in use, unless all messages are for its maintenance.
func (l *life) noteUse(batch []*actor.Envelope) {
	if !maintenanceOnly(batch) {
		l.room.node.awake.Touch(&l.awake)
	}
}

// giveUp returns the error with which the life ends. A fault of the storage, which the next life may meet again, is
// reported to the operator here; others have been reported where they occurred.
func (l *life) giveUp(broken error) error {
	err := fmt.Errorf("%w: %w", actor.ErrRequeue, broken)
	if !storageFailed(broken) {
		return err
	}
	l.room.node.complain(l.room.key, "the room's storage failed, and the room begins a new life", broken)
	return reported{err}
}
