package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/replies"
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
	came    uint16  // when the client came, in seconds of Host.uptime, modulo 2^16
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
	if err := h.check(key); err != nil {
		return nil, err
	}
	if len(r.ID) > hibernate.MaxConnectionID {
		return nil, &Error{Code: syncproto.CodeBadMessage, Message: "The connection's id is longer than 128 bytes."}
	}
	s := &Session{ns: h.namespace(key.Namespace)}
	s.came = h.seconds()
	s.conn.Serial = h.conns.Serial()
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
			h.quiet.Note(quietOf(key, &s.conn)) // what it has sent by now is lost, and it asks once
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
	answer, err := s.ns.host.request(ctx, s.Key(), m)
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

// Receive takes a message from the client. It waits while Options.InFlight
// messages of this connection are in work, and while the connection has its share of the room's mailbox waiting, so
// that a transport which reads no further meanwhile pushes back to the client. data may be used again when it
// returns. A message that cannot be read, or that the room does not take, is
// answered over the link; an error means that the session is over.
func (s *Session) Receive(data []byte, binary bool) error {
	if answer := s.AutoAnswer(data, binary); answer != nil {
		s.conn.Link.Send(answer)
		return nil
	}
	message, err := s.decode(data, binary)
	if shown, is := message.(presenceMessage); is {
		return s.show(shown)
	}
	if err != nil {
		s.unreadable(message, err)
		return nil
	}
	return s.take(message)
}

// take has the room do a message, in its turn, as soon as the connection has a place for it, of its own and in the
// room's mailbox.
func (s *Session) take(message any) error {
	if !s.begin() {
		return ErrSessionOver
	}
	s.note(message)
	var waits *actor.Waiting
	err := s.send(func(key Key, m any, reply func(any, error)) (err error) {
		waits, err = s.ns.host.actors.SendOrWait(key, m, reply)
		return err
	}, message, 0)
	if waits != nil {
		defer s.unread()()
		if !s.await(waits) {
			s.done()
			return ErrSessionOver
		}
		err = waits.Err()
	}
	if err != nil {
		s.refused(message, err, 0)
	}
	return nil
}

// unread tells the link that nothing is taken from the client until read is called.
func (s *Session) unread() (read func()) {
	if link, can := s.conn.Link.(interface{ Unread() (read func()) }); can {
		return link.Unread()
	}
	return func() {}
}

// await waits until a message waits no more. It is false where the session is over before, and the message is not sent.
func (s *Session) await(waits *actor.Waiting) bool {
	for {
		s.mu.Lock()
		over, freed := s.over, s.freed()
		s.mu.Unlock()
		if over && waits.TakeBack() {
			return false
		}
		if over {
			<-waits.Over()
			return true
		}
		select {
		case <-waits.Over():
			return true
		case <-freed: // something may have changed
		}
	}
}

// Offer is Receive for a caller that must not wait, and has asked AutoAnswer: where Receive
// would wait, when the session is over, and of a presence, which may go to many, it is false and
// nothing has been taken.
func (s *Session) Offer(data []byte, binary bool) bool {
	if !s.tryBegin() {
		return false
	}
	message, err := s.decode(data, binary)
	if _, is := message.(presenceMessage); is {
		s.done()
		return false
	}
	if err != nil {
		s.done()
		s.unreadable(message, err)
		return true
	}
	s.note(message)
	err = s.send(s.ns.host.actors.Send, message, 0)
	switch {
	case errors.Is(err, actor.ErrOverloaded):
		s.done()
		return false
	case err != nil:
		s.refused(message, err, 0)
	}
	return true
}

// unreadable answers a message that decode has refused.
func (s *Session) unreadable(message any, err error) {
	var refused *syncproto.Error
	if errors.As(err, &refused) {
		s.conn.Link.Send(hibernate.TextFrame(256, refused.AppendFrame))
	} else {
		s.conn.Link.Send(refusal(message, err))
	}
}

// AutoAnswer is the answer to a message that the room need not see, see the Option
// AutoAnswer, and nil for any other. Receive gives it itself; a transport that
// has no reader for the connection at hand may ask first. Each call that has an answer
// counts for [Conn.LastAutoAnswer].
func (s *Session) AutoAnswer(data []byte, binary bool) *hibernate.Frame {
	if s.ns.answer == nil || binary || string(data) != s.ns.request {
		return nil
	}
	s.conn.AutoAnswered(s.ns.host.opts.Clock.Now())
	return s.ns.answer
}

// begin takes a place for a message in work, and waits for one if there is none. It is
// false when the session is over.
func (s *Session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && int(s.working) >= s.ns.host.opts.InFlight {
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
	if s.over || int(s.working) >= s.ns.host.opts.InFlight {
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

// decode makes a room's message of a client's, with bytes of its own. An error is a
// *syncproto.Error where there is no message, and else what is wrong with it.
func (s *Session) decode(data []byte, binary bool) (any, error) {
	if binary {
		return &rawMessage{conn: &s.conn, message: Message{Data: slices.Clone(data), Binary: true}}, nil
	}
	data = slices.Clone(data)
	m, err := syncproto.Decode(data, syncproto.DecodeOptions{MaxBytes: len(data)}) // the transport bounds it
	if refused, is := errors.AsType[*syncproto.Error](err); is && refused.Mutation != 0 {
		return s.refusedAction(refused, data), nil
	}
	if err != nil {
		return nil, err
	}
	switch m.Kind {
	case syncproto.KindSync:
		return &syncMessage{conn: &s.conn, channel: m.Channel, from: m.From.Value(), since: m.Since, cursor: m.Cursor, frameBytes: len(data)}, nil
	case syncproto.KindAction:
		action := &actionMessage{
			conn: &s.conn, channel: m.Channel, id: m.ID,
			action: ActionRequest{Type: m.ActionType, Payload: json.RawMessage(m.Payload)},
			bound:  s.ns.actions[m.ActionType],
			client: m.Client, mutation: m.Mutation,
			came: s.ns.host.uptime(), frameBytes: len(data),
		}
		s.name(action, m)
		err = s.decodeEarly(action)
		if action.mutation != 0 { // its number is used up in the room, in its turn
			action.refused, err = err, nil
		}
		return action, err
	case syncproto.KindPresence:
		if s.ns.presence {
			return presenceMessage(m.Presence), nil
		}
		fallthrough
	default:
		return &rawMessage{conn: &s.conn, message: Message{Data: data}}, nil
	}
}

// refusedAction is a numbered action whose frame was refused. The room answers it in its turn, so that
// its number is used up: the same frame would be refused again.
func (s *Session) refusedAction(refused *syncproto.Error, frame []byte) *actionMessage {
	action := &actionMessage{
		conn: &s.conn, channel: refused.Channel, id: refused.ID, refused: refused,
		client: refused.Client, mutation: refused.Mutation, frameBytes: len(frame),
	}
	s.name(action, syncproto.Message{
		Client: refused.Client, Mutation: refused.Mutation, ID: refused.ID, Channel: refused.Channel, Action: frame,
	})
	return action
}

// name gives an action the names by which the room knows it again.
func (s *Session) name(action *actionMessage, m syncproto.Message) {
	subject := s.conn.Identity.Subject
	if m.Mutation != 0 {
		action.key = numberedName(m.Client, subject, m.Mutation)
		action.digest = replies.DigestOf(m.ID, m.Channel, m.Action)
		return
	}
	action.key = replies.KeyOf('i', s.conn.ID(), subject, []byte(m.ID))
	action.digest = replies.DigestOf("", m.Channel, m.Action)
}

// post puts a message into the room's mailbox that has its place already: its sync goes on, or is tried
// again.
func (s *Session) post(message any, try int) {
	if err := s.send(s.ns.host.actors.Push, message, try); err != nil {
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
	s.ns.host.afterFunc(drainPause, "going on with a snapshot", func() { s.proceed(next) })
}

// maxSyncTries is how often a sync is tried while its room cannot answer: for
// about half a minute. The published client asks once and never again.
const maxSyncTries = 10

// refused answers a message that the room did not apply.
func (s *Session) refused(message any, err error, try int) {
	if _, sync := message.(*syncMessage); sync && passing(err) && try < maxSyncTries {
		delay := min(50*time.Millisecond<<try, 5*time.Second)
		s.ns.host.afterFunc(delay, "asking again for a channel", func() {
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

// passing tells whether an error is of the kind that goes away by itself.
func passing(err error) bool {
	return errors.Is(err, actor.ErrUnavailable) || errors.Is(err, actor.ErrOverloaded) || errors.Is(err, hibernate.ErrMemory) || errors.Is(err, storage.ErrBatchLost) || full(err)
}

// Messages that are too long for the transport to hold. They are answered under their own ids, for
// a client that is told nothing sends the same again, and one that is cut off loses what
// it has in work beside it.

// Oversized answers a message from the client that is longer than limit bytes, of which head is
// the beginning: frame_too_large, to the action or the channel that head shows, and else to the
// connection. A numbered action uses its number up, as any that is refused for good. Otherwise it is as
// Receive.
func (s *Session) Oversized(head []byte, binary bool, limit int64) error {
	refused := &syncproto.Error{Code: syncproto.CodeFrameTooLarge, Message: fmt.Sprintf("The message is longer than %d bytes.", limit), Offset: -1}
	if binary {
		s.conn.Link.Send(hibernate.TextFrame(128, refused.AppendFrame))
		return nil
	}
	m := syncproto.DecodeHead(head)
	refused.Kind, refused.Channel, refused.ID = m.Kind, m.Channel, m.ID
	if m.Kind != syncproto.KindAction || m.Mutation == 0 || m.ID == "" || m.Channel == "" {
		s.conn.Link.Send(hibernate.TextFrame(256, refused.AppendFrame))
		return nil
	}
	action := &actionMessage{
		conn: &s.conn, channel: m.Channel, id: m.ID, client: m.Client, mutation: m.Mutation,
		refused: &Error{Code: refused.Code, Message: refused.Message},
	}
	m.Action = slices.Clone(head) // what it is known again by, if it comes twice
	s.name(action, m)
	return s.take(action)
}

// note has a message count for the client's share, while the node is congested.
func (s *Session) note(message any) {
	if !s.ns.host.shares.Congested() {
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
