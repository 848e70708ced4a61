package room

import (
	"fmt"
	"net/http"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/replies"
)

// How a turn is committed, and what follows its commit.

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
		if err = l.keep(t); err == nil {
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
		t.tell("a commit failed", err)
		t.lose(err)
		if !full(err) && t.broken == nil {
			t.broken = fmt.Errorf("commit: %w", err)
		}
	case changed:
		l.kept(t)
		if l.room.troubled {
			l.room.troubled = false
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
		l.noteAlone(t)
	}
	l.replies.remembered = 0 // the next turn counts its own
}

// note writes down what Den itself remembers, with what the actions changed.
func (l *life) note(t *turn) {
	written := func(err error) {
		if err != nil {
			l.room.log.Warn("a note for a client's return was not written", "err", err)
		}
	}
	for _, write := range t.notes {
		written(write())
	}
	t.notes = nil
	written(l.peers.raiseAll(t))
	written(l.roster.write(t))
}

// noteAlone is note in a turn that changed nothing: nobody waits for the disk, and a
// disk that is full does not keep anybody from reading.
func (l *life) noteAlone(t *turn) {
	pending := l.replies.store.Pending()
	raise := t.last && l.peers.anythingToRaise()
	if raise && l.room.db.Withheld() && !l.room.node.shutdown.stopping.Load() {
		l.peers.noteQuiet(t)
		raise = false
	}
	idle := len(t.notes) == 0 && !raise && !l.roster.mustWrite(t) && (pending == 0 || pending <= replies.MaxPending && !t.last)
	if idle || t.broken != nil || l.room.isFenced() || l.room.node.logFailed() {
		return
	}
	err := l.room.db.Keep()
	if err == nil {
		err = l.keep(t)
	}
	if err == nil {
		l.note(t)
		err = t.batch.Commit()
	}
	if err == nil {
		l.kept(t)
		l.roster.committed(t)
		return
	}
	l.roster.noted = false
	l.room.log.Warn("notes for clients' returns were not written", "err", err)
	l.replies.store.Undo()
	if t.batch != nil {
		t.batch.Rollback()
	}
	if !full(err) && t.broken == nil {
		t.broken = fmt.Errorf("commit: %w", err)
	}
}

// handOut hands out what the turn has sent.
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
		return // they were refused by whoever fenced the life
	}
	late := t.answers[:0]
	for _, a := range t.answers {
		if a.late {
			late = append(late, a)
			continue
		}
		if in, is := a.value.(welcome); is && in.ask != nil {
			in.ask() // by the room itself: so it comes before all that the client does next
		}
		a.env.Reply(a.value, a.err)
	}
	t.answers = late
}

// keep writes the turn's replies and numbers into its batch, and kept is called when
// the batch is durable.
func (l *life) keep(t *turn) error {
	if err := t.begin(); err != nil {
		return err
	}
	if err := l.replies.write(); err != nil {
		return err
	}
	return l.numbers.writeMarks()
}

func (l *life) kept(t *turn) {
	for _, m := range l.numbers.marked {
		m.stored = m.last
	}
	l.numbers.marked, l.replies.remembered = nil, 0
	if err := l.replies.store.Written(); err != nil && t.broken == nil {
		t.broken = err
	}
}

// giveLate gives the answers that wait until nothing is in work: those to the clock of alarms.
func giveLate(answers []answer) {
	for _, a := range answers {
		a.env.Reply(a.value, a.err)
	}
}

// A new room of which nobody gets anything leaves nothing on the disk. What its migrations and its OnStart write (CREATE TABLE, most
// often) waits in memory until somebody is shown something of the room, and is made durable before that: a row, a cursor, any
// other frame, an answer to a plain request; or an operator has the room migrated. An action or a hook that writes, an alarm, work
// outside and a connection's attachment do the same. So does a connection that has named itself where there is Presence, because the id
// that it is shown as rests on the room's epoch, and the note on a connection that is owed its OnClose, a second after it was accepted.
//
// What shows nothing is a connection that is accepted and asks for nothing, and a plain request that is answered with an
// error, 400 or above. If the process dies before that, or the room sleeps, the next one who calls finds a new room. A
// connection outlives the sleep; then the room's next life runs OnStart in a new room, and OnWake.
//
// A client that has named its connection, asks for nothing and goes is remembered by the process (peers.go) and not in the room.
// Of one that is there when the process shuts down the room keeps a note, and its file.

// shows reports whether the turn shows or does anything that the room must outlive. changed says that it has
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
