package room

// OnClose, and who is owed it. Every connection that OnConnect accepted has its OnClose, once:
//
//	accepted ──the client goes──▶ OnClose in the room's turn                      CloseClient
//	    │                            └──its batch is lost, its life ends──▶ again, or in the next life
//	    ├──it goes while the room sleeps──▶ when the room wakes                   CloseAsleep
//	    ├──the server shuts down──▶ before the room's life ends                   CloseShutdown
//	    └──the server crashes──▶ 60 s after the room's first wake, unless
//	                             a client of the same id came back               CloseLost
//
// The last three rest on the notes in the room's file, see roster.go. A message for a connection's end that could not be
// served is kept by the host until the room has a life again; so no room sees a client after its OnClose is due and before it
// ran, but for the 64 at a time in which they run.

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// close tells the room that a connection has gone.
func (t *turn) close(m *closeMessage) error {
	l := t.life
	if m.fromFile {
		return t.farewell(m)
	}
	l.ns.rooms.Remove(m.conn)
	t.leavePeer(m.conn)
	delete(l.waiting, m.conn)
	l.dropHold(m.conn)
	l.forgetInquiries(m.conn)
	t.audiences = nil
	if l.ns.closes && (m.spent || t.knows(m.note) || m.again && m.conn.Admitted()) {
		return t.farewell(m)
	}
	return nil
}

// farewell runs OnClose. Its error says that the hook did not run; that of the hook itself is reported already.
func (t *turn) farewell(m *closeMessage) error {
	l := t.life
	if t.left(m.note) {
		return nil
	}
	if m.spent {
		t.dismiss(m)
		return nil
	}
	if l.isFenced() {
		return storage.ErrClosed
	}
	l.leaving.Store(m) // and it stays so if the hook hangs or ends the goroutine, see handOver
	c := t.context(m.conn, nil)
	c.cause = m.cause
	ran := false
	commit, err := t.runHook(c, "OnClose", func() error {
		ran = true
		return l.handler.(CloseHandler).OnClose(c, m.code, m.reason)
	})
	if !ran || !l.isFenced() { // one that was given up as it returned is not run again
		l.leaving.Store(nil)
	}
	if err != nil && !ran {
		return err
	}
	t.dismiss(m)
	if err == nil {
		t.succeed(c, commit)
	}
	return nil
}

// owed are the ends of connections that a room without a life is to be told of. The zero value is ready; its
// methods are safe from any goroutine. There are at most as many as connections were there when their rooms failed.
type owed struct {
	mu    sync.Mutex
	rooms map[Key][]*closeMessage
}

func (o *owed) put(key Key, messages ...*closeMessage) {
	if len(messages) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rooms == nil {
		o.rooms = make(map[Key][]*closeMessage)
	}
	o.rooms[key] = append(o.rooms[key], messages...)
}

func (o *owed) take(key Key) []*closeMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	messages := o.rooms[key]
	delete(o.rooms, key)
	return messages
}

// owe keeps the end of a connection for the room's next life, or for this one if it has one.
func (h *Host) owe(key Key, m *closeMessage) {
	m.again = true
	h.owed.put(key, m)
	h.lookAtRoster(key) // without a life the next one looks by itself
}

// Close says that the client has gone, with the close code and the reason that it
// gave or 1006. It may be called more than once; the first call counts. A room that
// sleeps is not woken for it, except with the Option WakeOnClose: it runs its OnClose when it wakes.
func (s *Session) Close(code int, reason string) {
	if !s.end() {
		return
	}
	s.ns.host.presence.Leave(hibernate.Key(s.Key()), &s.conn)
	gone := &closeMessage{conn: &s.conn, code: code, reason: reason, cause: CloseClient, note: s.ns.host.noteOf(&s.conn)}
	s.note(gone)
	err := s.sendClose(gone, 0)
	if errors.Is(err, actor.ErrAsleep) {
		s.remove()
		// A life that has begun meanwhile may have seen the connection.
		err = s.sendClose(gone, 0)
	}
	if err == nil {
		return
	}
	s.remove()
	if errors.Is(err, actor.ErrAsleep) && s.conn.Noted() {
		return // the next life finds the note
	}
	s.owe(gone)
}

// sendClose tells the room that the connection has gone. On an error it is as if sendClose had not been called.
func (s *Session) sendClose(gone *closeMessage, try int) error {
	send := s.ns.host.actors.SendAwake
	if s.ns.wakeOnClose {
		send = s.ns.host.actors.Push
	}
	return send(s.Key(), gone, func(_ any, err error) {
		switch {
		case errors.Is(err, errTakenBack):
			gone.again = true
			s.ns.host.repeat(try, "telling a room that a connection has gone", func() {
				if err := s.sendClose(gone, try+1); err != nil {
					s.owe(gone)
				}
			})
		case err != nil:
			s.remove()
			s.owe(gone)
		}
	})
}

// owe has the room's next life run OnClose, if the room has accepted the connection.
func (s *Session) owe(gone *closeMessage) {
	if s.ns.closes && s.conn.Admitted() {
		s.ns.host.owe(s.Key(), gone)
	}
}

// refuse takes back a connection that the room has not accepted, or whose acceptance nobody waits for.
func (s *Session) refuse() {
	s.end()
	s.remove()
	if s.conn.Admitted() { // it was accepted, and the answer was lost
		s.owe(&closeMessage{conn: &s.conn, code: 1006, cause: CloseClient, note: s.ns.host.noteOf(&s.conn)})
	}
}

// end is false when the session was over already.
func (s *Session) end() bool {
	s.conn.End()
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.over
	s.over = true
	s.signal()
	return first
}

// remove is the one place outside of the room's turns that takes a connection out of the room. The room may not have
// it, or not yet: hibernate.Rooms does not add one that has ended.
func (s *Session) remove() { s.ns.rooms.Remove(&s.conn) }

// shutdownAtOnce is how many rooms that sleep are woken at the same time for their OnClose.
const shutdownAtOnce = 16

// wakeToClose wakes the rooms that sleep with connections, in namespaces with the Option WakeOnClose, and ends them again: that runs
// OnClose. It returns when ctx ends.
func (h *Host) wakeToClose(ctx context.Context) {
	rooms := make(chan Key)
	var workers sync.WaitGroup
	for range shutdownAtOnce {
		workers.Go(func() { // they end when rooms is closed, below
			for key := range rooms {
				if _, err := h.actors.Request(ctx, key, barrierMessage{}); err == nil {
					_ = h.actors.Stop(ctx, key) // its own end is logged; ctx's is Shutdown's business
				}
			}
		})
	}
	defer workers.Wait()
	defer close(rooms)
	for _, key := range h.sleepersToTell() {
		select {
		case rooms <- key:
		case <-ctx.Done():
			return
		}
	}
}

func (h *Host) sleepersToTell() (keys []Key) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, ns := range h.namespaces {
		if !ns.closes || !ns.wakeOnClose {
			continue
		}
		seen := make(map[string]bool)
		for _, c := range ns.rooms.All() {
			if key := (Key{Namespace: ns.name, Room: c.Room()}); !seen[key.Room] && !h.actors.Has(key) {
				keys = append(keys, key)
			}
			seen[c.Room()] = true
		}
	}
	return keys
}

// closeGroup is how many OnClose hooks share a commit where many are due.
const closeGroup = 64

// sayGoodbye runs OnClose for the room's connections because the server shuts down, as long as Shutdown waits.
func (l *life) sayGoodbye(all []*hibernate.Connection) {
	ctx := l.host.shutdownContext()
	if !l.ns.closes || len(all) == 0 || ctx.Err() != nil {
		return
	}
	l.watch.arm()
	defer l.watch.disarm()
	(&turn{life: l, last: true}).commit() // what is remembered of the clients, while they are there
	for _, c := range all {               // none of them sees the others go
		c.End()
		l.ns.rooms.Remove(c)
		delete(l.waiting, c)
	}
	for group := range slices.Chunk(all, closeGroup) {
		if ctx.Err() != nil || !l.closeSome(group) {
			return
		}
	}
}

// closeSome runs OnClose for some connections, and tells whether the life can go on.
func (l *life) closeSome(group []*hibernate.Connection) bool {
	t := &turn{life: l, last: true}
	for _, c := range group {
		m := &closeMessage{conn: c, code: closeGoingAway, reason: goingAway, cause: CloseShutdown, note: l.host.noteOf(c)}
		if !t.knows(m.note) {
			continue
		}
		if err := t.farewell(m); err != nil || t.broken != nil {
			break
		}
	}
	t.commit()
	return t.broken == nil
}

// goingAway is the reason with which sockets are closed when the server shuts down.
const goingAway = "server is shutting down"

func (h *Host) closeLinks(key Key, conns []*hibernate.Connection) {
	for _, c := range conns {
		h.courier(key).close(c, closeGoingAway, goingAway)
	}
}

// shutdownContext is the context of the Shutdown in work.
func (h *Host) shutdownContext() context.Context {
	if ctx := h.ending.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}

// closeGoingAway is what sockets are closed with when the server shuts down.
const closeGoingAway = 1001
