package room

import (
	"math"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// The published client stores every row that it receives, even before the answer to its sync has arrived. If its page
// is closed at that moment, the newest stamp in its store is newer than rows that it never received, and the next
// sync asks from that stamp. So the room holds a new connection that may belong to such a client: it sends no row of
// a channel to the connection before the last frame of that channel's answer. The answer includes all that was
// committed before it was read.
//
//	accepted ──▶ held ──sync──▶ answering ──its last frame──▶ live
//	               └──10 s without a sync, a cursor, a number──▶ live, after the rows that were kept back
//
// The reply to an action contains rows too, so during a hold it waits for the answer. After replyWait it is sent
// without its rows, which are in the answer.
//
// A hold belongs to the connection and outlives the room's lives. The room's actor owns it.

const (
	// holdFor is how long a connection that does not ask for a channel gets no rows of it.
	holdFor = 10 * time.Second
	// replyWait is how long a reply waits for an answer.
	replyWait = 5 * time.Second
	// checkAfterLoss is how long the room waits before it checks a hold again, if the batch of the last check was
	// lost.
	checkAfterLoss = time.Second
	// maxHeldReplies is how many replies wait for one connection. Beyond that the oldest is sent without its rows.
	maxHeldReplies = 64
	// answerGrace is how long a channel stays held after its answer has failed: as long as the sync is retried.
	answerGrace = 30 * time.Second
)

// holds are the holds of a room's connections.
type holds struct {
	room     *room
	holding  bool // some connection may be held, or wait for its first sync
	shared   sharedHold
	lastDrop time.Time // when expired holds were last dropped
}

type heldReply struct {
	channel string
	frame   *hibernate.Frame
	bare    *hibernate.Frame // the same without rows
	seq     storage.Seq      // the room's commit when the reply was made
	until   time.Time
}

// hold starts a hold on all channels of a connection that has just been accepted. undo ends it.
func (hs *holds) hold(conn *hibernate.Connection) (undo func()) {
	hs.startShared(conn)
	return func() { hs.drop(conn) }
}

// scheduleCheck has the room check a connection's hold at a time, unless an earlier check is scheduled. So a
// connection that sends thousands of actions has one timer, not thousands.
func (hs *holds) scheduleCheck(conn *hibernate.Connection, at time.Time) {
	h := hs.privateHold(conn)
	if !h.checkAt.IsZero() && !at.Before(h.checkAt) {
		return
	}
	h.checkAt = at
	node, key := hs.room.node, hs.room.key
	node.afterFunc(at.Sub(node.now()), "ending a hold", func() {
		if err := node.actors.Push(key, &holdMessage{conn}, nil); err != nil {
			hs.room.log.Debug("a hold was not checked", "err", err)
		}
	})
}

// scheduleNext schedules a check for when the first of the rows and replies that a connection's hold keeps back is
// due.
func (hs *holds) scheduleNext(conn *hibernate.Connection) {
	h := holdOf(conn)
	if h == nil {
		return
	}
	for i := range h.channels {
		c := &h.channels[i]
		if c.kept && !c.asked && !c.ended {
			hs.scheduleCheck(conn, c.until)
		}
		if c.again != nil {
			hs.scheduleCheck(conn, c.again.due)
		}
	}
	for _, r := range h.replies[:min(len(h.replies), 1)] { // the others are due later
		hs.scheduleCheck(conn, r.until)
	}
}

// heldChannel returns the index of a channel in namespace.channels, and reports whether a connection is held on it.
func (hs *holds) heldChannel(conn *hibernate.Connection, channel string) (i int, is bool) {
	h := holdOf(conn)
	if h == nil {
		return 0, false
	}
	i = slices.Index(hs.room.ns.channels, channel)
	return i, i >= 0 && h.holds(i, hs.room.now())
}

// held reports whether a connection is held on a channel.
func (hs *holds) held(conn *hibernate.Connection, channel string) bool {
	_, is := hs.heldChannel(conn, channel)
	return is
}

// audience returns the connections that get the rows of a channel. It marks the channel as kept back for the others.
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
		h := holdOf(conn)
		if h != nil && i >= 0 && h.holds(i, now) {
			hs.markKept(conn, i)
			holding = true
			continue
		}
		switch {
		case h == nil:
		case h.expired(now):
			hs.drop(conn)
		default:
			holding = true
		}
		if conn.Waits == waitsSync {
			hs.sentUnasked(t, conn)
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

// markKept notes that rows of a channel, or replies, were kept back from a connection.
func (hs *holds) markKept(conn *hibernate.Connection, i int) {
	if c := &hs.privateHold(conn).channels[i]; !c.kept {
		c.kept = true // stays set if the turn is lost: the client is then sent more than it needs
		hs.scheduleCheck(conn, c.until)
	}
}

// sentUnasked notes that a connection gets rows that its client has not asked for.
func (hs *holds) sentUnasked(t *turn, conn *hibernate.Connection) {
	t.answered = append(t.answered, conn)
	if conn.Waits != waitsSync {
		return
	}
	conn.Waits = waitsSyncOrPong
	t.undo = append(t.undo, func() {
		if conn.Waits == waitsSyncOrPong {
			conn.Waits, hs.holding = waitsSync, true
		}
	})
}

// expectAnswer notes that the room has asked for a channel in the client's place.
func (hs *holds) expectAnswer(conn *hibernate.Connection, channel string) {
	if i, is := hs.heldChannel(conn, channel); is {
		hs.privateHold(conn).channels[i].expected = true
	}
}

// answerBegan notes that a sync is being answered.
func (hs *holds) answerBegan(conn *hibernate.Connection, channel string) {
	if i, is := hs.heldChannel(conn, channel); is {
		c := &hs.privateHold(conn).channels[i]
		c.asked, c.expected = true, true
	}
}

// answerFailed notes that an answer has failed. The client's sync is retried for a while.
func (hs *holds) answerFailed(conn *hibernate.Connection, channel string) {
	i, is := hs.heldChannel(conn, channel)
	if !is {
		return
	}
	c := &hs.privateHold(conn).channels[i]
	if !c.asked {
		return
	}
	c.asked, c.until = false, hs.room.now().Add(answerGrace)
	hs.scheduleCheck(conn, c.until)
}

// reply sends the reply to an action, or keeps it until the channel's answer has been sent. bare is the reply without
// rows; if it is nil, reply makes it. seq is the commit after which the reply was made.
func (hs *holds) reply(t *turn, m *actionMessage, reply, bare *hibernate.Frame, seq storage.Seq) {
	i, is := hs.heldChannel(m.conn, m.channel)
	if !is || !hasRows(reply) {
		t.send(m.conn, reply)
		return
	}
	if bare == nil {
		bare = withoutRows(reply)
	}
	hs.markKept(m.conn, i)
	h := holdOf(m.conn)
	before, until := h.replies, hs.room.now().Add(replyWait)
	t.undo = append(t.undo, func() { h.replies = before })
	if len(before) >= maxHeldReplies {
		t.send(m.conn, before[0].bare)
		h.replies = slices.Clone(before[1:])
	}
	h.replies = append(slices.Clip(h.replies), heldReply{m.channel, reply, bare, seq, until})
	hs.scheduleCheck(m.conn, until)
}

// finish ends the hold on a channel after the last frame of its answer, and sends the replies that waited. If the
// room has committed since, a reply's rows may be older than those of the answer, so it is sent without them.
func (hs *holds) finish(t *turn, conn *hibernate.Connection, channel string) {
	for _, r := range hs.remove(t, conn, channel) {
		frame := r.frame
		if r.seq != hs.room.db.Seq() {
			frame = r.bare
		}
		t.send(conn, frame)
	}
}

// remove ends the hold on a channel and returns the replies that waited for it.
func (hs *holds) remove(t *turn, conn *hibernate.Connection, channel string) (replies []heldReply) {
	i, is := hs.heldChannel(conn, channel)
	if !is {
		return nil
	}
	h := hs.privateHold(conn)
	c, before := h.channels[i], h.replies
	t.undo = append(t.undo, func() {
		h.channels[i], h.replies = c, before
		hs.setHold(conn, h)
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

// Most held connections ask for their channels at once, or never. So they need no state of their own: all connections
// that come within a second, with no commit in between, share one hold, which has one time for all channels. A
// connection gets a private hold when something is first kept back from it.
//
// A hold that has expired and has kept nothing back has no effect. A commit, a new connection and the end of the life
// each drop such holds. When the room goes to sleep, one timer drops those that have not expired yet.

// sharedHoldSpan is how long new connections share one hold. The first of them may be held for that much longer than
// holdFor.
const sharedHoldSpan = time.Second

type hold struct {
	epoch    string
	since    storage.Seq   // the room's commit when the connection was accepted
	until    time.Time     // of a shared hold: the end, for all channels
	channels []heldChannel // by index in namespace.channels; nil: the hold is shared
	replies  []heldReply   // in the order in which they are due
	checkAt  time.Time     // when the room next checks the hold; zero: no check is scheduled
}

type heldChannel struct {
	until    time.Time // without effect while asked
	asked    bool      // the answer is on its way
	expected bool      // the answer was on its way once, or the room has asked for it in the client's place
	kept     bool      // rows were kept back
	ended    bool      // the channel is no longer held

	again *repeat // nil: nothing is to be sent once more
}

// A repeat is what is to be sent once more of a channel. It is immutable; see repeat.go.
type repeat struct {
	epoch        string
	after, until storage.Seq // the commits
	due          time.Time
	last         storage.Seq // the commits up to this one follow repeatAfter later
}

// A sharedHold is the hold of the connections that come now.
type sharedHold struct {
	*hold
	keepsake *hibernate.Keepsake
	from     time.Time
}

// holdOf returns a connection's hold, nil if there is none.
func holdOf(conn *hibernate.Connection) *hold {
	h, _ := conn.Kept().(*hold)
	return h
}

// holds reports whether the channel at index i of namespace.channels is held.
func (h *hold) holds(i int, now time.Time) bool {
	if h.channels == nil {
		return now.Before(h.until)
	}
	c := &h.channels[i]
	return !c.ended && (c.expected || c.kept || now.Before(c.until))
}

// expired reports whether the hold has ended and nothing was kept back.
func (h *hold) expired(now time.Time) bool {
	until, runs := h.expiry()
	return runs && !now.Before(until)
}

// expiry returns when the hold expires. runs is false while something that was kept back must be sent first.
func (h *hold) expiry() (until time.Time, runs bool) {
	until = h.until
	for _, c := range h.channels {
		if !c.ended && (c.expected || c.kept) || c.again != nil {
			return until, false
		}
		if !c.ended && c.until.After(until) {
			until = c.until
		}
	}
	return until, len(h.replies) == 0
}

// repeatsAfter returns the commit after which something is to be sent once more, the highest number if nothing is.
func (h *hold) repeatsAfter() uint64 {
	after := uint64(math.MaxUint64)
	for i := range h.channels {
		if again := h.channels[i].again; again != nil {
			after = min(after, uint64(again.after))
		}
	}
	return after
}

// startShared gives a new connection the shared hold of those that come now.
func (hs *holds) startShared(conn *hibernate.Connection) {
	now, s := hs.room.now(), &hs.shared
	age := now.Sub(s.from)
	if s.hold == nil || s.epoch != hs.room.shortEpoch() || s.since != hs.room.db.Seq() || age < 0 || age >= sharedHoldSpan {
		if now.Sub(hs.lastDrop) >= holdFor {
			hs.dropExpired(now)
		}
		h := &hold{epoch: hs.room.shortEpoch(), since: hs.room.db.Seq()}
		*s = sharedHold{hold: h, keepsake: hibernate.NewKeepsake(h), from: now}
	}
	s.until = now.Add(holdFor)
	conn.KeepShared(s.keepsake)
	hs.holding = true
}

// privateHold returns a connection's own hold. It makes one from the shared hold if need be.
func (hs *holds) privateHold(conn *hibernate.Connection) *hold {
	h := holdOf(conn)
	if h.channels != nil {
		return h
	}
	own := &hold{epoch: h.epoch, since: h.since, channels: make([]heldChannel, len(hs.room.ns.channels))}
	for i := range own.channels {
		own.channels[i].until = h.until
	}
	hs.setHold(conn, own)
	return own
}

func (hs *holds) setHold(conn *hibernate.Connection, h *hold) {
	hs.holding = true
	conn.Keep(h)
}

func (hs *holds) drop(conn *hibernate.Connection) {
	if holdOf(conn) != nil {
		conn.Keep(nil)
	}
}

// dropEnded drops a hold whose channels have all ended.
func (hs *holds) dropEnded(conn *hibernate.Connection, h *hold) {
	if !slices.ContainsFunc(h.channels, func(c heldChannel) bool { return !c.ended || c.again != nil }) {
		hs.drop(conn)
	}
}

// dropExpired drops the holds that have expired.
func (hs *holds) dropExpired(now time.Time) {
	hs.lastDrop = now
	for _, conn := range hs.room.connections() {
		if h := holdOf(conn); h != nil && h.expired(now) {
			conn.Keep(nil)
		}
	}
}

// scheduleDrop is called at the end of the life. It sets a timer that drops this life's holds when they have expired,
// because the room is asleep then. Later lives change copies, see restore.
func (hs *holds) scheduleDrop() {
	now := hs.room.now()
	hs.dropExpired(now)
	var last time.Time
	var left []any
	for _, conn := range hs.room.connections() {
		h := holdOf(conn)
		if h == nil {
			continue
		}
		if until, runs := h.expiry(); runs && !slices.Contains(left, any(h)) {
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
	hs.room.node.afterFunc(last.Sub(now), "dropping the holds of a sleeping room", func() {
		for _, conn := range rooms.Connections(room) {
			conn.Drop(left...)
		}
	})
}

// restore takes over the holds of earlier lives. Answers that were on their way are asked for again.
func (hs *holds) restore() {
	now := hs.room.now()
	hs.dropExpired(now)
	for _, conn := range hs.room.connections() {
		hs.holding = hs.holding || conn.Waits == waitsSync
		h := holdOf(conn)
		if h == nil {
			continue
		}
		hs.holding = true
		if h.channels == nil {
			continue
		}
		own := *h
		own.channels, own.replies, own.checkAt = slices.Clone(h.channels), slices.Clone(h.replies), time.Time{}
		hs.setHold(conn, &own)
		for i := range own.channels {
			c := &own.channels[i]
			if c.asked {
				c.asked, c.until = false, now.Add(answerGrace)
			}
		}
		hs.scheduleNext(conn)
	}
}

// unasked reports whether a connection waits for its first sync.
func unasked(conn *hibernate.Connection) bool {
	return conn.Waits == waitsSync || conn.Waits == waitsSyncOrPong
}

// The values of notes in _den_peers, and of Connection.Waits.
const (
	// noSubscription is the channel of the note on a connection that has not asked for a channel. The note is written
	// when the connection ends and when the room goes to sleep; a crash loses it.
	noSubscription = ""
	// unanswered is the seq of a note while the answer is incomplete.
	unanswered = -1

	waitsPong       = 1 // a pong, which confirms that the client has its answers
	waitsSync       = 2 // its first sync
	waitsSyncOrPong = 3 // its first sync, or a pong: the client was sent rows without having asked
)
