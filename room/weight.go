package room

import (
	"context"
	"errors"
	"hash/maphash"
	"net"
	"net/http"

	"github.com/denrooms/den/actor"
)

// Whose a message in a room's mailbox is, and how much memory it keeps. Connections take turns: each
// has a share of the mailbox, and of the room's time. Plain requests of one user are one sender, and those of one
// address by nobody in particular. What the room does for a connection beside its messages (a look at what is held from it, the
// results of the work that its actions have begun) is that connection's, too. What the room itself has to do (alarms, results of
// their work) is nobody's, and comes first.

// messageBytes is what a message takes besides its own bytes.
const messageBytes = 512

func (m *connectMessage) Sender() uint64 { return m.conn.Serial }
func (m *closeMessage) Sender() uint64   { return m.conn.Serial }
func (m *actionMessage) Sender() uint64  { return m.conn.Serial }
func (m *syncMessage) Sender() uint64    { return m.conn.Serial }
func (m *rawMessage) Sender() uint64     { return m.conn.Serial }
func (m *requestMessage) Sender() uint64 { return m.sender }
func (m *holdMessage) Sender() uint64    { return m.conn.Serial }
func (m *thenMessage) Sender() uint64    { return m.sender }

func (m *connectMessage) Size() int { return messageBytes + headerBytes(m.request) }
func (m *closeMessage) Size() int   { return messageBytes + len(m.reason) }
func (m *actionMessage) Size() int {
	size := messageBytes + m.frameBytes
	if m.in != nil {
		size += len(m.action.Payload) // decoded, it takes as much again, more or less
	}
	return size
}
func (m *syncMessage) Size() int    { return messageBytes + m.frameBytes }
func (m *rawMessage) Size() int     { return messageBytes + len(m.message.Data) }
func (m *requestMessage) Size() int { return messageBytes + m.bodyBytes + headerBytes(m.request) }
func (*holdMessage) Size() int      { return 0 }
func (*thenMessage) Size() int      { return 0 }

// Last: who settles a room, or does an errand in it, comes after all that was sent before.
func (settleMessage) Last()  {}
func (*errandMessage) Last() {}

var (
	_ actor.Sized = (*connectMessage)(nil)
	_ actor.Sized = (*closeMessage)(nil)
	_ actor.Sized = (*actionMessage)(nil)
	_ actor.Sized = (*syncMessage)(nil)
	_ actor.Sized = (*rawMessage)(nil)
	_ actor.Sized = (*requestMessage)(nil)
	_ actor.Sized = (*holdMessage)(nil)
	_ actor.Sized = (*thenMessage)(nil)
	_ actor.Last  = settleMessage{}
	_ actor.Last  = (*errandMessage)(nil)
)

// headerBytes is about how much memory a request's header takes.
func headerBytes(r *http.Request) (n int) {
	if r == nil {
		return 0
	}
	n = len(r.RequestURI)
	for name, values := range r.Header {
		n += len(name)
		for _, v := range values {
			n += len(v)
		}
	}
	return n
}

// sender tells whose a plain request is: a number that no connection has.
func (h *Host) sender(id Identity, r *http.Request) uint64 {
	const plain = 1 << 63 // a connection's serial is lower
	if id.Subject != "" {
		return plain | maphash.String(h.hashes, id.Subject)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return plain | maphash.String(h.hashes, "\x00"+host)
}

// request sends a message to a room and waits for its answer. While the sender has its share of the room's
// mailbox waiting it waits, until ctx ends; what waits so counts for the node's memory, too.
func (h *Host) request(ctx context.Context, key Key, m any) (any, error) {
	answer, err := h.actors.Request(ctx, key, m)
	if !errors.Is(err, actor.ErrOverloaded) {
		return answer, err
	}
	bytes := 0
	if sized, is := m.(actor.Sized); is {
		bytes = sized.Size()
	}
	if err := h.admitTo(h.outside, bytes); err != nil {
		return nil, err
	}
	return h.actors.RequestWhenVacant(ctx, key, m, func() { h.outside.Give(bytes) })
}
