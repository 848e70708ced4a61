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

// A Link carries messages to one client: a socket, a test's mailbox, another
// process. Both methods are safe from any goroutine and never block. A link that has a method Probe() as well
// is asked by it to end soon if its client is gone, and one with Receipt() to find out soon what the client
// has received; neither blocks. One with Unread() (read func()) is told that nothing is taken from its client until read is called, and
// may end if the client hangs up meanwhile. One with SendThen(then func(), frames ...*Frame) (waits bool), which is Send and calls then
// once nothing of the frames waits any more, gets presence no faster than it takes it.
type Link interface {
	// Send queues frames, in order. A link that cannot take them closes itself;
	// frames for a closed link are dropped.
	Send(frames ...*Frame)
	// Close ends the link with a WebSocket close code and a reason of at most
	// 123 bytes, behind everything that was queued before.
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
	names    string // the id and behind it the room's name: one piece of memory

	// Written by the room's actor, and by Drop.

	rare atomic.Pointer[rare] // nil: the zero State, and nothing kept

	// Safe from any goroutine.

	sent      atomic.Uint64
	confirmed atomic.Uint64
	answered  atomic.Int64          // Unix nanoseconds of the last automatic answer; 0: none
	shown     atomic.Pointer[shown] // what the others see of it; nil: it takes no part. See Presence
	stage     atomic.Uint32         // bits, see stageGiven

	// Returned is the room's own note, owned by its actor: a connection of the same id and
	// user was here before, and took rows without cursors. It is here, where it takes no room.
	Returned bool
	// Waits is one, too: what the room waits for before it raises its note on the connection; 0: nothing.
	Waits uint8

	// Immutable; here for the same reason.

	Named bool  // the client chose its id itself, so it may come back under it
	id    uint8 // how many bytes of names are the id
}

// MaxConnectionID is the longest id of a connection, in bytes.
const MaxConnectionID = 128

// Name gives a connection its id, of at most MaxConnectionID bytes, and the name of its
// room: once, before anybody else has it. The strings are copied.
func (c *Connection) Name(id, room string) {
	if len(id) > MaxConnectionID {
		panic("hibernate: a connection's id is too long")
	}
	c.names, c.id = id+room, uint8(len(id))
}

// ID is chosen by the client and kept over its reconnects; it is not unique, and no proof of
// anything.
func (c *Connection) ID() string { return c.names[:c.id] }

// Room is the name of its room, without the namespace.
func (c *Connection) Room() string { return c.names[c.id:] }

// A State is what a room's handler keeps with a connection.
type State struct {
	Tags       []string // at most 16, sorted
	Attachment []byte   // at most MaxAttachment; nil for none
}

// Identify gives what a Connection's Identity points at. All those who are nobody in
// particular share one.
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

// State is what the handler keeps with the connection.
func (c *Connection) State() State {
	if r := c.rare.Load(); r != nil {
		return r.state
	}
	return State{}
}

// SetState changes what State gives.
func (c *Connection) SetState(s State) { c.setRare(rare{s, c.Kept(), c.Numbers()}) }

// Kept is what the room itself keeps with the connection over its lives; nil: nothing.
func (c *Connection) Kept() any {
	if r := c.rare.Load(); r != nil {
		return r.kept
	}
	return nil
}

// Keep changes what Kept gives.
func (c *Connection) Keep(v any) { c.setRare(rare{c.State(), v, c.Numbers()}) }

// A Keepsake is something that many connections keep. It takes no memory of each of them that has nothing else.
type Keepsake struct{ rare rare }

// NewKeepsake makes one of v, which must not be nil.
func NewKeepsake(v any) *Keepsake { return &Keepsake{rare{kept: v}} }

// KeepShared is Keep with what the keepsake was made of.
func (c *Connection) KeepShared(k *Keepsake) {
	if r := c.rare.Load(); r == nil || r.only() {
		c.rare.Store(&k.rare)
		return
	}
	c.Keep(k.rare.kept)
}

// Drop has the connection keep nothing if what it keeps is one of vs. Unlike Keep, Drop is safe from any goroutine. A Keep
// at the same time wins.
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

// only reports whether there is nothing but what is kept.
func (r *rare) only() bool { return r.state.Tags == nil && r.state.Attachment == nil && r.client == "" }

// Numbers is the name of the client whose numbered actions came last over this connection; "" where
// none has.
func (c *Connection) Numbers() string {
	if r := c.rare.Load(); r != nil {
		return r.client
	}
	return ""
}

// SetNumbers changes what Numbers gives.
func (c *Connection) SetNumbers(client string) { c.setRare(rare{c.State(), c.Kept(), client}) }

func (c *Connection) setRare(r rare) {
	if r.only() && r.kept == nil {
		c.rare.Store(nil)
		return
	}
	keep := r
	c.rare.Store(&keep)
}

// AutoAnswered notes that the client was answered without its room.
func (c *Connection) AutoAnswered(at time.Time) { c.answered.Store(at.UnixNano()) }

// LastAutoAnswer is when that last was, and the zero time if it never was.
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
	mostAnswers = 1<<(64-seqBits) - 1 // so many are never confirmed
)

// Handed notes that everything up to a room's commit has been given to the link. Calls of Handed
// and Answered exclude each other.
func (c *Connection) Handed(seq uint64) {
	c.sent.Store(c.sent.Load()&^seqMask | seq&seqMask)
	c.stage.Or(stageGiven)
}

// Answered notes that the last frame of an answer has been given to the link.
func (c *Connection) Answered() {
	if mark := c.sent.Load(); mark>>seqBits < mostAnswers {
		c.sent.Store(mark + 1<<seqBits)
	}
}

// HandedSeq is the last commit that has been given to the link.
func (c *Connection) HandedSeq() uint64 { return c.sent.Load() & seqMask }

// Given tells whether anything was ever given to the link; Mark is 0 in a room without
// commits, too.
func (c *Connection) Given() bool { return c.stage.Load()&stageGiven != 0 }

// What a connection has been through, as bits of its stage.
const (
	stageGiven    = 1 << iota // something was given to the link
	stageEnded                // the link has ended, or the room has refused the connection
	stageAdmitted             // the room has accepted it, and has not been told of its end
	stageNoted                // the room's file says that it is there
)

// End notes that the connection's link has ended, or that its room has refused it. [Rooms.Add] does not take the
// connection after that.
func (c *Connection) End() { c.stage.Or(stageEnded) }

// Ended reports whether End was called.
func (c *Connection) Ended() bool { return c.stage.Load()&stageEnded != 0 }

// Note notes that the room's file has a note of the connection, see Noted.
func (c *Connection) Note() { c.stage.Or(stageNoted) }

// Noted reports whether Note was called: a room that sleeps finds the note when it wakes.
func (c *Connection) Noted() bool { return c.stage.Load()&stageNoted != 0 }

// Admit notes that the room has accepted the connection, and owes it a hook at its end.
func (c *Connection) Admit() { c.stage.Or(stageAdmitted) }

// Dismiss notes that the room has been told of the connection's end.
func (c *Connection) Dismiss() { c.stage.And(^uint32(stageAdmitted)) }

// Admitted reports whether Admit was called, and Dismiss was not.
func (c *Connection) Admitted() bool { return c.stage.Load()&stageAdmitted != 0 }

// Mark stands for all that has been given to the link; it never falls but where the room's
// history does. A transport that
// puts a ping behind what it has queued passes the mark of that moment to
// Confirm when the pong comes back: TCP keeps order, so the client has it all.
func (c *Connection) Mark() uint64 { return c.sent.Load() }

// Confirm notes that the client has received everything up to mark.
func (c *Connection) Confirm(mark uint64) {
	for {
		old := c.confirmed.Load()
		if mark <= old || c.confirmed.CompareAndSwap(old, mark) {
			return
		}
	}
}

// Confirmed is the highest mark that was confirmed.
func (c *Connection) Confirmed() uint64 { return c.confirmed.Load() }

// ConfirmedSeq is the last commit that the client is known to have received. answered reports
// whether it has received every answer, too.
func (c *Connection) ConfirmedSeq() (seq uint64, answered bool) {
	confirmed := c.confirmed.Load()
	answers := confirmed >> seqBits
	return confirmed & seqMask, answers == c.sent.Load()>>seqBits && answers < mostAnswers
}
