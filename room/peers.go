package room

import (
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/storage"
)

// A partysync client asks for a channel's rows once, when it mounts, and never
// again after a reconnect. So the room remembers which connection ids asked for
// which channel, and up to which commit they surely have everything; when such an
// id comes back, it gets what it lacks unasked. What is kept is a lower bound: a
// row that comes twice does no harm.
//
// The memory is a table of Den's own in the room's database:
//
//	_den_peers(id, subject, channel, seq, seen_at)

const (
	// peerRetention is how long a connection id that has gone is remembered.
	peerRetention = 7 * 24 * time.Hour
	// maxPeers is how many (id, channel) pairs a room remembers; the oldest go first.
	maxPeers = 10_000
)

// peers are the notes on the clients of a room.
type peers struct {
	room      *room
	holds     *holds
	inquiries *inquiries
	waiting   map[*hibernate.Connection]struct{} // those with Waits set
}

// purge has the notes of connections that no longer exist say so, since they
// may have gone while nobody could write it down, and removes the old ones and those over
// the limit.
func (ps *peers) purge(now time.Time) error {
	if err := ps.noteHere(now); err != nil {
		return err
	}
	internal := ps.room.db.Internal()
	if _, err := internal.Exec(`DELETE FROM _den_peers WHERE seen_at < ? AND here = 0`, now.Add(-peerRetention).UnixMilli()); err != nil {
		return err
	}
	_, err := internal.Exec(`DELETE FROM _den_peers WHERE (SELECT count(*) FROM _den_peers) > ?1 AND (id, subject, channel) IN
		(SELECT id, subject, channel FROM _den_peers ORDER BY here DESC, seen_at DESC LIMIT -1 OFFSET ?1)`, maxPeers)
	return err
}

// noteHere mends the notes of who is here.
func (ps *peers) noteHere(now time.Time) error {
	type who struct{ id, subject string }
	present := make(map[who]bool)
	for _, c := range ps.room.connections() {
		present[who{c.ID(), c.Identity.Subject}] = true
	}
	var wrong []who
	rows, err := ps.room.db.Internal().Query(`SELECT id, subject, here FROM _den_peers`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		w, here := who{string(rows.Bytes(0)), string(rows.Bytes(1))}, rows.Int(2) != 0
		if here != present[w] {
			wrong = append(wrong, w)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, w := range wrong {
		if _, err := ps.room.db.Internal().Exec(`UPDATE _den_peers SET here = ?1, seen_at = ?2 WHERE id = ?3 AND subject = ?4 AND here <> ?1`,
			present[w], now.UnixMilli(), w.id, w.subject); err != nil {
			return err
		}
	}
	return nil
}

// subscribe notes that a connection has a channel's rows as of a commit. A note that is new,
// or lower than before, is written with the turn: the answer that rests on it does not leave
// before it is durable, for a client that comes back says nothing. So on a full disk a
// connection id that is new here gets no answer, but storage_unavailable; others do. A lower one than it could
// be does no harm, and is raised when there is time.
func (ps *peers) subscribe(t *turn, conn *hibernate.Connection, channel string, as int64) error {
	if !conn.Named {
		return nil
	}

	if base, lacks := ps.inquiries.lacking(conn, channel); lacks {
		as = min(as, int64(base))
	}
	write := func() error {
		_, err := ps.room.db.Internal().Exec(`INSERT INTO _den_peers (id, subject, channel, seq, seen_at, here) VALUES (?, ?, ?, ?, ?, 1)
			ON CONFLICT DO UPDATE SET seq = excluded.seq, seen_at = excluded.seen_at, here = 1`,
			conn.ID(), conn.Identity.Subject, channel, as, ps.room.now().UnixMilli())
		if err != nil {
			return err
		}
		return ps.forgetNothingAsked(conn)
	}
	ps.room.node.recent.quiet.Forget(quietOf(ps.room.key, conn))
	peers, err := ps.of(conn)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(peers, func(p peer) bool { return p.channel == channel && p.noted <= as }) {
		t.notes = append(t.notes, write)
		return nil
	}
	if err := t.begin(); err != nil {
		return err
	}
	return write()
}

// unsubscribe forgets that a connection id may come back and say nothing: its client
// takes cursors, and what came unasked it would have twice.
func (ps *peers) unsubscribe(t *turn, conn *hibernate.Connection, channel string) error {
	if !conn.Named {
		return nil
	}

	if q := quietOf(ps.room.key, conn); ps.room.node.recent.quiet.Has(q) {
		ps.room.node.recent.quiet.Forget(q)
		conn.Forget()
	}
	peers, err := ps.of(conn)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(peers, func(p peer) bool { return p.channel == channel || p.channel == nothingAsked }) {
		return nil
	}
	conn.Forget()
	t.notes = append(t.notes, func() error {
		_, err := ps.room.db.Internal().Exec(`DELETE FROM _den_peers WHERE id = ? AND subject = ? AND channel IN (?, '')`,
			conn.ID(), conn.Identity.Subject, channel)
		return err
	})
	return nil
}

type peer struct {
	channel string
	seq     storage.Seq
	noted   int64 // seq as it is noted: unanswered is below it
}

func (ps *peers) of(conn *hibernate.Connection) (peers []peer, err error) {
	rows, err := ps.room.db.Internal().Query(`SELECT channel, seq FROM _den_peers WHERE id = ? AND subject = ?`,
		conn.ID(), conn.Identity.Subject)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		p := peer{channel: string(rows.Bytes(0)), noted: rows.Int(1)}
		p.seq = storage.Seq(max(p.noted, 0))
		peers = append(peers, p)
	}
	return peers, rows.Err()
}

// twins reports whether two connections have the same id and are the same user's. Another user's of
// the same id is a stranger.
func twins(a, b *hibernate.Connection) bool {
	return a.ID() == b.ID() && a.Identity.Subject == b.Identity.Subject
}

// probeTwins has the older connections of a client's id show that they are alive: where the client has come back
// before its last connection's end was noticed, the others would see it twice.
func (ps *peers) probeTwins(t *turn, conn *hibernate.Connection) {
	if !conn.Named {
		return
	}
	for _, c := range ps.room.connections() {
		if link, can := c.Link.(interface{ Probe() }); can && c != conn && twins(c, conn) {
			t.after = append(t.after, link.Probe)
		}
	}
}

// noteAnswer is subscribe for the answer to a sync. Where nobody has asked, a note is changed and none is made.
func (ps *peers) noteAnswer(t *turn, m *syncMessage, as int64) error {
	if m.pursued {
		peers, err := ps.of(m.conn)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(peers, func(p peer) bool { return p.channel == m.channel }) {
			return nil
		}
	}
	return ps.subscribe(t, m.conn, m.channel, as)
}

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

// noteNothingAsked writes that a connection is new and has asked for nothing.
func (ps *peers) noteNothingAsked(conn *hibernate.Connection) error {
	here := slices.Contains(ps.room.connections(), conn)
	_, err := ps.room.db.Internal().Exec(`INSERT INTO _den_peers (id, subject, channel, seq, seen_at, here) VALUES (?, ?, '', 0, ?, ?) ON CONFLICT DO NOTHING`,
		conn.ID(), conn.Identity.Subject, ps.room.now().UnixMilli(), here)
	return err
}

// askedNothing reports whether a connection's sync may have been lost: none has come, and no pong has come
// since it was given up.
func (ps *peers) askedNothing(t *turn, conn *hibernate.Connection) bool {
	if conn.Waits != waitsSign {
		return conn.Waits == waitsQuestion
	}
	_, answered := conn.ConfirmedSeq()
	h := heldBy(conn)
	return !answered || slices.Contains(t.answered, conn) || h != nil && !h.over(ps.room.now())
}

// twinAskedNothing reports whether another connection of the same id, that is still there, waits for its first sync.
func (ps *peers) twinAskedNothing(conn *hibernate.Connection) bool {
	return slices.ContainsFunc(ps.room.connections(), func(c *hibernate.Connection) bool {
		return c != conn && unasked(c) && twins(c, conn)
	})
}

// forgetNothingAsked takes back what noteNothingAsked wrote, and what the process remembers.
func (ps *peers) forgetNothingAsked(conn *hibernate.Connection) error {
	ps.room.node.recent.quiet.Forget(quietOf(ps.room.key, conn))
	_, err := ps.room.db.Internal().Exec(`DELETE FROM _den_peers WHERE id = ? AND subject = ? AND channel = ''`,
		conn.ID(), conn.Identity.Subject)
	return err
}

// awaitConfirmation notes that a connection gets the end of an answer with this turn. The link is asked to find
// out soon whether it arrives: a client that comes back before is sent everything again.
func (ps *peers) awaitConfirmation(t *turn, conn *hibernate.Connection) {
	if conn.Named {
		t.answered = append(t.answered, conn)
		ps.await(conn, waitsAnswer)
		if link, can := conn.Link.(interface{ Receipt() }); can {
			t.after = append(t.after, link.Receipt)
		}
	}
}

// await notes what a connection waits for.
func (ps *peers) await(conn *hibernate.Connection, what uint8) {
	conn.Waits = what
	if ps.waiting == nil {
		ps.waiting = make(map[*hibernate.Connection]struct{})
	}
	ps.waiting[conn] = struct{}{}
}

// doneWaiting notes that a connection waits for nothing.
func (ps *peers) doneWaiting(conn *hibernate.Connection) {
	conn.Waits = 0
	delete(ps.waiting, conn)
}

// findWaiting takes over what earlier lives waited for.
func (ps *peers) findWaiting() {
	for _, conn := range ps.room.connections() {
		if conn.Waits != 0 {
			ps.await(conn, conn.Waits)
		}
	}
}

// anythingToRaise reports whether there is a note to be written before the room sleeps.
func (ps *peers) anythingToRaise() bool {
	for conn := range ps.waiting {
		if _, answered := conn.ConfirmedSeq(); answered || unasked(conn) {
			return true
		}
	}
	return false
}

// raiseAll raises the notes on connections whose clients have had their answers. In the room's last turn it
// writes down who has asked for nothing.
func (ps *peers) raiseAll(t *turn) error {
	for conn := range ps.waiting {
		_, answered := conn.ConfirmedSeq()
		var err error
		switch {
		case ps.askedNothing(t, conn):
			if t.last {
				err = ps.noteNothingAsked(conn)
			}
		case answered && !slices.Contains(t.answered, conn):
			if !ps.hasTwin(conn) {
				err = ps.raise(conn, ps.surely(t, conn))
			}
			if err == nil {
				ps.doneWaiting(conn)
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
func (ps *peers) surely(t *turn, conn *hibernate.Connection) confirmed {
	seq, answered := conn.ConfirmedSeq()
	if bug.On("peer-high") {
		seq, answered = conn.HandedSeq(), true
	}
	switch {
	case !answered || slices.Contains(t.answered, conn):
		return confirmed{}
	case heldBy(conn) == nil && len(ps.inquiries.open) == 0:
		return confirmed{seq, ps.room.ns.channels}
	}
	c := confirmed{seq: seq}
	if h := heldBy(conn); h != nil {
		c.seq = min(seq, h.repeatsAfter())
	}
	for _, channel := range ps.room.ns.channels {
		if _, lacks := ps.inquiries.lacking(conn, channel); !lacks && !ps.holds.held(conn, channel) {
			c.channels = append(c.channels, channel)
		}
	}
	return c
}

// raise notes what a connection surely has. If another connection has the same id, it may have less, and there the
// note has to stay.
func (ps *peers) raise(conn *hibernate.Connection, c confirmed) error {
	for _, channel := range c.channels {
		if _, err := ps.room.db.Internal().Exec(`UPDATE _den_peers SET seq = max(seq, ?) WHERE id = ? AND subject = ? AND channel = ? AND seq >= 0`,
			int64(c.seq), conn.ID(), conn.Identity.Subject, channel); err != nil {
			return err
		}
	}
	if len(c.channels) < len(ps.room.ns.channels) {
		return nil
	}
	return ps.forgetNothingAsked(conn)
}

// hasTwin reports whether another connection of the room has the same id and is the same user's.
func (ps *peers) hasTwin(conn *hibernate.Connection) bool {
	return slices.ContainsFunc(ps.room.connections(), func(c *hibernate.Connection) bool { return c != conn && twins(c, conn) })
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
func (ps *peers) noteQuiet(t *turn) {
	for conn := range ps.waiting {
		if ps.askedNothing(t, conn) {
			ps.room.node.recent.quiet.Note(quietOf(ps.room.key, conn))
		}
	}
}
