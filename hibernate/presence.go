package hibernate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/denrooms/den/syncproto"
)

// Presence: what clients show each other while they are there. It belongs to the
// connection, so no room has to be awake for it, and nothing of it is stored.
//
// Everything that happens in one room happens under one lock, sending too, so all see
// the same order: what a client is told when it begins to take part, and what it is told
// afterwards, fit together with nothing lost between and nothing twice. Other rooms go on.

// MaxRoomPresence is how many bytes the presence of all clients of one room may take as
// it goes over the wire, names and connection ids included. Each who begins to take part
// is sent all of it.
const MaxRoomPresence = 8 << 20

// Why a presence is refused. What the client showed before stays.
var (
	ErrPresenceTooLarge = fmt.Errorf("hibernate: a presence of more than %d bytes", syncproto.MaxPresenceBytes)
	ErrPresenceFull     = fmt.Errorf("hibernate: a room's presence of more than %d bytes", MaxRoomPresence)
)

// A Presence knows who takes part in the presence of which room of a host. The zero
// Presence is ready for use. It must not be copied.
type Presence struct {
	// Panicked is told of a Link that panicked while the others of its room were told of who has left, from a
	// goroutine of the Presence's. It is set before the first use; nil: nobody is.
	Panicked func(key Key, value any, stack []byte)

	mu       sync.RWMutex
	rooms    map[Key]*gathering // a room in which nobody takes part is not in it
	peak     int                // the most rooms since the map was made
	closed   bool
	clearing int           // rooms in which the others are being told of who has left
	cleared  chan struct{} // closed when there are none; nil if nobody waits for it
}

// A gathering is those of one room who take part.
type gathering struct {
	leaving atomic.Int32 // calls of Leave since clear has looked; it runs while there are some

	// Protected by mu, which is locked before the Presence's.

	mu    sync.Mutex
	peers set
	bytes int  // of what they show, as it goes over the wire
	over  bool // the last has left: the room may have another one
}

// shown is what a connection shows. It is immutable.
type shown struct {
	peer []byte          // as a member of a frame's peers
	data json.RawMessage // the part of it that the client chose; nil: the connection has ended
}

var ended = &shown{}

// Presence is what the client shows to the others; nil if it takes no part. It must
// not be changed. It is safe from any goroutine, and never waits.
func (c *Connection) Presence() json.RawMessage {
	if s := c.shown.Load(); s != nil {
		return s.data
	}
	return nil
}

// Show sets what a connection of a room shows to those who take part, which is one
// JSON value; null ends its part. It tells them, and who begins to take part is told of all,
// itself included. id is under what it is shown. The errors are ErrPresenceTooLarge and ErrPresenceFull; behind Leave and
// Close it does nothing. The value is not kept.
func (p *Presence) Show(key Key, c *Connection, id string, value json.RawMessage) error {
	if len(value) > syncproto.MaxPresenceBytes {
		return ErrPresenceTooLarge
	}
	value, err := compact(value)
	if err != nil {
		return err
	}
	if string(value) == "null" && c.Presence() == nil {
		return nil
	}
	g := p.enter(key)
	if g == nil {
		return nil
	}
	defer p.exit(key, g)
	if string(value) == "null" {
		g.end(c)
		return nil
	}
	return g.show(c, id, value)
}

// Leave ends the part of a connection that has ended, for good. It never waits: a
// goroutine tells the others, of all who have left meanwhile at once.
func (p *Presence) Leave(key Key, c *Connection) {
	for {
		old := c.shown.Load()
		switch {
		case old == nil && c.shown.CompareAndSwap(nil, ended):
			return // it takes no part, and Show does not let it any more
		case old != nil && old.data == nil:
			return
		case old != nil:
			// Until the others are told it is one of them, with what it showed last.
			if left := (&shown{peer: old.peer}); c.shown.CompareAndSwap(old, left) {
				p.left(key)
				return
			}
		}
	}
}

// left sees to it that clear looks at a room.
func (p *Presence) left(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.rooms[key] // there as long as somebody is in it, but for Close
	if g == nil || g.leaving.Add(1) > 1 {
		return
	}
	p.clearing++
	go p.clear(key, g) // ends when nobody has left since it looked
}

// clear takes those out of a gathering who have left, and tells the others.
func (p *Presence) clear(key Key, g *gathering) {
	for n := int32(1); n > 0; {
		n = g.leaving.Load()
		p.clearOnce(key, g)
		n = g.leaving.Add(-n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearing--
	if p.clearing == 0 && p.cleared != nil {
		close(p.cleared)
		p.cleared = nil
	}
}

// clearOnce is clear for those who have left until now. A link that panics costs those behind it the
// news, and no more: the process goes on.
func (p *Presence) clearOnce(key Key, g *gathering) {
	g.mu.Lock()
	defer p.exit(key, g)
	defer func() {
		if v := recover(); v != nil && p.Panicked != nil {
			p.Panicked(key, v, debug.Stack())
		}
	}()
	g.clear()
}

// Settle waits until the others have been told of all who had left before.
func (p *Presence) Settle(ctx context.Context) error {
	p.mu.Lock()
	if p.clearing == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.cleared == nil {
		p.cleared = make(chan struct{})
	}
	cleared := p.cleared
	p.mu.Unlock()
	select {
	case <-cleared:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends everybody's part, and tells nobody: all connections are about to end.
func (p *Presence) Close() {
	p.mu.Lock()
	rooms := p.rooms
	p.rooms, p.closed = nil, true
	p.mu.Unlock()
	for _, g := range rooms {
		g.mu.Lock()
		g.peers, g.over = set{}, true
		g.mu.Unlock()
	}
}

// enter locks the gathering of a room, which begins if there is none. It is nil behind
// Close.
func (p *Presence) enter(key Key) *gathering {
	for {
		p.mu.RLock()
		g, closed := p.rooms[key], p.closed
		p.mu.RUnlock()
		if closed {
			return nil
		}
		if g == nil {
			g = p.begin(key)
		}
		if g == nil {
			return nil
		}
		g.mu.Lock()
		if !g.over {
			return g
		}
		g.mu.Unlock()
	}
}

func (p *Presence) begin(key Key) *gathering {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	g := p.rooms[key]
	if g == nil {
		g = new(gathering)
		if p.rooms == nil {
			p.rooms = make(map[Key]*gathering)
		}
		p.rooms[key] = g
		p.peak = max(p.peak, len(p.rooms))
	}
	return g
}

// exit unlocks a gathering, and lets it go where nobody is left.
func (p *Presence) exit(key Key, g *gathering) {
	defer g.mu.Unlock()
	if len(g.peers.list) > 0 || g.over {
		return
	}
	g.over = true
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rooms, key)
	p.rooms = shrink(p.rooms, &p.peak)
}

// end is Show with null. mu is held.
func (g *gathering) end(c *Connection) {
	old := c.shown.Load()
	if old == nil || old.data == nil || !c.shown.CompareAndSwap(old, nil) {
		return // it has left meanwhile
	}
	g.peers.remove(c.Serial)
	g.bytes -= len(old.peer)
	g.tell(c, peersFrame(16, func(dst []byte) []byte { return syncproto.AppendPeerGone(dst, c.Serial) }))
}

// clear takes those out who have left, and tells the others in one frame. mu is held.
func (g *gathering) clear() {
	var gone []uint64
	g.peers.removeFunc(func(c *Connection) bool {
		s := c.shown.Load()
		if s.data == nil {
			gone = append(gone, c.Serial)
			g.bytes -= len(s.peer)
		}
		return s.data == nil
	})
	if len(gone) == 0 {
		return // somebody has seen to it
	}
	g.tell(nil, peersFrame(16*len(gone), func(dst []byte) []byte {
		for _, serial := range gone {
			dst = syncproto.AppendPeerGone(syncproto.AppendSeparator(dst), serial)
		}
		return dst
	}))
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
	frame := peersFrame(len(value)+len(id)+64, func(dst []byte) []byte {
		return syncproto.AppendPeer(dst, c.Serial, id, value)
	})
	next := showing(frame, len(value))
	if g.bytes+len(next.peer)-size > MaxRoomPresence {
		return ErrPresenceFull
	}
	if !c.shown.CompareAndSwap(old, next) {
		return nil // it has ended meanwhile
	}
	g.bytes += len(next.peer) - size
	if g.peers.add(c) {
		c.Link.Send(g.full(c.Serial)...)
	}
	g.tell(c, frame)
	return nil
}

// showing finds in a frame of one peer what is kept of it, so that this is there once.
func showing(frame *Frame, size int) *shown {
	payload := frame.Payload()
	end := len(payload) - len("}}")
	peer := payload[len(`{"type":"presence","peers":{`):end:end]
	last := len(peer) - len("}")
	return &shown{peer: peer, data: json.RawMessage(peer[last-size : last : last])}
}

// tell sends a frame to all but one. mu is held, and no link waits.
func (g *gathering) tell(except *Connection, frame *Frame) {
	frames := []*Frame{frame} // one slice for all
	for _, c := range g.peers.list {
		if c != except {
			c.Link.Send(frames...)
		}
	}
}

// full is all that is shown, in pages: what does not fit into the first follows as
// changes do. mu is held.
func (g *gathering) full(self uint64) []*Frame {
	var frames []*Frame
	for at := 0; at < len(g.peers.list); {
		begin, size := at, 0
		for at < len(g.peers.list) && (at == begin || size < syncproto.DefaultPageBytes) {
			size += len(g.peers.list[at].shown.Load().peer) + 1
			at++
		}
		frames = append(frames, TextFrame(size+96, func(dst []byte) []byte {
			if begin == 0 {
				dst = syncproto.AppendPresenceFullStart(dst, self)
			} else {
				dst = syncproto.AppendPresenceStart(dst)
			}
			for _, c := range g.peers.list[begin:at] {
				dst = append(syncproto.AppendSeparator(dst), c.shown.Load().peer...)
			}
			return syncproto.AppendPresenceEnd(dst)
		}))
	}
	return frames
}

func peersFrame(size int, peer func(dst []byte) []byte) *Frame {
	return TextFrame(size, func(dst []byte) []byte {
		return syncproto.AppendPresenceEnd(peer(syncproto.AppendPresenceStart(dst)))
	})
}

// compact takes the space between tokens out of a value, line breaks among it.
func compact(value json.RawMessage) (json.RawMessage, error) {
	var buf bytes.Buffer
	buf.Grow(len(value))
	if err := json.Compact(&buf, value); err != nil {
		return nil, fmt.Errorf("hibernate: a presence that is no JSON: %w", err)
	}
	return buf.Bytes(), nil
}
