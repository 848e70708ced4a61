package room

import (
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// The published client stores every row that comes, also before the answer to its sync. Then the
// newest stamp in its store lies above rows that it never had, and if its page is closed before
// the answer is there it asks from that stamp next time. So a connection that is new to the room, and may be
// such a client's, is held: no row of a channel leaves for it before the last frame of that
// channel's answer. What was committed before the answer was read is in it.
//
//	accepted ──▶ held ──sync──▶ answering ──its last frame──▶ live
//	               └──10 s without a sync, a cursor, a number──▶ live, after what was kept back
//
// The reply to an action that such a client sends meanwhile waits for the answer too, because
// it has rows. It waits for replyWait at the most, and goes out without them then: they are
// in the answer.
//
// A hold outlives the room's lives, with the connection. It is owned by the room's actor.

const (
	// holdFor is how long the rows of a channel are kept from a connection that does not ask for it.
	holdFor = 10 * time.Second
	// replyWait is how long a reply waits for an answer.
	replyWait = 5 * time.Second
	// lookAfterLoss is when the room looks again where what it found due was lost with its batch.
	lookAfterLoss = time.Second
	// maxHeldReplies is how many replies wait for one connection; then the oldest goes out without its rows.
	maxHeldReplies = 64
	// answerGrace is how long a channel stays held when its answer failed: as long as the sync is tried again.
	answerGrace = 30 * time.Second
)

type heldReply struct {
	channel string
	frame   *hibernate.Frame
	bare    *hibernate.Frame // the same without rows
	seq     storage.Seq      // the room's commit when it was made
	until   time.Time
}

// hold holds a connection that has just been accepted, on all channels. It gives what takes that back.
func (l *life) hold(conn *hibernate.Connection) (undo func()) {
	l.share(conn)
	return func() { l.dropHold(conn) }
}

// lookAgain has the room look at a connection's hold at a time, unless it does so earlier. A connection that sends thousands of actions
// has one look planned, not thousands.
func (l *life) lookAgain(conn *hibernate.Connection, at time.Time) {
	h := l.ownHold(conn)
	if !h.look.IsZero() && !at.Before(h.look) {
		return
	}
	h.look = at
	host, key := l.host, l.key
	host.afterFunc(at.Sub(host.opts.Clock.Now()), "letting rows go that were held", func() {
		if err := host.actors.Push(key, &holdMessage{conn}, nil); err != nil {
			l.log.Debug("rows that were held stay so", "err", err)
		}
	})
}

// planLook has the room look at a connection's hold when the next of what it keeps back is due, if anything is.
func (l *life) planLook(conn *hibernate.Connection) {
	h := heldBy(conn)
	if h == nil {
		return
	}
	for i := range h.channels {
		if c := &h.channels[i]; c.kept && !c.asked && !c.ended {
			l.lookAgain(conn, c.until)
		}
	}
	for _, r := range h.replies[:min(len(h.replies), 1)] { // the others are due later
		l.lookAgain(conn, r.until)
	}
}

// heldOn reports whether a connection is held on a channel, which is the one at place i of namespace.channels.
func (t *turn) heldOn(conn *hibernate.Connection, channel string) (i int, is bool) {
	h := heldBy(conn)
	if h == nil {
		return 0, false
	}
	i = slices.Index(t.life.ns.channels, channel)
	return i, i >= 0 && h.holds(i, t.life.host.opts.Clock.Now())
}

// held is heldOn where the place is of no interest.
func (t *turn) held(conn *hibernate.Connection, channel string) bool {
	_, is := t.heldOn(conn, channel)
	return is
}

// audience is the connections that get the rows of a channel. For those that are held it notes
// that something is kept back.
func (t *turn) audience(channel string) []*hibernate.Connection {
	l := t.life
	all := l.connections()
	if !l.holding {
		return all
	}
	if to, there := t.audiences[channel]; there {
		return to
	}
	to, now, holding := make([]*hibernate.Connection, 0, len(all)), l.host.opts.Clock.Now(), false
	i := slices.Index(l.ns.channels, channel)
	for _, conn := range all {
		h := heldBy(conn)
		if h != nil && i >= 0 && h.holds(i, now) {
			t.keepBack(conn, i)
			holding = true
			continue
		}
		switch {
		case h == nil:
		case h.over(now):
			l.dropHold(conn)
		default:
			holding = true
		}
		if conn.Waits == waitsQuestion {
			t.giveUnasked(conn)
		}
		to = append(to, conn)
	}
	l.holding = holding
	if t.audiences == nil {
		t.audiences = make(map[string][]*hibernate.Connection)
	}
	t.audiences[channel] = to
	return to
}

// keepBack notes that something of a channel is kept back from a connection that is held.
func (t *turn) keepBack(conn *hibernate.Connection, i int) {
	if c := &t.life.ownHold(conn).channels[i]; !c.kept {
		c.kept = true // stays so if the turn is lost: more is sent then than need be
		t.life.lookAgain(conn, c.until)
	}
}

// giveUnasked notes that a connection gets rows for which its client has not asked.
func (t *turn) giveUnasked(conn *hibernate.Connection) {
	t.answered = append(t.answered, conn)
	if conn.Waits != waitsQuestion {
		return
	}
	conn.Waits = waitsSign
	t.undo = append(t.undo, func() {
		if conn.Waits == waitsSign {
			conn.Waits, t.life.holding = waitsQuestion, true
		}
	})
}

// owe notes that a channel's answer has been asked for.
func (t *turn) owe(conn *hibernate.Connection, channel string) {
	if i, is := t.heldOn(conn, channel); is {
		t.life.ownHold(conn).channels[i].owed = true
	}
}

// answering notes that the answer to a sync is under way.
func (t *turn) answering(conn *hibernate.Connection, channel string) {
	if i, is := t.heldOn(conn, channel); is {
		c := &t.life.ownHold(conn).channels[i]
		c.asked, c.owed = true, true
	}
}

// notAnswered notes that an answer has failed; the client's sync is tried again for a while.
func (t *turn) notAnswered(conn *hibernate.Connection, channel string) {
	i, is := t.heldOn(conn, channel)
	if !is {
		return
	}
	c := &t.life.ownHold(conn).channels[i]
	if !c.asked {
		return
	}
	c.asked, c.until = false, t.life.host.opts.Clock.Now().Add(answerGrace)
	t.life.lookAgain(conn, c.until)
}

// respond sends the reply to an action, or keeps it until the channel's answer is there. bare is the reply without rows, or nil where it
// is to be made of the reply; seq is the commit after which the reply was made.
func (t *turn) respond(m *actionMessage, reply, bare *hibernate.Frame, seq storage.Seq) {
	l := t.life
	i, is := t.heldOn(m.conn, m.channel)
	if !is || !hasRows(reply) {
		t.send(m.conn, reply)
		return
	}
	if bare == nil {
		bare = withoutRows(reply)
	}
	t.keepBack(m.conn, i)
	h := heldBy(m.conn)
	before, until := h.replies, l.host.opts.Clock.Now().Add(replyWait)
	t.undo = append(t.undo, func() { h.replies = before })
	if len(before) >= maxHeldReplies {
		t.send(m.conn, before[0].bare)
		h.replies = slices.Clone(before[1:])
	}
	h.replies = append(slices.Clip(h.replies), heldReply{m.channel, reply, bare, seq, until})
	l.lookAgain(m.conn, until)
}

// endHold ends the hold on a channel after the last frame of its answer. A reply that has waited
// goes out with its rows, unless the channel has changed since it was made: then they may be
// older than those of the answer.
func (t *turn) endHold(conn *hibernate.Connection, channel string) error {
	replies := t.unhold(conn, channel)
	for _, r := range replies {
		frame := r.frame
		if r.seq != t.life.db.Seq() {
			frame = r.bare
		}
		t.send(conn, frame)
	}
	return nil
}

// release ends the hold on a channel without an answer: what was kept back follows. Where that is more than the turn may read, it follows
// as the answer to a sync does, and the hold ends with it.
func (t *turn) release(conn *hibernate.Connection, channel string, i int) error {
	l := t.life
	h := l.ownHold(conn)
	if c := &h.channels[i]; c.kept {
		m := &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true, base: h.since}
		later := l.everything(m)
		if h.epoch == l.shortEpoch() && h.since <= l.db.Seq() {
			var frames []*hibernate.Frame
			var err error
			if frames, later, err = t.since(conn, channel, h.since); err != nil {
				return err
			}
			t.send(conn, frames...)
		}
		if later != nil {
			c.asked = true
			t.undo = append(t.undo, func() { c.asked = false })
			t.pursue(later)
			return nil
		}
	}
	t.letGo(conn, channel)
	return nil
}

// letGo ends the hold on a channel. Replies that have waited go out without their rows.
func (t *turn) letGo(conn *hibernate.Connection, channel string) {
	for _, r := range t.unhold(conn, channel) {
		t.send(conn, r.bare)
	}
	t.giveUnasked(conn)
}

// releaseAll ends all holds on a connection that has shown to be no published client, but for those on channels of which it is being sent
// all that it lacks, or is about to; "" is none.
func (t *turn) releaseAll(conn *hibernate.Connection, but string) error {
	if unasked(conn) {
		t.life.doneWaiting(conn)
	}
	for i, channel := range t.life.ns.channels {
		if channel == but || !t.held(conn, channel) || t.life.ownHold(conn).channels[i].asked {
			continue
		}
		if err := t.release(conn, channel, i); err != nil {
			return err
		}
	}
	return nil
}

// unhold ends the hold on a channel, and gives the replies that waited for it.
func (t *turn) unhold(conn *hibernate.Connection, channel string) (replies []heldReply) {
	l := t.life
	i, is := t.heldOn(conn, channel)
	if !is {
		return nil
	}
	h := l.ownHold(conn)
	c, before := h.channels[i], h.replies
	t.undo = append(t.undo, func() {
		h.channels[i], h.replies = c, before
		l.keepHold(conn, h)
	})
	var others []heldReply
	for _, r := range before {
		if r.channel == channel {
			replies = append(replies, r)
		} else {
			others = append(others, r)
		}
	}
	h.replies = others
	h.channels[i] = heldChannel{ended: true}
	if !slices.ContainsFunc(h.channels, func(c heldChannel) bool { return !c.ended }) {
		l.dropHold(conn)
	}
	t.audiences = nil
	return replies
}

// lookAtHold lets go what a connection has been held from for long enough.
func (t *turn) lookAtHold(conn *hibernate.Connection) error {
	l, now := t.life, t.life.host.opts.Clock.Now()
	h := heldBy(conn)
	if h == nil || h.channels == nil {
		return nil // nothing of its own was held from it
	}
	if !slices.Contains(l.connections(), conn) {
		l.dropHold(conn)
		return nil // it has gone
	}
	h.look = time.Time{}
	for i, channel := range l.ns.channels {
		if c := &h.channels[i]; c.asked || now.Before(c.until) || !h.holds(i, now) {
			continue
		}
		if err := t.release(conn, channel, i); err != nil {
			return err
		}
	}
	before := h.replies
	due := slices.IndexFunc(before, func(r heldReply) bool { return now.Before(r.until) })
	if due < 0 {
		due = len(before)
	}
	for _, r := range before[:due] {
		t.send(conn, r.bare)
	}
	h.replies = before[due:]
	t.undo = append(t.undo, func() {
		h.replies = before
		l.keepHold(conn, h)
		l.lookAgain(conn, now.Add(lookAfterLoss))
	})
	if h.over(now) {
		l.dropHold(conn)
	}
	l.planLook(conn)
	return nil
}

// What is kept of a hold, and for how long. Most connections that are held ask for their channels at once, or
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
		if now.Sub(l.holdsDropped) >= holdFor {
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
	l.holdsDropped = now
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
