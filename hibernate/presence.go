package hibernate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/denrooms/den/syncproto"
)

// Presence: what clients show each other while they are there. It belongs to the
// connection, so no room has to be awake for it, and nothing of it is stored.
//
// Everything that happens in one room gets its place in one order under one lock, so what a client is told when
// it begins to take part, and what it is told afterwards, fit together with nothing lost between and nothing
// twice. No lock is held while a link is sent something. A client gets what has changed since it was last told,
// as soon as its link has taken that: of several changes of one peer only the last. See gathering.go.

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
	// Panicked is told of a Link that panicked while its client was told what others show. Its connection is
	// told nothing more, and the others what they are to be. It is set before the first use; nil: nobody is told.
	Panicked func(key Key, c *Connection, value any, stack []byte)

	mu       sync.RWMutex
	rooms    map[Key]*gathering // a room in which nobody takes part is not in it
	peak     int                // the most rooms since the map was made
	closed   bool
	clearing int           // rooms in which the others are being told of who has left
	cleared  chan struct{} // closed when there are none; nil if nobody waits for it
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
	if string(value) == "null" {
		g.end(c)
	} else {
		err = g.show(c, id, value)
	}
	p.handOver(key, g, g.due())
	return err
}

// Peers returns how many take part in a room's presence.
func (p *Presence) Peers(key Key) int {
	p.mu.RLock()
	g := p.rooms[key]
	p.mu.RUnlock()
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.list)
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
		g.mu.Lock()
		g.clear()
		p.handOver(key, g, g.due())
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
		g.close()
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

// exit unlocks a gathering, and lets it go where nobody is left, and nobody is being told anything.
func (p *Presence) exit(key Key, g *gathering) {
	defer g.mu.Unlock()
	if len(g.list) > 0 || g.handing > 0 || g.over {
		return
	}
	g.over = true
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rooms, key)
	p.rooms = shrink(p.rooms, &p.peak)
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
