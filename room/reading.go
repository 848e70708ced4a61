package room

import (
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// How long a client's question may hold a room. A room reads rows for clients in pieces: in each turn one piece, for
// all clients together, of 1 MiB of JSON or 5 ms (package pages), whichever is first. The rest of an answer is asked for by a
// message of its own, which the connection's session posts when the turn is over; so actions and other clients come
// between any two pieces. A sync that comes to a turn which has read its piece already is posted again in the same way.
//
// A connection has one answer on its way for each channel. A sync that asks the same as the one whose answer is on its
// way has that answer; one that asks for something else takes its place, and the answer begins again.

func (l *life) newQuota() pages.Quota {
	return pages.NewQuota(l.host.opts.Clock, l.host.opts.MaxSnapshotBytes)
}

// readChanges is read for what has changed in a channel after a place, up to the commit until. The place moves on with what is
// read; done says that nothing is left.
func (l *life) readChanges(channel string, at *storage.ChangePlace, until storage.Seq, see func(*storage.Rows) (bytes int)) (done bool, err error) {
	for more := true; more && !done; {
		rows, err := l.db.Table(channel).SincePart(*at, until)
		if err != nil {
			return false, err
		}
		if _, more, err = l.quota.Read(rows, see); err != nil {
			return false, err
		}
		*at, done = rows.Place(), rows.AtEnd()
		more = more && l.quota.Row(0)
	}
	return done, nil
}

// inquire begins a sync, or goes on with one. goesOn is false where another one has its answer.
func (t *turn) inquire(m *syncMessage) (goesOn bool) {
	l, key := t.life, m.key()
	now, fresh := l.inquiries[key], m.inquiry == nil
	if fresh {
		m.inquiry = &inquiry{since: m.since, cursor: m.cursor, from: m.from, base: m.base}
	}
	if t.brokenOff(m) {
		return false
	}
	m.inquiry.life = l.number
	switch {
	case now == m.inquiry:
		return true
	case now != nil && (!fresh || now.covers(m.inquiry)):
		return false
	case now != nil && now.copies:
		m.replaces = true
		m.inquiry.copies = true
	}
	if l.inquiries == nil {
		l.inquiries = make(map[answerKey]*inquiry)
	}
	l.inquiries[key] = m.inquiry
	t.undo = append(t.undo, func() { l.answered(m) })
	return true
}

// notePutOff notes that a client without cursors has asked, where its answer must wait for a later turn: if it is cut off
// before, it gets the answer when it comes back.
func (t *turn) notePutOff(m *syncMessage) error {
	asked := m.inquiry
	if m.since != syncproto.SinceFrom || m.going || asked.noted {
		return nil
	}
	asked.noted = true
	t.undo = append(t.undo, func() { asked.noted = false })
	return t.noteAnswer(m, unanswered)
}

// pursue has the room answer a sync that no session has sent, from the end of the turn on, unless the answer to another one will do.
func (t *turn) pursue(m *syncMessage) {
	l := t.life
	m.pursued = true
	if !t.inquire(m) {
		return
	}
	t.after = append(t.after, func() { l.host.pursue(l.key, m, 0) })
}

func (h *Host) pursue(key Key, m *syncMessage, try int) {
	again := func(d time.Duration, m *syncMessage, try int) {
		h.afterFunc(d, "going on with what a client lacks", func() { h.pursue(key, m, try) })
	}
	failed := func(err error) {
		if passing(err) && try < maxSyncTries {
			again(min(50*time.Millisecond<<try, 5*time.Second), m, try+1)
			return
		}
		m.conn.Link.Send(exception(m.channel, err))
	}
	err := h.actors.Push(key, m, func(v any, err error) {
		next, more := v.(*syncMessage)
		switch {
		case err != nil:
			failed(err)
		case more && drained(next.conn.Link):
			h.pursue(key, next, 0)
		case more:
			again(drainPause, next, 0)
		}
	})
	if err != nil {
		failed(err)
	}
}

// gone reports whether nobody is there any more for what a client did not ask for.
func (t *turn) gone(m *syncMessage) bool {
	return m.unasked && !slices.Contains(t.life.connections(), m.conn)
}

// answered notes that a sync has been answered, or was refused.
func (l *life) answered(m *syncMessage) {
	if l.inquiries[m.key()] == m.inquiry {
		delete(l.inquiries, m.key())
	}
}

// forgetInquiries ends the answers to a connection that has gone.
func (l *life) forgetInquiries(conn *hibernate.Connection) {
	for _, channel := range l.ns.channels {
		delete(l.inquiries, answerKey{conn, channel, true})
		delete(l.inquiries, answerKey{conn, channel, false})
		delete(l.cut, answerKey{conn, channel, false})
	}
}

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
