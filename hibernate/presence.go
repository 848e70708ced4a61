package hibernate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/denrooms/den/syncproto"
)

// Presence is what clients show each other while they are connected. It belongs to the connection, so no room has to be awake
// for it, and it is not stored.
//
// One lock puts all changes in one room in order. So what a client is sent when it begins to take part, and what it is sent after
// that, fit together: no change is lost or sent twice. No lock is held while frames are sent. A client is sent the changes
// since the last time as soon as its link has taken the frames before. Of several changes of one peer it gets the last. See
// room_presence.go.

// MaxRoomPresence is how many bytes on the wire the presence of all clients of one room may take, with names and
// connection ids. Each client that begins to take part is sent all of it.
const MaxRoomPresence = 8 << 20

// The errors of Show. What the client showed before stays.
var (
	ErrPresenceTooLarge = fmt.Errorf("hibernate: a presence of more than %d bytes", syncproto.MaxPresenceBytes)
	ErrPresenceFull     = fmt.Errorf("hibernate: a room's presence of more than %d bytes", MaxRoomPresence)
)

// A Presence is the presence of all rooms of a host. The zero Presence is ready for use. It must not be copied.
type Presence struct {
	// Panicked is called after a Link has panicked while frames were sent to it. Its client is sent nothing more. It is set
	// before the first use, and may be nil.
	Panicked func(key Key, c *Connection, value any, stack []byte)

	mu         sync.RWMutex
	rooms      map[Key]*roomPresence // only rooms that have members
	peak       int                   // the most rooms since the map was made
	closed     bool
	announcing int           // calls of announceLeft that are running
	announced  chan struct{} // closed when there are none; nil if nobody waits for it
}

// shown is what a connection shows. It is immutable.
type shown struct {
	peer []byte          // as an entry of a frame's peers
	data json.RawMessage // the client's value, which is a part of peer; nil: the connection has ended
}

var ended = &shown{}

// Presence returns what the client shows to the others; nil if it does not take part. It must not be changed. It is safe from any
// goroutine and does not block.
func (c *Connection) Presence() json.RawMessage {
	if s := c.shown.Load(); s != nil {
		return s.data
	}
	return nil
}

// Show sets what a connection of a room shows to the members of the room's presence. The value is one JSON value; null ends
// the connection's part. The members are sent the change. A connection that begins to take part is sent what all members show, its own
// value among it. id is the connection's name in what the others are sent. The errors are ErrPresenceTooLarge, ErrPresenceFull, and one for
// a value that is not JSON. After Leave and Close it does nothing. The value is not kept.
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
	g := p.lock(key)
	if g == nil {
		return nil
	}
	if string(value) == "null" {
		g.hide(c)
	} else {
		err = g.show(c, id, value)
	}
	p.deliver(key, g, g.due())
	return err
}

// Peers returns how many connections take part in a room's presence.
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

// Leave ends the part of a connection that has ended; Show does nothing for it from then on. It does not block. A goroutine
// sends the change to the others, together with those of all connections that have left in the meantime.
func (p *Presence) Leave(key Key, c *Connection) {
	for {
		old := c.shown.Load()
		switch {
		case old == nil && c.shown.CompareAndSwap(nil, ended):
			return // it takes no part, and Show refuses it from now on
		case old != nil && old.data == nil:
			return
		case old != nil:
			// It stays a member, with the value that it showed last, until removeEnded runs.
			if left := (&shown{peer: old.peer}); c.shown.CompareAndSwap(old, left) {
				p.memberLeft(key)
				return
			}
		}
	}
}

// memberLeft starts announceLeft for a room, if it does not run.
func (p *Presence) memberLeft(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.rooms[key] // nil only after Close, because the connection is a member
	if g == nil || g.leaving.Add(1) > 1 {
		return
	}
	p.announcing++
	go p.announceLeft(key, g) // ends when no connection has left since it looked
}

// announceLeft removes the members of a room that have left, and sends that to the others.
func (p *Presence) announceLeft(key Key, g *roomPresence) {
	for left := true; left; {
		n := g.leaving.Load()
		g.mu.Lock()
		g.removeEnded()
		p.deliver(key, g, g.due())
		left = g.leaving.Add(-n) > 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.announcing--
	if p.announcing == 0 && p.announced != nil {
		close(p.announced)
		p.announced = nil
	}
}

// Flush waits until the changes of all calls of Leave that have returned have been sent to the others. It returns ctx's error
// if ctx ends first.
func (p *Presence) Flush(ctx context.Context) error {
	p.mu.Lock()
	if p.announcing == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.announced == nil {
		p.announced = make(chan struct{})
	}
	announced := p.announced
	p.mu.Unlock()
	select {
	case <-announced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the part of all connections and sends nothing, because all connections are about to end.
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

// lock returns the roomPresence of a room, locked. It makes one if there is none. After Close it returns nil.
func (p *Presence) lock(key Key) *roomPresence {
	for {
		p.mu.RLock()
		g, closed := p.rooms[key], p.closed
		p.mu.RUnlock()
		if closed {
			return nil
		}
		if g == nil {
			g = p.make(key)
		}
		if g == nil {
			return nil
		}
		g.mu.Lock()
		if !g.closed {
			return g
		}
		g.mu.Unlock()
	}
}

func (p *Presence) make(key Key) *roomPresence {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	g := p.rooms[key]
	if g == nil {
		g = new(roomPresence)
		if p.rooms == nil {
			p.rooms = make(map[Key]*roomPresence)
		}
		p.rooms[key] = g
		p.peak = max(p.peak, len(p.rooms))
	}
	return g
}

// unlock unlocks a roomPresence, and drops it if it has no members and nothing is being sent.
func (p *Presence) unlock(key Key, g *roomPresence) {
	defer g.mu.Unlock()
	if len(g.list) > 0 || g.delivering > 0 || g.closed {
		return
	}
	g.closed = true
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rooms, key)
	p.rooms = shrink(p.rooms, &p.peak)
}

// compact removes the white space between the tokens of a value.
func compact(value json.RawMessage) (json.RawMessage, error) {
	var buf bytes.Buffer
	buf.Grow(len(value))
	if err := json.Compact(&buf, value); err != nil {
		return nil, fmt.Errorf("hibernate: a presence that is not JSON: %w", err)
	}
	return buf.Bytes(), nil
}
