package room

import (
	"github.com/denrooms/den/hibernate"
)

// An action that was applied in an earlier turn, and comes again in one that is lost, has the answer of then: nothing that
// the lost turn did counts for that answer. To refuse it as the turn's other actions are refused would tell its client that
// it was not applied.

// A standing is an answer that rests on earlier turns only.
type standing struct {
	m     *actionMessage
	reply *hibernate.Frame
	err   error // with errBefore, in the place of reply
}

// stand notes an answer of before, unless it is of this very turn.
func (t *turn) stand(m *actionMessage, reply *hibernate.Frame, err error) {
	if !t.remembers(m) {
		few := t.fewToSet()
		few.standing = append(few.standing, standing{m, reply, err})
	}
}

// remembers reports whether the turn in work has applied an action under a message's name or number.
func (t *turn) remembers(m *actionMessage) bool {
	if m.mutation != 0 {
		at := t.life.marks.known[clientKey{m.client, m.conn.Identity.Subject}]
		return at == nil || m.mutation > at.stored
	}
	return t.remembered > 0 && t.life.replies.Waits(m.key, t.waiting)
}

// answerAgain gives an action the answer that it had before.
func (t *turn) answerAgain(m *actionMessage, reply *hibernate.Frame) error {
	switch {
	case m.mutation != 0:
		t.send(m.conn, reply)
		return nil
	case t.held(m.conn, m.channel):
		t.respond(m, reply, nil, 0) // what has become of its rows is in the answer
		return nil
	}
	// The reply's rows may be old by now, and a client without cursors would keep them. So what has become of the channel
	// follows them; where that takes several turns, after which the connection may be lost, they are left out.
	frames, later, err := t.sinceReply(m, reply)
	if err != nil {
		return err
	}
	if later != nil {
		reply = withoutRows(reply)
		t.pursue(later)
	}
	t.send(m.conn, append([]*hibernate.Frame{reply}, frames...)...)
	return nil
}

// takeBackAnswers makes refusals of the lost turn's answers, but for those that stand: they are given once more, because the
// turn's frames are gone.
func (t *turn) takeBackAnswers(cause error) {
	stands := make(map[any]standing)
	if t.few != nil {
		for _, s := range t.few.standing {
			stands[s.m] = s
		}
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
			if err = t.answerAgain(s.m, s.reply); err != nil {
				t.out = t.out[:n]
			}
		}
		if err != nil {
			t.answers[i].value, t.answers[i].err = nil, err
		}
	}
}
