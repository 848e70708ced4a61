package room

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/http"
	"slices"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// costOfPanic is what a panic costs, which ends a room's life, in bytes.
const costOfPanic = 32 * hibernate.UnitBytes

// aloneAfterLoss is how many messages have a turn each after a batch was lost: as many as a connection may have in work, by default.
const aloneAfterLoss = 256

// A turn serves one batch of messages with one commit. Everything that a client
// could see of it is held back until the commit is durable: that is the gate.
type turn struct {
	life    *life
	batch   *storage.Batch // nil until something may be written
	out     []delivery
	answers []answer

	marked     []*mark                                   // of clients whose actions were numbered
	remembered int                                       // how many replies are to be kept
	waiting    int                                       // how many bytes of replies waited before them
	states     map[*hibernate.Connection]hibernate.State // what hooks have set of connections

	// Memory for the deliveries of one frame to one connection.

	frames   []*hibernate.Frame
	conns    []*hibernate.Connection
	after    []func()                // what starts outside when the gate is open
	notes    []func() error          // what Den remembers of clients, written last
	answered []*hibernate.Connection // those that get the last frame of an answer
	last     bool                    // the life ends behind it
	starting bool                    // it is of the life's start
	alarmed  bool                    // alarms were set, cancelled or run
	noted    bool                    // what waited of the roster was written with the turn; see roster.go
	flush    bool                    // what waits of the roster is to be written
	undo     []func()                // takes back, in reverse order, what is not in the database
	lost     error                   // why all that it had done was taken back
	broken   error                   // the life cannot go on

	audiences map[string][]*hibernate.Connection // by channel, while some are held; see hold.go

	share *hibernate.Share // of the client whose message is served; nil: it is not counted

	few *turnFew // nil: nothing of it
}

// turnFew is what few turns have.
type turnFew struct {
	standing  []standing              // answers that a loss leaves as they are
	staged    []note                  // what the turn changes in the roster; see roster.go
	dismissed []*hibernate.Connection // those whose OnClose has run
}

// fewToSet is what few turns have, made if there is nothing of it.
func (t *turn) fewToSet() *turnFew {
	if t.few == nil {
		t.few = new(turnFew)
	}
	return t.few
}

// staged is what the turn changes in the roster.
func (t *turn) staged() []note {
	if t.few == nil {
		return nil
	}
	return t.few.staged
}

func (t *turn) stage(n note) {
	few := t.fewToSet()
	few.staged = append(few.staged, n)
}

// unstage forgets what the turn changes in the roster.
func (t *turn) unstage() {
	if t.few != nil {
		t.few.staged, t.few.dismissed = nil, nil
	}
	t.noted = false
}

// An answer is kept until the turn's end: value if it held, an error if not.
type answer struct {
	env   *actor.Envelope
	value any
	err   error
	late  bool // it is given when the life has nothing in work any more
}

// serve lets the room answer one message.
func (t *turn) serve(env *actor.Envelope) {
	var value any
	var err error
	switch m := env.Message.(type) {
	case *actionMessage:
		err = t.action(m)
	case *syncMessage:
		var next *syncMessage
		if next, err = t.sync(m); next != nil {
			value = next
		}
	case *connectMessage:
		value, err = t.connect(m)
	case *closeMessage:
		err = t.close(m)
	case *rawMessage:
		err = t.raw(m)
	case *requestMessage:
		value, err = t.request(m)
	case *thenMessage:
		err = t.then(m)
	case *holdMessage:
		err = t.lookAtHold(m.conn)
	case *alarmMessage:
		if err = t.alarms(m); t.broken != nil {
			return // the clock hears of it when the life has ended
		}
		t.answers = append(t.answers, answer{env: env, err: err, late: true})
		return
	case rosterMessage:
		t.flush, t.life.roster.planned = true, false
	case *liveTaskMessage:
		t.after = append(t.after, func() { m.do(t.life) })
	}
	if storageFailed(err) && !full(err) && t.broken == nil { // wherever it was met
		t.broken = err
	}
	if err != nil && t.lost == nil && t.broken == nil && t.refuse(env.Message, err) {
		err = nil
	}
	t.answers = append(t.answers, answer{env: env, value: value, err: err})
}

// refuse says no to what a client has sent, in its place among the turn's frames: a refusal does not come after the
// answer to what was sent after it. Other messages are refused by who has sent them.
func (t *turn) refuse(message any, err error) bool {
	switch m := message.(type) {
	case *actionMessage:
		t.send(m.conn, refusal(m, err))
	case *rawMessage:
		t.send(m.conn, refusal(m, err))
	case *syncMessage:
		if passing(err) {
			return false // its session asks again
		}
		t.send(m.conn, refusal(m, err))
	default:
		return false
	}
	return true
}

// context makes the Context of a hook.
func (t *turn) context(conn *hibernate.Connection, r *http.Request) *Context {
	now := t.life.host.opts.Clock.Now()
	c := &Context{life: t.life, turn: t, request: r, now: now.Truncate(time.Millisecond)}
	if conn != nil {
		c.self = Conn{c: conn, ctx: c}
		c.conn = &c.self
	}
	c.ctx.began, c.ctx.deadline = now, now.Add(t.life.host.opts.ActionTimeout)
	return c
}

// runHook runs a hook as an action: in a savepoint of the turn's transaction, with a watch on its time. If the hook fails, nothing
// of it remains.
func (t *turn) runHook(c *Context, name string, hook func() error) (storage.Commit, error) {
	if err := t.begin(); err != nil {
		return storage.Commit{}, err
	}
	var commit storage.Commit
	t.life.watch.enter(name, c)
	err := protect(func() (err error) {
		commit, err = t.batch.Do(c.now.UnixMilli(), func() error { return hear(hook()) })
		return err
	})
	late := t.life.watch.leave()
	c.ended = true
	c.ctx.finish(context.Canceled)
	if err == nil {
		t.undo = append(t.undo, c.undo...)
		t.after = append(t.after, c.after...)
		t.alarmed = t.alarmed || c.alarmed
		if len(c.states) > 0 && t.states == nil {
			t.states = make(map[*hibernate.Connection]hibernate.State, len(c.states))
		}
		maps.Copy(t.states, c.states)
		return commit, nil
	}
	for _, undo := range slices.Backward(c.undo) {
		undo()
	}
	return storage.Commit{}, t.failed(c, name, err, late)
}

// succeed sends what a hook that has succeeded has said, and the rows that it has changed.
func (t *turn) succeed(c *Context, commit storage.Commit) {
	t.out = append(t.out, c.out...)
	t.publish(commit, nil, nil)
}

// whose says for the log which client a hook runs for.
func (c *Context) whose() []any {
	if c.conn == nil {
		return nil
	}
	return []any{"subject", c.conn.Identity().Subject, "connection", c.conn.ID()}
}

// failed sorts out what an error of a hook means for the turn and for the life.
func (t *turn) failed(c *Context, name string, err error, late bool) error {
	var caught *panicError
	if errors.As(err, &caught) {
		if !t.starting {
			t.life.log.Error("a hook panicked", append(c.whose(), "hook", name, "panic", caught.text, "stack", string(caught.stack))...)
		}
		t.broken = fmt.Errorf("%s: %w", name, err)
		t.share.Spend(costOfPanic)
	}
	if errors.Is(err, storage.ErrBatchLost) {
		cause := err
		if !storageFailed(err) {
			cause = storage.ErrBatchLost // this hook's fault, and no reason for the others
			t.life.alone = aloneAfterLoss
		}
		t.lose(cause)
	}
	if errors.Is(err, storage.ErrClosed) && t.broken == nil {
		t.broken = err
	}
	if storageFailed(err) && t.broken == nil && !full(err) {
		t.broken = err
	}
	if late {
		err = &Error{Code: syncproto.CodeActionTimeout, Message: "The action took too long.", cause: err}
	}
	if !written(err) {
		if caught == nil {
			t.tell("a hook failed", err, "hook", name)
		}
		t.report(err)
	}
	return err
}

// tell writes to the log what went wrong. Of a fault of the storage the operator is told once: here if it does
// not end the life, or else at its end. What keeps a room from starting is told by life.start.
func (t *turn) tell(event string, err error, args ...any) {
	l := t.life
	switch {
	case t.starting, errors.Is(err, storage.ErrTooLarge), errors.Is(err, storage.ErrConstraint): // the client is told, and can send it as often as it likes
		l.log.Debug(event, append(args, "err", err)...)
	case !storageFailed(err):
		l.log.Error(event, append(args, "err", err)...)
	case full(err):
		l.troubled = true
		l.host.complain(l.key, event, err)
	default:
		l.log.Debug(event, append(args, "err", err)...)
	}
}

// report tells the handler's OnError of an error.
func (t *turn) report(err error) {
	if t.life.handler == nil || t.life.isFenced() {
		return
	}
	c := t.context(nil, nil)
	c.looking = true
	t.life.watch.enter("OnError", c)
	failure := protect(func() error { t.life.handler.OnError(c, original(err)); return nil })
	t.life.watch.leave()
	if failure != nil {
		t.life.log.Error("OnError panicked", "panic", failure.Error())
	}
	c.ended = true
	c.ctx.finish(context.Canceled)
}

// begin opens the turn's transaction.
func (t *turn) begin() error {
	if t.batch != nil {
		return nil
	}
	b, err := t.life.db.Begin()
	if err != nil {
		if t.broken == nil {
			t.broken = err
		}
		return err
	}
	t.batch = b
	return nil
}

// lose gives up all that the turn has done so far, after its transaction was
// rolled back: nothing of it was seen by anybody.
func (t *turn) lose(cause error) {
	t.lost = cause
	if t.batch != nil {
		t.batch.Rollback()
		t.batch = nil
	}
	t.unkeep()
	for _, undo := range slices.Backward(t.undo) {
		undo()
	}
	if !bug.On("lost-batch") {
		t.out = nil
	}
	t.undo, t.after, t.notes, t.states, t.answered = nil, nil, nil, nil, nil
	t.unstage()
	t.alarmed = false
	t.life.pages, t.life.gathered = pageCache{}, nil // their seq will be used again, for something else
	t.takeBackAnswers(cause)
}

// commit makes the turn durable, opens the gate and gives the answers.
func (t *turn) commit() {
	changed := len(t.marked) > 0 || t.batch != nil && t.batch.Changed()
	defer t.dropAll(t.keepWaiting())
	var err error
	if bug.On("gate") {
		t.open()
	}
	if bug.On("mark-outside") && changed && t.batch != nil {
		err, t.batch = t.batch.Commit(), nil
	}
	if t.shows(changed) && err == nil {
		err = t.life.db.Keep()
	}
	if changed && err == nil {
		if err = t.keep(); err == nil {
			t.note()
		}
	}
	next := int64(alarms.Never)
	if err == nil && t.alarmed {
		next, err = t.lowerAlarms()
	}
	if err == nil && t.batch != nil {
		err = t.batch.Commit()
	}
	if err == nil && t.alarmed {
		t.life.setAlarms(next)
	}
	switch {
	case err != nil:
		t.tell("a commit failed", err)
		t.lose(err)
		if !full(err) && t.broken == nil {
			t.broken = fmt.Errorf("commit: %w", err)
		}
	case changed:
		t.kept()
		if t.life.troubled {
			t.life.troubled = false
			t.life.host.failures.recovered(t.life.key)
		}
	}
	t.batch = nil
	if err == nil {
		t.commitRoster()
	}
	t.followLate()
	t.open()
	t.answer()
	for _, start := range t.after {
		start()
	}
	if !changed {
		t.noteAlone()
	}
}

// note writes down what Den itself remembers, with what the actions changed.
func (t *turn) note() {
	written := func(err error) {
		if err != nil {
			t.life.log.Warn("a note for a client's return was not written", "err", err)
		}
	}
	for _, write := range t.notes {
		written(write())
	}
	t.notes = nil
	written(t.raiseAll())
	written(t.writeRoster())
}

// noteAlone is note in a turn that changed nothing: nobody waits for the disk, and a
// disk that is full does not keep anybody from reading.
func (t *turn) noteAlone() {
	pending := t.life.replies.Pending()
	raise := t.last && t.life.anythingToRaise()
	if raise && t.life.db.Withheld() && !t.life.host.stopping.Load() {
		t.noteQuiet()
		raise = false
	}
	idle := len(t.notes) == 0 && !raise && !t.rosterWaits() && (pending == 0 || pending <= replies.MaxPending && !t.last)
	if idle || t.broken != nil || t.life.isFenced() || t.life.host.logFailed() {
		return
	}
	err := t.life.db.Keep()
	if err == nil {
		err = t.keep()
	}
	if err == nil {
		t.note()
		err = t.batch.Commit()
	}
	if err == nil {
		t.kept()
		t.commitRoster()
		return
	}
	t.noted = false
	t.life.log.Warn("notes for clients' returns were not written", "err", err)
	t.life.replies.Undo()
	if t.batch != nil {
		t.batch.Rollback()
	}
	if !full(err) && t.broken == nil {
		t.broken = fmt.Errorf("commit: %w", err)
	}
}

// open hands out what the turn has sent.
func (t *turn) open() {
	if len(t.out) == 0 && len(t.states) == 0 {
		return
	}
	l := t.life
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.fenced {
		return
	}
	for conn, s := range t.states {
		conn.SetState(s)
		l.restate(conn)
	}
	l.host.courier(l.key).deliver(t.out)
	for _, c := range t.answered {
		c.Answered()
	}
	l.turns.takeOut(t)
	t.states, t.answered = nil, nil
	seq := uint64(l.db.Seq())
	for _, c := range l.connections() {
		c.Handed(seq)
	}
}

func (t *turn) answer() {
	if t.life.isFenced() {
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

// giveLate gives the answers that wait until nothing is in work: those to the clock of alarms.
func giveLate(answers []answer) {
	for _, a := range answers {
		a.env.Reply(a.value, a.err)
	}
}

func (l *life) isFenced() bool {
	l.gate.Lock()
	defer l.gate.Unlock()
	return l.fenced
}

// action applies an action and answers it, or answers it as it was answered before.
func (t *turn) action(m *actionMessage) error {
	if m.mutation != 0 {
		return t.mutate(m)
	}
	m.reply = nil
	reply, state, err := t.life.findReply(m)
	switch {
	case err != nil:
		return t.storageError(err)
	case state == replies.Other:
		t.stand(m, nil, duplicateID())
		return duplicateID()
	case state == replies.Same:
		t.stand(m, reply, nil)
		return t.answerAgain(m, reply)
	}
	done, err := t.apply(m)
	if err != nil {
		return err
	}
	var bare *hibernate.Frame
	if t.held(m.conn, m.channel) {
		bare = bareReply(m.channel, m.id, done.value, done.cursor)
	}
	t.respond(m, done.reply, bare, t.life.db.Seq())
	t.ownRows(m, done.mine)
	if len(done.mine) > 0 {
		m.reply = done.reply
	}
	t.remember(m, done)
	return nil
}

// apply applies an action and gives the reply to it.
func (t *turn) apply(m *actionMessage) (done applied, err error) {
	l := t.life
	if m.refused != nil {
		return done, m.refused
	}
	if !slices.Contains(l.ns.channels, m.channel) {
		return done, unknownChannel()
	}
	c := t.context(m.conn, nil)
	commit, err := t.blamed(m.conn, m.action.Type, func() (storage.Commit, error) {
		return t.runHook(c, m.action.Type, func() error {
			var result any
			var err error
			if m.bound != nil {
				result, err = t.call(c, m)
			} else {
				result, err = l.handler.OnAction(c, m.channel, m.action)
			}
			if err == nil {
				done.value, err = encodeValue(result)
			}
			return err
		})
	})
	if err != nil {
		return applied{}, err
	}
	t.out = append(t.out, c.out...)
	done.reply, done.mine = t.publish(commit, m, done.value)
	done.cursor = l.cursor()
	return done, nil
}

// storageError is an error of the room's own look into its database.
func (t *turn) storageError(err error) error {
	if storageFailed(err) && t.broken == nil {
		t.broken = err
	}
	return err
}

func (t *turn) send(to *hibernate.Connection, frames ...*hibernate.Frame) {
	f, c := len(t.frames), len(t.conns)
	t.frames, t.conns = append(t.frames, frames...), append(t.conns, to)
	t.out = append(t.out, delivery{to: t.conns[c : c+1 : c+1], frames: t.frames[f:len(t.frames):len(t.frames)]})
}

// connect lets a connection into the room.
func (t *turn) connect(m *connectMessage) (in welcome, err error) {
	l := t.life
	rooms, conn := l.ns.rooms, m.conn
	if !l.admit(conn) {
		return welcome{}, actor.ErrAbandoned
	}
	leave := func() { rooms.Remove(conn) }
	c := t.context(conn, m.request)
	c.undo = append(c.undo, leave)
	if m.stock {
		c.undo = append(c.undo, l.hold(conn))
	}
	t.audiences = nil
	commit, err := t.runHook(c, "OnConnect", func() error { return l.handler.OnConnect(c) })
	if err != nil {
		return welcome{}, err
	}
	t.succeed(c, commit)
	t.enrol(conn)
	t.probeTwins(conn)
	t.send(conn) // nothing, but from now on the room knows what it was handed
	if l.ns.presence {
		in.shownAs = l.presenceID(conn)
	}
	syncs, err := t.catchUp(m)
	if len(syncs) > 0 {
		in.ask = func() { m.ask(syncs) }
	}
	return in, err
}

// admit puts a connection among those of the room; not one whose client has given up, nor where the life is fenced.
func (l *life) admit(conn *hibernate.Connection) bool {
	l.gate.Lock()
	defer l.gate.Unlock()
	return !l.fenced && l.ns.rooms.Add(conn)
}

// raw gives a message that is none of the protocol's to the handler.
func (t *turn) raw(m *rawMessage) error {
	c := t.context(m.conn, nil)
	commit, err := t.blamed(m.conn, messageHook, func() (storage.Commit, error) {
		return t.runHook(c, "OnMessage", func() error { return t.life.handler.OnMessage(c, m.message) })
	})
	if err != nil {
		return err
	}
	t.succeed(c, commit)
	return nil
}

// Most turns serve one message. So the turns of a life use the same memory, one after the other, for the
// answers and the deliveries, which nobody has when the turn has ended.

// maxTurnMemory is how many answers, and how many deliveries, a life keeps memory for: 17 KB, in a room that is so busy.
const maxTurnMemory = 128

// turnMemory is that memory. Nothing is in it between turns. It is owned by the life's actor.
type turnMemory struct {
	answers []answer
	out     []delivery
	kept    []*hibernate.Frame // see memory.go

	messages int // how many the last turn served
}

// takeKept gives memory for the frames that a turn counts.
func (m *turnMemory) takeKept() []*hibernate.Frame {
	kept := m.kept
	m.kept = nil
	return kept
}

func (m *turnMemory) giveKept(kept []*hibernate.Frame) {
	if cap(kept) <= maxTurnMemory {
		m.kept = emptied(kept)
	}
}

// give has a turn use the memory. It will serve n messages at least, and most often as many as the last one.
func (m *turnMemory) give(t *turn, n int) {
	if n = max(n, m.messages); n > 8 {
		n = min(1<<bits.Len(uint(n-1)), maxTurnMemory)
	}
	t.answers, t.out = withRoom(m.answers, n), withRoom(m.out, n)
	m.answers, m.out = nil, nil
}

// withRoom is an empty slice with room for n. That of a new one is exactly n: what append makes can be too long to be kept.
func withRoom[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s
	}
	return make([]T, 0, n)
}

// takeAnswers takes back what a turn has used for its answers. They were given or copied.
func (m *turnMemory) takeAnswers(t *turn) {
	m.messages = len(t.answers)
	if cap(t.answers) <= maxTurnMemory {
		m.answers = emptied(t.answers)
	}
	t.answers = nil
}

// takeOut takes back what a turn has used for its deliveries. They were handed out.
func (m *turnMemory) takeOut(t *turn) {
	if cap(t.out) <= maxTurnMemory {
		m.out = emptied(t.out)
	}
	t.out = nil
}

// emptied lets go of all that is in the slice's memory.
func emptied[T any](s []T) []T {
	clear(s[:cap(s)])
	return s[:0]
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
// A client that has named its connection, asks for nothing and goes is remembered by the process (confirm.go) and not in the room.
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
