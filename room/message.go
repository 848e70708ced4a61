package room

import (
	"net/http"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// What a room's mailbox holds. All slices are the message's own.
type (
	connectMessage struct {
		conn    *hibernate.Connection
		request *http.Request
		stock   bool                 // it may be the published client's
		ask     func([]*syncMessage) // asks for what the client relies on; called before the answer
		share   *hibernate.Share     // see share.go
	}
	// A welcome is the answer to a connectMessage.
	welcome struct {
		shownAs string
		ask     func() // to be called before the answer is given; nil: nothing is to be asked for the client
	}
	actionMessage struct {
		conn    *hibernate.Connection
		channel string
		id      string
		action  ActionRequest
		bound   *boundAction // nil: OnAction's
		in      any          // what bound's decode made of the payload
		refused error        // what bound's decode found, where the action is numbered

		client   string // with mutation: who numbers its actions; see mutations.go
		mutation uint64 // 0: it has no number
		key      replies.Key
		digest   replies.Digest

		came  time.Duration    // when, by Host.uptime
		reply *hibernate.Frame // with rows of its own, of an action without a number; see reply.go

		frameBytes int              // of the client's frame, which it keeps
		share      *hibernate.Share // see share.go
	}
	syncMessage struct {
		conn    *hibernate.Connection
		channel string
		from    storage.Value // nil: everything
		since   syncproto.SinceKind
		cursor  syncproto.Cursor
		going   bool          // some of the channel has been sent; see sync.go
		after   storage.Value // up to this id
		trail   *trail        // some of the changes since the cursor have been; see sync.go

		inquiry  *inquiry // nil until its first turn; see reading.go
		replaces bool     // another one whose client has begun a copy

		// Of one without a cursor; see stock.go.

		pursued bool     // the room itself has sent it; see reading.go
		unasked bool     // its client did not send it: it is answered with updates; see confirm.go
		anew    bool     // what was sent before is to be dropped
		list    *listing // of a large channel, which is sent up to next
		next    int
		byID    bool        // of one that is too large for a listing
		glean   *gleaning   // of many changes; see stock.go
		base    storage.Seq // what the client has in any case, when it has the answer

		frameBytes int              // of the client's frame
		share      *hibernate.Share // see share.go
	}
	rawMessage struct {
		conn    *hibernate.Connection
		message Message
		share   *hibernate.Share // see share.go
	}
	requestMessage struct {
		request   *http.Request
		sender    uint64 // see Host.sender
		bodyBytes int
		share     *hibernate.Share // see share.go
	}
	settleMessage  struct{}                // asks for nothing but an answer
	migrateMessage struct{ settleMessage } // and has a new room stay
	thenMessage    struct {
		sender uint64           // the connection whose message has begun the work; 0: none
		share  *hibernate.Share // of that connection; see share.go
		life   uint64
		err    error
		then   func(*Context, error) error
	}
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

// inputOf is how many bytes of a message a client has sent that are for the room's code.
func inputOf(message any) int {
	switch m := message.(type) {
	case *actionMessage:
		return len(m.action.Payload)
	case *rawMessage:
		return len(m.message.Data)
	}
	return 0
}
