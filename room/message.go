package room

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
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

		came   time.Duration // when, by node.uptime
		commit storage.Seq   // of an action without a number, if its reply has rows; see repeat.go

		frameBytes int              // of the client's frame, which it keeps
		share      *hibernate.Share // see share.go
	}
	syncMessage struct {
		conn    *hibernate.Connection
		channel string
		from    storage.Value // nil: everything
		since   syncproto.SinceKind
		cursor  syncproto.Cursor
		going   bool          // some of the channel has been sent; see reader.go
		after   storage.Value // up to this id
		trail   *trail        // some of the changes since the cursor have been; see sync.go

		inquiry  *inquiry // nil until its first turn; see reading.go
		replaces bool     // another one whose client has begun a copy

		// Of one without a cursor; see stock.go.

		pursued bool     // the room itself has sent it; see reading.go
		unasked bool     // its client did not send it: it is answered with updates; see peers.go
		reset   bool     // the client drops what it was sent before
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
		sender    uint64 // see node.sender
		bodyBytes int
		share     *hibernate.Share // see share.go
	}
	barrierMessage struct{}                 // asks for nothing but an answer
	migrateMessage struct{ barrierMessage } // and has a new room stay
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

// Last: these messages come after all that were sent before them.
func (barrierMessage) Last() {}

var (
	_ actor.Sized = (*connectMessage)(nil)
	_ actor.Sized = (*closeMessage)(nil)
	_ actor.Sized = (*actionMessage)(nil)
	_ actor.Sized = (*syncMessage)(nil)
	_ actor.Sized = (*rawMessage)(nil)
	_ actor.Sized = (*requestMessage)(nil)
	_ actor.Sized = (*holdMessage)(nil)
	_ actor.Sized = (*thenMessage)(nil)
	_ actor.Last  = barrierMessage{}
	_ actor.Last  = (*liveTaskMessage)(nil)
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

// An alarmMessage tells a room to run the alarms that are due. With countFirst the room counts a try of the first one
// durably before it runs it, and runs no other. So an alarm that ends the process, or hangs, is given up some time.
type alarmMessage struct{ countFirst bool }

// A closeMessage tells a room that a connection has gone.
type closeMessage struct {
	conn   *hibernate.Connection
	code   int
	reason string
	cause  CloseCause

	note     noteKey // of the connection in the room's file
	fromFile bool    // conn was made of that note: the room's lists never had it
	again    bool    // it comes again, or from the host
	spent    bool    // its hook has run, and only the note is left

	share *hibernate.Share // see share.go
}

// A noteKey names a note.
type noteKey struct{ run, serial int64 }

// A rosterMessage has the room look at its roster.
type rosterMessage struct{}

// A checkpointMessage asks a room to checkpoint its WAL, so that the commit log need not keep its entries.
type checkpointMessage struct{}

// A holdMessage lets the room look whether something of a connection has been held for long enough.
type holdMessage struct{ conn *hibernate.Connection }

// A presenceMessage is a client's presence, on its way past the room.
type presenceMessage json.RawMessage

// A trail is how far the answer to a sync by a cursor has come.
type trail struct {
	epoch string
	place storage.ChangePlace
	until storage.Seq // the answer has what changed up to this commit
	sent  int         // bytes
}

// An answerKey names what there is one of at a time.
type answerKey struct {
	conn    *hibernate.Connection
	channel string
	unasked bool
}

// An inquiry is a sync from its first turn until it has been answered. It is owned by the room's actor.
type inquiry struct {
	since  syncproto.SinceKind
	cursor syncproto.Cursor
	from   storage.Value
	base   storage.Seq // of one that the client did not send: after which commit it lacks what has changed
	noted  bool        // it stands in the notes on the client that it has asked
	copies bool        // the client is sent every live row, and builds a copy from them
	life   uint64      // in which it was answered last; see inquiries.brokenOff
	over   bool        // its client was told to ask again
}

// covers reports whether the answer to a sync is that of another one too.
func (a *inquiry) covers(b *inquiry) bool {
	return a.since == b.since && a.cursor == b.cursor && pages.Compare(a.from, b.from) == 0 && a.base <= b.base
}

func (m *syncMessage) key() answerKey { return answerKey{m.conn, m.channel, m.unasked} }

// takesCursors reports whether the client that asks follows the rules for cursors.
func (a *inquiry) takesCursors() bool { return a.since != syncproto.SinceFrom }
