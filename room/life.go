package room

import (
	"time"

	"github.com/denrooms/den/room/internal/awake"
)

// A life is one life of a room: a database that is open, and a handler. It is an
// actor's behavior, so its methods run one at a time, but for Abandon, which comes
// while a hook hangs.
type life struct {
	room room

	compactor *compactor
	awake     awake.Member // safe from any goroutine

	// Owned by the actor.

	roster    roster
	holds     holds
	inquiries inquiries
	peers     peers
	reader    reader
	answers   answers
	publisher publisher
	numbers   numbers
	replies   replyStore
	actions   actions
	alarms    alarmRunner
	turns     turnMemory
	nextPurge time.Time // when upkeep is due
}

// connectParts has the parts of a life find each other.
func (l *life) connectParts() {
	r := &l.room
	r.lost = l.takeBack
	r.watch.init(r)
	r.work.room, r.work.publisher = r, &l.publisher
	l.roster.room, l.holds.room, l.inquiries.room, l.reader.room, l.numbers.room, l.replies.room = r, r, r, r, r, r
	l.peers = peers{room: r, holds: &l.holds, inquiries: &l.inquiries}
	l.publisher = publisher{room: r, holds: &l.holds, reader: &l.reader, inquiries: &l.inquiries}
	l.answers = answers{room: r, holds: &l.holds, peers: &l.peers, inquiries: &l.inquiries, reader: &l.reader, publisher: &l.publisher}
	l.actions = actions{
		room: r, numbers: &l.numbers, replies: &l.replies, holds: &l.holds, peers: &l.peers, answers: &l.answers, publisher: &l.publisher,
	}
	l.alarms.room, l.alarms.publisher = r, &l.publisher
}

const (
	// alarmSoon is how close an alarm must be for its room to stay awake, and alarmLate how long one is
	// waited for that does not come.
	alarmSoon = time.Second
	alarmLate = time.Minute
)

// mayRest reports whether a life has nothing under way that its sleep would end, and no alarm that
// is due at once. Whether it has messages, its actor knows.
func (l *life) mayRest(now time.Time) bool {
	alarm := time.UnixMilli(l.alarms.due.Load()).Sub(now)
	return l.room.work.running.Load() == 0 && (alarm > alarmSoon || alarm < -alarmLate)
}

// takeBack takes back what the parts of the life remember of a turn that is lost, and its answers.
func (l *life) takeBack(t *turn, cause error) {
	l.unkeep()
	l.roster.unstage()
	l.reader.forget() // their seq will be used again, for something else
	l.takeBackAnswers(t, cause)
}

// unkeep takes back what the turn remembers, which was not committed.
func (l *life) unkeep() {
	for _, m := range l.numbers.marked {
		m.last = m.stored
	}
	if l.replies.remembered > 0 {
		l.replies.store.Forget(l.replies.remembered, l.replies.waiting)
	}
	l.replies.store.Undo()
	l.numbers.marked, l.replies.remembered = nil, 0
}

// takeBackAnswers makes refusals of the lost turn's answers, but for those that stand: they are given once more, because the
// turn's frames are gone.
func (l *life) takeBackAnswers(t *turn, cause error) {
	stands := make(map[any]standing)
	for _, s := range t.standing {
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
