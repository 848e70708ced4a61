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

// The messages in a room's mailbox. All slices are the message's own.
type (
	connectMessage struct {
		conn    *hibernate.Connection
		request *http.Request
		stock   bool                 // the client may be the published one
		ask     func([]*syncMessage) // asks for what the client relies on; called before the answer is given
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
		bound   *boundAction // nil: OnAction serves it
		in      any          // the payload as decoded by bound
		refused error        // the error of decoding the payload, if the action is numbered

		client   string // with mutation: the client that numbers its actions; see mutations.go
		mutation uint64 // 0: it has no number
		key      replies.Key
		digest   replies.Digest

		came   time.Duration // the time of arrival, by node.uptime
		commit storage.Seq   // of an action without a number, if its reply has rows; see repeat.go

		frameBytes int              // of the client's frame, which it keeps
		share      *hibernate.Share // see share.go
	}
	syncMessage struct {
		conn    *hibernate.Connection
		channel string
		from    storage.Value // nil: all rows
		since   syncproto.SinceKind
		cursor  syncproto.Cursor
		going   bool          // part of the channel has been sent; see reader.go
		after   storage.Value // the last id that was sent
		scan    *changeScan   // the place in the changes since the cursor, after some were sent; see sync.go

		pending  *pendingSync // nil until its first turn; see pending_syncs.go
		replaces bool         // it replaces a sync whose client has begun a copy

		// Of one without a cursor; see stock.go.

		internal bool     // the room itself has sent it; see pending_syncs.go
		unasked  bool     // the client did not send it; it is answered with updates; see peers.go
		reset    bool     // the client drops what it was sent before
		list     *listing // of a large channel; sent up to next
		next     int
		byID     bool        // the channel is too large for a listing
		delta    *delta      // of many changes; see stock.go
		base     storage.Seq // the commit up to which the client has everything when it has the answer

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
	barrierMessage struct{}                 // needs nothing but an answer
	migrateMessage struct{ barrierMessage } // has a new room stay
	thenMessage    struct {
		sender uint64           // the connection whose message began the work; 0: none
		share  *hibernate.Share // of that connection; see share.go
		life   uint64
		err    error
		then   func(*Context, error) error
	}
)

// Which sender a message in a room's mailbox counts for, and how much memory it takes. Connections take turns: each
// has a share of the mailbox and of the room's time. Plain requests of one user are one sender, and so are those from
// one address without a user. What the room does for a connection besides its messages also counts for that
// connection: a check of its hold, and the results of work that its actions began. What the room has to do for itself
// (alarms, and the results of their work) is charged to no sender and comes first.

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
		size += len(m.action.Payload) // the decoded payload takes about as much again
	}
	return size
}
func (m *syncMessage) Size() int    { return messageBytes + m.frameBytes }
func (m *rawMessage) Size() int     { return messageBytes + len(m.message.Data) }
func (m *requestMessage) Size() int { return messageBytes + m.bodyBytes + headerBytes(m.request) }
func (*holdMessage) Size() int      { return 0 }
func (*thenMessage) Size() int      { return 0 }

// Last marks the messages that come after all those that were sent before them.
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

// headerBytes returns about how much memory a request's header takes.
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

// inputOf returns how many bytes of a client's message are input for the room's code.
func inputOf(message any) int {
	switch m := message.(type) {
	case *actionMessage:
		return len(m.action.Payload)
	case *rawMessage:
		return len(m.message.Data)
	}
	return 0
}

// An alarmMessage tells a room to run the alarms that are due. With countFirst the room first counts a try of the
// first one durably, and runs only that one. So an alarm that ends the process, or hangs, is given up in the end.
type alarmMessage struct{ countFirst bool }

// A closeMessage tells a room that a connection has gone.
type closeMessage struct {
	conn   *hibernate.Connection
	code   int
	reason string
	cause  CloseCause

	note     noteKey // of the connection's note in the room's file
	fromFile bool    // conn was made from that note; the room's lists never had it
	again    bool    // it was sent before, or the host sends it
	spent    bool    // its hook has run, and only the note is left

	share *hibernate.Share // see share.go
}

// A noteKey identifies a note.
type noteKey struct{ run, serial int64 }

// A rosterMessage has the room check its roster.
type rosterMessage struct{}

// A checkpointMessage asks a room to checkpoint its WAL, so that the commit log need not keep its entries.
type checkpointMessage struct{}

// A holdMessage has the room check whether something has been held from a connection for long enough.
type holdMessage struct{ conn *hibernate.Connection }

// A presenceMessage is a client's presence, which does not go through the room.
type presenceMessage json.RawMessage

// A changeScan is how far the answer to a sync with a cursor has come.
type changeScan struct {
	epoch string
	place storage.ChangePlace
	until storage.Seq // the answer has the changes up to this commit
	sent  int         // bytes
}

// An answerKey identifies an answer. There is one of each key at a time.
type answerKey struct {
	conn    *hibernate.Connection
	channel string
	unasked bool
}

// A pendingSync is a sync from its first turn until it has been answered. The room's actor owns it.
type pendingSync struct {
	since  syncproto.SinceKind
	cursor syncproto.Cursor
	from   storage.Value
	base   storage.Seq // of an unasked sync: the commit after which the client lacks the changes
	noted  bool        // a note says that the client has asked
	copies bool        // the client is sent every live row, and builds a copy from them
	life   uint64      // the life that answered it last; see pendingSyncs.brokenOff
	over   bool        // the client was told to ask again
}

// covers reports whether the answer to a sync also answers another one.
func (a *pendingSync) covers(b *pendingSync) bool {
	return a.since == b.since && a.cursor == b.cursor && pages.Compare(a.from, b.from) == 0 && a.base <= b.base
}

func (m *syncMessage) key() answerKey { return answerKey{m.conn, m.channel, m.unasked} }

// takesCursors reports whether the client that asks follows the rules for cursors.
func (a *pendingSync) takesCursors() bool { return a.since != syncproto.SinceFrom }
