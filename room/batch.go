package room

import (
	"slices"
	"time"

	"github.com/denrooms/den/actor"
)

// A batch is the messages that share a turn, and its commit. It ends with Options.MaxBatch messages, batchBytes of what
// clients have sent, or batchTime after it began, whichever is first: nobody waits for the hooks of all who have
// queued up with him. What is left over stays in the mailbox, where what comes meanwhile takes its turn with it. So a turn
// takes its messages bit by bit: firstMessages, and then as many again as it has served, until half of its time is over.

const (
	// batchBytes is how much of what clients have sent a batch takes, in bytes; one message that is longer has a batch of its own.
	batchBytes = 1 << 20
	// batchTime is how long a batch takes further messages.
	batchTime = 10 * time.Millisecond
	// singleTime is how long a batch takes further messages of those who have many waiting, where it has one of a client that had
	// no other: that one waits for its answer.
	singleTime = 2 * time.Millisecond
	// firstMessages is how many messages a turn begins with.
	firstMessages = 2
)

// A supply gives more messages for the turn in work, up to n; see [actor.Behavior].
type supply func(n int) []*actor.Envelope

// serve serves messages, and more, in one turn or in several. It gives the answers which are to be given when nothing is in work
// any more.
func (l *life) serve(batch []*actor.Envelope, more supply) (late []answer, err error) {
	for uncounted := true; len(batch) > 0; {
		if uncounted {
			err = l.count(batch)
		}
		if err != nil {
			return late, err
		}
		var t *turn
		t, batch, uncounted = l.serveTurn(batch, more)
		late = append(late, t.answers...)
		l.turns.takeAnswers(t)
		if t.broken != nil {
			return late, t.broken
		}
	}
	return late, nil
}

// serveTurn serves messages with one commit, and gives back those that do not go into the turn. They are uncounted where they
// have come from more, and something is to be written down before their turn.
func (l *life) serveTurn(batch []*actor.Envelope, more supply) (t *turn, rest []*actor.Envelope, uncounted bool) {
	t = &turn{life: l}
	l.quota = l.newQuota()
	l.turns.give(t, len(batch))
	b := batchLimits{clock: l.host.opts.Clock, began: l.host.opts.Clock.Now(), alone: l.alone > 0}
	l.alone = max(l.alone-1, 0)
	checkpoint := false
	for t.broken == nil { // the rest is unanswered then, and the next life's
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
		t.serveCounted(env)
		_, relieve := env.Message.(checkpointMessage)
		checkpoint = checkpoint || relieve
	}
	l.endTurn(t, checkpoint)
	return t, batch, uncounted
}

// endTurn commits a turn, and does what comes after its commit.
func (l *life) endTurn(t *turn, checkpoint bool) {
	t.commit()
	if checkpoint && t.broken == nil {
		if err := l.db.Checkpoint(); err != nil {
			l.log.Error("a checkpoint failed", "err", err)
		}
	}
	if t.broken == nil {
		t.broken = l.purge()
	}
	l.dropGathered()
}

// batchLimits are what ends a batch.
type batchLimits struct {
	clock    Clock
	began    time.Time
	alone    bool // it is of one message
	single   bool // it has a message that was the only one of its sender's
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

// early reports whether as many messages again as the batch has would be in time.
func (b *batchLimits) early() bool {
	return !b.alone && b.messages > 0 && b.clock.Now().Sub(b.began) < batchTime/2
}

// counts reports whether something is to be written down before the turn in which messages are served.
func (l *life) counts(batch []*actor.Envelope) bool {
	hung := !l.host.hangs.None()
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

// count writes down, before a turn, what is known of its messages from earlier lives.
func (l *life) count(batch []*actor.Envelope) error {
	l.countTries(batch)
	return l.countHangs(batch)
}

// Why an action that takes its whole batch down does not do so again and again. Those that shared the
// batch are sent once more by their clients, likely together with the same action, which would take
// them down each time. So after such a loss a room gives its next messages a turn and a commit
// each, and so it does after a hook that hung, which takes its batch down too. It keeps to that over a
// sleep.
