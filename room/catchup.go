package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// A client that takes cursors keeps its own place in the room's history, and comes back
// with it. The room remembers nothing of it.
//
// The last frame that a connection gets of a commit has the cursor of that commit. So
// the sender's channel is published last: who has a frame with a cursor has all rows of
// the commit, whichever connection it is.

// tell sends the connections that outlived the room's last life what they were not
// given: a commit can be in the file although that life broke before it had handed it
// out. Those that were never given anything are not in the room yet.
func (an *answers) tell() error {
	seq, now := uint64(an.room.db.Seq()), an.room.now()
	lacking := make(map[uint64][]*hibernate.Connection)
	for _, c := range an.room.connections() {
		mark, h := c.HandedSeq(), heldBy(c)
		switch {
		case !c.Given() || mark == seq:
		case h != nil && !h.over(now):
			if err := an.tellHeld(c, mark); err != nil {
				return err
			}
		default:
			lacking[mark] = append(lacking[mark], c)
		}
	}
	for mark, conns := range lacking {
		frames, refused, err := an.sinceAll(mark, nil)
		if err != nil {
			return err
		}
		an.inquiries.cutOff(conns, refused)
		if err := an.hand(conns, frames); err != nil {
			return err
		}
	}
	return nil
}

// tellHeld is tell for a connection that is held: what it is held from stays with the room.
func (an *answers) tellHeld(c *hibernate.Connection, mark uint64) error {
	h, now := an.holds.ownHold(c), an.room.now()
	for i := range h.channels {
		if channel := &h.channels[i]; h.holds(i, now) && !channel.kept {
			channel.kept = true
			an.holds.lookAgain(c, channel.until)
		}
	}
	frames, refused, err := an.sinceAll(mark, h)
	if err != nil {
		return err
	}
	an.inquiries.cutOff([]*hibernate.Connection{c}, refused)
	return an.hand([]*hibernate.Connection{c}, frames)
}

// hand gives frames to connections, which have all that there is then.
func (an *answers) hand(conns []*hibernate.Connection, frames []*hibernate.Frame) error {
	if err := an.room.db.Keep(); err != nil {
		return err
	}
	an.room.gate.Lock()
	defer an.room.gate.Unlock()
	for _, c := range conns {
		if !an.room.fenced {
			c.Link.Send(frames...)
			c.Handed(uint64(an.room.db.Seq()))
		}
	}
	return nil
}

// sinceAll is all channels' changes after a commit, as updates; all there is where the
// commit is not in the history. What h has kept back is left out. refused are the channels of which there is too much: an
// exception says so.
func (an *answers) sinceAll(mark uint64, h *hold) (frames []*hibernate.Frame, refused []string, err error) {
	for i, channel := range an.room.ns.channels {
		if h != nil && h.channels[i].kept && !h.channels[i].ended {
			continue
		}
		cursor := ""
		if i == len(an.room.ns.channels)-1 {
			cursor = an.room.cursor()
		}
		var more []*hibernate.Frame
		if mark <= uint64(an.room.db.Seq()) {
			more, err = an.missed(peer{channel: channel, seq: storage.Seq(mark)}, cursor)
		} else {
			more, err = an.reader.resync(channel, cursor)
		}
		if code, _ := ErrorCode(err); code == syncproto.CodeTooLarge {
			more, refused, err = []*hibernate.Frame{exception(channel, err)}, append(refused, channel), nil
		}
		if err != nil {
			return nil, nil, err
		}
		frames = append(frames, more...)
	}
	return frames, refused, nil
}

// catchUp sends a connection whose id was here before what it missed, and asks for the channels
// whose answer it may never have had.
func (an *answers) catchUp(t *turn, m *connectMessage) (ask []*syncMessage, err error) {
	conn := m.conn
	if !conn.Named {
		return nil, nil
	}
	peers, err := an.peers.of(conn)
	if err != nil {
		return nil, err
	}
	if q := quietOf(an.room.key, conn); len(peers) == 0 && (an.peers.twinAskedNothing(conn) || an.room.node.recent.quiet.Has(q)) {
		peers = append(peers, peer{channel: nothingAsked})
		an.room.node.recent.quiet.Note(q) // it may go before it has been answered
	}
	if len(peers) > 0 {
		conn.Return(an.room.node.uptime())
	}
	switch {
	case len(peers) > 0 && an.room.db.Withheld():
	case len(peers) > 0:
		t.notes = append(t.notes, func() error {
			_, err := an.room.db.Internal().Exec(`UPDATE _den_peers SET here = 1 WHERE id = ? AND subject = ?`, conn.ID(), conn.Identity.Subject)
			return err
		})
	case m.stock:
		an.peers.await(conn, waitsQuestion)
	}
	for _, p := range peers {
		if p.noted <= 0 {
			for _, sync := range an.askAgain(conn, p.channel, len(peers)) {
				an.holds.owe(conn, sync.channel)
				ask = append(ask, sync)
			}
			continue
		}
		if !slices.Contains(an.room.ns.channels, p.channel) || p.seq >= an.room.db.Seq() {
			an.holds.unhold(t, conn, p.channel) // it has had an answer
			continue
		}
		frames, later, err := an.since(conn, p.channel, p.seq, an.room.db.Seq())
		if err != nil {
			return nil, err
		}
		if later != nil {
			an.holds.owe(conn, p.channel)
			an.inquiries.inquire(t, later) // at once: from now on the note stays where it is
			ask = append(ask, later)
			continue
		}
		t.send(conn, frames...)
		an.holds.unhold(t, conn, p.channel)
	}
	return ask, nil
}

// since is what has changed in a channel after a commit, as updates, but for rows that changed last after the commit until. Where that is
// more than the turn may read, there are no frames, and later is what is to be asked for all that has changed.
func (an *answers) since(conn *hibernate.Connection, channel string, seq, until storage.Seq) (frames []*hibernate.Frame, later *syncMessage, err error) {
	m := &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true, base: seq}
	changed, soon, err := an.reader.changedSoon(channel, seq, until)
	switch {
	case errors.Is(err, storage.ErrForgotten):
		return nil, an.everything(m), nil
	case err != nil:
		return nil, nil, err
	case !soon:
		return nil, an.gleanAfter(m, seq), nil
	}
	frames, err = changed.Updates(channel, "")
	return frames, nil, err
}

// askAgain is the syncs in place of a client's whose answer it may never have had. notes is how many
// notes there are on the client.
func (an *answers) askAgain(conn *hibernate.Connection, channel string, notes int) (syncs []*syncMessage) {
	channels := []string{channel}
	switch {
	case channel == nothingAsked && notes > 1:
		return nil
	case channel == nothingAsked:
		channels = an.room.ns.channels
	case !slices.Contains(an.room.ns.channels, channel):
		return nil
	}
	for _, channel := range channels {
		syncs = append(syncs, &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, reset: true, unasked: true})
	}
	return syncs
}

// askForTwins asks for every channel on behalf of a client's remaining connections that still wait for their first sync. It is called when
// another connection of that client ends: the two may have come into the room in another order than the client made them, and then
// the sync was sent on the one that ends. A client that takes cursors asks on each connection itself.
func (an *answers) askForTwins(t *turn, ends *hibernate.Connection) {
	if _, returned := ends.Returned(); ends.Waits == 0 && !returned {
		return
	}
	for _, conn := range an.room.connections() {
		if conn == ends || conn.Waits != waitsQuestion || !twins(conn, ends) {
			continue
		}
		conn.Return(an.room.node.uptime())
		for _, m := range an.askAgain(conn, nothingAsked, 1) {
			an.holds.owe(conn, m.channel)
			an.inquiries.pursue(t, m)
		}
	}
}

// leavePeer notes up to where a connection that has gone surely had everything.
func (an *answers) leavePeer(t *turn, conn *hibernate.Connection) {
	if !conn.Named {
		return
	}
	if an.peers.hasTwin(conn) {
		an.askForTwins(t, conn)
		return
	}
	asked, has := !an.peers.askedNothing(t, conn), an.peers.surely(t, conn) // as long as it is held
	if !asked {
		an.room.node.recent.quiet.Note(quietOf(an.room.key, conn)) // it may be back in this turn, which writes its notes at the end
	}
	if an.room.db.Withheld() { // then there is no note on it, either
		return
	}
	t.notes = append(t.notes, func() error {
		now := an.room.now().UnixMilli()
		noted, err := an.room.db.Internal().Exec(`UPDATE _den_peers SET seen_at = ?, here = 0 WHERE id = ? AND subject = ?`, now, conn.ID(), conn.Identity.Subject)
		switch {
		case err != nil:
			return err
		case !asked:
			return an.peers.noteNothingAsked(conn)
		case noted.RowsAffected == 0:
			return nil // there is no note to be raised
		}
		return an.peers.raise(conn, has)
	})
}

// missed is what a peer lacks, as updates by ascending stamp. Where that is too much to be sent, or more than
// the room remembers, it is the whole channel again, after a delete-all.
func (an *answers) missed(p peer, cursor string) ([]*hibernate.Frame, error) {
	changed, err := an.reader.changed(p.channel, p.seq)
	if errors.Is(err, storage.ErrForgotten) || err == nil && changed.Over() {
		return an.reader.resync(p.channel, cursor)
	}
	if err != nil {
		return nil, err
	}
	return changed.Updates(p.channel, cursor)
}

// release ends the hold on a channel without an answer: what was kept back follows. Where that is more than the turn may read, it follows
// as the answer to a sync does, and the hold ends with it.
func (an *answers) release(t *turn, conn *hibernate.Connection, channel string, i int) error {
	h := an.holds.ownHold(conn)
	if c := &h.channels[i]; c.kept {
		m := &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true, base: h.since}
		later := an.everything(m)
		if h.epoch == an.room.shortEpoch() && h.since <= an.room.db.Seq() {
			var frames []*hibernate.Frame
			var err error
			if frames, later, err = an.since(conn, channel, h.since, an.room.db.Seq()); err != nil {
				return err
			}
			t.send(conn, frames...)
		}
		if later != nil {
			c.asked = true
			t.undo = append(t.undo, func() { c.asked = false })
			an.inquiries.pursue(t, later)
			return nil
		}
	}
	an.letGo(t, conn, channel)
	return nil
}

// letGo ends the hold on a channel. Replies that have waited go out without their rows.
func (an *answers) letGo(t *turn, conn *hibernate.Connection, channel string) {
	for _, r := range an.holds.unhold(t, conn, channel) {
		t.send(conn, r.bare)
	}
	an.holds.giveUnasked(t, conn)
}

// releaseAll ends all holds on a connection that has shown to be no published client, but for those on channels of which it is being sent
// all that it lacks, or is about to; "" is none.
func (an *answers) releaseAll(t *turn, conn *hibernate.Connection, but string) error {
	if unasked(conn) {
		an.peers.doneWaiting(conn)
	}
	for i, channel := range an.room.ns.channels {
		if channel == but || !an.holds.held(conn, channel) || an.holds.ownHold(conn).channels[i].asked {
			continue
		}
		if err := an.release(t, conn, channel, i); err != nil {
			return err
		}
	}
	return nil
}

// lookAtHold lets go what a connection has been held from for long enough.
func (an *answers) lookAtHold(t *turn, conn *hibernate.Connection) error {
	now := an.room.now()
	h := heldBy(conn)
	if h == nil || h.channels == nil {
		return nil // nothing of its own was held from it
	}
	if !slices.Contains(an.room.connections(), conn) {
		an.holds.dropHold(conn)
		return nil // it has gone
	}
	h.look = time.Time{}
	for i, channel := range an.room.ns.channels {
		if c := &h.channels[i]; c.asked || now.Before(c.until) || !h.holds(i, now) {
			continue
		}
		if err := an.release(t, conn, channel, i); err != nil {
			return err
		}
	}
	if err := an.repeatDue(t, conn, h); err != nil {
		return err
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
		an.holds.keepHold(conn, h)
		an.holds.lookAgain(conn, now.Add(lookAfterLoss))
	})
	if h.over(now) {
		an.holds.dropHold(conn)
	}
	an.holds.planLook(conn)
	return nil
}

// answerAgain gives an action the answer that it had before.
func (an *answers) answerAgain(t *turn, m *actionMessage, reply *hibernate.Frame) error {
	switch {
	case m.mutation != 0:
		t.send(m.conn, reply)
		return nil
	case an.holds.held(m.conn, m.channel):
		an.holds.respond(t, m, reply, nil, 0) // what has become of its rows is in the answer
		return nil
	}
	// The reply's rows may be old by now, and a client without cursors would keep them. So what has become of the channel
	// follows them; where that takes several turns, after which the connection may be lost, they are left out.
	frames, later, err := an.sinceReply(t, m, reply)
	if err != nil {
		return err
	}
	if later != nil {
		reply = withoutRows(reply)
		an.inquiries.pursue(t, later)
	}
	t.send(m.conn, append([]*hibernate.Frame{reply}, frames...)...)
	return nil
}

// sinceReply is what has become of a channel since a reply was made, for a client without cursors; see since.
func (an *answers) sinceReply(t *turn, m *actionMessage, reply *hibernate.Frame) (frames []*hibernate.Frame, later *syncMessage, err error) {
	var at struct{ Cursor string }
	if err := json.Unmarshal(reply.Payload(), &at); err != nil {
		return nil, nil, fmt.Errorf("a stored reply: %w", err)
	}

	from, err := syncproto.ParseCursor(at.Cursor)
	if err != nil || from.Epoch != an.room.shortEpoch() || from.Seq == 0 || from.Seq > uint64(an.room.db.Seq()) {
		return nil, an.everything(&syncMessage{conn: m.conn, channel: m.channel, since: syncproto.SinceFrom, unasked: true}), nil
	}
	frames, later, err = an.since(m.conn, m.channel, storage.Seq(from.Seq-1), an.room.db.Seq())
	if err != nil {
		return nil, nil, t.storageError(err)
	}
	return frames, later, nil
}
