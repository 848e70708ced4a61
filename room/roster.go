package room

// The roster: notes in the room's file on the connections of a room with an OnClose. A process that crashes, or that
// shuts down while the room sleeps, cannot run OnClose. The next life finds the notes of connections that no longer
// exist, and runs OnClose for them. The notes are a table of Den's own, which only files of namespaces with an
// OnClose have:
//
//	_den_connections(run, serial, id, subject, named, claims, tags, attachment)
//
//	run         the process that the connection was in: a random number
//	serial      its number there
//	named       1 if the client chose the id, so that it can come back
//	claims      of the identity, as a JSON object; '' for none
//	tags        a JSON array; '' for none
//	attachment  a BLOB, empty for none
//
// A note is written in the transaction of the turn that accepts the connection, if that turn has one, and removed in
// the transaction of its OnClose. If the hook writes nothing, the note waits for the next transaction, for a second
// without one, or for the room's sleep: accepting a connection costs no sync of its own. What a hook wrote becomes
// durable together with its note.

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

const rosterTable = `
	CREATE TABLE IF NOT EXISTS _den_connections (
		run INTEGER NOT NULL, serial INTEGER NOT NULL, id TEXT NOT NULL, subject TEXT NOT NULL, named INTEGER NOT NULL,
		claims TEXT NOT NULL, tags TEXT NOT NULL, attachment BLOB NOT NULL, PRIMARY KEY (run, serial)) WITHOUT ROWID`

// A note is a change of the table. conn is added; nil: the note is removed.
type note struct {
	key  noteKey
	conn *hibernate.Connection
}

// A roster is what a life knows of the table.
type roster struct {
	room *room

	leaving atomic.Pointer[closeMessage] // the one whose OnClose is in work; nil: none

	// Owned by the actor.

	known   map[noteKey]struct{}               // of this process: those in the table or in pending
	lost    []*closeMessage                    // of earlier processes
	stale   map[*hibernate.Connection]struct{} // those whose state has changed since they were noted
	until   time.Time                          // when lost are due
	planned bool                               // a rosterMessage will come
	tries   int                                // consecutive attempts to run what is due

	// Of the turn in work.

	staged    []note                  // its changes of the table
	dismissed []*hibernate.Connection // those whose OnClose has run
	noted     bool                    // pending was written in its transaction

	// Protected by mu, because Abandon reads them.

	mu      sync.Mutex
	pending map[noteKey]*hibernate.Connection // to be written; nil: to be removed
	due     []*closeMessage                   // those whose OnClose must run before anything else
}

// load finds the connections that have a note and no longer exist, and adds those that exist to pending.
func (ro *roster) load() error {
	if !ro.room.ns.closes {
		return nil
	}
	ro.mu.Lock() // Abandon may come at any time
	defer ro.mu.Unlock()
	ro.known = make(map[noteKey]struct{})
	ro.pending = make(map[noteKey]*hibernate.Connection)
	present := make(map[noteKey]*hibernate.Connection)
	for _, c := range ro.room.connections() {
		present[ro.room.node.noteOf(c)] = c
	}
	rows, err := ro.room.db.Internal().Query(`SELECT run, serial, id, subject, named, claims, tags, attachment FROM _den_connections ORDER BY run, serial`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		key := noteKey{rows.Int(0), rows.Int(1)}
		if c := present[key]; c != nil {
			c.Note()
			ro.known[key] = struct{}{}
			continue
		}
		if id := rows.Bytes(2); len(id) > hibernate.MaxConnectionID {
			return fmt.Errorf("the note of a connection with an id of %d bytes: %w", len(id), storage.ErrCorrupt)
		}
		m := &closeMessage{code: 1006, note: key, fromFile: true, conn: &hibernate.Connection{Serial: ro.room.node.conns.Serial(), Link: goneLink{}}}
		m.restore(string(rows.Bytes(2)), ro.room.key.Room, string(rows.Bytes(3)), rows.Int(4) != 0, rows.Bytes(5), rows.Bytes(6), rows.Bytes(7))
		if m.cause = CloseLost; key.run == ro.room.node.process.run {
			m.cause = CloseAsleep
			ro.due = append(ro.due, m)
		} else {
			ro.lost = append(ro.lost, m)
		}
	}
	for key, c := range present {
		if _, noted := ro.known[key]; !noted && c.Admitted() {
			ro.known[key] = struct{}{}
			ro.pending[key] = c
		}
	}
	ro.until = ro.room.node.graces.plan(ro.room.node, ro.room.key, len(ro.lost) > 0)
	return rows.Err()
}

// restore sets the connection from its note.
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

// enrol notes, if the turn is committed, that the room accepts a connection. A client that has come back is not lost.
func (ro *roster) enrol(conn *hibernate.Connection) {
	if !ro.room.ns.closes {
		return
	}
	ro.stage(note{ro.room.node.noteOf(conn), conn})
	for _, m := range ro.lost {
		if conn.Named && m.conn.Named && sameClient(m.conn, conn) {
			ro.stage(note{m.note, nil})
		}
	}
}

// dismiss notes, if the turn is committed, that OnClose has run.
func (ro *roster) dismiss(m *closeMessage) {
	ro.stage(note{m.note, nil})
	ro.dismissed = append(ro.dismissed, m.conn)
}

// knows reports whether the room has accepted a connection and not yet run its OnClose.
func (ro *roster) knows(key noteKey) bool {
	_, known := ro.known[key]
	for _, n := range ro.staged {
		if n.key == key {
			known = n.conn != nil
		}
	}
	return known
}

// left reports whether OnClose has run in this turn.
func (ro *roster) left(key noteKey) bool {
	return slices.ContainsFunc(ro.staged, func(n note) bool { return n.key == key && n.conn == nil })
}

// write writes the pending changes, and those of the turn.
func (ro *roster) write(t *turn) error {
	if !ro.room.ns.closes {
		return nil
	}
	ro.mu.Lock()
	defer ro.mu.Unlock()
	for key, conn := range ro.pending {
		if err := ro.writeNote(note{key, conn}); err != nil {
			return err
		}
	}
	for _, n := range ro.staged {
		if err := ro.writeNote(n); err != nil {
			return err
		}
	}
	if t.last {
		for conn := range ro.stale {
			if _, here := ro.known[ro.room.node.noteOf(conn)]; here {
				if err := ro.writeNote(note{ro.room.node.noteOf(conn), conn}); err != nil {
					return err
				}
			}
		}
	}
	ro.noted = true
	return nil
}

func (ro *roster) writeNote(n note) error {
	if n.conn == nil {
		_, err := ro.room.db.Internal().Exec(`DELETE FROM _den_connections WHERE run = ? AND serial = ?`, n.key.run, n.key.serial)
		return err
	}
	var claims, tags string
	state, identity := n.conn.State(), n.conn.Identity
	if len(identity.Claims) > 0 {
		if data, err := json.Marshal(identity.Claims); err == nil { // claims that are not JSON, contrary to the doc, are not stored
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
	_, err := ro.room.db.Internal().Exec(`INSERT OR REPLACE INTO _den_connections (run, serial, id, subject, named, claims, tags, attachment) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		n.key.run, n.key.serial, n.conn.ID(), identity.Subject, n.conn.Named, claims, tags, append([]byte{}, state.Attachment...))
	return err
}

// committed applies the turn's changes of the roster after its commit.
func (ro *roster) committed(t *turn) {
	if !ro.room.ns.closes || len(ro.staged) == 0 && !ro.noted {
		return
	}
	ro.room.gate.Lock()
	defer ro.room.gate.Unlock()
	if ro.room.fenced {
		return // the next life reads the file
	}
	ro.mu.Lock()
	defer ro.mu.Unlock()
	for _, c := range ro.dismissed {
		c.Dismiss()
	}
	for _, n := range ro.staged {
		ro.apply(n)
	}
	if ro.noted {
		for _, c := range ro.pending {
			if c != nil {
				c.Note()
			}
		}
		clear(ro.pending)
		clear(ro.stale)
	}
	ro.unstage()
	if len(ro.pending) > 0 && !ro.planned && !t.last {
		ro.planned = true
		ro.room.node.afterFunc(rosterPause, "noting who is there", func() { ro.room.node.checkRoster(ro.room.key) })
	}
}

// apply applies a change. gate and mu are held.
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

// restate notes that a connection's tags or attachment have changed. The room writes them when it goes to sleep.
func (ro *roster) restate(conn *hibernate.Connection) {
	if !ro.room.ns.closes {
		return
	}
	if ro.stale == nil {
		ro.stale = make(map[*hibernate.Connection]struct{})
	}
	ro.stale[conn] = struct{}{}
}

// mustWrite reports whether the turn must write the pending changes in a transaction of its own.
func (ro *roster) mustWrite(t *turn) bool {
	return t.last && len(ro.stale) > 0 || (t.last || t.flush) && len(ro.pending) > 0
}

// handOver leaves to the next life what this one has not done: notes to be removed, and closes that are not in the
// file.
func (ro *roster) handOver() {
	ro.mu.Lock()
	defer ro.mu.Unlock()
	for key, conn := range ro.pending {
		if conn == nil {
			ro.room.node.pendingCloses.put(ro.room.key, &closeMessage{note: key, fromFile: true, spent: true, conn: new(hibernate.Connection)})
		}
	}
	for _, m := range ro.due {
		if !m.fromFile || m.spent {
			ro.room.node.pendingCloses.put(ro.room.key, m)
		}
	}
	if m := ro.leaving.Load(); m != nil { // its hook hangs
		spent := *m
		spent.spent, spent.again = true, true
		ro.room.node.pendingCloses.put(ro.room.key, &spent)
		m.conn.Dismiss()
	}
	clear(ro.pending)
	ro.due = nil
}

func (ro *roster) stage(n note) { ro.staged = append(ro.staged, n) }

// unstage forgets the turn's changes of the roster.
func (ro *roster) unstage() { ro.staged, ro.dismissed, ro.noted = nil, nil, false }
