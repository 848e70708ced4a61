package room

import (
	"math"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
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

// holds are what a room's connections are held from.
type holds struct {
	room    *room
	holding bool // some connection may be held, or wait for its first sync
	newest  sharedHold
	dropped time.Time // when holds that are over were last dropped
}

type heldReply struct {
	channel string
	frame   *hibernate.Frame
	bare    *hibernate.Frame // the same without rows
	seq     storage.Seq      // the room's commit when it was made
	until   time.Time
}

// hold holds a connection that has just been accepted, on all channels. It gives what takes that back.
func (hs *holds) hold(conn *hibernate.Connection) (undo func()) {
	hs.share(conn)
	return func() { hs.dropHold(conn) }
}

// lookAgain has the room look at a connection's hold at a time, unless it does so earlier. A connection that sends thousands of actions
// has one look planned, not thousands.
func (hs *holds) lookAgain(conn *hibernate.Connection, at time.Time) {
	h := hs.ownHold(conn)
	if !h.look.IsZero() && !at.Before(h.look) {
		return
	}
	h.look = at
	node, key := hs.room.node, hs.room.key
	node.afterFunc(at.Sub(node.now()), "letting rows go that were held", func() {
		if err := node.actors.Push(key, &holdMessage{conn}, nil); err != nil {
			hs.room.log.Debug("rows that were held stay so", "err", err)
		}
	})
}

// planLook has the room look at a connection's hold when the next of what it keeps back is due, if anything is.
func (hs *holds) planLook(conn *hibernate.Connection) {
	h := heldBy(conn)
	if h == nil {
		return
	}
	for i := range h.channels {
		c := &h.channels[i]
		if c.kept && !c.asked && !c.ended {
			hs.lookAgain(conn, c.until)
		}
		if c.again != nil {
			hs.lookAgain(conn, c.again.due)
		}
	}
	for _, r := range h.replies[:min(len(h.replies), 1)] { // the others are due later
		hs.lookAgain(conn, r.until)
	}
}

// heldOn reports whether a connection is held on a channel, which is the one at place i of namespace.channels.
func (hs *holds) heldOn(conn *hibernate.Connection, channel string) (i int, is bool) {
	h := heldBy(conn)
	if h == nil {
		return 0, false
	}
	i = slices.Index(hs.room.ns.channels, channel)
	return i, i >= 0 && h.holds(i, hs.room.now())
}

// held is heldOn where the place is of no interest.
func (hs *holds) held(conn *hibernate.Connection, channel string) bool {
	_, is := hs.heldOn(conn, channel)
	return is
}

// audience is the connections that get the rows of a channel. For those that are held it notes
// that something is kept back.
func (hs *holds) audience(t *turn, channel string) []*hibernate.Connection {
	all := hs.room.connections()
	if !hs.holding {
		return all
	}
	if to, there := t.audiences[channel]; there {
		return to
	}
	to, now, holding := make([]*hibernate.Connection, 0, len(all)), hs.room.now(), false
	i := slices.Index(hs.room.ns.channels, channel)
	for _, conn := range all {
		h := heldBy(conn)
		if h != nil && i >= 0 && h.holds(i, now) {
			hs.keepBack(conn, i)
			holding = true
			continue
		}
		switch {
		case h == nil:
		case h.over(now):
			hs.dropHold(conn)
		default:
			holding = true
		}
		if conn.Waits == waitsQuestion {
			hs.giveUnasked(t, conn)
		}
		to = append(to, conn)
	}
	hs.holding = holding
	if t.audiences == nil {
		t.audiences = make(map[string][]*hibernate.Connection)
	}
	t.audiences[channel] = to
	return to
}

// keepBack notes that something of a channel is kept back from a connection that is held.
func (hs *holds) keepBack(conn *hibernate.Connection, i int) {
	if c := &hs.ownHold(conn).channels[i]; !c.kept {
		c.kept = true // stays so if the turn is lost: more is sent then than need be
		hs.lookAgain(conn, c.until)
	}
}

// giveUnasked notes that a connection gets rows for which its client has not asked.
func (hs *holds) giveUnasked(t *turn, conn *hibernate.Connection) {
	t.answered = append(t.answered, conn)
	if conn.Waits != waitsQuestion {
		return
	}
	conn.Waits = waitsSign
	t.undo = append(t.undo, func() {
		if conn.Waits == waitsSign {
			conn.Waits, hs.holding = waitsQuestion, true
		}
	})
}

// owe notes that a channel's answer has been asked for.
func (hs *holds) owe(conn *hibernate.Connection, channel string) {
	if i, is := hs.heldOn(conn, channel); is {
		hs.ownHold(conn).channels[i].owed = true
	}
}

// answering notes that the answer to a sync is under way.
func (hs *holds) answering(conn *hibernate.Connection, channel string) {
	if i, is := hs.heldOn(conn, channel); is {
		c := &hs.ownHold(conn).channels[i]
		c.asked, c.owed = true, true
	}
}

// notAnswered notes that an answer has failed; the client's sync is tried again for a while.
func (hs *holds) notAnswered(conn *hibernate.Connection, channel string) {
	i, is := hs.heldOn(conn, channel)
	if !is {
		return
	}
	c := &hs.ownHold(conn).channels[i]
	if !c.asked {
		return
	}
	c.asked, c.until = false, hs.room.now().Add(answerGrace)
	hs.lookAgain(conn, c.until)
}

// respond sends the reply to an action, or keeps it until the channel's answer is there. bare is the reply without rows, or nil where it
// is to be made of the reply; seq is the commit after which the reply was made.
func (hs *holds) respond(t *turn, m *actionMessage, reply, bare *hibernate.Frame, seq storage.Seq) {
	i, is := hs.heldOn(m.conn, m.channel)
	if !is || !hasRows(reply) {
		t.send(m.conn, reply)
		return
	}
	if bare == nil {
		bare = withoutRows(reply)
	}
	hs.keepBack(m.conn, i)
	h := heldBy(m.conn)
	before, until := h.replies, hs.room.now().Add(replyWait)
	t.undo = append(t.undo, func() { h.replies = before })
	if len(before) >= maxHeldReplies {
		t.send(m.conn, before[0].bare)
		h.replies = slices.Clone(before[1:])
	}
	h.replies = append(slices.Clip(h.replies), heldReply{m.channel, reply, bare, seq, until})
	hs.lookAgain(m.conn, until)
}

// endHold ends the hold on a channel after the last frame of its answer. A reply that has waited
// goes out with its rows, unless the channel has changed since it was made: then they may be
// older than those of the answer.
func (hs *holds) endHold(t *turn, conn *hibernate.Connection, channel string) error {
	replies := hs.unhold(t, conn, channel)
	for _, r := range replies {
		frame := r.frame
		if r.seq != hs.room.db.Seq() {
			frame = r.bare
		}
		t.send(conn, frame)
	}
	return nil
}

// unhold ends the hold on a channel, and gives the replies that waited for it.
func (hs *holds) unhold(t *turn, conn *hibernate.Connection, channel string) (replies []heldReply) {
	i, is := hs.heldOn(conn, channel)
	if !is {
		return nil
	}
	h := hs.ownHold(conn)
	c, before := h.channels[i], h.replies
	t.undo = append(t.undo, func() {
		h.channels[i], h.replies = c, before
		hs.keepHold(conn, h)
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
	hs.dropEnded(conn, h)
	t.audiences = nil
	return replies
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
	ended bool      // the channel is no longer held

	again *repeat // nil: nothing is to be sent once more
}

// A repeat is what is to be sent once more of a channel. It is immutable; see repeat.go.
type repeat struct {
	after, until storage.Seq // the commits
	due          time.Time
	last         storage.Seq // the commits up to this one follow repeatAfter later
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

// over reports whether the hold has ended, and nothing is to follow.
func (h *hold) over(now time.Time) bool {
	until, runs := h.end()
	return runs && !now.Before(until)
}

// end is when a hold will be over by itself; runs is false of one that will not: something is to follow.
func (h *hold) end() (until time.Time, runs bool) {
	until = h.until
	for _, c := range h.channels {
		if !c.ended && (c.owed || c.kept) || c.again != nil {
			return until, false
		}
		if !c.ended && c.until.After(until) {
			until = c.until
		}
	}
	return until, len(h.replies) == 0
}

// repeatsAfter is the commit after which something is to be sent once more; the highest number if nothing is.
func (h *hold) repeatsAfter() uint64 {
	after := uint64(math.MaxUint64)
	for i := range h.channels {
		if again := h.channels[i].again; again != nil {
			after = min(after, uint64(again.after))
		}
	}
	return after
}

// share has a connection that has come share the hold of those that come now.
func (hs *holds) share(conn *hibernate.Connection) {
	now, s := hs.room.now(), &hs.newest
	age := now.Sub(s.from)
	if s.hold == nil || s.epoch != hs.room.shortEpoch() || s.since != hs.room.db.Seq() || age < 0 || age >= holdTogether {
		if now.Sub(hs.dropped) >= holdFor {
			hs.dropOver(now)
		}
		h := &hold{epoch: hs.room.shortEpoch(), since: hs.room.db.Seq()}
		*s = sharedHold{hold: h, keepsake: hibernate.NewKeepsake(h), from: now}
	}
	s.until = now.Add(holdFor)
	conn.KeepShared(s.keepsake)
	hs.holding = true
}

// ownHold gives a connection that is held a hold of its own.
func (hs *holds) ownHold(conn *hibernate.Connection) *hold {
	h := heldBy(conn)
	if h.channels != nil {
		return h
	}
	own := &hold{epoch: h.epoch, since: h.since, channels: make([]heldChannel, len(hs.room.ns.channels))}
	for i := range own.channels {
		own.channels[i].until = h.until
	}
	hs.keepHold(conn, own)
	return own
}

func (hs *holds) keepHold(conn *hibernate.Connection, h *hold) {
	hs.holding = true
	conn.Keep(h)
}

func (hs *holds) dropHold(conn *hibernate.Connection) {
	if heldBy(conn) != nil {
		conn.Keep(nil)
	}
}

// dropEnded drops a hold whose channels have all ended.
func (hs *holds) dropEnded(conn *hibernate.Connection, h *hold) {
	if !slices.ContainsFunc(h.channels, func(c heldChannel) bool { return !c.ended || c.again != nil }) {
		hs.dropHold(conn)
	}
}

// dropOver drops the holds that are over.
func (hs *holds) dropOver(now time.Time) {
	hs.dropped = now
	for _, conn := range hs.room.connections() {
		if h := heldBy(conn); h != nil && h.over(now) {
			conn.Keep(nil)
		}
	}
}

// leave sees to it, at the end of the life, that no hold stays for longer than it has to while the room
// sleeps. Later lives change no hold of this one, see find.
func (hs *holds) leave() {
	now := hs.room.now()
	hs.dropOver(now)
	var last time.Time
	var left []any
	for _, conn := range hs.room.connections() {
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
	if len(left) == 0 || hs.room.node.shutdown.stopping.Load() {
		return
	}
	rooms, room := hs.room.ns.rooms, hs.room.key.Room
	hs.room.node.afterFunc(last.Sub(now), "dropping what a room that sleeps held", func() {
		for _, conn := range rooms.Connections(room) {
			conn.Drop(left...)
		}
	})
}

// find takes over what earlier lives held. An answer that was under way is asked for again.
func (hs *holds) find() {
	now := hs.room.now()
	hs.dropOver(now)
	for _, conn := range hs.room.connections() {
		hs.holding = hs.holding || conn.Waits == waitsQuestion
		h := heldBy(conn)
		if h == nil {
			continue
		}
		hs.holding = true
		if h.channels == nil {
			continue
		}
		own := *h
		own.channels, own.replies, own.look = slices.Clone(h.channels), slices.Clone(h.replies), time.Time{}
		hs.keepHold(conn, &own)
		for i := range own.channels {
			c := &own.channels[i]
			if c.asked {
				c.asked, c.until = false, now.Add(answerGrace)
			}
		}
		hs.planLook(conn)
	}
}

// unasked reports whether a connection waits for its first sync.
func unasked(conn *hibernate.Connection) bool {
	return conn.Waits == waitsQuestion || conn.Waits == waitsSign
}

// What stands in a note, and what a connection waits for.
const (
	// nothingAsked is the channel of the note on a connection that has asked for nothing. It is written when the connection
	// ends and when the room goes to sleep; a crash loses it.
	nothingAsked = ""
	// unanswered is the seq of a note while the answer is not complete.
	unanswered = -1

	waitsAnswer   = 1 // a pong that shows that it has its answers
	waitsQuestion = 2 // its first sync
	waitsSign     = 3 // its first sync, or a pong: it was given rows without it
)
