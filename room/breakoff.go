package room

import (
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// An exception with a channel tells a client that takes cursors to ask for the channel again. The answer that the
// room is reading for that client in pieces ends with the exception: the client would take its remaining frames for the
// answer to the next question. A client without cursors asks once and never again, so its answer goes on.

// breakOff ends the answers on a channel that are on their way, because everybody is told that the channel is too large to be
// sent again.
func (t *turn) breakOff(channel string) {
	for key, asked := range t.life.inquiries {
		if key.channel != channel || !asked.takesCursors() {
			continue
		}
		asked.over = true
		delete(t.life.inquiries, key)
		t.undo = append(t.undo, func() { asked.over = false })
	}
}

// endUnasked ends the unasked answer on a channel that a connection is being sent, because its client now asks with a cursor: the answer
// to that has all that the client lacks. A delete-all that came after it would remove rows that the client's next cursor says it has.
func (t *turn) endUnasked(conn *hibernate.Connection, channel string) {
	key := answerKey{conn, channel, true}
	asked := t.life.inquiries[key]
	if asked == nil {
		return
	}
	asked.over = true
	delete(t.life.inquiries, key)
	t.undo = append(t.undo, func() { asked.over = false })
}

// brokenOff reports whether a sync belongs to an answer that has ended with an exception.
func (t *turn) brokenOff(m *syncMessage) bool {
	asked := m.inquiry
	_, cut := t.life.cut[m.key()]
	earlier := asked.life != 0 && asked.life != t.life.number
	return asked.over || cut && earlier && asked.takesCursors()
}

// cutAnswers is breakOff at the start of a life, which does not know the answers of the life before.
func (l *life) cutAnswers(conns []*hibernate.Connection, channels []string) {
	for _, conn := range conns {
		for _, channel := range channels {
			if l.cut == nil {
				l.cut = make(map[answerKey]struct{})
			}
			l.cut[answerKey{conn, channel, false}] = struct{}{}
		}
	}
}

// takesCursors reports whether the client that asks follows the rules for cursors.
func (a *inquiry) takesCursors() bool { return a.since != syncproto.SinceFrom }
