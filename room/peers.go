package room

import (
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/storage"
)

// A partysync client asks for a channel's rows once, when its component mounts, and never again after a reconnect. So
// the room remembers which connection ids have asked for which channel, and up to which commit they surely have
// everything. When such an id comes back, the room sends what it lacks, unasked. The remembered commit is a lower
// bound: a row that comes twice does no harm.
//
// The notes are a table of Den's own in the room's database:
//
//	_den_peers(id, subject, channel, seq, seen_at, here)

const (
	// peerRetention is how long the room remembers a connection id after it has gone.
	peerRetention = 7 * 24 * time.Hour
	// maxPeers is how many (id, channel) pairs a room remembers. Beyond that the oldest are forgotten.
	maxPeers = 10_000
)

// peers are the notes on the clients of a room.
type peers struct {
	room    *room
	holds   *holds
	syncs   *pendingSyncs
	waiting map[*hibernate.Connection]struct{} // the connections whose Waits is set
}

// purge corrects the notes that say whether a connection is here, because a connection may have ended when nobody
// could write that down. Then it removes old notes and those beyond the limit.
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

// noteHere corrects the notes that say whether a connection is here.
func (ps *peers) noteHere(now time.Time) error {
	type who struct{ id, subject string }
	present := make(map[who]bool)
	for _, c := range ps.room.connections() {
		present[who{c.ID(), c.Identity.Subject}] = true
	}
	var wrong []who
	err := ps.room.db.Internal().Each(`SELECT id, subject, here FROM _den_peers`, func(row *storage.Rows) {
		w, here := who{string(row.Bytes(0)), string(row.Bytes(1))}, row.Int(2) != 0
		if here != present[w] {
			wrong = append(wrong, w)
		}
	})
	if err != nil {
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

// subscribe notes that a connection has a channel's rows as of a commit. A new note, or a lower one than before, is
// written with the turn, so it is durable before the answer is sent: a client that comes back does not ask again.
// Therefore a connection id that is new to the room gets storage_unavailable while the disk is full, and others get
// their answers. A note that could be higher does no harm, and is raised later.
func (ps *peers) subscribe(t *turn, conn *hibernate.Connection, channel string, as int64) error {
	if !conn.Named {
		return nil
	}

	if base, lacks := ps.syncs.lacking(conn, channel); lacks {
		as = min(as, int64(base))
	}
	write := func() error {
		_, err := ps.room.db.Internal().Exec(`INSERT INTO _den_peers (id, subject, channel, seq, seen_at, here) VALUES (?, ?, ?, ?, ?, 1)
			ON CONFLICT DO UPDATE SET seq = excluded.seq, seen_at = excluded.seen_at, here = 1`,
			conn.ID(), conn.Identity.Subject, channel, as, ps.room.now().UnixMilli())
		if err != nil {
			return err
		}
		return ps.forgetUnsubscribed(conn)
	}
	ps.room.node.recent.unsubscribed.Forget(clientOf(ps.room.key, conn))
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

// unsubscribe removes the note on a channel, because the client takes cursors: rows sent unasked would come to it
// twice.
func (ps *peers) unsubscribe(t *turn, conn *hibernate.Connection, channel string) error {
	if !conn.Named {
		return nil
	}

	if q := clientOf(ps.room.key, conn); ps.room.node.recent.unsubscribed.Has(q) {
		ps.room.node.recent.unsubscribed.Forget(q)
		conn.Forget()
	}
	peers, err := ps.of(conn)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(peers, func(p peer) bool { return p.channel == channel || p.channel == noSubscription }) {
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
	noted   int64 // seq as it stands in the note; it may be unanswered
}

func (ps *peers) of(conn *hibernate.Connection) (peers []peer, err error) {
	err = ps.room.db.Internal().Each(`SELECT channel, seq FROM _den_peers WHERE id = ? AND subject = ?`, func(row *storage.Rows) {
		p := peer{channel: string(row.Bytes(0)), noted: row.Int(1)}
		p.seq = storage.Seq(max(p.noted, 0))
		peers = append(peers, p)
	}, conn.ID(), conn.Identity.Subject)
	return peers, err
}

// sameClient reports whether two connections have the same id and the same user. The same id of another user belongs
// to another client.
func sameClient(a, b *hibernate.Connection) bool {
	return a.ID() == b.ID() && a.Identity.Subject == b.Identity.Subject
}

// probeDuplicates has the older connections of a client's id prove that they are alive. If the client has come back
// before the end of its last connection was noticed, the others would see it twice.
func (ps *peers) probeDuplicates(t *turn, conn *hibernate.Connection) {
	if !conn.Named {
		return
	}
	for _, c := range ps.room.connections() {
		if link, can := c.Link.(interface{ Probe() }); can && c != conn && sameClient(c, conn) {
			t.after = append(t.after, link.Probe)
		}
	}
}

// noteAnswer is subscribe for the answer to a sync. If the client did not ask, it changes a note and makes none.
func (ps *peers) noteAnswer(t *turn, m *syncMessage, as int64) error {
	if m.internal {
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

// The published client asks for a channel once. Its sync, the answer, or the end of the answer may be lost with the
// socket. So the commit in a client's note rises only when a pong has confirmed that the client has the answer:
//
//	accepted ─▶ noSubscription ──sync──▶ channel, 0 ──pong──▶ channel, the commit that the pong confirms
//
// If the client asks from a stamp, it has the rows as of that stamp, and its note begins there instead of at 0. If a
// connection id comes back while its note is at 0, the room asks for the channel in its place, and the answer
// replaces what the client shows. If the client had asked for nothing, the room cannot know which channels the page
// shows, and asks for all of them; a client ignores channels that it does not know.

// noteUnsubscribed notes that a connection is new and has not asked for a channel.
func (ps *peers) noteUnsubscribed(conn *hibernate.Connection) error {
	here := slices.Contains(ps.room.connections(), conn)
	_, err := ps.room.db.Internal().Exec(`INSERT INTO _den_peers (id, subject, channel, seq, seen_at, here) VALUES (?, ?, '', 0, ?, ?) ON CONFLICT DO NOTHING`,
		conn.ID(), conn.Identity.Subject, ps.room.now().UnixMilli(), here)
	return err
}

// unsubscribed reports whether a connection's sync may have been lost: the room has received none, nor a pong since
// it gave up waiting for one.
func (ps *peers) unsubscribed(t *turn, conn *hibernate.Connection) bool {
	if conn.Waits != waitsSyncOrPong {
		return conn.Waits == waitsSync
	}
	_, answered := conn.ConfirmedSeq()
	h := holdOf(conn)
	return !answered || slices.Contains(t.answered, conn) || h != nil && !h.expired(ps.room.now())
}

// duplicateUnsubscribed reports whether another connection of the same client is there and waits for its first sync.
func (ps *peers) duplicateUnsubscribed(conn *hibernate.Connection) bool {
	return slices.ContainsFunc(ps.room.connections(), func(c *hibernate.Connection) bool {
		return c != conn && unasked(c) && sameClient(c, conn)
	})
}

// forgetUnsubscribed undoes noteUnsubscribed, and removes what the process remembers.
func (ps *peers) forgetUnsubscribed(conn *hibernate.Connection) error {
	ps.room.node.recent.unsubscribed.Forget(clientOf(ps.room.key, conn))
	_, err := ps.room.db.Internal().Exec(`DELETE FROM _den_peers WHERE id = ? AND subject = ? AND channel = ''`,
		conn.ID(), conn.Identity.Subject)
	return err
}

// awaitConfirmation notes that a connection gets the end of an answer with this turn. The link is asked to find out
// soon whether it arrives: a client that comes back before that is sent everything again.
func (ps *peers) awaitConfirmation(t *turn, conn *hibernate.Connection) {
	if conn.Named {
		t.answered = append(t.answered, conn)
		ps.await(conn, waitsPong)
		if link, can := conn.Link.(interface{ Receipt() }); can {
			t.after = append(t.after, link.Receipt)
		}
	}
}

// await sets what a connection waits for.
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

// findWaiting adopts what connections have waited for in earlier lives.
func (ps *peers) findWaiting() {
	for _, conn := range ps.room.connections() {
		if conn.Waits != 0 {
			ps.await(conn, conn.Waits)
		}
	}
}

// anythingToRaise reports whether a note must be written before the room sleeps.
func (ps *peers) anythingToRaise() bool {
	for conn := range ps.waiting {
		if _, answered := conn.ConfirmedSeq(); answered || unasked(conn) {
			return true
		}
	}
	return false
}

// raiseAll raises the notes on connections whose clients have confirmed their answers. In the room's last turn it
// also writes notes on those that have asked for nothing.
func (ps *peers) raiseAll(t *turn) error {
	for conn := range ps.waiting {
		_, answered := conn.ConfirmedSeq()
		var err error
		switch {
		case ps.unsubscribed(t, conn):
			if t.last {
				err = ps.noteUnsubscribed(conn)
			}
		case answered && !slices.Contains(t.answered, conn):
			if !ps.hasDuplicate(conn) {
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

// confirmed says up to which commit a connection surely has everything of some channels. No channels: nothing is
// sure.
type confirmed struct {
	seq      uint64
	channels []string
}

// surely returns what a connection surely has: nothing if an answer may not have arrived. A held channel has had no
// answer yet.
func (ps *peers) surely(t *turn, conn *hibernate.Connection) confirmed {
	seq, answered := conn.ConfirmedSeq()
	if bug.On("peer-high") {
		seq, answered = conn.HandedSeq(), true
	}
	switch {
	case !answered || slices.Contains(t.answered, conn):
		return confirmed{}
	case holdOf(conn) == nil && len(ps.syncs.open) == 0:
		return confirmed{seq, ps.room.ns.channels}
	}
	c := confirmed{seq: seq}
	if h := holdOf(conn); h != nil {
		c.seq = min(seq, h.repeatsAfter())
	}
	for _, channel := range ps.room.ns.channels {
		if _, lacks := ps.syncs.lacking(conn, channel); !lacks && !ps.holds.held(conn, channel) {
			c.channels = append(c.channels, channel)
		}
	}
	return c
}

// raise notes what a connection surely has. Do not call it if another connection has the same id: that one may have
// less, so the note must stay.
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
	return ps.forgetUnsubscribed(conn)
}

// hasDuplicate reports whether the room has another connection of the same client.
func (ps *peers) hasDuplicate(conn *hibernate.Connection) bool {
	return slices.ContainsFunc(ps.room.connections(), func(c *hibernate.Connection) bool { return c != conn && sameClient(c, conn) })
}

// Clients that named their connection, left and had asked for nothing, and those that the room did not let in: their
// sync may have been lost with the socket. The process remembers them, and a restart forgets them, as a crash forgets
// such a note in any room. A note in the room would not do: of a client that was not let in the room knows nothing; a
// note is written at the end of a turn, when the client may be back; and in a room that has shown nothing to anybody
// (see turn.shows) it would make the room durable, so every visitor that names its connection would leave a file.

func clientOf(room Key, conn *hibernate.Connection) recent.Client {
	return recent.Client{Room: room, ID: conn.ID(), Subject: conn.Identity.Subject}
}

// rememberUnsubscribed remembers the clients that are here and have asked for nothing, because they may go while the
// room sleeps.
func (ps *peers) rememberUnsubscribed(t *turn) {
	for conn := range ps.waiting {
		if ps.unsubscribed(t, conn) {
			ps.room.node.recent.unsubscribed.Note(clientOf(ps.room.key, conn))
		}
	}
}
