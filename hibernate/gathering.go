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

// Those of one room who take part in its presence, and what each of them has been told.
//
// All that happens gets a number. The changes stand in a list in the order of their numbers, and of each
// peer only the last: that it shows something else, or has gone. A member was told everything up to a number. So
// what it lacks is the end of the list from there on, however much has happened meanwhile, and a client that reads
// slowly gets the newest of each peer and nothing of what came between.

// A gathering is those of one room who take part.
type gathering struct {
	leaving atomic.Int32 // calls of Leave since clear has looked; it runs while there are some

	// Protected by mu, which is locked before the Presence's, and never while a link is sent something.

	mu     sync.Mutex
	list   []*member          // in the order of their serials
	ending map[uint64]*member // who has just ended, and is still being told something, by serial; nil: nobody
	bytes  int                // of what they show, as it goes over the wire
	over   bool               // the last has left: the room may have another one

	number  uint64  // of what happened last
	oldest  *change // the list, in the order of the numbers
	newest  *change
	gone    int // how many of the list have gone
	handing int // how many calls of handOver are under way

	recent shared
}

// A change is the last that happened to a peer.
type change struct {
	number uint64
	born   uint64      // when the peer began to take part: who was told up to there or more, knows it
	serial uint64      // the peer's
	c      *Connection // nil: it has gone

	older, newer *change
}

// A member is one who takes part.
type member struct {
	c     *Connection
	taken func()  // to be called when its link has taken what waits
	last  *change // what happened to itself; nil: it takes part no more
	told  uint64  // the number up to which it was told everything
	anew  bool    // it is to be told everything there is
	state handing
	early bool // its link took what it was sent before handOver heard that it waits
}

// handing says where what a member was told last is.
type handing uint8

const (
	handedNothing handing = iota // its link has taken it
	inHand                       // handOver has it
	inQueue                      // it waits in the link
)

// A shared is what several get who lack the same.
type shared struct {
	from, to uint64
	frames   []*Frame
}

// at is where a connection's member is in the list, or would be. mu is held.
func (g *gathering) at(c *Connection) (int, bool) {
	return slices.BinarySearchFunc(g.list, c.Serial, func(m *member, serial uint64) int { return cmp.Compare(m.c.Serial, serial) })
}

// happens puts a change behind all others. mu is held.
func (g *gathering) happens(ch *change) {
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

// unlist takes a change out of the list. mu is held.
func (g *gathering) unlist(ch *change) {
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

// leave notes that a member takes part no more. mu is held.
func (g *gathering) leave(m *member) {
	g.unlist(m.last)
	m.last.c = nil
	g.happens(m.last)
	m.last = nil
	if m.state == inHand { // what it is being told must not come behind what it is told when it begins again
		if g.ending == nil {
			g.ending = make(map[uint64]*member)
		}
		g.ending[m.c.Serial] = m
	}
	if g.gone++; g.gone > 2*len(g.list)+256 {
		g.forgetGone()
	}
}

// forgetGone drops who has gone. Who was not told of all of them will be told who is there. mu is held.
func (g *gathering) forgetGone() {
	newest := uint64(0)
	for ch := g.oldest; ch != nil; {
		next := ch.newer
		if ch.c == nil {
			newest = ch.number
			g.unlist(ch)
		}
		ch = next
	}
	g.gone = 0
	for _, m := range g.list {
		m.anew = m.anew || m.told < newest
	}
}

// end is Show with null. mu is held.
func (g *gathering) end(c *Connection) {
	old := c.shown.Load()
	if old == nil || old.data == nil || !c.shown.CompareAndSwap(old, nil) {
		return // it has left meanwhile
	}
	at, _ := g.at(c)
	m := g.list[at]
	g.list = slices.Delete(g.list, at, at+1)
	g.bytes -= len(old.peer)
	g.leave(m)
}

// clear takes those out who have left. mu is held.
func (g *gathering) clear() {
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
		g.leave(m)
	}
	if cap(g.list) > 32 && len(g.list) < cap(g.list)/4 {
		g.list = slices.Clone(g.list)
	}
}

// close ends everybody's part, and tells nobody. mu is held.
func (g *gathering) close() {
	g.list, g.ending, g.over = nil, nil, true
	g.oldest, g.newest, g.gone, g.recent = nil, nil, 0, shared{}
}

// show is Show with a value that is not null. mu is held.
func (g *gathering) show(c *Connection, id string, value json.RawMessage) error {
	old := c.shown.Load()
	size := 0
	if old != nil {
		if old.data == nil || bytes.Equal(old.data, value) {
			return nil
		}
		size = len(old.peer)
	}
	next := showing(c.Serial, id, value)
	if g.bytes+len(next.peer)-size > MaxRoomPresence {
		return ErrPresenceFull
	}
	if !c.shown.CompareAndSwap(old, next) {
		return nil // it has ended meanwhile
	}
	g.bytes += len(next.peer) - size
	at, there := g.at(c)
	if !there {
		g.list = slices.Insert(g.list, at, g.join(c))
		return nil
	}
	last := g.list[at].last
	g.unlist(last)
	g.happens(last)
	return nil
}

// join makes the member of a connection that begins to take part. mu is held.
func (g *gathering) join(c *Connection) *member {
	m := g.ending[c.Serial]
	if m == nil {
		m = &member{c: c}
	} else {
		delete(g.ending, c.Serial)
	}
	m.last, m.anew = &change{c: c, serial: c.Serial}, true
	g.happens(m.last)
	m.last.born = m.last.number
	return m
}

// showing is what is kept of what a connection shows.
func showing(serial uint64, id string, value json.RawMessage) *shown {
	peer := syncproto.AppendPeer(make([]byte, 0, len(value)+len(id)+48), serial, id, value)
	last := len(peer) - len("}")
	return &shown{peer: peer, data: json.RawMessage(peer[last-len(value) : last : last])}
}

// lacks takes what a member is to be told next, as far as a page goes. No frames: nothing. mu is held.
func (g *gathering) lacks(m *member) []*Frame {
	if m.anew {
		m.anew, m.told = false, g.number
		return g.full(m.c.Serial)
	}
	for m.told < g.number {
		if r := g.recent; r.from == m.told && r.frames != nil && !m.own(r.from, r.to) {
			m.told = r.to
			return r.frames
		}
		if frames := g.page(m); frames != nil {
			return frames
		}
	}
	return nil
}

// own reports whether one of the changes behind one number up to another is the member's.
func (m *member) own(from, to uint64) bool { return m.last.number > from && m.last.number <= to }

// page makes the frame of the oldest changes that a member lacks, and notes that it was told them. It is nil where they
// do not concern it. mu is held.
func (g *gathering) page(m *member) []*Frame {
	from, first := m.told, g.newest
	if first == nil || first.number <= from { // what happened was forgotten, and it need not know
		m.told = g.number
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
	if m.told = end.number; end == g.newest {
		m.told = g.number
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
	if !m.own(from, m.told) {
		g.recent = shared{from: from, to: m.told, frames: frames}
	}
	return frames
}

// appendChange appends what a change is to a member that was told everything up to from: nothing, if it is its own, or the
// end of a peer that it did not know, or of one that has begun again in the same page. mu is held.
func (g *gathering) appendChange(dst []byte, ch *change, m *member, from uint64) []byte {
	switch {
	case ch.serial == m.c.Serial:
		return dst
	case ch.c != nil:
		return append(syncproto.AppendSeparator(dst), ch.c.shown.Load().peer...)
	case ch.born > from:
		return dst
	}
	for again := ch.newer; again != nil && again.number <= m.told; again = again.newer {
		if again.serial == ch.serial && again.c != nil {
			return dst
		}
	}
	return syncproto.AppendPeerGone(syncproto.AppendSeparator(dst), ch.serial)
}

// full is all that is shown, in pages: what does not fit into the first follows as
// changes do. mu is held.
func (g *gathering) full(self uint64) []*Frame {
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
