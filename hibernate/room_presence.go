package hibernate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/denrooms/den/syncproto"
)

// The presence of one room: its members, and what each of them has been sent.
//
// Each change has a number. The changes are in a list in the order of their numbers, and the list has only the last change
// of each peer: the peer shows something else, or it has gone. A member has been sent all changes up to some number. What it
// lacks is the rest of the list after that number, however many changes there were. So a client that reads slowly gets the newest
// value of each peer, and none of the values in between.

// A roomPresence is the presence of one room.
type roomPresence struct {
	leaving atomic.Int32 // calls of Leave that announceLeft has not handled yet; it runs while this is not 0

	// Protected by mu. It is locked before the Presence's mutex, and it is not held while frames are sent to a link.

	mu     sync.Mutex
	list   []*member          // in the order of their serials
	ending map[uint64]*member // members that have just left while frames were being sent to them, by serial; nil: none
	bytes  int                // what the members show, in bytes on the wire
	closed bool               // the last member has left; the room may have another roomPresence

	number     uint64  // of the last change
	oldest     *change // the list of changes, in the order of their numbers
	newest     *change
	gone       int // how many changes of the list say that a peer has gone
	delivering int // calls of deliver that are running

	recent sharedPage // the page that was made last
}

// A change is the last change of a peer.
type change struct {
	number uint64
	first  uint64      // number of the change with which the peer came: a member that was sent that change knows the peer
	serial uint64      // the peer's
	c      *Connection // nil: the peer has gone

	older, newer *change
}

// A member is a connection that takes part.
type member struct {
	c            *Connection
	drained      func()  // for the link to call when nothing waits in it any more
	last         *change // the member's own; nil: it no longer takes part
	sent         uint64  // number of the last change that it was sent, and before which it lacks none
	full         bool    // it is to be sent what all members show
	state        sendState
	drainedEarly bool // drained was called before deliver knew that the frames wait
}

// sendState says where the frames are that a member was sent last.
type sendState uint8

const (
	idle    sendState = iota // the link has taken them
	sending                  // deliver is sending them
	queued                   // they wait in the link
)

// A sharedPage is the frames for all members that lack the changes after from, up to to.
type sharedPage struct {
	from, to uint64
	frames   []*Frame
}

// at returns the index of a connection's member in the list, or the index at which it would be inserted. mu is held.
func (g *roomPresence) at(c *Connection) (int, bool) {
	return slices.BinarySearchFunc(g.list, c.Serial, func(m *member, serial uint64) int { return cmp.Compare(m.c.Serial, serial) })
}

// push gives a change the next number and appends it to the list. mu is held.
func (g *roomPresence) push(ch *change) {
	g.number++
	ch.number = g.number
	ch.older, ch.newer = g.newest, nil
	if g.newest == nil {
		g.oldest = ch
	} else {
		g.newest.newer = ch
	}
	g.newest = ch
}

// unlink removes a change from the list. mu is held.
func (g *roomPresence) unlink(ch *change) {
	if ch.older == nil {
		g.oldest = ch.newer
	} else {
		ch.older.newer = ch.newer
	}
	if ch.newer == nil {
		g.newest = ch.older
	} else {
		ch.newer.older = ch.older
	}
	ch.older, ch.newer = nil, nil
}

// removeMember records that a member, which is no longer in g.list, has gone. mu is held.
func (g *roomPresence) removeMember(m *member) {
	g.unlink(m.last)
	m.last.c = nil
	g.push(m.last)
	m.last = nil
	if m.state == sending { // if the client comes back at once, these frames must come before the next ones
		if g.ending == nil {
			g.ending = make(map[uint64]*member)
		}
		g.ending[m.c.Serial] = m
	}
	if g.gone++; g.gone > 2*len(g.list)+256 {
		g.dropGone()
	}
}

// dropGone drops the changes of peers that have gone. A member that was not sent all of them will be sent what all members
// show. mu is held.
func (g *roomPresence) dropGone() {
	newest := uint64(0)
	for ch := g.oldest; ch != nil; {
		next := ch.newer
		if ch.c == nil {
			newest = ch.number
			g.unlink(ch)
		}
		ch = next
	}
	g.gone = 0
	for _, m := range g.list {
		m.full = m.full || m.sent < newest
	}
}

// hide is Show with the value null. mu is held.
func (g *roomPresence) hide(c *Connection) {
	old := c.shown.Load()
	if old == nil || old.data == nil || !c.shown.CompareAndSwap(old, nil) {
		return // it has left in the meantime
	}
	at, _ := g.at(c)
	m := g.list[at]
	g.list = slices.Delete(g.list, at, at+1)
	g.bytes -= len(old.peer)
	g.removeMember(m)
}

// removeEnded removes the members whose connections have ended. mu is held.
func (g *roomPresence) removeEnded() {
	var left []*member
	g.list = slices.DeleteFunc(g.list, func(m *member) bool {
		s := m.c.shown.Load()
		if s.data == nil {
			g.bytes -= len(s.peer)
			left = append(left, m)
		}
		return s.data == nil
	})
	for _, m := range left {
		g.removeMember(m)
	}
	if cap(g.list) > 32 && len(g.list) < cap(g.list)/4 {
		g.list = slices.Clone(g.list)
	}
}

// close removes all members and sends nothing. mu is held.
func (g *roomPresence) close() {
	g.list, g.ending, g.closed = nil, nil, true
	g.oldest, g.newest, g.gone, g.recent = nil, nil, 0, sharedPage{}
}

// show is Show with a value other than null. mu is held.
func (g *roomPresence) show(c *Connection, id string, value json.RawMessage) error {
	old := c.shown.Load()
	size := 0
	if old != nil {
		if old.data == nil || bytes.Equal(old.data, value) {
			return nil
		}
		size = len(old.peer)
	}
	next := newShown(c.Serial, id, value)
	if g.bytes+len(next.peer)-size > MaxRoomPresence {
		return ErrPresenceFull
	}
	if !c.shown.CompareAndSwap(old, next) {
		return nil // the connection has ended in the meantime
	}
	g.bytes += len(next.peer) - size
	at, there := g.at(c)
	if !there {
		g.list = slices.Insert(g.list, at, g.addMember(c))
		return nil
	}
	last := g.list[at].last
	g.unlink(last)
	g.push(last)
	return nil
}

// addMember makes the member for a connection that begins to take part. mu is held.
func (g *roomPresence) addMember(c *Connection) *member {
	m := g.ending[c.Serial]
	if m == nil {
		m = &member{c: c}
	} else {
		delete(g.ending, c.Serial)
	}
	m.last, m.full = &change{c: c, serial: c.Serial}, true
	g.push(m.last)
	m.last.first = m.last.number
	return m
}

// newShown returns what is kept of a value that a connection shows.
func newShown(serial uint64, id string, value json.RawMessage) *shown {
	peer := syncproto.AppendPeer(make([]byte, 0, len(value)+len(id)+48), serial, id, value)
	last := len(peer) - len("}")
	return &shown{peer: peer, data: json.RawMessage(peer[last-len(value) : last : last])}
}

// nextFrames returns the frames that a member is to be sent next, at most a page of changes, and counts them as sent. It returns
// nil if the member lacks nothing. mu is held.
func (g *roomPresence) nextFrames(m *member) []*Frame {
	if m.full {
		m.full, m.sent = false, g.number
		return g.fullPages(m.c.Serial)
	}
	for m.sent < g.number {
		if r := g.recent; r.from == m.sent && r.frames != nil && !m.ownBetween(r.from, r.to) {
			m.sent = r.to
			return r.frames
		}
		if frames := g.nextPage(m); frames != nil {
			return frames
		}
	}
	return nil
}

// ownBetween reports whether the member's own change is after from and not after to.
func (m *member) ownBetween(from, to uint64) bool { return m.last.number > from && m.last.number <= to }

// nextPage returns a frame with the oldest changes that a member lacks, and counts them as sent. It returns nil if none of them
// concerns the member. mu is held.
func (g *roomPresence) nextPage(m *member) []*Frame {
	from, first := m.sent, g.newest
	if first == nil || first.number <= from { // the changes were dropped, and the member does not need them
		m.sent = g.number
		return nil
	}
	for first.older != nil && first.older.number > from {
		first = first.older
	}
	size, end := 0, first
	for ch := first; ch != nil && (ch == first || size < syncproto.DefaultPageBytes); ch = ch.newer {
		if size += 16; ch.c != nil {
			size += len(ch.c.shown.Load().peer)
		}
		end = ch
	}
	if m.sent = end.number; end == g.newest {
		m.sent = g.number
	}
	some := false
	frame := TextFrame(size+32, func(dst []byte) []byte {
		dst = syncproto.AppendPresenceStart(dst)
		empty := len(dst)
		for ch := first; ch != end.newer; ch = ch.newer {
			dst = g.appendChange(dst, ch, m, from)
		}
		some = len(dst) > empty
		return syncproto.AppendPresenceEnd(dst)
	})
	if !some {
		return nil
	}
	frames := []*Frame{frame}
	if !m.ownBetween(from, m.sent) {
		g.recent = sharedPage{from: from, to: m.sent, frames: frames}
	}
	return frames
}

// appendChange appends a change for a member that has been sent all changes up to from. It appends nothing for the member's own
// change, for a peer that has gone and that the member did not know, and for one that comes back in the same page. mu is held.
func (g *roomPresence) appendChange(dst []byte, ch *change, m *member, from uint64) []byte {
	switch {
	case ch.serial == m.c.Serial:
		return dst
	case ch.c != nil:
		return append(syncproto.AppendSeparator(dst), ch.c.shown.Load().peer...)
	case ch.first > from:
		return dst
	}
	for again := ch.newer; again != nil && again.number <= m.sent; again = again.newer {
		if again.serial == ch.serial && again.c != nil {
			return dst
		}
	}
	return syncproto.AppendPeerGone(syncproto.AppendSeparator(dst), ch.serial)
}

// fullPages returns what all members show, in pages. The pages after the first have the form of changes. mu is held.
func (g *roomPresence) fullPages(self uint64) []*Frame {
	var frames []*Frame
	for at := 0; at < len(g.list); {
		begin, size := at, 0
		for at < len(g.list) && (at == begin || size < syncproto.DefaultPageBytes) {
			size += len(g.list[at].c.shown.Load().peer) + 1
			at++
		}
		frames = append(frames, TextFrame(size+96, func(dst []byte) []byte {
			if begin == 0 {
				dst = syncproto.AppendPresenceFullStart(dst, self)
			} else {
				dst = syncproto.AppendPresenceStart(dst)
			}
			for _, m := range g.list[begin:at] {
				dst = append(syncproto.AppendSeparator(dst), m.c.shown.Load().peer...)
			}
			return syncproto.AppendPresenceEnd(dst)
		}))
	}
	return frames
}
