package room

import (
	"fmt"
	"net/http"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/replies"
)

// How a turn is committed, and what follows the commit.

// commit makes the turn durable, opens the gate and gives the answers.
func (l *life) commit(t *turn) {
	changed := len(l.numbers.marked) > 0 || t.batch != nil && t.batch.Changed()
	defer l.turns.dropAll(l.turns.keepWaiting(t))
	var err error
	if bug.On("gate") {
		l.handOut(t)
	}
	if bug.On("mark-outside") && changed && t.batch != nil {
		err, t.batch = t.batch.Commit(), nil
	}
	if t.shows(changed) && err == nil {
		err = l.room.db.Keep()
	}
	if changed && err == nil {
		if err = l.writeOutcomes(t); err == nil {
			l.note(t)
		}
	}
	next := int64(alarms.Never)
	if err == nil && t.alarmed {
		next, err = l.alarms.lower()
	}
	if err == nil && t.batch != nil {
		err = t.batch.Commit()
	}
	if err == nil && t.alarmed {
		l.alarms.set(next)
	}
	switch {
	case err != nil:
		t.logFault("a commit failed", err)
		t.lose(err)
		if !full(err) && t.broken == nil {
			t.broken = fmt.Errorf("commit: %w", err)
		}
	case changed:
		l.outcomesWritten(t)
		if l.room.diskFull {
			l.room.diskFull = false
			l.room.node.reports.failures.recovered(l.room.key)
		}
	}
	t.batch = nil
	if err == nil {
		l.roster.committed(t)
	}
	l.answers.noteLate(t)
	l.handOut(t)
	l.answer(t)
	for _, start := range t.after {
		start()
	}
	if !changed {
		l.noteUnchanged(t)
	}
	l.replies.remembered = 0 // the next turn counts its own
}

// note writes what Den itself remembers, together with what the actions changed.
func (l *life) note(t *turn) {
	warn := func(err error) {
		if err != nil {
			l.room.log.Warn("a note on a client was not written", "err", err)
		}
	}
	for _, write := range t.notes {
		warn(write())
	}
	t.notes = nil
	warn(l.peers.raiseAll(t))
	warn(l.roster.write(t))
}

// noteUnchanged is note for a turn that changed nothing. Nobody waits for the disk, and a full disk does not keep anybody
// from reading.
func (l *life) noteUnchanged(t *turn) {
	pending := l.replies.store.Pending()
	raise := t.last && l.peers.anythingToRaise()
	if raise && l.room.db.Withheld() && !l.room.node.shutdown.stopping.Load() {
		l.peers.rememberUnsubscribed(t)
		raise = false
	}
	idle := len(t.notes) == 0 && !raise && !l.roster.mustWrite(t) && (pending == 0 || pending <= replies.MaxPending && !t.last)
	if idle || t.broken != nil || l.room.isFenced() || l.room.node.logFailed() {
		return
	}
	err := l.room.db.Keep()
	if err == nil {
		err = l.writeOutcomes(t)
	}
	if err == nil {
		l.note(t)
		err = t.batch.Commit()
	}
	if err == nil {
		l.outcomesWritten(t)
		l.roster.committed(t)
		return
	}
	l.roster.noted = false
	l.room.log.Warn("notes on clients were not written", "err", err)
	l.replies.store.Undo()
	if t.batch != nil {
		t.batch.Rollback()
	}
	if !full(err) && t.broken == nil {
		t.broken = fmt.Errorf("commit: %w", err)
	}
}

// handOut delivers what the turn has sent.
func (l *life) handOut(t *turn) {
	if len(t.out) == 0 && len(t.states) == 0 {
		return
	}

	l.room.gate.Lock()
	defer l.room.gate.Unlock()
	if l.room.fenced {
		return
	}
	for conn, s := range t.states {
		conn.SetState(s)
		l.roster.restate(conn)
	}
	l.room.node.courier(l.room.key).deliver(t.out)
	for _, c := range t.answered {
		c.Answered()
	}
	l.turns.takeOut(t)
	t.states, t.answered = nil, nil
	seq := uint64(l.room.db.Seq())
	for _, c := range l.room.connections() {
		c.Handed(seq)
	}
}

func (l *life) answer(t *turn) {
	if l.room.isFenced() {
		return // whoever fenced the life refused the messages
	}
	late := t.answers[:0]
	for _, a := range t.answers {
		if a.late {
			late = append(late, a)
			continue
		}
		if in, is := a.value.(welcome); is && in.ask != nil {
			in.ask() // the room itself, so these syncs come before anything that the client does next
		}
		a.env.Reply(a.value, a.err)
	}
	t.answers = late
}

// writeOutcomes writes the turn's replies and numbers into its batch. outcomesWritten is called when the batch is durable.
func (l *life) writeOutcomes(t *turn) error {
	if err := t.begin(); err != nil {
		return err
	}
	if err := l.replies.write(); err != nil {
		return err
	}
	return l.numbers.writeMarks()
}

func (l *life) outcomesWritten(t *turn) {
	for _, m := range l.numbers.marked {
		m.stored = m.last
	}
	l.numbers.marked, l.replies.remembered = nil, 0
	if err := l.replies.store.Written(); err != nil && t.broken == nil {
		t.broken = err
	}
}

// giveLate gives the answers that wait until nothing is in work: those to the alarm clock.
func giveLate(answers []answer) {
	for _, a := range answers {
		a.env.Reply(a.value, a.err)
	}
}

// A new room that has shown nothing to anybody leaves nothing on the disk. What its migrations and its OnStart write
// (most often CREATE TABLE) stays in memory until somebody is shown something of the room, and is made durable before
// that. A row, a cursor, any other frame, and the answer to a plain request show something. The following have the
// same effect: a migration by an operator; an action or a hook that writes; an alarm; work outside; a connection's
// attachment; a named connection where there is Presence, because the id that it is shown under depends on the room's
// epoch; and the note for OnClose, a second after its connection was accepted.
//
// A connection that is accepted and asks for nothing shows nothing, nor does a plain request that is answered with
// status 400 or above. If the process dies before the room has shown anything, or the room sleeps, the next caller
// finds a new room. Connections outlive the sleep; then the next life runs OnStart in a new room, and OnWake.
//
// The process, and not the room, remembers a client that has named its connection, asks for nothing and goes
// (peers.go). If such a client is there when the process shuts down, the room keeps a note, and so its file.

// shows reports whether the turn shows or does anything that makes the room durable. changed says that the turn has
// something to commit.
func (t *turn) shows(changed bool) bool {
	if changed && !t.starting || t.alarmed || len(t.after) > 0 || len(t.states) > 0 {
		return true
	}
	for _, d := range t.out {
		if len(d.frames) > 0 || d.code != 0 {
			return true
		}
	}
	for _, a := range t.answers {
		if _, is := a.env.Message.(migrateMessage); is {
			return true
		}
		if m, is := a.env.Message.(*connectMessage); is && m.conn.Named {
			if in, is := a.value.(welcome); is && in.shownAs != "" {
				return true
			}
		}
		if w, is := a.value.(*response); is && a.err == nil && w.status < http.StatusBadRequest {
			return true
		}
	}
	return false
}
