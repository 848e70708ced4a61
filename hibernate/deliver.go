package hibernate

import (
	"runtime/debug"

	"github.com/denrooms/den/syncproto"
)

// How members are sent the changes that they lack. No lock is held while frames are sent. The frames of a member come in order,
// because one call of deliver at a time sends to it. While frames wait in a member's link, the member is sent nothing more. After the
// link has taken them, the member is sent what has changed since.

// A thenLink is a Link that reports whether the frames that it was sent wait in it. If they do, it calls then when they no longer
// wait, from another goroutine and without a lock. If the link ends first, it does not call then. The frames of other
// links count as taken at once.
type thenLink interface {
	SendThen(then func(), frames ...*Frame) (waits bool)
}

// A delivery is the frames that a member is to be sent.
type delivery struct {
	m      *member
	frames []*Frame
}

// due returns deliveries for all members that lack something and for which nothing waits, and marks them as sending. mu is held.
func (g *roomPresence) due() (list []delivery) {
	for _, m := range g.list {
		list = g.appendDue(list, m)
	}
	return list
}

func (g *roomPresence) appendDue(list []delivery, m *member) []delivery {
	if m.state != idle {
		return list
	}
	if frames := g.nextFrames(m); frames != nil {
		m.state = sending
		list = append(list, delivery{m: m, frames: frames})
	}
	return list
}

// deliver sends deliveries, and what their members come to lack in the meantime. g is locked when it is called and unlocked when
// it returns.
func (p *Presence) deliver(key Key, g *roomPresence, list []delivery) {
	g.delivering++
	for i := 0; i < len(list); i++ {
		h := list[i]
		list[i] = delivery{}
		g.mu.Unlock()
		waits := p.send(key, g, h)
		g.mu.Lock()
		list = g.delivered(list, h.m, waits)
	}
	g.delivering--
	p.unlock(key, g)
}

// send sends a delivery, and reports whether it waits in the member's link. A link that panics is closed and is sent nothing
// more.
func (p *Presence) send(key Key, g *roomPresence, h delivery) (waits bool) {
	c := h.m.c
	defer func() {
		if v := recover(); v != nil {
			waits = true // for ever
			p.panicked(key, c, v)
			defer func() { recover() }() // Panicked has been called already
			c.Link.Close(syncproto.CloseInternal, string(syncproto.CodeActionFailed))
		}
	}()
	link, is := c.Link.(thenLink)
	if !is {
		c.Link.Send(h.frames...)
		return false
	}
	if h.m.drained == nil { // no other call of deliver has this member
		h.m.drained = func() { p.drained(key, g, h.m) }
	}
	return link.SendThen(h.m.drained, h.frames...)
}

func (p *Presence) panicked(key Key, c *Connection, value any) {
	if p.Panicked != nil {
		p.Panicked(key, c, value, debug.Stack())
	}
}

// delivered records that a delivery was sent, and appends a delivery with what the member lacks now. mu is held.
func (g *roomPresence) delivered(list []delivery, m *member, waits bool) []delivery {
	m.state = idle
	if waits && !m.drainedEarly {
		m.state = queued
	}
	m.drainedEarly = false
	switch {
	case g.closed:
	case m.last == nil:
		delete(g.ending, m.c.Serial)
	default:
		list = g.appendDue(list, m)
	}
	return list
}

// drained is called when nothing waits in a member's link any more.
func (p *Presence) drained(key Key, g *roomPresence, m *member) {
	g.mu.Lock()
	if m.state == sending {
		m.drainedEarly = true
		g.mu.Unlock()
		return
	}
	m.state = idle
	var list []delivery
	if !g.closed && m.last != nil {
		list = g.appendDue(nil, m)
	}
	p.deliver(key, g, list)
}
