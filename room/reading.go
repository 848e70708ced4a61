package room

import (
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// How long a client's question may hold a room. A room reads rows for clients in pieces: in each turn one piece, for
// all clients together, of 1 MiB of JSON or 5 ms (package pages), whichever is first. The rest of an answer is asked for by a
// message of its own, which the connection's session posts when the turn is over; so actions and other clients come
// between any two pieces. A sync that comes to a turn which has read its piece already is posted again in the same way.
//
// A connection has one answer on its way for each channel. A sync that asks the same as the one whose answer is on its
// way has that answer; one that asks for something else takes its place, and the answer begins again.

// inquiries are the syncs whose answers are on their way.
type inquiries struct {
	room *room
	open map[answerKey]*inquiry
	cut  map[answerKey]struct{} // whose answers of an earlier life do not go on
}

// inquire begins a sync, or goes on with one. goesOn is false where another one has its answer.
func (iq *inquiries) inquire(t *turn, m *syncMessage) (goesOn bool) {
	key := m.key()
	now, fresh := iq.open[key], m.inquiry == nil
	if fresh {
		m.inquiry = &inquiry{since: m.since, cursor: m.cursor, from: m.from, base: m.base}
	}
	if iq.brokenOff(m) {
		return false
	}
	m.inquiry.life = iq.room.number
	switch {
	case now == m.inquiry:
		return true
	case now != nil && (!fresh || now.covers(m.inquiry)):
		return false
	case now != nil && now.copies:
		m.replaces = true
		m.inquiry.copies = true
	}
	if iq.open == nil {
		iq.open = make(map[answerKey]*inquiry)
	}
	iq.open[key] = m.inquiry
	t.undo = append(t.undo, func() { iq.answered(m) })
	return true
}

// pursue has the room answer a sync that no session has sent, from the end of the turn on, unless the answer to another one will do.
func (iq *inquiries) pursue(t *turn, m *syncMessage) {
	m.pursued = true
	if !iq.inquire(t, m) {
		return
	}
	t.after = append(t.after, func() { iq.room.node.pursue(iq.room.key, m, 0) })
}

func (n *node) pursue(key Key, m *syncMessage, try int) {
	again := func(d time.Duration, m *syncMessage, try int) {
		n.afterFunc(d, "going on with what a client lacks", func() { n.pursue(key, m, try) })
	}
	failed := func(err error) {
		if passing(err) && try < maxSyncTries {
			again(min(50*time.Millisecond<<try, 5*time.Second), m, try+1)
			return
		}
		m.conn.Link.Send(exception(m.channel, err))
	}
	err := n.actors.Push(key, m, func(v any, err error) {
		next, more := v.(*syncMessage)
		switch {
		case err != nil:
			failed(err)
		case more && drained(next.conn.Link):
			n.pursue(key, next, 0)
		case more:
			again(drainPause, next, 0)
		}
	})
	if err != nil {
		failed(err)
	}
}

// answered notes that a sync has been answered, or was refused.
func (iq *inquiries) answered(m *syncMessage) {
	if iq.open[m.key()] == m.inquiry {
		delete(iq.open, m.key())
	}
}

// forget ends the answers to a connection that has gone.
func (iq *inquiries) forget(conn *hibernate.Connection) {
	for _, channel := range iq.room.ns.channels {
		delete(iq.open, answerKey{conn, channel, true})
		delete(iq.open, answerKey{conn, channel, false})
		delete(iq.cut, answerKey{conn, channel, false})
	}
}

// An exception with a channel tells a client that takes cursors to ask for the channel again. The answer that the
// room is reading for that client in pieces ends with the exception: the client would take its remaining frames for the
// answer to the next question. A client without cursors asks once and never again, so its answer goes on.

// breakOff ends the answers on a channel that are on their way, because everybody is told that the channel is too large to be
// sent again.
func (iq *inquiries) breakOff(t *turn, channel string) {
	for key, asked := range iq.open {
		if key.channel != channel || !asked.takesCursors() {
			continue
		}
		asked.over = true
		delete(iq.open, key)
		t.undo = append(t.undo, func() { asked.over = false })
	}
}

// endUnasked ends the unasked answer on a channel that a connection is being sent, because its client now asks with a cursor: the answer
// to that has all that the client lacks. A delete-all that came after it would remove rows that the client's next cursor says it has.
func (iq *inquiries) endUnasked(t *turn, conn *hibernate.Connection, channel string) {
	key := answerKey{conn, channel, true}
	asked := iq.open[key]
	if asked == nil {
		return
	}
	asked.over = true
	delete(iq.open, key)
	t.undo = append(t.undo, func() { asked.over = false })
}

// brokenOff reports whether a sync belongs to an answer that has ended with an exception.
func (iq *inquiries) brokenOff(m *syncMessage) bool {
	asked := m.inquiry
	_, cut := iq.cut[m.key()]
	earlier := asked.life != 0 && asked.life != iq.room.number
	return asked.over || cut && earlier && asked.takesCursors()
}

// cutOff is breakOff at the start of a life, which does not know the answers of the life before.
func (iq *inquiries) cutOff(conns []*hibernate.Connection, channels []string) {
	for _, conn := range conns {
		for _, channel := range channels {
			if iq.cut == nil {
				iq.cut = make(map[answerKey]struct{})
			}
			iq.cut[answerKey{conn, channel, false}] = struct{}{}
		}
	}
}

// lacking reports whether a connection is being sent, in pieces, what it lacks of a channel, and after which commit that is. Until it
// has it all, the note on its client does not rise above that commit, whatever else the client is answered.
func (iq *inquiries) lacking(conn *hibernate.Connection, channel string) (base storage.Seq, is bool) {
	if a := iq.open[answerKey{conn, channel, true}]; a != nil {
		return a.base, true
	}
	return 0, false
}
