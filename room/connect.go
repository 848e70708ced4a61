package room

import (
	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// How a connection enters a room, and sends messages that are not of the protocol.

// connect lets a connection into the room.
func (l *life) connect(t *turn, m *connectMessage) (in welcome, err error) {
	rooms, conn := l.room.ns.rooms, m.conn
	if !l.admit(conn) {
		return welcome{}, actor.ErrAbandoned
	}
	leave := func() { rooms.Remove(conn) }
	c := t.context(conn, m.request)
	c.undo = append(c.undo, leave)
	if m.stock {
		c.undo = append(c.undo, l.holds.hold(conn))
	}
	t.audiences = nil
	commit, err := t.runHook(c, "OnConnect", func() error { return l.room.handler.OnConnect(c) })
	if err != nil {
		return welcome{}, err
	}
	l.publisher.succeed(t, c, commit)
	l.roster.enrol(conn)
	l.peers.probeDuplicates(t, conn)
	t.send(conn) // nothing; but from now on the room knows what the connection has been sent
	if l.room.ns.presence {
		in.shownAs = l.room.presenceID(conn)
	}
	syncs, err := l.answers.catchUp(t, m)
	if len(syncs) > 0 {
		in.ask = func() { m.ask(syncs) }
	}
	return in, err
}

// admit adds a connection to the room, unless its client has given up or the life is fenced.
func (l *life) admit(conn *hibernate.Connection) bool {
	l.room.gate.Lock()
	defer l.room.gate.Unlock()
	return !l.room.fenced && l.room.ns.rooms.Add(conn)
}

// raw passes a message that is not of the protocol to the handler.
func (l *life) raw(t *turn, m *rawMessage) error {
	c := t.context(m.conn, nil)
	commit, err := l.actions.runForClient(t, m.conn, messageHook, func() (storage.Commit, error) {
		return t.runHook(c, "OnMessage", func() error { return l.room.handler.OnMessage(c, m.message) })
	})
	if err != nil {
		return err
	}
	l.publisher.succeed(t, c, commit)
	return nil
}
