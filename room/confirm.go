package room

import (
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/syncproto"
)

// The published client asks for a channel once. Its question can be lost with the socket, and so
// can the answer, or the end of it. So what the room notes of a client (peers.go) rises only when a
// pong has shown that the client has the answer:
//
//	accepted ─▶ nothingAsked ──sync──▶ channel, 0 ──pong──▶ channel, the commit that the pong confirms
//
// A client that asks from a stamp has the rows as of that stamp: its note begins there and not at 0.
// When a connection id comes back whose note is still at 0, the room asks for the channel in its place, and
// the answer replaces what the client shows. Where nothing was asked, the room cannot know which channels the
// page shows, and asks for all of them; a client ignores channels that it does not know.

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

// noteNothingAsked writes that a connection is new and has asked for nothing.
func (t *turn) noteNothingAsked(conn *hibernate.Connection) error {
	l := t.life
	here := slices.Contains(l.connections(), conn)
	_, err := l.db.Internal().Exec(`INSERT INTO _den_peers (id, subject, channel, seq, seen_at, here) VALUES (?, ?, '', 0, ?, ?) ON CONFLICT DO NOTHING`,
		conn.ID(), conn.Identity.Subject, l.host.opts.Clock.Now().UnixMilli(), here)
	return err
}

// unasked reports whether a connection waits for its first sync.
func unasked(conn *hibernate.Connection) bool {
	return conn.Waits == waitsQuestion || conn.Waits == waitsSign
}

// askedNothing reports whether a connection's sync may have been lost: none has come, and no pong has come
// since it was given up.
func (t *turn) askedNothing(conn *hibernate.Connection) bool {
	if conn.Waits != waitsSign {
		return conn.Waits == waitsQuestion
	}
	_, answered := conn.ConfirmedSeq()
	h := heldBy(conn)
	return !answered || slices.Contains(t.answered, conn) || h != nil && !h.over(t.life.host.opts.Clock.Now())
}

// twinAskedNothing reports whether another connection of the same id, that is still there, waits for its first sync.
func (l *life) twinAskedNothing(conn *hibernate.Connection) bool {
	return slices.ContainsFunc(l.connections(), func(c *hibernate.Connection) bool {
		return c != conn && unasked(c) && twins(c, conn)
	})
}

// askForTwins asks for every channel on behalf of a client's remaining connections that still wait for their first sync. It is called when
// another connection of that client ends: the two may have come into the room in another order than the client made them, and then
// the sync was sent on the one that ends. A client that takes cursors asks on each connection itself.
func (t *turn) askForTwins(ends *hibernate.Connection) {
	if ends.Waits == 0 && !ends.Returned {
		return
	}
	for _, conn := range t.life.connections() {
		if conn == ends || conn.Waits != waitsQuestion || !twins(conn, ends) {
			continue
		}
		conn.Returned = true
		for _, m := range t.life.askAgain(conn, nothingAsked, 1) {
			t.owe(conn, m.channel)
			t.pursue(m)
		}
	}
}

// forgetNothingAsked takes back what noteNothingAsked wrote, and what the process remembers.
func (t *turn) forgetNothingAsked(conn *hibernate.Connection) error {
	t.life.host.quiet.Forget(quietOf(t.life.key, conn))
	_, err := t.life.db.Internal().Exec(`DELETE FROM _den_peers WHERE id = ? AND subject = ? AND channel = ''`,
		conn.ID(), conn.Identity.Subject)
	return err
}

// askAgain is the syncs in place of a client's whose answer it may never have had. notes is how many
// notes there are on the client.
func (l *life) askAgain(conn *hibernate.Connection, channel string, notes int) (syncs []*syncMessage) {
	channels := []string{channel}
	switch {
	case channel == nothingAsked && notes > 1:
		return nil
	case channel == nothingAsked:
		channels = l.ns.channels
	case !slices.Contains(l.ns.channels, channel):
		return nil
	}
	for _, channel := range channels {
		syncs = append(syncs, &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, reset: true, unasked: true})
	}
	return syncs
}

// awaitConfirmation notes that a connection gets the end of an answer with this turn. The link is asked to find
// out soon whether it arrives: a client that comes back before is sent everything again.
func (t *turn) awaitConfirmation(conn *hibernate.Connection) {
	if conn.Named {
		t.answered = append(t.answered, conn)
		t.life.await(conn, waitsAnswer)
		if link, can := conn.Link.(interface{ Receipt() }); can {
			t.after = append(t.after, link.Receipt)
		}
	}
}

// await notes what a connection waits for.
func (l *life) await(conn *hibernate.Connection, what uint8) {
	conn.Waits = what
	if l.waiting == nil {
		l.waiting = make(map[*hibernate.Connection]struct{})
	}
	l.waiting[conn] = struct{}{}
}

// doneWaiting notes that a connection waits for nothing.
func (l *life) doneWaiting(conn *hibernate.Connection) {
	conn.Waits = 0
	delete(l.waiting, conn)
}

// findWaiting takes over what earlier lives waited for.
func (l *life) findWaiting() {
	for _, conn := range l.connections() {
		if conn.Waits != 0 {
			l.await(conn, conn.Waits)
		}
	}
}

// anythingToRaise reports whether there is a note to be written before the room sleeps.
func (l *life) anythingToRaise() bool {
	for conn := range l.waiting {
		if _, answered := conn.ConfirmedSeq(); answered || unasked(conn) {
			return true
		}
	}
	return false
}

// raiseAll raises the notes on connections whose clients have had their answers. In the room's last turn it
// writes down who has asked for nothing.
func (t *turn) raiseAll() error {
	l := t.life
	for conn := range l.waiting {
		_, answered := conn.ConfirmedSeq()
		var err error
		switch {
		case t.askedNothing(conn):
			if t.last {
				err = t.noteNothingAsked(conn)
			}
		case answered && !slices.Contains(t.answered, conn):
			if !l.hasTwin(conn) {
				err = t.raise(conn, t.surely(conn))
			}
			if err == nil {
				l.doneWaiting(conn)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// confirmed is up to which commit a connection surely has everything of some channels; none: nothing is sure.
type confirmed struct {
	seq      uint64
	channels []string
}

// surely is what a connection surely has: nothing where an answer may not have arrived. What is held has had no
// answer, whatever else has.
func (t *turn) surely(conn *hibernate.Connection) confirmed {
	l := t.life
	seq, answered := conn.ConfirmedSeq()
	if bug.On("peer-high") {
		seq, answered = conn.HandedSeq(), true
	}
	switch {
	case !answered || slices.Contains(t.answered, conn):
		return confirmed{}
	case heldBy(conn) == nil && len(l.inquiries) == 0:
		return confirmed{seq, l.ns.channels}
	}
	c := confirmed{seq: seq}
	for _, channel := range l.ns.channels {
		if _, lacks := t.lacking(conn, channel); !lacks && !t.held(conn, channel) {
			c.channels = append(c.channels, channel)
		}
	}
	return c
}

// raise notes what a connection surely has. If another connection has the same id, it may have less, and there the
// note has to stay.
func (t *turn) raise(conn *hibernate.Connection, c confirmed) error {
	l := t.life
	for _, channel := range c.channels {
		if _, err := l.db.Internal().Exec(`UPDATE _den_peers SET seq = max(seq, ?) WHERE id = ? AND subject = ? AND channel = ? AND seq >= 0`,
			int64(c.seq), conn.ID(), conn.Identity.Subject, channel); err != nil {
			return err
		}
	}
	if len(c.channels) < len(l.ns.channels) {
		return nil
	}
	return t.forgetNothingAsked(conn)
}

// hasTwin reports whether another connection of the room has the same id and is the same user's.
func (l *life) hasTwin(conn *hibernate.Connection) bool {
	return slices.ContainsFunc(l.connections(), func(c *hibernate.Connection) bool { return c != conn && twins(c, conn) })
}

// Named clients that have left a room and had asked for nothing, and those that the room did not let in: their question may have
// been lost with the socket. In a room of which nobody has got anything yet (see turn.shows) the note on such a client would make
// the room durable: who names its connection and leaves would leave a file. Of a client that was not let in the room knows
// nothing. And a note is written at the end of a turn, when the client may be back. So the process remembers them, and a restart
// forgets them, as a crash forgets such a note in any room.

func quietOf(room Key, conn *hibernate.Connection) recent.Client {
	return recent.Client{Room: room, ID: conn.ID(), Subject: conn.Identity.Subject}
}

// noteQuiet remembers the clients that are there and have asked for nothing, when the room goes to sleep: they may go meanwhile.
func (t *turn) noteQuiet() {
	l := t.life
	for conn := range l.waiting {
		if t.askedNothing(conn) {
			l.host.quiet.Note(quietOf(l.key, conn))
		}
	}
}
