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
	// ID is the name that the client chose for its connection (_pk) and keeps over reconnects, at most 128 bytes.
	// Empty: the room makes one.
	ID string
	// Identity is who the client is, according to the server's authentication.
	Identity Identity
	// Request is the upgrade's, for OnConnect. It may be nil. Its context should not end with the handshake.
	Request *http.Request
	// Stock says that the client may be the published one of partysync, which stores every row as it comes. If it has
	// chosen its ID and is new to the room, the room sends it no row of a channel before the last frame of that
	// channel's answer. If the client does not ask, this ends after 10 to 11 s. The reply to an action waits for the
	// answer too. After 5 s it is sent without its rows, which are in the answer. A client that sends a cursor or
	// numbers its actions is not the published one.
	Stock bool
	// Link receives the messages for the client. It must be ready for use.
	Link hibernate.Link
}

// A Session is a transport's end of a connection. Receive is called from one goroutine at a time; the other methods
// are safe from any. Each client of each sleeping room has a Session, so it is small: it contains the connection
// itself, and has no channel while the client is quiet.
type Session struct {
	// Immutable.

	ns   *namespace
	conn hibernate.Connection // with the room's name

	// Protected by mu.

	mu      sync.Mutex
	extra   *sessionExtra // nil: not needed yet
	working int32         // messages in work
	over    bool          // Close was called
	came    uint16        // when the client came, in seconds of node.uptime, modulo 2^16
}

// sessionExtra is what most sessions do not need.
type sessionExtra struct {
	share   *hibernate.Share // what the client has spent while the node was congested; nil: nothing
	shownAs string           // the id under which presence shows the client; set before Connect returns. Empty: no presence
	free    chan struct{}    // closed by done and Close while Receive waits; nil if it does not
}

// ensureExtra returns the session's extra. mu is held.
func (s *Session) ensureExtra() *sessionExtra {
	if s.extra == nil {
		s.extra = new(sessionExtra)
	}
	return s.extra
}

// freed returns a channel that is closed when a message is no longer in work, or the session is over. mu is held.
func (s *Session) freed() <-chan struct{} {
	r := s.ensureExtra()
	if r.free == nil {
		r.free = make(chan struct{})
	}
	return r.free
}

// ErrSessionOver is returned by Receive after the session has been closed.
var ErrSessionOver = errors.New("room: the session is over")

// Connect brings a client into a room, and wakes the room if necessary. It returns when OnConnect has accepted the
// client and what the hook wrote is durable; messages may come over the link before that. An error is an *Error,
// written for the client. If ctx ends, Connect stops waiting and takes the connection back.
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
			h.node.recent.unsubscribed.Note(clientOf(key, &s.conn)) // what the client has sent by now is lost, and it asks only once
		}
		if ctx.Err() != nil {
			s.Close(1006, "gave up") // the room may let it in yet
		} else {
			s.refuse()
		}
		code, message := ErrorCode(err)
		return nil, &Error{Code: code, Message: message, cause: err}
	}
	return s, nil
}

// enter asks the room to let the client in. It waits while the room's mailbox is full.
func (s *Session) enter(ctx context.Context, m *connectMessage) error {
	answer, err := s.ns.node.request(ctx, s.Key(), m)
	if in, is := answer.(welcome); is && in.shownAs != "" {
		s.mu.Lock()
		s.ensureExtra().shownAs = in.shownAs
		s.mu.Unlock()
	}
	return err
}

// ask sends the syncs that the room makes for a client that came back.
func (s *Session) ask(syncs []*syncMessage) {
	s.mu.Lock()
	s.working += int32(len(syncs)) // this may exceed the limit: nobody waits for a place yet
	s.mu.Unlock()
	for _, m := range syncs {
		s.post(m, 0)
	}
}

// Key is the room's key. Its strings keep no request in memory.
func (s *Session) Key() Key { return Key{Namespace: s.ns.name, Room: s.conn.Room()} }

// ID is the connection's id.
func (s *Session) ID() string { return s.conn.ID() }

// begin takes a place for a message in work. It waits until one is free, and returns false if the session is over.
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

// done frees a place.
func (s *Session) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working--
	s.signal()
}

// signal wakes Receive, which checks again. mu is held.
func (s *Session) signal() {
	if r := s.extra; r != nil && r.free != nil {
		close(r.free)
		r.free = nil
	}
}

func (s *Session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// post sends a message that already has a place: a sync that goes on or is retried.
func (s *Session) post(message any, try int) {
	if err := s.send(s.ns.node.actors.Push, message, try); err != nil {
		s.refused(message, err, try)
	}
}

// send puts a message into the room's mailbox by calling put. Its place is free again when the room has answered it.
// If put fails, send has no effect.
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

// proceed asks for the next step of a snapshot, after the client has read most of the last.
func (s *Session) proceed(next *syncMessage) {
	if s.isOver() {
		s.done()
		return
	}
	if drained(s.conn.Link) {
		s.post(next, 0)
		return
	}
	s.ns.node.afterFunc(drainPause, "continuing a snapshot", func() { s.proceed(next) })
}

// maxSyncTries is how often a sync is tried while its room cannot answer: for about half a minute. The published
// client asks only once.
const maxSyncTries = 10

// refused answers a message that the room did not apply.
func (s *Session) refused(message any, err error, try int) {
	if _, sync := message.(*syncMessage); sync && passing(err) && try < maxSyncTries {
		delay := min(50*time.Millisecond<<try, 5*time.Second)
		s.ns.node.afterFunc(delay, "retrying a sync", func() {
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

// passing reports whether an error is one that passes by itself.
func passing(err error) bool {
	return errors.Is(err, actor.ErrUnavailable) || errors.Is(err, actor.ErrOverloaded) || errors.Is(err, hibernate.ErrMemory) || errors.Is(err, storage.ErrBatchLost) || full(err)
}

// note has a message count for the client's share while the node is congested.
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

// shared returns the client's share, and makes one if there is none. mu is held.
func (s *Session) shared() *hibernate.Share {
	r := s.ensureExtra()
	if r.share == nil {
		r.share = new(hibernate.Share)
	}
	r.share.Age(time.Duration(s.ns.node.seconds()-s.came) * time.Second) // after 18 h the client counts as new again, which does no harm
	return r.share
}

// Share returns what the client has spent while the node was congested; nil: nothing.
func (s *Session) Share() *hibernate.Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return nil
	}
	return s.extra.share
}

// seconds returns node.uptime in seconds, modulo 2^16.
func (n *node) seconds() uint16 { return uint16(n.uptime() / time.Second) }

// Close says that the client has gone, with the close code and the reason that it gave, or 1006. It may be called
// more than once; the first call counts. It does not wake a sleeping room, except with the Option WakeOnClose:
// OnClose runs when the room wakes.
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
	s.deferClose(gone)
}

// sendClose tells the room that the connection has gone. If it fails, it has no effect.
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
					s.deferClose(gone)
				}
			})
		case err != nil:
			s.remove()
			s.deferClose(gone)
		}
	})
}

// deferClose has the room's next life run OnClose, if the room has accepted the connection.
func (s *Session) deferClose(gone *closeMessage) {
	if s.ns.closes && s.conn.Admitted() {
		s.ns.node.deferClose(s.Key(), gone)
	}
}

// refuse takes back a connection that the room has not accepted, or whose acceptance nobody waits for.
func (s *Session) refuse() {
	s.end()
	s.remove()
	if s.conn.Admitted() { // the room accepted it, and the answer was lost
		s.deferClose(&closeMessage{conn: &s.conn, code: 1006, cause: CloseClient, note: s.ns.node.noteOf(&s.conn)})
	}
}

// end ends the session. It returns false if the session was over already.
func (s *Session) end() bool {
	s.conn.End()
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.over
	s.over = true
	s.signal()
	return first
}

// remove takes the connection out of the room. No other code does so outside of the room's turns. The room may not
// have the connection yet: hibernate.Rooms does not add one that has ended.
func (s *Session) remove() { s.ns.rooms.Remove(&s.conn) }
