package room

import (
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// What is kept of a hold (hold.go), and for how long. Most connections that are held ask for their channels at once, or
// are quiet and never do. So nothing is kept of each of them: those that came within a second, with no commit in
// between, share one hold, which says until when all channels are held. The connection gets a hold of its own with the
// first that is kept back from it.
//
// A hold that is over, and has kept nothing back, is as good as none. It is dropped by whatever meets it: a commit, a
// connection that comes, the life's end. A timer drops those that were not over when the room went to sleep, one for
// all connections of the room.

// holdTogether is for how long the connections that come share a hold. The first of them may be held for
// as much longer than holdFor.
const holdTogether = time.Second

type hold struct {
	epoch    string
	since    storage.Seq   // the room's commit when the connection was accepted
	until    time.Time     // of a shared one: until when all channels are held
	channels []heldChannel // by their places in namespace.channels; nil: it is shared
	replies  []heldReply   // in the order in which they are due
	look     time.Time     // when the room looks whether something of it is due; zero: nothing is planned
}

type heldChannel struct {
	until time.Time // unless asked
	asked bool      // the answer is under way
	owed  bool      // the answer was under way once, or was asked for in the client's place
	kept  bool      // rows were kept back
	ended bool      // the channel is not held any more
}

// A sharedHold is the hold of those that come now.
type sharedHold struct {
	*hold
	keepsake *hibernate.Keepsake
	from     time.Time
}

// heldBy is what a connection is held from; nil: nothing.
func heldBy(conn *hibernate.Connection) *hold {
	h, _ := conn.Kept().(*hold)
	return h
}

// holds reports whether a channel is held, which is the one at place i of namespace.channels.
func (h *hold) holds(i int, now time.Time) bool {
	if h.channels == nil {
		return now.Before(h.until)
	}
	c := &h.channels[i]
	return !c.ended && (c.owed || c.kept || now.Before(c.until))
}

// over reports whether nothing is held any more, and nothing is to follow.
func (h *hold) over(now time.Time) bool {
	until, runs := h.end()
	return runs && !now.Before(until)
}

// end is when a hold will be over by itself; runs is false of one that will not: something is to follow.
func (h *hold) end() (until time.Time, runs bool) {
	until = h.until
	for _, c := range h.channels {
		if !c.ended && (c.owed || c.kept) {
			return until, false
		}
		if !c.ended && c.until.After(until) {
			until = c.until
		}
	}
	return until, len(h.replies) == 0
}

// share has a connection that has come share the hold of those that come now.
func (l *life) share(conn *hibernate.Connection) {
	now, s := l.host.opts.Clock.Now(), &l.newest
	age := now.Sub(s.from)
	if s.hold == nil || s.epoch != l.shortEpoch() || s.since != l.db.Seq() || age < 0 || age >= holdTogether {
		if now.Sub(l.swept) >= holdFor {
			l.dropHolds(now)
		}
		h := &hold{epoch: l.shortEpoch(), since: l.db.Seq()}
		*s = sharedHold{hold: h, keepsake: hibernate.NewKeepsake(h), from: now}
	}
	s.until = now.Add(holdFor)
	conn.KeepShared(s.keepsake)
	l.holding = true
}

// ownHold gives a connection that is held a hold of its own.
func (l *life) ownHold(conn *hibernate.Connection) *hold {
	h := heldBy(conn)
	if h.channels != nil {
		return h
	}
	own := &hold{epoch: h.epoch, since: h.since, channels: make([]heldChannel, len(l.ns.channels))}
	for i := range own.channels {
		own.channels[i].until = h.until
	}
	l.keepHold(conn, own)
	return own
}

func (l *life) keepHold(conn *hibernate.Connection, h *hold) {
	l.holding = true
	conn.Keep(h)
}

func (l *life) dropHold(conn *hibernate.Connection) {
	if heldBy(conn) != nil {
		conn.Keep(nil)
	}
}

// dropHolds drops the holds that are over.
func (l *life) dropHolds(now time.Time) {
	l.swept = now
	for _, conn := range l.connections() {
		if h := heldBy(conn); h != nil && h.over(now) {
			conn.Keep(nil)
		}
	}
}

// leaveHolds sees to it, at the end of the life, that no hold stays for longer than it has to while the room
// sleeps. Later lives change no hold of this one, see findHolds.
func (l *life) leaveHolds() {
	now := l.host.opts.Clock.Now()
	l.dropHolds(now)
	var last time.Time
	var left []any
	for _, conn := range l.connections() {
		h := heldBy(conn)
		if h == nil {
			continue
		}
		if until, runs := h.end(); runs && !slices.Contains(left, any(h)) {
			left = append(left, h)
			if until.After(last) {
				last = until
			}
		}
	}
	if len(left) == 0 || l.host.stopping.Load() {
		return
	}
	rooms, room := l.ns.rooms, l.key.Room
	l.host.afterFunc(last.Sub(now), "dropping what a room that sleeps held", func() {
		for _, conn := range rooms.Connections(room) {
			conn.Drop(left...)
		}
	})
}

// findHolds takes over what earlier lives held. An answer that was under way is asked for again.
func (l *life) findHolds() {
	now := l.host.opts.Clock.Now()
	l.dropHolds(now)
	for _, conn := range l.connections() {
		l.holding = l.holding || conn.Waits == waitsQuestion
		h := heldBy(conn)
		if h == nil {
			continue
		}
		l.holding = true
		if h.channels == nil {
			continue
		}
		own := *h
		own.channels, own.replies, own.look = slices.Clone(h.channels), slices.Clone(h.replies), time.Time{}
		l.keepHold(conn, &own)
		for i := range own.channels {
			c := &own.channels[i]
			if c.asked {
				c.asked, c.until = false, now.Add(answerGrace)
			}
		}
		l.planLook(conn)
	}
}
