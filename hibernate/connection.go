package hibernate

import (
	"slices"
	"sync/atomic"
	"time"
)

// MaxAttachment is the largest attachment of a connection, in bytes. (16 KB, as
// with Durable Objects' serializeAttachment.)
const MaxAttachment = 16 << 10

// An Identity says who a client is, as the server's authentication found it.
// The zero Identity is nobody in particular. Claims must be plain data (what
// JSON can hold), for an identity may travel between processes.
type Identity struct {
	// Subject names the client's principal: a user's id. Empty: anonymous.
	Subject string
	// Claims are what else authentication found out. They are not to be changed.
	Claims map[string]any
}

// A Link carries messages to one client: a socket, a test's mailbox, another process. Its methods are safe from any goroutine and do
// not block. A link may have more methods:
//
//	Probe()                                               end soon if the client is gone
//	Receipt()                                             find out soon what the client has received
//	Unread() (read func())                                nothing is read from the client until read is called; the link may
//	                                                      end if the client hangs up before that
//	SendThen(then func(), frames ...*Frame) (waits bool)  Send, and call then when none of the frames waits any more; such a link
//	                                                      gets presence no faster than it takes it
type Link interface {
	// Send queues frames, in order. A link that cannot take them closes itself;
	// frames for a closed link are dropped.
	Send(frames ...*Frame)
	// Close ends the link with a WebSocket close code and a reason of at most
	// 123 bytes, after everything that was queued before.
	Close(code int, reason string)
}

// A Connection is a client's place in a room. It lives as long as its link
// does, whether or not the room is awake, so it is kept small: what most
// connections do not have is behind a pointer that is nil.
type Connection struct {
	// Immutable.

	Serial   uint64    // its number within the process, never used twice
	Identity *Identity // who it is; never nil, see Identify
	Link     Link
	names    string // the id, followed by the room's name

	// Written by the room's actor, and by Drop.

	rare atomic.Pointer[rare] // nil: the zero State, and nothing kept

	// Safe from any goroutine.

	sent      atomic.Uint64
	confirmed atomic.Uint64
	answered  atomic.Int64          // Unix nanoseconds of the last automatic answer; 0: none
	shown     atomic.Pointer[shown] // its presence; nil: it takes no part
	stage     atomic.Uint32         // bits, see stageGiven; the upper 24 are the second of Return, plus 1

	// Waits is what the room waits for before it raises the mark that it keeps of the connection; 0: nothing. It belongs to the room's
	// actor, and is here because it takes no memory here.
	Waits uint8

	// Immutable; here for the same reason.

	Named bool  // the client chose its id itself, so it may come back with it
	id    uint8 // length of the id in names, in bytes
}

// MaxConnectionID is the longest id of a connection, in bytes.
const MaxConnectionID = 128

// Name sets a connection's id, of at most MaxConnectionID bytes, and the name of its room. It is called once, before other goroutines
// have the connection. The strings are copied.
func (c *Connection) Name(id, room string) {
	if len(id) > MaxConnectionID {
		panic("hibernate: a connection's id is too long")
	}
	c.names, c.id = id+room, uint8(len(id))
}

// ID returns the connection's id. The client chooses it and keeps it when it reconnects. It is not unique and proves nothing.
func (c *Connection) ID() string { return c.names[:c.id] }

// Room returns the name of the connection's room, without the namespace.
func (c *Connection) Room() string { return c.names[c.id:] }

// A State is what a room's handler keeps with a connection.
type State struct {
	Tags       []string // at most 16, sorted
	Attachment []byte   // at most MaxAttachment; nil for none
}

// Identify returns a pointer to an identity, for Connection.Identity. All anonymous identities share one.
func Identify(id Identity) *Identity {
	if id.Subject == "" && id.Claims == nil {
		return nobody
	}
	return &id
}

var nobody = &Identity{}

// rare is what most connections do not have. It is immutable.
type rare struct {
	state  State
	kept   any
	client string // see Numbers
}

// State returns what the handler keeps with the connection.
func (c *Connection) State() State {
	if r := c.rare.Load(); r != nil {
		return r.state
	}
	return State{}
}

// SetState sets what State returns.
func (c *Connection) SetState(s State) { c.setRare(rare{s, c.Kept(), c.Numbers()}) }

// Kept returns what the room itself keeps with the connection from one of its lives to the next; nil: nothing.
func (c *Connection) Kept() any {
	if r := c.rare.Load(); r != nil {
		return r.kept
	}
	return nil
}

// Keep sets what Kept returns.
func (c *Connection) Keep(v any) { c.setRare(rare{c.State(), v, c.Numbers()}) }

// A Keepsake is a value that many connections keep. It takes no memory in a connection that keeps nothing else.
type Keepsake struct{ rare rare }

// NewKeepsake returns a Keepsake with the value v, which must not be nil.
func NewKeepsake(v any) *Keepsake { return &Keepsake{rare{kept: v}} }

// KeepShared is Keep with the keepsake's value.
func (c *Connection) KeepShared(k *Keepsake) {
	if r := c.rare.Load(); r == nil || r.only() {
		c.rare.Store(&k.rare)
		return
	}
	c.Keep(k.rare.kept)
}

// Drop removes what the connection keeps, if it is one of vs. Unlike Keep, Drop is safe from any goroutine. If Keep is called at the
// same time, its value stays.
func (c *Connection) Drop(vs ...any) {
	for {
		r := c.rare.Load()
		if r == nil || r.kept == nil || !slices.Contains(vs, r.kept) {
			return
		}
		var rest *rare
		if !r.only() {
			rest = &rare{state: r.state, client: r.client}
		}
		if c.rare.CompareAndSwap(r, rest) {
			return
		}
	}
}

// only reports whether kept is the only field that may be set.
func (r *rare) only() bool { return r.state.Tags == nil && r.state.Attachment == nil && r.client == "" }

// Numbers returns the name of the client whose numbered actions came last over this connection; "" if there were none.
func (c *Connection) Numbers() string {
	if r := c.rare.Load(); r != nil {
		return r.client
	}
	return ""
}

// SetNumbers sets what Numbers returns.
func (c *Connection) SetNumbers(client string) { c.setRare(rare{c.State(), c.Kept(), client}) }

func (c *Connection) setRare(r rare) {
	if r.only() && r.kept == nil {
		c.rare.Store(nil)
		return
	}
	keep := r
	c.rare.Store(&keep)
}

// AutoAnswered records that the client was answered without its room.
func (c *Connection) AutoAnswered(at time.Time) { c.answered.Store(at.UnixNano()) }

// LastAutoAnswer returns the time of the last AutoAnswered; the zero time if there was none.
func (c *Connection) LastAutoAnswer() time.Time {
	at := c.answered.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// A mark has two parts, because an answer to a sync goes out without a commit: the number of
// answers in the upper 16 bits, and in the lower 48 the room's commit.
const (
	seqBits     = 48
	seqMask     = 1<<seqBits - 1
	mostAnswers = 1<<(64-seqBits) - 1 // the count stops here, and then no answer is known to be confirmed
)

// Handed records that everything up to a commit of the room has been given to the link. Calls of Handed and Answered must not run at
// the same time.
func (c *Connection) Handed(seq uint64) {
	c.sent.Store(c.sent.Load()&^seqMask | seq&seqMask)
	c.stage.Or(stageGiven)
}

// Answered records that the last frame of an answer has been given to the link.
func (c *Connection) Answered() {
	if mark := c.sent.Load(); mark>>seqBits < mostAnswers {
		c.sent.Store(mark + 1<<seqBits)
	}
}

// HandedSeq returns the last commit that has been given to the link.
func (c *Connection) HandedSeq() uint64 { return c.sent.Load() & seqMask }

// Given reports whether anything was ever given to the link. Mark does not say so, because it is also 0 in a room without commits.
func (c *Connection) Given() bool { return c.stage.Load()&stageGiven != 0 }

// What a connection has been through, as bits of its stage.
const (
	stageGiven    = 1 << iota // something was given to the link
	stageEnded                // the link has ended, or the room has refused the connection
	stageAdmitted             // the room has accepted it, and has not been told of its end
	stageNoted                // the room's file says that it is there
)

// End records that the connection's link has ended, or that its room has refused it. After End, [Rooms.Add] does not add the
// connection.
func (c *Connection) End() { c.stage.Or(stageEnded) }

// Ended reports whether End was called.
func (c *Connection) Ended() bool { return c.stage.Load()&stageEnded != 0 }

// Note records that the room's file has a note of the connection.
func (c *Connection) Note() { c.stage.Or(stageNoted) }

// Noted reports whether Note was called. A room that wakes finds the note in its file.
func (c *Connection) Noted() bool { return c.stage.Load()&stageNoted != 0 }

// Admit records that the room has accepted the connection, and has to run a hook when it ends.
func (c *Connection) Admit() { c.stage.Or(stageAdmitted) }

// Dismiss records that the room has been told of the connection's end.
func (c *Connection) Dismiss() { c.stage.And(^uint32(stageAdmitted)) }

// Admitted reports whether Admit was called, and Dismiss was not.
func (c *Connection) Admitted() bool { return c.stage.Load()&stageAdmitted != 0 }

// The second of Return stands above the bits of a stage, so that it takes no memory of its own.
const (
	stageBits  = 8
	stageMask  = 1<<stageBits - 1
	lastSecond = 1<<(32-stageBits) - 2 // after 194 days
)

// Return records that a connection of the same id and user was here before, and took rows without cursors. uptime is the time since the
// process began. Return and Forget are called by the room's actor only.
func (c *Connection) Return(uptime time.Duration) {
	c.Forget()
	c.stage.Or((uint32(min(uptime/time.Second, lastSecond)) + 1) << stageBits)
}

// Forget takes Return back.
func (c *Connection) Forget() { c.stage.And(stageMask) }

// Returned reports whether Return was called, and at which uptime of the process, to the second.
func (c *Connection) Returned() (uptime time.Duration, is bool) {
	second := c.stage.Load() >> stageBits
	if second == 0 {
		return 0, false
	}
	return time.Duration(second-1) * time.Second, true
}

// Mark returns a number for all that has been given to the link. It grows, unless the room's history is taken back. A transport
// sends a ping after what it has queued, and passes the mark of that moment to Confirm when the pong comes: because TCP keeps
// order, the client has received everything before the ping.
func (c *Connection) Mark() uint64 { return c.sent.Load() }

// Confirm records that the client has received everything up to mark.
func (c *Connection) Confirm(mark uint64) {
	for {
		old := c.confirmed.Load()
		if mark <= old || c.confirmed.CompareAndSwap(old, mark) {
			return
		}
	}
}

// Confirmed returns the highest mark that was confirmed.
func (c *Connection) Confirmed() uint64 { return c.confirmed.Load() }

// ConfirmedSeq returns the last commit that the client is known to have received. answered reports whether it has received all
// answers too.
func (c *Connection) ConfirmedSeq() (seq uint64, answered bool) {
	confirmed := c.confirmed.Load()
	answers := confirmed >> seqBits
	return confirmed & seqMask, answers == c.sent.Load()>>seqBits && answers < mostAnswers
}
