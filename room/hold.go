package room

import (
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
//	               └──10 s without a sync, a cursor, a number──▶ live, behind what was kept back
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
	// answerGrace is how long a channel stays held when its answer failed: as long as the sync is tried again.
	answerGrace = 30 * time.Second
)

type hold struct {
	epoch    string
	since    storage.Seq // the room's commit when the connection was accepted
	channels map[string]*heldChannel
	replies  []heldReply
}

type heldChannel struct {
	until time.Time // unless asked
	asked bool      // the answer is under way
	kept  bool      // rows were kept back
}

type heldReply struct {
	channel string
	frame   *hibernate.Frame
	seq     storage.Seq // the room's commit when it was made
	until   time.Time
}

// A holdMessage lets the room look whether something of a connection has been held for long enough.
type holdMessage struct{ conn *hibernate.Connection }

// hold holds a connection that has just been accepted, on all channels. It gives what takes that back.
func (l *life) hold(conn *hibernate.Connection) (undo func()) {
	until := l.host.opts.Clock.Now().Add(holdFor)
	h := &hold{epoch: l.shortEpoch(), since: l.db.Seq(), channels: make(map[string]*heldChannel, len(l.ns.channels))}
	for _, channel := range l.ns.channels {
		h.channels[channel] = &heldChannel{until: until}
	}
	l.keepHold(conn, h)
	return func() { l.dropHold(conn) }
}

func (l *life) keepHold(conn *hibernate.Connection, h *hold) {
	if l.held == nil {
		l.held = make(map[*hibernate.Connection]*hold)
	}
	l.held[conn] = h
	conn.Keep(h)
}

func (l *life) dropHold(conn *hibernate.Connection) {
	if l.held[conn] != nil {
		delete(l.held, conn)
		conn.Keep(nil)
	}
}

// findHolds takes over what earlier lives held. An answer that was under way is asked for again.
func (l *life) findHolds() {
	until := l.host.opts.Clock.Now().Add(answerGrace)
	for _, conn := range l.connections() {
		h, is := conn.Kept().(*hold)
		if !is {
			continue
		}
		l.keepHold(conn, h)
		for _, c := range h.channels {
			if c.asked {
				c.asked, c.until = false, until
			}
			if c.kept {
				l.lookAgain(conn, c.until)
			}
		}
	}
}

// lookAgain has the room look at a connection's hold at a time.
func (l *life) lookAgain(conn *hibernate.Connection, at time.Time) {
	host, key := l.host, l.key
	host.afterFunc(at.Sub(host.opts.Clock.Now()), "letting rows go that were held", func() {
		if err := host.actors.Push(key, &holdMessage{conn}, nil); err != nil {
			l.log.Debug("rows that were held stay so", "err", err)
		}
	})
}

// held gives a connection's hold on a channel, nil where there is none.
func (t *turn) heldOn(conn *hibernate.Connection, channel string) *heldChannel {
	if h := t.life.held[conn]; h != nil {
		return h.channels[channel]
	}
	return nil
}

// audience is the connections that get the rows of a channel. For those that are held it notes
// that something is kept back.
func (t *turn) audience(channel string) []*hibernate.Connection {
	l := t.life
	all := l.connections()
	if len(l.held) == 0 {
		return all
	}
	if to, there := t.audiences[channel]; there {
		return to
	}
	to := make([]*hibernate.Connection, 0, len(all))
	for _, conn := range all {
		if c := t.heldOn(conn, channel); c != nil {
			t.keepBack(conn, c)
		} else {
			to = append(to, conn)
		}
	}
	if t.audiences == nil {
		t.audiences = make(map[string][]*hibernate.Connection)
	}
	t.audiences[channel] = to
	return to
}

func (t *turn) keepBack(conn *hibernate.Connection, c *heldChannel) {
	if !c.kept {
		c.kept = true // stays so if the turn is lost: more is sent then than need be
		t.life.lookAgain(conn, c.until)
	}
}

// answering notes that the answer to a sync is under way.
func (t *turn) answering(conn *hibernate.Connection, channel string) {
	if c := t.heldOn(conn, channel); c != nil {
		c.asked = true
	}
}

// notAnswered notes that an answer has failed; the client's sync is tried again for a while.
func (t *turn) notAnswered(conn *hibernate.Connection, channel string) {
	c := t.heldOn(conn, channel)
	if c == nil || !c.asked {
		return
	}
	c.asked, c.until = false, t.life.host.opts.Clock.Now().Add(answerGrace)
	t.life.lookAgain(conn, c.until)
}

// respond sends the reply to an action, or keeps it until the channel's answer is there. seq is the commit
// after which the reply was made.
func (t *turn) respond(m *actionMessage, reply *hibernate.Frame, seq storage.Seq) {
	l := t.life
	c := t.heldOn(m.conn, m.channel)
	if c == nil || withoutRows(reply) == reply {
		t.send(m.conn, reply)
		return
	}
	t.keepBack(m.conn, c)
	h := l.held[m.conn]
	n, until := len(h.replies), l.host.opts.Clock.Now().Add(replyWait)
	h.replies = append(h.replies, heldReply{m.channel, reply, seq, until})
	t.undo = append(t.undo, func() { h.replies = h.replies[:n] })
	l.lookAgain(m.conn, until)
}

// endHold ends the hold on a channel behind the last frame of its answer. A reply that has waited
// goes out with its rows, unless the channel has changed since it was made: then they may be
// older than those of the answer.
func (t *turn) endHold(conn *hibernate.Connection, channel string) error {
	replies := t.unhold(conn, channel)
	for _, r := range replies {
		frame := r.frame
		if r.seq != t.life.db.Seq() {
			frame = withoutRows(frame)
		}
		t.send(conn, frame)
	}
	return nil
}

// releaseSoon is release where what was kept back is little; else it follows as the answer to a sync does, and the hold ends with it.
func (t *turn) releaseSoon(conn *hibernate.Connection, channel string) error {
	l := t.life
	h := l.held[conn]
	c := h.channels[channel]
	if !c.kept {
		return t.release(conn, channel)
	}
	m := &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true, base: h.since}
	later := l.everything(m)
	if h.epoch == l.shortEpoch() && h.since <= l.db.Seq() {
		var err error
		if later, err = t.catchUpOn(conn, channel, h.since); err != nil {
			return err
		}
	}
	if later != nil {
		c.asked = true
		t.undo = append(t.undo, func() { c.asked = false })
		t.pursue(later)
		return nil
	}
	for _, r := range t.unhold(conn, channel) {
		t.send(conn, withoutRows(r.frame))
	}
	t.answered = append(t.answered, conn)
	return nil
}

// release ends the hold on a channel without an answer: what was kept back follows.
func (t *turn) release(conn *hibernate.Connection, channel string) error {
	l := t.life
	h := l.held[conn]
	var frames []*hibernate.Frame
	if h.channels[channel].kept {
		var err error
		if h.epoch != l.shortEpoch() || h.since > l.db.Seq() {
			frames, err = l.anew(channel, "")
		} else {
			frames, err = l.missed(peer{channel: channel, seq: h.since}, "")
		}
		if code, _ := ErrorCode(err); err != nil && code == syncproto.CodeTooLarge {
			frames, err = []*hibernate.Frame{exception(channel, err)}, nil
		}
		if err != nil {
			return err
		}
	}
	for _, r := range t.unhold(conn, channel) {
		frames = append(frames, withoutRows(r.frame))
	}
	t.send(conn, frames...)
	t.answered = append(t.answered, conn)
	return nil
}

// releaseAll ends all holds on a connection that has shown to be no published client.
func (t *turn) releaseAll(conn *hibernate.Connection) error {
	if conn.Waits == waitsQuestion {
		t.life.settle(conn)
	}
	for _, channel := range t.life.ns.channels {
		if t.heldOn(conn, channel) == nil {
			continue
		}
		if err := t.release(conn, channel); err != nil {
			return err
		}
	}
	return nil
}

// unhold ends the hold on a channel, and gives the replies that waited for it.
func (t *turn) unhold(conn *hibernate.Connection, channel string) (replies []heldReply) {
	l := t.life
	h, c := l.held[conn], t.heldOn(conn, channel)
	if c == nil {
		return nil
	}
	before := h.replies
	t.undo = append(t.undo, func() {
		h.channels[channel], h.replies = c, before
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
	delete(h.channels, channel)
	if len(h.channels) == 0 {
		l.dropHold(conn)
	}
	t.audiences = nil
	return replies
}

// lookAtHold lets go what a connection has been held from for long enough.
func (t *turn) lookAtHold(conn *hibernate.Connection) error {
	l, now := t.life, t.life.host.opts.Clock.Now()
	h := l.held[conn]
	if h == nil {
		return nil
	}
	for _, channel := range l.ns.channels {
		c := h.channels[channel]
		if c == nil || c.asked || now.Before(c.until) {
			continue
		}
		if err := t.releaseSoon(conn, channel); err != nil {
			return err
		}
	}
	before := h.replies
	var waiting []heldReply
	for _, r := range before {
		if now.Before(r.until) {
			waiting = append(waiting, r)
		} else {
			t.send(conn, withoutRows(r.frame))
		}
	}
	h.replies = waiting
	t.undo = append(t.undo, func() { h.replies = before })
	return nil
}
