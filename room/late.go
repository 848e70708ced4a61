package room

import "time"

// The published client gives an action up 10 s after it has sent it, takes back what it showed, and drops a reply that
// comes later, with its rows. Its author is left out of the broadcast. So where a room was held up, by its disk or by a
// slow action before, what has become of the channel since the action follows the turn's frames as updates, which the
// client merges by id.

// lateReply is after how long in the server a reply may come too late: the way there and back counts for the client, too.
const lateReply = 5 * time.Second

// followLate follows late replies to clients without cursors with their rows. Later actions of the same turn may have changed
// them again, so they are read as they are now.
func (t *turn) followLate() {
	now := t.life.host.uptime()
	for _, a := range t.answers {
		m, is := a.env.Message.(*actionMessage)
		if !is || m.reply == nil || a.err != nil || now-m.came < lateReply || m.conn.Returned || t.held(m.conn, m.channel) {
			continue
		}
		if peers, err := t.life.peer(m.conn); err != nil || len(peers) == 0 {
			continue // it has asked for nothing, or by a cursor
		}
		frames, later, err := t.sinceReply(m, m.reply)
		if err != nil {
			t.life.log.Warn("the rows of a late reply were not sent once more", "err", err)
			continue
		}
		if later != nil {
			t.pursue(later)
		}
		t.send(m.conn, frames...)
	}
}

// uptime is how long ago the host was opened. It takes a third of the memory of a time, and a wall clock that is set
// changes nothing of it either.
func (h *Host) uptime() time.Duration { return h.opts.Clock.Now().Sub(h.began) }
