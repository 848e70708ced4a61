package room

// Every connection that OnConnect accepted has its OnClose, once:
//
//	accepted ──the client goes──▶ OnClose in the room's turn                      CloseClient
//	    │                            └──its batch is lost, its life ends──▶ again, or in the next life
//	    ├──it goes while the room sleeps──▶ when the room wakes                   CloseAsleep
//	    ├──the server shuts down──▶ before the room's life ends                   CloseShutdown
//	    └──the server crashes──▶ 60 s after the room's first wake, unless
//	                             a client of the same id came back               CloseLost
//
// The last three depend on the notes in the room's file, see roster.go. If the message about a connection's end could
// not be served, the host keeps it until the room has a life again. So no hook of the room runs between the time at
// which a client's OnClose is due and the OnClose, except those of the other OnClose hooks, up to 64 in one commit.

import (
	"slices"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// close handles a connection that has gone.
func (l *life) close(t *turn, m *closeMessage) error {
	if m.fromFile {
		return l.runOnClose(t, m)
	}
	l.room.ns.rooms.Remove(m.conn)
	l.answers.noteLeft(t, m.conn)
	delete(l.peers.waiting, m.conn)
	l.holds.drop(m.conn)
	l.syncs.forget(m.conn)
	t.audiences = nil
	if l.room.ns.closes && (m.spent || l.roster.knows(m.note) || m.again && m.conn.Admitted()) {
		return l.runOnClose(t, m)
	}
	return nil
}

// runOnClose runs OnClose. It returns an error if the hook did not run. An error of the hook itself has already been
// reported.
func (l *life) runOnClose(t *turn, m *closeMessage) error {
	if l.roster.left(m.note) {
		return nil
	}
	if m.spent {
		l.roster.dismiss(m)
		return nil
	}
	if l.room.isFenced() {
		return storage.ErrClosed
	}
	l.roster.leaving.Store(m) // stays set if the hook hangs or ends the goroutine, see handOver
	c := t.context(m.conn, nil)
	c.cause = m.cause
	ran := false
	commit, err := t.runHook(c, "OnClose", func() error {
		ran = true
		return l.room.handler.(CloseHandler).OnClose(c, m.code, m.reason)
	})
	if !ran || !l.room.isFenced() { // a hook that returned after it was given up does not run again
		l.roster.leaving.Store(nil)
	}
	if err != nil && !ran {
		return err
	}
	l.roster.dismiss(m)
	if err == nil {
		l.publisher.succeed(t, c, commit)
	}
	return nil
}

// closeGroup is how many OnClose hooks share a commit if many are due.
const closeGroup = 64

// closeAll runs OnClose for the room's connections because the server shuts down, until Shutdown's context ends.
func (l *life) closeAll(all []*hibernate.Connection) {
	ctx := l.room.node.shutdownContext()
	if !l.room.ns.closes || len(all) == 0 || ctx.Err() != nil {
		return
	}
	l.room.watch.arm()
	defer l.room.watch.disarm()
	l.commit(&turn{room: &l.room, last: true}) // what is remembered of the clients, while they are here
	for _, c := range all {                    // no hook sees the others go
		c.End()
		l.room.ns.rooms.Remove(c)
		delete(l.peers.waiting, c)
	}
	for group := range slices.Chunk(all, closeGroup) {
		if ctx.Err() != nil || !l.closeSome(group) {
			return
		}
	}
}

// closeSome runs OnClose for some connections, and reports whether the life can go on.
func (l *life) closeSome(group []*hibernate.Connection) bool {
	t := &turn{room: &l.room, last: true}
	for _, c := range group {
		m := &closeMessage{conn: c, code: closeGoingAway, reason: goingAway, cause: CloseShutdown, note: l.room.node.noteOf(c)}
		if !l.roster.knows(m.note) {
			continue
		}
		if err := l.runOnClose(t, m); err != nil || t.broken != nil {
			break
		}
	}
	l.commit(t)
	return t.broken == nil
}

// runDue runs some of the OnClose hooks that are due, before a batch.
func (l *life) runDue() error {
	r := &l.roster
	if !l.room.ns.closes {
		return nil
	}
	owed := l.room.node.pendingCloses.take(l.room.key)
	r.mu.Lock()
	r.due = append(owed, r.due...) // spent ones come before their notes
	if len(r.lost) > 0 && !l.room.now().Before(r.until) {
		r.due, r.lost = append(r.due, r.lost...), nil
	}
	some := slices.Clone(r.due[:min(len(r.due), closeGroup)])
	r.mu.Unlock()
	if len(some) == 0 {
		return nil
	}
	t := &turn{room: &l.room}
	for _, m := range some {
		if t.broken == nil {
			_ = l.close(t, m) // if it did not run, it stays due
		}
	}
	l.commit(t)
	r.mu.Lock()
	r.due = slices.DeleteFunc(r.due, func(m *closeMessage) bool { return t.lost == nil && t.broken == nil && slices.Contains(some, m) })
	more := len(r.due) > 0
	r.mu.Unlock()
	switch {
	case t.broken != nil:
		return t.broken
	case t.lost != nil:
		r.tries++
		l.room.node.repeat(r.tries, "running OnClose again", func() { l.room.node.checkRoster(l.room.key) })
	case more:
		l.room.node.checkRoster(l.room.key)
		fallthrough
	default:
		r.tries = 0
	}
	return nil
}

// maintenanceOnly reports whether a batch has only messages of the room's own maintenance, which do not count as use.
func maintenanceOnly(batch []*actor.Envelope) bool {
	return !slices.ContainsFunc(batch, func(env *actor.Envelope) bool {
		switch env.Message.(type) {
		case rosterMessage, *scrubMessage:
			return false
		}
		return true
	})
}
