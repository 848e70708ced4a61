package room

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// A ConnectRequest is what a transport knows of a new client.
type ConnectRequest struct {
	// ID is the name that the client chose for its connection (_pk), which it keeps
	// over reconnects: 128 bytes at most. Empty: one is made.
	ID string
	// Identity is who the client is, as the server's authentication found it.
	Identity Identity
	// Request is the upgrade's, for OnConnect to look at. It may be nil. Its context
	// should not end with the handshake.
	Request *http.Request
	// Stock says that the client may be the published one of partysync, which stores every row
	// as it comes. Where it has chosen its ID, and is new to the room, no row of a channel is sent to it before the last
	// frame of that channel's answer, for 10 s to 11 s if it does not ask; and the reply to an
	// action waits for that as well, for 5 s, and leaves the rows to the answer then. A
	// client that sends a cursor or numbers its actions is not that one.
	Stock bool
	// Link is where messages for the client go. It must be ready for use.
	Link hibernate.Link
}

// A Session is a transport's end of a connection. Receive is called from one
// goroutine at a time; the other methods are safe from any. It holds the connection
// itself, and no channel while it is quiet: there is one of it for each client of
// each room that sleeps.
type Session struct {
	// Immutable.

	ns   *namespace
	conn hibernate.Connection // with the room's name

	// Protected by mu.

	mu      sync.Mutex
	seldom  *seldom // nil: nothing of it is needed
	working int32   // messages in work
	over    bool    // Close was called
	came    uint16  // when the client came, in seconds of node.uptime, modulo 2^16
}

// seldom is what most sessions do not need: each quiet client has a session.
type seldom struct {
	share   *hibernate.Share // what the client has spent while the node was congested; nil: nothing
	shownAs string           // the id that presence shows; set before Connect returns. Empty: there is no presence
	free    chan struct{}    // closed by done and Close where Receive waits; nil if it does not
}

// rare gives what the session seldom needs. mu is held.
func (s *Session) rare() *seldom {
	if s.seldom == nil {
		s.seldom = new(seldom)
	}
	return s.seldom
}

// freed is closed when a message of the session's is no longer in work, or the session is over. mu is held.
func (s *Session) freed() <-chan struct{} {
	r := s.rare()
	if r.free == nil {
		r.free = make(chan struct{})
	}
	return r.free
}

// ErrSessionOver is what Receive gives when the session has been closed.
var ErrSessionOver = errors.New("room: the session is over")

// Connect brings a client into a room and wakes the room if it must. It returns
// when OnConnect has accepted the client and what it wrote is durable; messages may
// come over the link before that. The error is an *Error, written for the client.
// When ctx ends the waiting ends, and the connection is taken back.
func (h *Host) Connect(ctx context.Context, key Key, r ConnectRequest) (*Session, error) {
	if err := h.node.check(key); err != nil {
		return nil, err
	}
	if len(r.ID) > hibernate.MaxConnectionID {
		return nil, &Error{Code: syncproto.CodeBadMessage, Message: "The connection's id is longer than 128 bytes."}
	}
	s := &Session{ns: h.node.namespace(key.Namespace)}
	s.came = h.node.seconds()
	s.conn.Serial = h.node.conns.Serial()
	s.conn.Named = r.ID != ""
	s.conn.Identity = hibernate.Identify(r.Identity)
	s.conn.Link = r.Link
	id := r.ID
	if id == "" {
		id = uuid.NewString()
	}
	s.conn.Name(id, key.Room)
	stock := r.Stock && s.conn.Named
	if err := s.enter(ctx, &connectMessage{conn: &s.conn, request: r.Request, stock: stock, ask: s.ask, share: guestOf(ctx)}); err != nil {
		if stock {
			h.node.recent.quiet.Note(quietOf(key, &s.conn)) // what it has sent by now is lost, and it asks once
		}
		if ctx.Err() != nil {
			s.Close(1006, "gave up") // it may be let in yet
		} else {
			s.refuse()
		}
		code, message := ErrorCode(err)
		return nil, &Error{Code: code, Message: message, cause: err}
	}
	return s, nil
}

// enter asks the room to let the client in. While the room's mailbox is full it waits.
func (s *Session) enter(ctx context.Context, m *connectMessage) error {
	answer, err := s.ns.node.request(ctx, s.Key(), m)
	if in, is := answer.(welcome); is && in.shownAs != "" {
		s.mu.Lock()
		s.rare().shownAs = in.shownAs
		s.mu.Unlock()
	}
	return err
}

// ask asks the room for what a client relies on that came back.
func (s *Session) ask(syncs []*syncMessage) {
	s.mu.Lock()
	s.working += int32(len(syncs)) // it may be over the limit: nobody waits for a place yet
	s.mu.Unlock()
	for _, m := range syncs {
		s.post(m, 0)
	}
}

// Key is the room's. Its strings pin no request.
func (s *Session) Key() Key { return Key{Namespace: s.ns.name, Room: s.conn.Room()} }

// ID is the connection's id.
func (s *Session) ID() string { return s.conn.ID() }

// begin takes a place for a message in work, and waits for one if there is none. It is
// false when the session is over.
func (s *Session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && int(s.working) >= s.ns.node.opts.InFlight {
		free := s.freed()
		s.mu.Unlock()
		<-free
		s.mu.Lock()
	}
	if s.over {
		return false
	}
	s.working++
	return true
}

// tryBegin takes a place if one is free.
func (s *Session) tryBegin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || int(s.working) >= s.ns.node.opts.InFlight {
		return false
	}
	s.working++
	return true
}

// done gives a place back.
func (s *Session) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working--
	s.signal()
}

// signal lets Receive look again. mu is held.
func (s *Session) signal() {
	if r := s.seldom; r != nil && r.free != nil {
		close(r.free)
		r.free = nil
	}
}

func (s *Session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// post puts a message into the room's mailbox that has its place already: its sync goes on, or is tried
// again.
func (s *Session) post(message any, try int) {
	if err := s.send(s.ns.node.actors.Push, message, try); err != nil {
		s.refused(message, err, try)
	}
}

// send puts a message into the room's mailbox by put. Its place is free again when the
// room has answered it; on an error it is as if send had not been called.
func (s *Session) send(put func(Key, any, func(any, error)) error, message any, try int) error {
	return put(s.Key(), message, func(v any, err error) {
		next, more := v.(*syncMessage)
		switch {
		case err != nil:
			s.refused(message, err, try)
		case more:
			s.proceed(next)
		default:
			s.done()
		}
	})
}

// proceed asks for the next step of a snapshot once the client has read most of the last.
func (s *Session) proceed(next *syncMessage) {
	if s.isOver() {
		s.done()
		return
	}
	if drained(s.conn.Link) {
		s.post(next, 0)
		return
	}
	s.ns.node.afterFunc(drainPause, "going on with a snapshot", func() { s.proceed(next) })
}

// maxSyncTries is how often a sync is tried while its room cannot answer: for
// about half a minute. The published client asks once and never again.
const maxSyncTries = 10

// refused answers a message that the room did not apply.
func (s *Session) refused(message any, err error, try int) {
	if _, sync := message.(*syncMessage); sync && passing(err) && try < maxSyncTries {
		delay := min(50*time.Millisecond<<try, 5*time.Second)
		s.ns.node.afterFunc(delay, "asking again for a channel", func() {
			if s.isOver() {
				s.done()
				return
			}
			s.post(message, try+1)
		})
		return
	}
	s.done()
	s.conn.Link.Send(refusal(message, err))
}

// passing reports whether an error is of the kind that goes away by itself.
func passing(err error) bool {
	return errors.Is(err, actor.ErrUnavailable) || errors.Is(err, actor.ErrOverloaded) || errors.Is(err, hibernate.ErrMemory) || errors.Is(err, storage.ErrBatchLost) || full(err)
}

// note has a message count for the client's share, while the node is congested.
func (s *Session) note(message any) {
	if !s.ns.node.limits.shares.Congested() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m := message.(type) {
	case *actionMessage:
		m.share = s.shared()
	case *syncMessage:
		m.share = s.shared()
	case *rawMessage:
		m.share = s.shared()
	case *closeMessage:
		m.share = s.shared()
	}
}

// shared is the client's share, made where there is none. mu is held.
func (s *Session) shared() *hibernate.Share {
	r := s.rare()
	if r.share == nil {
		r.share = new(hibernate.Share)
	}
	r.share.Age(time.Duration(s.ns.node.seconds()-s.came) * time.Second) // after 18 h it is young again, which does no harm
	return r.share
}

// Share is what the client has spent while the node was congested; nil: nothing.
func (s *Session) Share() *hibernate.Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seldom == nil {
		return nil
	}
	return s.seldom.share
}

// seconds is node.uptime in seconds, modulo 2^16.
func (n *node) seconds() uint16 { return uint16(n.uptime() / time.Second) }

// Close says that the client has gone, with the close code and the reason that it
// gave or 1006. It may be called more than once; the first call counts. A room that
// sleeps is not woken for it, except with the Option WakeOnClose: it runs its OnClose when it wakes.
func (s *Session) Close(code int, reason string) {
	if !s.end() {
		return
	}
	s.ns.node.presence.Leave(hibernate.Key(s.Key()), &s.conn)
	gone := &closeMessage{conn: &s.conn, code: code, reason: reason, cause: CloseClient, note: s.ns.node.noteOf(&s.conn)}
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
	send := s.ns.node.actors.SendAwake
	if s.ns.wakeOnClose {
		send = s.ns.node.actors.Push
	}
	return send(s.Key(), gone, func(_ any, err error) {
		switch {
		case errors.Is(err, errTakenBack):
			gone.again = true
			s.ns.node.repeat(try, "telling a room that a connection has gone", func() {
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
		s.ns.node.owe(s.Key(), gone)
	}
}

// refuse takes back a connection that the room has not accepted, or whose acceptance nobody waits for.
func (s *Session) refuse() {
	s.end()
	s.remove()
	if s.conn.Admitted() { // it was accepted, and the answer was lost
		s.owe(&closeMessage{conn: &s.conn, code: 1006, cause: CloseClient, note: s.ns.node.noteOf(&s.conn)})
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
