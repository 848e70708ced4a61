package room

import (
	"time"

	"github.com/denrooms/den/actor"
)

// A batch is the messages that share a turn, and its commit. It ends with Options.MaxBatch messages, batchBytes of what
// clients have sent, or batchTime after it began, whichever is first: nobody waits for the hooks of all who have
// queued up with him. What is left over begins the next batch.

const (
	// batchBytes is how much of what clients have sent a batch takes, in bytes; one message that is longer has a batch of its own.
	batchBytes = 1 << 20
	// batchTime is how long a batch takes further messages.
	batchTime = 10 * time.Millisecond
)

// serve serves messages, in one turn or in several. It gives the answers which are to be given when nothing is in work
// any more.
func (l *life) serve(batch []*actor.Envelope) (late []answer, err error) {
	for len(batch) > 0 {
		some := batch
		if l.alone > 0 {
			l.alone--
			some = batch[:1]
		}
		t, n := l.serveTurn(some)
		batch = batch[n:]
		late = append(late, t.answers...)
		l.turns.takeAnswers(t)
		if t.broken != nil {
			return late, t.broken
		}
	}
	return late, nil
}

// serveTurn serves the first n messages with one commit.
func (l *life) serveTurn(batch []*actor.Envelope) (t *turn, n int) {
	t = &turn{life: l}
	l.quota = l.newQuota()
	l.turns.give(t, min(len(batch), maxTurnMemory))
	checkpoint := false
	until, bytes := l.host.opts.Clock.Now().Add(batchTime), 0
	for _, env := range batch {
		if bytes += inputOf(env.Message); n > 0 && (bytes > batchBytes || !l.host.opts.Clock.Now().Before(until)) {
			break
		}
		n++
		env.Begin()
		t.serve(env)
		_, relieve := env.Message.(relieveMessage)
		checkpoint = checkpoint || relieve
		if t.broken != nil {
			break // the rest is unanswered, and the next life's
		}
	}
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
	return t, n
}

// inputOf is how many bytes of a message a client has sent that are for the room's code.
func inputOf(message any) int {
	switch m := message.(type) {
	case *actionMessage:
		return len(m.action.Payload)
	case *rawMessage:
		return len(m.message.Data)
	}
	return 0
}
