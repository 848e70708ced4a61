package room

import (
	"time"

	"github.com/denrooms/den/room/internal/awake"
)

// A life is one life of a room: an open database and a handler. It is an actor's behavior, so its methods run one at
// a time, except Abandon, which is called while a hook hangs.
type life struct {
	room room

	compactor *compactor
	awake     awake.Member // safe from any goroutine

	// Owned by the actor.

	roster          roster
	holds           holds
	syncs           pendingSyncs
	peers           peers
	reader          reader
	answers         answers
	publisher       publisher
	numbers         numbers
	replies         replyStore
	actions         actions
	alarms          alarmRunner
	turns           turnMemory
	nextMaintenance time.Time // when maintenance is due
}

// connectParts sets the references between the parts of a life.
func (l *life) connectParts() {
	r := &l.room
	r.lost = l.takeBack
	r.watch.init(r)
	r.work.room, r.work.publisher = r, &l.publisher
	l.roster.room, l.holds.room, l.syncs.room, l.reader.room, l.numbers.room, l.replies.room = r, r, r, r, r, r
	l.peers = peers{room: r, holds: &l.holds, syncs: &l.syncs}
	l.publisher = publisher{room: r, holds: &l.holds, reader: &l.reader, syncs: &l.syncs}
	l.answers = answers{room: r, holds: &l.holds, peers: &l.peers, syncs: &l.syncs, reader: &l.reader, publisher: &l.publisher}
	l.actions = actions{
		room: r, numbers: &l.numbers, replies: &l.replies, holds: &l.holds, peers: &l.peers, answers: &l.answers, publisher: &l.publisher,
	}
	l.alarms.room, l.alarms.publisher = r, &l.publisher
}

const (
	// alarmSoon is how close an alarm must be for its room to stay awake. alarmLate is how long the room waits for an
	// alarm that does not come.
	alarmSoon = time.Second
	alarmLate = time.Minute
)

// mayRest reports whether a life has no work that its sleep would end, and no alarm that is due soon. Only its actor
// knows whether it has messages.
func (l *life) mayRest(now time.Time) bool {
	alarm := time.UnixMilli(l.alarms.due.Load()).Sub(now)
	return l.room.work.running.Load() == 0 && (alarm > alarmSoon || alarm < -alarmLate)
}

// takeBack undoes what the parts of the life remember of a lost turn, and refuses its messages.
func (l *life) takeBack(t *turn, cause error) {
	l.undoOutcomes()
	l.roster.unstage()
	l.reader.forget() // their seqs will be used again for other commits
	l.takeBackAnswers(t, cause)
}

// undoOutcomes undoes the numbers and replies of a turn that was not committed.
func (l *life) undoOutcomes() {
	for _, m := range l.numbers.marked {
		m.last = m.stored
	}
	if l.replies.remembered > 0 {
		l.replies.store.Forget(l.replies.remembered, l.replies.waiting)
	}
	l.replies.store.Undo()
	l.numbers.marked, l.replies.remembered = nil, 0
}

// takeBackAnswers turns the lost turn's answers into refusals. It sends the earlier answers again, because the turn's
// frames are gone.
func (l *life) takeBackAnswers(t *turn, cause error) {
	stands := make(map[any]earlierAnswer)
	for _, s := range t.earlier {
		stands[s.m] = s
	}
	for i, a := range t.answers {
		if a.err != nil {
			continue
		}
		var err error
		switch s, is := stands[a.env.Message]; {
		case !is:
			err = takenBack(a.env.Message, cause)
		case s.err != nil:
			t.send(s.m.conn, refusal(s.m, s.err))
		default:
			n := len(t.out)
			if err = l.answers.answerAgain(t, s.m, s.reply); err != nil {
				t.out = t.out[:n]
			}
		}
		if err != nil {
			t.answers[i].value, t.answers[i].err = nil, err
		}
	}
}
