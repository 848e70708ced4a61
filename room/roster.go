package room

// The roster: what the room's file says of who is there, for rooms with an OnClose. A process that crashes, or that
// shuts down while a room sleeps, cannot run OnClose; the next life finds the notes of connections that no longer exist, and
// runs it for them. It is a table of Den's own, which only files of namespaces with an OnClose have:
//
//	_den_connections(run, serial, id, subject, named, claims, tags, attachment)
//
//	run         the process that the connection was in: a random number
//	serial      its number there
//	named       1 where the client chose the id, so that it can come back
//	claims      of the identity, as a JSON object; '' for none
//	tags        a JSON array; '' for none
//	attachment  a BLOB, empty for none
//
// A note is written in the transaction of the turn that accepts the connection, if that has one, and removed in that of its
// OnClose. Where the hook writes nothing the note waits for the next transaction, or for a quiet second, or for the
// room's sleep: to accept a connection costs no sync of its own. What a hook wrote and its note are durable together.

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

const (
	// rosterPause is how long a note waits for a transaction to go with.
	rosterPause = time.Second
	// rosterGrace is how long clients have to come back after a crash, from their room's first wake on.
	rosterGrace = time.Minute
)

const rosterTable = `
	CREATE TABLE IF NOT EXISTS _den_connections (
		run INTEGER NOT NULL, serial INTEGER NOT NULL, id TEXT NOT NULL, subject TEXT NOT NULL, named INTEGER NOT NULL,
		claims TEXT NOT NULL, tags TEXT NOT NULL, attachment BLOB NOT NULL, PRIMARY KEY (run, serial)) WITHOUT ROWID`

// A note is a change of the table: conn is noted, or nil: the note is removed.
type note struct {
	key  noteKey
	conn *hibernate.Connection
}

// A roster is what a life knows of the table.
type roster struct {
	// Owned by the actor.

	known   map[noteKey]struct{}               // of this process, those in the table or in pending
	lost    []*closeMessage                    // of other processes
	stale   map[*hibernate.Connection]struct{} // noted with another state than they have now
	until   time.Time                          // when lost are due
	planned bool                               // a rosterMessage will come
	tries   int                                // to run what is due, in succession

	// Protected by mu, because Abandon hands it over.

	mu      sync.Mutex
	pending map[noteKey]*hibernate.Connection // to be written; nil: to be removed
	due     []*closeMessage                   // OnClose is to run before anything else
}

func (h *Host) noteOf(c *hibernate.Connection) noteKey { return noteKey{h.run, int64(c.Serial)} }

// loadRoster finds the connections that are noted and no longer exist, and has those noted that exist.
func (l *life) loadRoster() error {
	if !l.ns.closes {
		return nil
	}
	r := &l.roster
	r.mu.Lock() // Abandon may come at any time
	defer r.mu.Unlock()
	r.known = make(map[noteKey]struct{})
	r.pending = make(map[noteKey]*hibernate.Connection)
	present := make(map[noteKey]*hibernate.Connection)
	for _, c := range l.connections() {
		present[l.host.noteOf(c)] = c
	}
	rows, err := l.db.Internal().Query(`SELECT run, serial, id, subject, named, claims, tags, attachment FROM _den_connections ORDER BY run, serial`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		key := noteKey{rows.Int(0), rows.Int(1)}
		if c := present[key]; c != nil {
			c.Note()
			r.known[key] = struct{}{}
			continue
		}
		if id := rows.Bytes(2); len(id) > hibernate.MaxConnectionID {
			return fmt.Errorf("the note of a connection with an id of %d bytes: %w", len(id), storage.ErrCorrupt)
		}
		m := &closeMessage{code: 1006, note: key, fromFile: true, conn: &hibernate.Connection{Serial: l.host.conns.Serial(), Link: goneLink{}}}
		m.restore(string(rows.Bytes(2)), l.key.Room, string(rows.Bytes(3)), rows.Int(4) != 0, rows.Bytes(5), rows.Bytes(6), rows.Bytes(7))
		if m.cause = CloseLost; key.run == l.host.run {
			m.cause = CloseAsleep
			r.due = append(r.due, m)
		} else {
			r.lost = append(r.lost, m)
		}
	}
	for key, c := range present {
		if _, noted := r.known[key]; !noted && c.Admitted() {
			r.known[key] = struct{}{}
			r.pending[key] = c
		}
	}
	r.until = l.host.graces.plan(l.host, l.key, len(r.lost) > 0)
	return rows.Err()
}

// restore makes the connection as it was noted.
func (m *closeMessage) restore(id, room, subject string, named bool, claims, tags, attachment []byte) {
	identity := Identity{Subject: subject}
	if len(claims) > 0 {
		_ = json.Unmarshal(claims, &identity.Claims) // Den has written it
	}
	m.conn.Named = named
	m.conn.Identity = hibernate.Identify(identity)
	m.conn.Name(id, room)
	state := hibernate.State{Attachment: append([]byte(nil), attachment...)}
	if len(tags) > 0 {
		_ = json.Unmarshal(tags, &state.Tags)
	}
	m.conn.SetState(state)
}

// A goneLink is the link of a connection that no longer exists.
type goneLink struct{}

func (goneLink) Send(...*hibernate.Frame) {}
func (goneLink) Close(int, string)        {}

// enrol notes that the room accepts a connection, when the turn holds. A client that has come back has not been lost.
func (t *turn) enrol(conn *hibernate.Connection) {
	l := t.life
	if !l.ns.closes {
		return
	}
	t.stage(note{l.host.noteOf(conn), conn})
	for _, m := range l.roster.lost {
		if conn.Named && m.conn.Named && twins(m.conn, conn) {
			t.stage(note{m.note, nil})
		}
	}
}

// dismiss notes that OnClose has run, when the turn holds.
func (t *turn) dismiss(m *closeMessage) {
	t.stage(note{m.note, nil})
	t.few.dismissed = append(t.few.dismissed, m.conn)
}

// knows reports whether the room has accepted a connection and not yet run its OnClose.
func (t *turn) knows(key noteKey) bool {
	_, known := t.life.roster.known[key]
	for _, n := range t.staged() {
		if n.key == key {
			known = n.conn != nil
		}
	}
	return known
}

// left reports whether OnClose has run in this turn.
func (t *turn) left(key noteKey) bool {
	return slices.ContainsFunc(t.staged(), func(n note) bool { return n.key == key && n.conn == nil })
}

// writeRoster writes what waits, with what the turn adds.
func (t *turn) writeRoster() error {
	l := t.life
	if !l.ns.closes {
		return nil
	}
	l.roster.mu.Lock()
	defer l.roster.mu.Unlock()
	for key, conn := range l.roster.pending {
		if err := l.writeNote(note{key, conn}); err != nil {
			return err
		}
	}
	for _, n := range t.staged() {
		if err := l.writeNote(n); err != nil {
			return err
		}
	}
	if t.last {
		for conn := range l.roster.stale {
			if _, here := l.roster.known[l.host.noteOf(conn)]; here {
				if err := l.writeNote(note{l.host.noteOf(conn), conn}); err != nil {
					return err
				}
			}
		}
	}
	t.noted = true
	return nil
}

func (l *life) writeNote(n note) error {
	if n.conn == nil {
		_, err := l.db.Internal().Exec(`DELETE FROM _den_connections WHERE run = ? AND serial = ?`, n.key.run, n.key.serial)
		return err
	}
	var claims, tags string
	state, identity := n.conn.State(), n.conn.Identity
	if len(identity.Claims) > 0 {
		if data, err := json.Marshal(identity.Claims); err == nil { // what is no JSON, against the doc, is not kept
			claims = string(data)
		}
	}
	if len(state.Tags) > 0 {
		data, err := json.Marshal(state.Tags)
		if err != nil {
			return err
		}
		tags = string(data)
	}
	_, err := l.db.Internal().Exec(`INSERT OR REPLACE INTO _den_connections (run, serial, id, subject, named, claims, tags, attachment) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		n.key.run, n.key.serial, n.conn.ID(), identity.Subject, n.conn.Named, claims, tags, append([]byte{}, state.Attachment...))
	return err
}

// commitRoster applies the turn's changes of the roster after its commit.
func (t *turn) commitRoster() {
	l := t.life
	if !l.ns.closes || len(t.staged()) == 0 && !t.noted {
		return
	}
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.fenced {
		return // the next life reads the file
	}
	r := &l.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.few != nil {
		for _, c := range t.few.dismissed {
			c.Dismiss()
		}
	}
	for _, n := range t.staged() {
		r.apply(n)
	}
	if t.noted {
		for _, c := range r.pending {
			if c != nil {
				c.Note()
			}
		}
		clear(r.pending)
		clear(r.stale)
	}
	t.unstage()
	if len(r.pending) > 0 && !r.planned && !t.last {
		r.planned = true
		l.host.afterFunc(rosterPause, "noting who is there", func() { l.host.lookAtRoster(l.key) })
	}
}

// apply applies a change. The locks are held.
func (r *roster) apply(n note) {
	if n.conn != nil {
		n.conn.Admit()
		r.known[n.key] = struct{}{}
		r.pending[n.key] = n.conn
		return
	}
	delete(r.known, n.key)
	if r.pending[n.key] != nil {
		delete(r.pending, n.key) // it was never written
	} else {
		r.pending[n.key] = nil
	}
	done := func(m *closeMessage) bool { return m.note == n.key }
	r.due = slices.DeleteFunc(r.due, done)
	r.lost = slices.DeleteFunc(r.lost, done)
}

// restate notes that a connection's tags or attachment have changed: the room writes them when it goes to sleep.
func (l *life) restate(conn *hibernate.Connection) {
	if !l.ns.closes {
		return
	}
	if l.roster.stale == nil {
		l.roster.stale = make(map[*hibernate.Connection]struct{})
	}
	l.roster.stale[conn] = struct{}{}
}

// rosterWaits reports whether the turn is to write what waits in a transaction of its own.
func (t *turn) rosterWaits() bool {
	r := &t.life.roster
	return t.last && len(r.stale) > 0 || (t.last || t.flush) && len(r.pending) > 0
}

// lookAtRoster has the room look at its roster, if it is awake.
func (h *Host) lookAtRoster(key Key) { _ = h.actors.SendAwake(key, rosterMessage{}, nil) }

// runDue runs the OnClose hooks that are due, some of them, in front of a batch.
func (l *life) runDue() error {
	r := &l.roster
	if !l.ns.closes {
		return nil
	}
	owed := l.host.owed.take(l.key)
	r.mu.Lock()
	r.due = append(owed, r.due...) // those among them that are spent come before their notes
	if len(r.lost) > 0 && !l.host.opts.Clock.Now().Before(r.until) {
		r.due, r.lost = append(r.due, r.lost...), nil
	}
	some := slices.Clone(r.due[:min(len(r.due), closeGroup)])
	r.mu.Unlock()
	if len(some) == 0 {
		return nil
	}
	t := &turn{life: l}
	for _, m := range some {
		if t.broken == nil {
			_ = t.close(m) // it did not run, and stays due
		}
	}
	t.commit()
	r.mu.Lock()
	r.due = slices.DeleteFunc(r.due, func(m *closeMessage) bool { return t.lost == nil && t.broken == nil && slices.Contains(some, m) })
	more := len(r.due) > 0
	r.mu.Unlock()
	switch {
	case t.broken != nil:
		return t.broken
	case t.lost != nil:
		r.tries++
		l.host.repeat(r.tries, "running OnClose again", func() { l.host.lookAtRoster(l.key) })
	case more:
		l.host.lookAtRoster(l.key)
		fallthrough
	default:
		r.tries = 0
	}
	return nil
}

// handOver gives what the life leaves undone to the next one: notes that are to be removed, and ends that are not in the file.
func (l *life) handOver() {
	r := &l.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, conn := range r.pending {
		if conn == nil {
			l.host.owed.put(l.key, &closeMessage{note: key, fromFile: true, spent: true, conn: new(hibernate.Connection)})
		}
	}
	for _, m := range r.due {
		if !m.fromFile || m.spent {
			l.host.owed.put(l.key, m)
		}
	}
	if m := l.leaving.Load(); m != nil { // its hook hangs
		spent := *m
		spent.spent, spent.again = true, true
		l.host.owed.put(l.key, &spent)
		m.conn.Dismiss()
	}
	clear(r.pending)
	r.due = nil
}

// upkeep reports whether a batch is nothing but the room's own business, which does not count as use.
func upkeep(batch []*actor.Envelope) bool {
	return !slices.ContainsFunc(batch, func(env *actor.Envelope) bool {
		_, is := env.Message.(rosterMessage)
		return !is
	})
}

// graces are the times until which rooms wait for clients of an earlier process. The zero value is ready; its methods are
// safe from any goroutine.
type graces struct {
	mu    sync.Mutex
	until map[Key]time.Time
}

// plan gives the end of a room's grace, which begins with the first call, and has the room woken then. Where nobody is lost there is none.
func (g *graces) plan(h *Host, key Key, some bool) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !some {
		delete(g.until, key)
		return time.Time{}
	}
	if until, there := g.until[key]; there {
		return until
	}
	if g.until == nil {
		g.until = make(map[Key]time.Time)
	}
	until := h.opts.Clock.Now().Add(rosterGrace)
	g.until[key] = until
	h.afterFunc(rosterGrace, "telling a room who did not come back", func() {
		_ = h.actors.Push(key, rosterMessage{}, nil) // a room that is down finds the time over when it is up
	})
	return until
}
