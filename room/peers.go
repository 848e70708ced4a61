package room

import (
	"errors"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
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

// purgePeers has the notes of connections that are not there any more say so, since they
// may have gone while nobody could write it down, and removes the old ones and those over
// the limit.
func (l *life) purgePeers(now time.Time) error {
	if err := l.notePeersHere(now); err != nil {
		return err
	}
	internal := l.db.Internal()
	if _, err := internal.Exec(`DELETE FROM _den_peers WHERE seen_at < ? AND here = 0`, now.Add(-peerRetention).UnixMilli()); err != nil {
		return err
	}
	_, err := internal.Exec(`DELETE FROM _den_peers WHERE (SELECT count(*) FROM _den_peers) > ?1 AND (id, subject, channel) IN
		(SELECT id, subject, channel FROM _den_peers ORDER BY here DESC, seen_at DESC LIMIT -1 OFFSET ?1)`, maxPeers)
	return err
}

// notePeersHere mends the notes of who is here.
func (l *life) notePeersHere(now time.Time) error {
	type who struct{ id, subject string }
	present := make(map[who]bool)
	for _, c := range l.connections() {
		present[who{c.ID(), c.Identity.Subject}] = true
	}
	var wrong []who
	rows, err := l.db.Internal().Query(`SELECT id, subject, here FROM _den_peers`)
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
		if _, err := l.db.Internal().Exec(`UPDATE _den_peers SET here = ?1, seen_at = ?2 WHERE id = ?3 AND subject = ?4 AND here <> ?1`,
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
func (t *turn) subscribe(conn *hibernate.Connection, channel string, as int64) error {
	if !conn.Named {
		return nil
	}
	l := t.life
	if base, lacks := t.lacking(conn, channel); lacks {
		as = min(as, int64(base))
	}
	write := func() error {
		_, err := l.db.Internal().Exec(`INSERT INTO _den_peers (id, subject, channel, seq, seen_at, here) VALUES (?, ?, ?, ?, ?, 1)
			ON CONFLICT DO UPDATE SET seq = excluded.seq, seen_at = excluded.seen_at, here = 1`,
			conn.ID(), conn.Identity.Subject, channel, as, l.host.opts.Clock.Now().UnixMilli())
		if err != nil {
			return err
		}
		return t.forgetNothingAsked(conn)
	}
	l.host.quiet.Forget(quietOf(l.key, conn))
	peers, err := l.peer(conn)
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
func (t *turn) unsubscribe(conn *hibernate.Connection, channel string) error {
	if !conn.Named {
		return nil
	}
	l := t.life
	if q := quietOf(l.key, conn); l.host.quiet.Has(q) {
		l.host.quiet.Forget(q)
		conn.Returned = false
	}
	peers, err := l.peer(conn)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(peers, func(p peer) bool { return p.channel == channel || p.channel == nothingAsked }) {
		return nil
	}
	conn.Returned = false
	t.notes = append(t.notes, func() error {
		_, err := l.db.Internal().Exec(`DELETE FROM _den_peers WHERE id = ? AND subject = ? AND channel IN (?, '')`,
			conn.ID(), conn.Identity.Subject, channel)
		return err
	})
	return nil
}

// catchUp sends a connection whose id was here before what it missed, and asks for the channels
// whose answer it may never have had.
func (t *turn) catchUp(m *connectMessage) (ask []*syncMessage, err error) {
	conn, l := m.conn, t.life
	if !conn.Named {
		return nil, nil
	}
	peers, err := l.peer(conn)
	if err != nil {
		return nil, err
	}
	if q := quietOf(l.key, conn); len(peers) == 0 && (l.twinAskedNothing(conn) || l.host.quiet.Has(q)) {
		peers = append(peers, peer{channel: nothingAsked})
		l.host.quiet.Note(q) // it may go before it has been answered
	}
	conn.Returned = len(peers) > 0
	switch {
	case conn.Returned && l.db.Withheld():
	case conn.Returned:
		t.notes = append(t.notes, func() error {
			_, err := l.db.Internal().Exec(`UPDATE _den_peers SET here = 1 WHERE id = ? AND subject = ?`, conn.ID(), conn.Identity.Subject)
			return err
		})
	case m.stock:
		l.await(conn, waitsQuestion)
	}
	for _, p := range peers {
		if p.noted <= 0 {
			for _, sync := range l.askAgain(conn, p.channel, len(peers)) {
				t.owe(conn, sync.channel)
				ask = append(ask, sync)
			}
			continue
		}
		if !slices.Contains(l.ns.channels, p.channel) || p.seq >= l.db.Seq() {
			t.unhold(conn, p.channel) // it has had an answer
			continue
		}
		frames, later, err := t.since(conn, p.channel, p.seq)
		if err != nil {
			return nil, err
		}
		if later != nil {
			t.owe(conn, p.channel)
			t.inquire(later) // at once: from now on the note stays where it is
			ask = append(ask, later)
			continue
		}
		t.send(conn, frames...)
		t.unhold(conn, p.channel)
	}
	return ask, nil
}

// since is what has changed in a channel after a commit, as updates. Where that is more than the turn may read, there are no frames,
// and later is what is to be asked for them.
func (t *turn) since(conn *hibernate.Connection, channel string, seq storage.Seq) (frames []*hibernate.Frame, later *syncMessage, err error) {
	m := &syncMessage{conn: conn, channel: channel, since: syncproto.SinceFrom, unasked: true, base: seq}
	changed, soon, err := t.changedSoon(channel, seq)
	switch {
	case errors.Is(err, storage.ErrForgotten):
		return nil, t.life.everything(m), nil
	case err != nil:
		return nil, nil, err
	case !soon:
		return nil, t.life.gleanAfter(m, seq), nil
	}
	frames, err = changed.Updates(channel, "")
	return frames, nil, err
}

// lacking reports whether a connection is being sent, in pieces, what it lacks of a channel, and after which commit that is. Until it
// has it all, the note on its client does not rise above that commit, whatever else the client is answered.
func (t *turn) lacking(conn *hibernate.Connection, channel string) (base storage.Seq, is bool) {
	if a := t.life.inquiries[answerKey{conn, channel, true}]; a != nil {
		return a.base, true
	}
	return 0, false
}

// missed is what a peer lacks, as updates by ascending stamp. Where that is too much to be sent, or more than
// the room remembers, it is the whole channel again, after a delete-all.
func (l *life) missed(p peer, cursor string) ([]*hibernate.Frame, error) {
	changed, err := l.changed(p.channel, p.seq)
	if errors.Is(err, storage.ErrForgotten) || err == nil && changed.Over() {
		return l.resync(p.channel, cursor)
	}
	if err != nil {
		return nil, err
	}
	return changed.Updates(p.channel, cursor)
}

type peer struct {
	channel string
	seq     storage.Seq
	noted   int64 // seq as it is noted: unanswered is below it
}

func (l *life) peer(conn *hibernate.Connection) (peers []peer, err error) {
	rows, err := l.db.Internal().Query(`SELECT channel, seq FROM _den_peers WHERE id = ? AND subject = ?`,
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

// leavePeer notes up to where a connection that has gone surely had everything.
func (t *turn) leavePeer(conn *hibernate.Connection) {
	l := t.life
	if !conn.Named {
		return
	}
	if l.hasTwin(conn) {
		t.askForTwins(conn)
		return
	}
	asked, has := !t.askedNothing(conn), t.surely(conn) // as long as it is held
	if !asked {
		l.host.quiet.Note(quietOf(l.key, conn)) // it may be back in this turn, which writes its notes at the end
	}
	if l.db.Withheld() { // then there is no note on it, either
		return
	}
	t.notes = append(t.notes, func() error {
		now := l.host.opts.Clock.Now().UnixMilli()
		noted, err := l.db.Internal().Exec(`UPDATE _den_peers SET seen_at = ?, here = 0 WHERE id = ? AND subject = ?`, now, conn.ID(), conn.Identity.Subject)
		switch {
		case err != nil:
			return err
		case !asked:
			return t.noteNothingAsked(conn)
		case noted.RowsAffected == 0:
			return nil // there is no note to be raised
		}
		return t.raise(conn, has)
	})
}

// twins reports whether two connections have the same id and are the same user's. Another user's of
// the same id is a stranger.
func twins(a, b *hibernate.Connection) bool {
	return a.ID() == b.ID() && a.Identity.Subject == b.Identity.Subject
}

// probeTwins has the older connections of a client's id show that they are alive: where the client has come back
// before its last connection's end was noticed, the others would see it twice.
func (t *turn) probeTwins(conn *hibernate.Connection) {
	if !conn.Named {
		return
	}
	for _, c := range t.life.connections() {
		if link, can := c.Link.(interface{ Probe() }); can && c != conn && twins(c, conn) {
			t.after = append(t.after, link.Probe)
		}
	}
}

// noteAnswer is subscribe for the answer to a sync. Where nobody has asked, a note is changed and none is made.
func (t *turn) noteAnswer(m *syncMessage, as int64) error {
	if m.pursued {
		peers, err := t.life.peer(m.conn)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(peers, func(p peer) bool { return p.channel == m.channel }) {
			return nil
		}
	}
	return t.subscribe(m.conn, m.channel, as)
}
