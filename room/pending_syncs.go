package room

import (
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// How long a sync may occupy a room. A room reads rows for clients in pieces. In each turn it reads one piece for all
// clients together: 1 MiB of JSON, or 5 ms, whichever is first (package pages). The connection's session asks for the
// rest of an answer with a message of its own, after the turn. So actions and other clients are served between any
// two pieces. A sync that comes to a turn which has already read its piece is posted again in the same way.
//
// A connection has one answer on its way for each channel. A sync that asks for the same as the sync on its way
// shares that answer. A sync that asks for something else replaces it, and the answer begins again.

// pendingSyncs are the syncs that are being answered.
type pendingSyncs struct {
	room *room
	open map[answerKey]*pendingSync
	cut  map[answerKey]struct{} // those whose answers of an earlier life do not go on
}

// begin begins a sync or goes on with it. It returns false if another sync answers this one too.
func (ps *pendingSyncs) begin(t *turn, m *syncMessage) (goesOn bool) {
	key := m.key()
	now, fresh := ps.open[key], m.pending == nil
	if fresh {
		m.pending = &pendingSync{since: m.since, cursor: m.cursor, from: m.from, base: m.base}
	}
	if ps.brokenOff(m) {
		return false
	}
	m.pending.life = ps.room.number
	switch {
	case now == m.pending:
		return true
	case now != nil && (!fresh || now.covers(m.pending)):
		return false
	case now != nil && now.copies:
		m.replaces = true
		m.pending.copies = true
	}
	if ps.open == nil {
		ps.open = make(map[answerKey]*pendingSync)
	}
	ps.open[key] = m.pending
	t.undo = append(t.undo, func() { ps.answered(m) })
	return true
}

// startInternal has the room answer a sync that no session has sent, after the turn, unless another sync answers it
// too.
func (ps *pendingSyncs) startInternal(t *turn, m *syncMessage) {
	m.internal = true
	if !ps.begin(t, m) {
		return
	}
	t.after = append(t.after, func() { ps.room.node.postInternal(ps.room.key, m, 0) })
}

func (n *node) postInternal(key Key, m *syncMessage, try int) {
	again := func(d time.Duration, m *syncMessage, try int) {
		n.afterFunc(d, "continuing an answer", func() { n.postInternal(key, m, try) })
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
			n.postInternal(key, next, 0)
		case more:
			again(drainPause, next, 0)
		}
	})
	if err != nil {
		failed(err)
	}
}

// answered notes that a sync has been answered or refused.
func (ps *pendingSyncs) answered(m *syncMessage) {
	if ps.open[m.key()] == m.pending {
		delete(ps.open, m.key())
	}
}

// forget ends the answers to a connection that has gone.
func (ps *pendingSyncs) forget(conn *hibernate.Connection) {
	for _, channel := range ps.room.ns.channels {
		delete(ps.open, answerKey{conn, channel, true})
		delete(ps.open, answerKey{conn, channel, false})
		delete(ps.cut, answerKey{conn, channel, false})
	}
}

// An exception with a channel tells a client that takes cursors to ask for the channel again. If an answer to that
// client is on its way, it ends there: the client would take the remaining frames for the answer to its next sync. A
// client without cursors asks only once, so its answer goes on.

// breakOff ends the answers on a channel, because every client is told that the channel is too large to be sent
// again.
func (ps *pendingSyncs) breakOff(t *turn, channel string) {
	for key, asked := range ps.open {
		if key.channel != channel || !asked.takesCursors() {
			continue
		}
		asked.over = true
		delete(ps.open, key)
		t.undo = append(t.undo, func() { asked.over = false })
	}
}

// endUnasked ends an unasked answer on a channel that is being sent to a connection, because its client now asks with
// a cursor. The answer to that has everything that the client lacks. A delete-all of the unasked answer could come
// after it and remove rows that the client has according to its next cursor.
func (ps *pendingSyncs) endUnasked(t *turn, conn *hibernate.Connection, channel string) {
	key := answerKey{conn, channel, true}
	asked := ps.open[key]
	if asked == nil {
		return
	}
	asked.over = true
	delete(ps.open, key)
	t.undo = append(t.undo, func() { asked.over = false })
}

// brokenOff reports whether a sync belongs to an answer that has ended with an exception.
func (ps *pendingSyncs) brokenOff(m *syncMessage) bool {
	asked := m.pending
	_, cut := ps.cut[m.key()]
	earlier := asked.life != 0 && asked.life != ps.room.number
	return asked.over || cut && earlier && asked.takesCursors()
}

// cutOff is breakOff at the start of a life, which does not know which answers the life before was sending.
func (ps *pendingSyncs) cutOff(conns []*hibernate.Connection, channels []string) {
	for _, conn := range conns {
		for _, channel := range channels {
			if ps.cut == nil {
				ps.cut = make(map[answerKey]struct{})
			}
			ps.cut[answerKey{conn, channel, false}] = struct{}{}
		}
	}
}

// lacking returns the commit after which a connection is being sent what it lacks of a channel, if that is on its
// way. Until the connection has all of it, the note on its client does not rise above that commit, whatever else the
// client receives.
func (ps *pendingSyncs) lacking(conn *hibernate.Connection, channel string) (base storage.Seq, is bool) {
	if a := ps.open[answerKey{conn, channel, true}]; a != nil {
		return a.base, true
	}
	return 0, false
}
