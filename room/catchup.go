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

// A client that takes cursors keeps its own position in the room's history and sends it when it comes back. The room
// remembers nothing of such a client.
//
// The last frame that a connection gets of a commit has that commit's cursor. So the sender's channel is published
// last: every connection that has a frame with a cursor has all rows of the commit.

// resend sends the connections that outlived the room's last life what they have not been sent: a commit can be in
// the file although that life ended before it sent the rows. Connections that were never sent anything are not in the
// room yet.
func (an *answers) resend() error {
	seq, now := uint64(an.room.db.Seq()), an.room.now()
	lacking := make(map[uint64][]*hibernate.Connection)
	for _, c := range an.room.connections() {
		mark, h := c.HandedSeq(), holdOf(c)
		switch {
		case !c.Given() || mark == seq:
		case h != nil && !h.expired(now):
			if err := an.resendHeld(c, mark); err != nil {
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
		an.syncs.cutOff(conns, refused)
		if err := an.sendNow(conns, frames); err != nil {
			return err
		}
	}
	return nil
}

// resendHeld is resend for a connection that is held. The rows of held channels stay with the room.
func (an *answers) resendHeld(c *hibernate.Connection, mark uint64) error {
	h, now := an.holds.privateHold(c), an.room.now()
	for i := range h.channels {
		if channel := &h.channels[i]; h.holds(i, now) && !channel.kept {
			channel.kept = true
			an.holds.scheduleCheck(c, channel.until)
		}
	}
	frames, refused, err := an.sinceAll(mark, h)
	if err != nil {
		return err
	}
	an.syncs.cutOff([]*hibernate.Connection{c}, refused)
	return an.sendNow([]*hibernate.Connection{c}, frames)
}

// sendNow sends frames to connections. After that they have everything up to the current commit.
func (an *answers) sendNow(conns []*hibernate.Connection, frames []*hibernate.Frame) error {
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

// sinceAll returns the changes of all channels after a commit, as updates. If the history does not have the commit,
// it returns all live rows. It leaves out the channels that h has kept back. refused are the channels with too many
// changes; their frame is an exception.
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

// catchUp sends a connection whose id was here before what it has missed. It returns the syncs for channels whose
// answer the client may never have had.
func (an *answers) catchUp(t *turn, m *connectMessage) (ask []*syncMessage, err error) {
	conn := m.conn
	if !conn.Named {
		return nil, nil
	}
	peers, err := an.peers.of(conn)
	if err != nil {
		return nil, err
	}
	if q := clientOf(an.room.key, conn); len(peers) == 0 && (an.peers.duplicateUnsubscribed(conn) || an.room.node.recent.unsubscribed.Has(q)) {
		peers = append(peers, peer{channel: noSubscription})
		an.room.node.recent.unsubscribed.Note(q) // the connection may end before it has been answered
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
		an.peers.await(conn, waitsSync)
	}
	for _, p := range peers {
		if p.noted <= 0 {
			for _, sync := range an.askAgain(conn, p.channel, len(peers)) {
				an.holds.expectAnswer(conn, sync.channel)
				ask = append(ask, sync)
			}
			continue
		}
		if !slices.Contains(an.room.ns.channels, p.channel) || p.seq >= an.room.db.Seq() {
			an.holds.remove(t, conn, p.channel) // it has had an answer
			continue
		}
		frames, later, err := an.since(conn, p.channel, p.seq, an.room.db.Seq())
		if err != nil {
			return nil, err
		}
		if later != nil {
			an.holds.expectAnswer(conn, p.channel)
			an.syncs.begin(t, later) // now, so that the note stays where it is from here on
			ask = append(ask, later)
			continue
		}
		t.send(conn, frames...)
		an.holds.remove(t, conn, p.channel)
	}
	return ask, nil
}

// since returns what has changed in a channel after a commit, as updates. It leaves out rows whose last change is after
// the commit until. If there is more than the turn may read, it returns no frames, and later is the sync that asks for
// everything that has changed.
func (an *answers) since(conn *hibernate.Connection, channel string, seq, until storage.Seq) (frames []*hibernate.Frame, later *syncMessage, err error) {
	m := &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true, base: seq}
	changed, soon, err := an.reader.changedSoon(channel, seq, until)
	switch {
	case errors.Is(err, storage.ErrForgotten):
		return nil, an.fullResync(m), nil
	case err != nil:
		return nil, nil, err
	case !soon:
		return nil, an.startDelta(m, seq), nil
	}
	frames, err = changed.Updates(channel, "")
	return frames, nil, err
}

// askAgain returns the syncs to be made in place of those whose answers a client may never have had. notes is how
// many notes there are on the client.
func (an *answers) askAgain(conn *hibernate.Connection, channel string, notes int) (syncs []*syncMessage) {
	channels := []string{channel}
	switch {
	case channel == noSubscription && notes > 1:
		return nil
	case channel == noSubscription:
		channels = an.room.ns.channels
	case !slices.Contains(an.room.ns.channels, channel):
		return nil
	}
	for _, channel := range channels {
		syncs = append(syncs, &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, reset: true, unasked: true})
	}
	return syncs
}

// askForDuplicates asks for every channel on behalf of a client's remaining connections that still wait for their
// first sync. It is called when another connection of that client ends. The two may have entered the room in another
// order than the client opened them, and then the client sent its sync on the one that ends. A client that takes
// cursors asks on each connection itself.
func (an *answers) askForDuplicates(t *turn, ends *hibernate.Connection) {
	if _, returned := ends.Returned(); ends.Waits == 0 && !returned {
		return
	}
	for _, conn := range an.room.connections() {
		if conn == ends || conn.Waits != waitsSync || !sameClient(conn, ends) {
			continue
		}
		conn.Return(an.room.node.uptime())
		for _, m := range an.askAgain(conn, noSubscription, 1) {
			an.holds.expectAnswer(conn, m.channel)
			an.syncs.startInternal(t, m)
		}
	}
}

// noteLeft notes up to which commit a connection that has gone surely had everything.
func (an *answers) noteLeft(t *turn, conn *hibernate.Connection) {
	if !conn.Named {
		return
	}
	if an.peers.hasDuplicate(conn) {
		an.askForDuplicates(t, conn)
		return
	}
	asked, has := !an.peers.unsubscribed(t, conn), an.peers.surely(t, conn) // before its hold is dropped
	if !asked {
		an.room.node.recent.unsubscribed.Note(clientOf(an.room.key, conn)) // the client may be back in this turn, which writes its notes at the end
	}
	if an.room.db.Withheld() { // then there is no note on the client either
		return
	}
	t.notes = append(t.notes, func() error {
		now := an.room.now().UnixMilli()
		noted, err := an.room.db.Internal().Exec(`UPDATE _den_peers SET seen_at = ?, here = 0 WHERE id = ? AND subject = ?`, now, conn.ID(), conn.Identity.Subject)
		switch {
		case err != nil:
			return err
		case !asked:
			return an.peers.noteUnsubscribed(conn)
		case noted.RowsAffected == 0:
			return nil // there is no note to raise
		}
		return an.peers.raise(conn, has)
	})
}

// missed returns what a peer lacks, as updates by ascending stamp. If that is too much, or more than the room
// remembers, it returns a delete-all and the whole channel.
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

// release ends the hold on a channel without an answer, and sends what was kept back. If that is more than the turn
// may read, it is sent like the answer to a sync, and the hold ends after it.
func (an *answers) release(t *turn, conn *hibernate.Connection, channel string, i int) error {
	h := an.holds.privateHold(conn)
	if c := &h.channels[i]; c.kept {
		m := &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true, base: h.since}
		later := an.fullResync(m)
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
			an.syncs.startInternal(t, later)
			return nil
		}
	}
	an.endHold(t, conn, channel)
	return nil
}

// endHold ends the hold on a channel. Replies that have waited are sent without their rows.
func (an *answers) endHold(t *turn, conn *hibernate.Connection, channel string) {
	for _, r := range an.holds.remove(t, conn, channel) {
		t.send(conn, r.bare)
	}
	an.holds.sentUnasked(t, conn)
}

// releaseAll ends all holds on a connection that cannot be the published client's. It leaves out the channel but, and
// those on which the connection is being sent everything that it lacks.
func (an *answers) releaseAll(t *turn, conn *hibernate.Connection, but string) error {
	if unasked(conn) {
		an.peers.doneWaiting(conn)
	}
	for i, channel := range an.room.ns.channels {
		if channel == but || !an.holds.held(conn, channel) || an.holds.privateHold(conn).channels[i].asked {
			continue
		}
		if err := an.release(t, conn, channel, i); err != nil {
			return err
		}
	}
	return nil
}

// checkHold ends what has been held from a connection for long enough.
func (an *answers) checkHold(t *turn, conn *hibernate.Connection) error {
	now := an.room.now()
	h := holdOf(conn)
	if h == nil || h.channels == nil {
		return nil // the connection has no hold of its own
	}
	if !slices.Contains(an.room.connections(), conn) {
		an.holds.drop(conn)
		return nil // the connection has gone
	}
	h.checkAt = time.Time{}
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
		an.holds.setHold(conn, h)
		an.holds.scheduleCheck(conn, now.Add(checkAfterLoss))
	})
	if h.expired(now) {
		an.holds.drop(conn)
	}
	an.holds.scheduleNext(conn)
	return nil
}

// answerAgain sends an action the answer that it had before.
func (an *answers) answerAgain(t *turn, m *actionMessage, reply *hibernate.Frame) error {
	switch {
	case m.mutation != 0:
		t.send(m.conn, reply)
		return nil
	case an.holds.held(m.conn, m.channel):
		an.holds.reply(t, m, reply, nil, 0) // the channel's answer has the rows as they are now
		return nil
	}
	// The reply's rows may be out of date, and a client without cursors would keep them. So the channel's changes
	// since then follow the reply. If they take several turns, the connection may be lost in between, so the reply
	// goes without its rows.
	frames, later, err := an.sinceReply(t, m, reply)
	if err != nil {
		return err
	}
	if later != nil {
		reply = withoutRows(reply)
		an.syncs.startInternal(t, later)
	}
	t.send(m.conn, append([]*hibernate.Frame{reply}, frames...)...)
	return nil
}

// sinceReply returns what has changed in a channel since a reply was made, for a client without cursors; see since.
func (an *answers) sinceReply(t *turn, m *actionMessage, reply *hibernate.Frame) (frames []*hibernate.Frame, later *syncMessage, err error) {
	var at struct{ Cursor string }
	if err := json.Unmarshal(reply.Payload(), &at); err != nil {
		return nil, nil, fmt.Errorf("a stored reply: %w", err)
	}

	from, err := syncproto.ParseCursor(at.Cursor)
	if err != nil || from.Epoch != an.room.shortEpoch() || from.Seq == 0 || from.Seq > uint64(an.room.db.Seq()) {
		return nil, an.fullResync(&syncMessage{conn: m.conn, channel: m.channel, since: syncproto.SinceFrom, unasked: true}), nil
	}
	frames, later, err = an.since(m.conn, m.channel, storage.Seq(from.Seq-1), an.room.db.Seq())
	if err != nil {
		return nil, nil, t.storageError(err)
	}
	return frames, later, nil
}
