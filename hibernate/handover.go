package hibernate

import (
	"runtime/debug"

	"github.com/denrooms/den/syncproto"
)

// How members are told what they lack. One call of handOver at a time has a member in hand, so what it is told comes in
// order, though no lock is held meanwhile. What waits in a member's link it is not told more than once: when the
// link has taken that, it is told what has changed until then.

// A thenLink is a Link that says whether what it was sent waits. If so, it calls then once it no longer does, from
// another goroutine and with no lock held; or never, if it ends first. Of other links nothing is
// known, and it is taken as if nothing waited.
type thenLink interface {
	SendThen(then func(), frames ...*Frame) (waits bool)
}

// A handover is what a member is to be told.
type handover struct {
	m      *member
	frames []*Frame
}

// due takes in hand all whom nothing waits for, and who lack something. mu is held.
func (g *gathering) due() (list []handover) {
	for _, m := range g.list {
		list = g.dueTo(list, m)
	}
	return list
}

func (g *gathering) dueTo(list []handover, m *member) []handover {
	if m.state != handedNothing {
		return list
	}
	if frames := g.lacks(m); frames != nil {
		m.state = inHand
		list = append(list, handover{m: m, frames: frames})
	}
	return list
}

// handOver tells members what they are due, and what comes up meanwhile. The gathering is locked when it is called, and not
// when it returns.
func (p *Presence) handOver(key Key, g *gathering, list []handover) {
	g.handing++
	for i := 0; i < len(list); i++ {
		h := list[i]
		list[i] = handover{}
		g.mu.Unlock()
		waits := p.tell(key, g, h)
		g.mu.Lock()
		list = g.handed(list, h.m, waits)
	}
	g.handing--
	p.exit(key, g)
}

// tell sends a member what it is to be told, and reports whether that waits in its link. A link that panics is closed, and
// told nothing more.
func (p *Presence) tell(key Key, g *gathering, h handover) (waits bool) {
	c := h.m.c
	defer func() {
		if v := recover(); v != nil {
			waits = true // for good
			p.panicked(key, c, v)
			defer func() { recover() }() // it was told of already
			c.Link.Close(syncproto.CloseInternal, string(syncproto.CodeActionFailed))
		}
	}()
	link, is := c.Link.(thenLink)
	if !is {
		c.Link.Send(h.frames...)
		return false
	}
	if h.m.taken == nil { // only handOver sets it, and has it in hand
		h.m.taken = func() { p.taken(key, g, h.m) }
	}
	return link.SendThen(h.m.taken, h.frames...)
}

func (p *Presence) panicked(key Key, c *Connection, value any) {
	if p.Panicked != nil {
		p.Panicked(key, c, value, debug.Stack())
	}
}

// handed notes that a member was told something, and takes in hand what it lacks now. mu is held.
func (g *gathering) handed(list []handover, m *member, waits bool) []handover {
	m.state = handedNothing
	if waits && !m.early {
		m.state = inQueue
	}
	m.early = false
	switch {
	case g.over:
	case m.last == nil:
		delete(g.ending, m.c.Serial)
	default:
		list = g.dueTo(list, m)
	}
	return list
}

// taken is called when a member's link has taken what waited.
func (p *Presence) taken(key Key, g *gathering, m *member) {
	g.mu.Lock()
	if m.state == inHand {
		m.early = true
		g.mu.Unlock()
		return
	}
	m.state = handedNothing
	var list []handover
	if !g.over && m.last != nil {
		list = g.dueTo(nil, m)
	}
	p.handOver(key, g, list)
}
