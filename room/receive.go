package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/syncproto"
)

// What a transport reads from a client, and how fast.

// Receive accepts a message from the client. It blocks while Options.InFlight messages of this connection are in
// work, and while the connection uses its whole share of the room's mailbox. A transport should read nothing further
// meanwhile, so that TCP slows the client down. After Receive returns, data may be reused. If a message cannot be
// read, or the room does not accept it, it is answered over the link. An error means that the session is over.
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

// take sends a message to the room as soon as the connection has a place for it, both its own and in the room's
// mailbox.
func (s *Session) take(message any) error {
	if !s.begin() {
		return ErrSessionOver
	}
	s.note(message)
	var waits *actor.Waiting
	err := s.send(func(key Key, m any, reply func(any, error)) (err error) {
		waits, err = s.ns.node.actors.SendOrWait(key, m, reply)
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

// unread tells the link that nothing is read from the client until read is called.
func (s *Session) unread() (read func()) {
	if link, can := s.conn.Link.(interface{ Unread() (read func()) }); can {
		return link.Unread()
	}
	return func() {}
}

// await waits until a message has been sent. It returns false if the session is over first; the message is then not
// sent.
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

// Offer is Receive for a caller that must not block and has already called AutoAnswer. It returns false, and accepts
// nothing, if Receive would block, if the session is over, and for a presence, which may go to many clients.
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
	err = s.send(s.ns.node.actors.Send, message, 0)
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

// AutoAnswer returns the answer to a message that the room need not see (see the Option AutoAnswer), and nil for any
// other message. Receive sends it itself. A transport that has no reader for the connection at hand may call
// AutoAnswer first. Each call that returns an answer counts for [Conn.LastAutoAnswer].
func (s *Session) AutoAnswer(data []byte, binary bool) *hibernate.Frame {
	if s.ns.answer == nil || binary || string(data) != s.ns.request {
		return nil
	}
	s.conn.AutoAnswered(s.ns.node.now())
	return s.ns.answer
}

// show is Receive for a presence.
func (s *Session) show(value presenceMessage) error {
	if s.isOver() {
		return ErrSessionOver
	}
	s.mu.Lock()
	shownAs := s.ensureExtra().shownAs
	s.mu.Unlock()
	err := s.ns.node.presence.Show(hibernate.Key(s.Key()), &s.conn, shownAs, json.RawMessage(value))
	switch {
	case errors.Is(err, hibernate.ErrPresenceTooLarge):
		err = &Error{Code: syncproto.CodeTooLarge, Message: "A client's presence has at most 16384 bytes.", cause: err}
	case errors.Is(err, hibernate.ErrPresenceFull):
		err = &Error{Code: syncproto.CodeOverloaded, Message: "The room's clients show too much already.", cause: err}
	}
	if err != nil {
		s.conn.Link.Send(refusal(value, err))
		return nil
	}
	s.spendShown(len(value))
	return nil
}

// decode makes a message for the room from a client's message. It copies data. If there is no message, the error is a
// *syncproto.Error; otherwise it says what is wrong with the message.
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
			came: s.ns.node.uptime(), frameBytes: len(data),
		}
		s.name(action, m)
		err = s.decodeEarly(action)
		if action.mutation != 0 { // the room uses up the number, in its turn
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

// decodeEarly decodes the payload of a bound action, unless the room has to do that.
func (s *Session) decodeEarly(m *actionMessage) (err error) {
	if m.bound == nil || m.bound.inTurn {
		return nil
	}
	m.in, err = s.ns.node.decodePayload(m)
	return err
}

// decodePayload decodes the payload of a bound action. A panic fails this action only.
func (n *node) decodePayload(m *actionMessage) (in any, err error) {
	err = protect(func() (err error) {
		in, err = m.bound.decode(m.action)
		return err
	})
	if caught, panicked := errors.AsType[*panicError](err); panicked {
		n.opts.Logger.Error("decoding a payload panicked", "action", m.action.Type, "panic", caught.Error(), "stack", string(caught.stack))
		return nil, &Error{Code: syncproto.CodeActionFailed, Message: "The action failed.", cause: errPayload}
	}
	return in, err
}

// errPayload is the error of an action whose payload could not be decoded because decoding panicked.
var errPayload = errors.New("decoding the payload panicked")

// refusedAction returns a numbered action whose frame was refused. The room answers it in its turn, so that its
// number is used up: the same frame would be refused again.
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

// name sets an action's key and digest, by which the room recognizes the action if it comes again.
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

// Messages that are longer than the transport may hold. Each is answered under its own id. Without an answer the
// client would send it again, and if its socket were closed it would lose what it has in work besides.

// Oversized answers a message of more than limit bytes, of which head is the beginning. The answer is
// frame_too_large, to the action or the channel that head names, otherwise to the connection. A numbered action uses
// up its number, like any action that is refused for good. Otherwise Oversized is like Receive.
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
	m.Action = slices.Clone(head) // by which it is recognized if it comes again
	s.name(action, m)
	return s.take(action)
}

// Paced counts bytes that the client has sent, and reports whether to call Pace before reading more.
func (s *Session) Paced(bytes int) bool {
	if !s.ns.node.limits.shares.Congested() {
		return false
	}
	s.mu.Lock()
	share := s.shared()
	s.mu.Unlock()
	share.Spend(hibernate.UnitBytes + int64(bytes))
	return true
}

// Pace waits until what the client has sent is served, at most a second, and then until the client's share of the
// node is free again. It also returns when the session is over. A transport calls it from the goroutine that reads
// from the client.
func (s *Session) Pace() {
	defer s.unread()()
	idle := func() bool { return s.working == 0 }
	s.waitFor(servedWithin, idle)
	s.mu.Lock()
	share := s.shared()
	s.mu.Unlock()
	shares := s.ns.node.limits.shares
	shares.Pause(shares.Wait(share), func(step time.Duration) bool { return s.waitFor(step, func() bool { return false }) })
}

// waitFor waits until done returns true, the session is over, or the time has passed. It reports whether the time has
// passed. It calls done with mu held.
func (s *Session) waitFor(long time.Duration, done func() bool) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	for {
		s.mu.Lock()
		if s.over || done() {
			s.mu.Unlock()
			return false
		}
		freed := s.freed()
		s.mu.Unlock()
		select {
		case <-timer.C:
			return true
		case <-freed: // something may have changed
		}
	}
}

// spendShown charges the client for a presence, once for each connection that takes part, while the node is
// congested.
func (s *Session) spendShown(bytes int) {
	if !s.ns.node.limits.shares.Congested() {
		return
	}
	peers := s.ns.node.presence.Peers(hibernate.Key(s.Key()))
	s.mu.Lock()
	share := s.shared()
	s.mu.Unlock()
	share.Spend(int64(bytes) * int64(peers))
}
