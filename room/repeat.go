package room

import (
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// Ten seconds after it has made an action the published client gives it up, takes back what it showed, and drops a
// later reply with its rows. The update that the others get does not go to the author. So if a reply may come too
// late, the room sends the author what has changed in the channel since the action once more, as an update. The
// client merges it by id. A reply may come too late
//   - if the action had waited in the server for lateReply, because its room was held up;
//   - if the author came back within flushTime before the action: when a socket opens, the client sends everything that
//     it has queued while it was cut off.
//
// The update follows after repeatAfter and not at once. Until the client has processed the reply, it shows the
// action's effect on top of its rows, and an update would make it show a new row twice. For the same reason the
// update leaves out rows that an action has changed since.

const (
	lateReply   = 5 * time.Second
	flushTime   = 30 * time.Second
	repeatAfter = time.Second
	// repeatTogether is how long replies have their rows repeated together with those of the first of them.
	repeatTogether = repeatAfter / 2
)

// noteLate has the rows of those of the turn's replies repeated that may come too late.
func (an *answers) noteLate(t *turn) {
	now := an.room.node.uptime()
	for _, a := range t.answers {
		m, is := a.env.Message.(*actionMessage)
		if !is || m.commit == 0 || a.err != nil {
			continue
		}
		at, returned := m.conn.Returned()
		if now-m.came < lateReply && !(returned && m.came-at < flushTime) || an.holds.held(m.conn, m.channel) {
			continue
		}
		if peers, err := an.peers.of(m.conn); err == nil && len(peers) > 0 { // otherwise the client has asked for nothing, or with a cursor
			an.holds.repeat(m.conn, m.channel, m.commit)
		}
	}
}

// repeat has what a commit changed in a channel sent once more.
func (hs *holds) repeat(conn *hibernate.Connection, channel string, commit storage.Seq) {
	i := slices.Index(hs.room.ns.channels, channel)
	h := holdOf(conn)
	if h == nil {
		h = &hold{epoch: hs.room.shortEpoch(), channels: make([]heldChannel, len(hs.room.ns.channels))}
		for i := range h.channels {
			h.channels[i].ended = true
		}
		hs.setHold(conn, h)
	}
	c := &hs.privateHold(conn).channels[i]
	now := hs.room.now()
	again := repeat{epoch: hs.room.shortEpoch(), after: commit - 1, until: commit, due: now.Add(repeatAfter), last: commit}
	if c.again != nil && c.again.epoch == again.epoch {
		again.after, again.until, again.due = c.again.after, c.again.until, c.again.due
	}
	if again.due.Sub(now) >= repeatAfter-repeatTogether {
		again.until = commit
	}
	c.again = &again
	hs.scheduleCheck(conn, again.due)
}

// repeatDue sends a connection that has the hold h what is due to be sent once more.
func (an *answers) repeatDue(t *turn, conn *hibernate.Connection, h *hold) error {
	now := an.room.now()
	for i, channel := range an.room.ns.channels {
		c, again := &h.channels[i], h.channels[i].again
		if again == nil || now.Before(again.due) {
			continue
		}
		later := an.fullResync(&syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true})
		if again.epoch == an.room.shortEpoch() && again.until <= an.room.db.Seq() {
			var frames []*hibernate.Frame
			var err error
			if frames, later, err = an.since(conn, channel, again.after, again.until); err != nil {
				return err
			}
			t.send(conn, frames...)
		}
		c.again = nil
		switch {
		case later != nil:
			an.syncs.startInternal(t, later)
		case again.last > again.until:
			c.again = &repeat{epoch: again.epoch, after: again.until, until: again.last, due: now.Add(repeatAfter), last: again.last}
			fallthrough
		default:
			an.peers.awaitConfirmation(t, conn)
		}
		t.undo = append(t.undo, func() {
			c.again = again
			an.holds.setHold(conn, h)
		})
	}
	return nil
}
