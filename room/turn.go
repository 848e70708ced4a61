package room

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
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
	room    *room
	batch   *storage.Batch // nil until something may be written
	out     []delivery
	answers []answer
	states  map[*hibernate.Connection]hibernate.State // what hooks have set of connections

	// Memory for the deliveries of one frame to one connection.

	frames     []*hibernate.Frame
	conns      []*hibernate.Connection
	after      []func()                // what starts outside when the gate is open
	notes      []func() error          // what Den remembers of clients, written last
	answered   []*hibernate.Connection // those that get the last frame of an answer
	last       bool                    // the life ends after it
	starting   bool                    // it is of the life's start
	checkpoint bool                    // the WAL is to be checkpointed after the commit
	flush      bool                    // what waits of the roster is to be written; see roster.go
	alarmed    bool                    // alarms were set, cancelled or run
	undo       []func()                // takes back, in reverse order, what is not in the database
	lost       error                   // why all that it had done was taken back
	broken     error                   // the life cannot go on

	audiences map[string][]*hibernate.Connection // by channel, while some are held; see hold.go

	share *hibernate.Share // of the client whose message is served; nil: it is not counted

	standing []standing // answers that a loss leaves as they are
}

// An answer is kept until the turn's end: value if it held, an error if not.
type answer struct {
	env   *actor.Envelope
	value any
	err   error
	late  bool // it is given when the life has nothing in work
}

// context makes the Context of a hook.
func (t *turn) context(conn *hibernate.Connection, r *http.Request) *Context {
	now := t.room.now()
	c := &Context{room: t.room, turn: t, request: r, now: now.Truncate(time.Millisecond)}
	if conn != nil {
		c.self = Conn{c: conn, ctx: c}
		c.conn = &c.self
	}
	c.ctx.began, c.ctx.deadline = now, now.Add(t.room.node.opts.ActionTimeout)
	return c
}

// runHook runs a hook as an action: in a savepoint of the turn's transaction, with a watch on its time. If the hook fails, nothing
// of it remains.
func (t *turn) runHook(c *Context, name string, hook func() error) (storage.Commit, error) {
	if err := t.begin(); err != nil {
		return storage.Commit{}, err
	}
	var commit storage.Commit
	t.room.watch.enter(name, c)
	err := protect(func() (err error) {
		commit, err = t.batch.Do(c.now.UnixMilli(), func() error { return hear(hook()) })
		return err
	})
	late := t.room.watch.leave()
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
			t.room.log.Error("a hook panicked", append(c.whose(), "hook", name, "panic", caught.text, "stack", string(caught.stack))...)
		}
		t.broken = fmt.Errorf("%s: %w", name, err)
		t.share.Spend(costOfPanic)
	}
	if errors.Is(err, storage.ErrBatchLost) {
		cause := err
		if !storageFailed(err) {
			cause = storage.ErrBatchLost // this hook's fault, and no reason for the others
			t.room.alone = aloneAfterLoss
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
	switch {
	case t.starting, errors.Is(err, storage.ErrTooLarge), errors.Is(err, storage.ErrConstraint): // the client is told, and can send it as often as it likes
		t.room.log.Debug(event, append(args, "err", err)...)
	case !storageFailed(err):
		t.room.log.Error(event, append(args, "err", err)...)
	case full(err):
		t.room.troubled = true
		t.room.node.complain(t.room.key, event, err)
	default:
		t.room.log.Debug(event, append(args, "err", err)...)
	}
}

// report tells the handler's OnError of an error.
func (t *turn) report(err error) {
	if t.room.handler == nil || t.room.isFenced() {
		return
	}
	c := t.context(nil, nil)
	c.looking = true
	t.room.watch.enter("OnError", c)
	failure := protect(func() error { t.room.handler.OnError(c, original(err)); return nil })
	t.room.watch.leave()
	if failure != nil {
		t.room.log.Error("OnError panicked", "panic", failure.Error())
	}
	c.ended = true
	c.ctx.finish(context.Canceled)
}

// begin opens the turn's transaction.
func (t *turn) begin() error {
	if t.batch != nil {
		return nil
	}
	b, err := t.room.db.Begin()
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
	for _, undo := range slices.Backward(t.undo) {
		undo()
	}
	if !bug.On("lost-batch") {
		t.out = nil
	}
	t.undo, t.after, t.notes, t.states, t.answered = nil, nil, nil, nil, nil
	t.alarmed = false
	t.room.lost(t, cause)
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

// An action that was applied in an earlier turn, and comes again in one that is lost, has the answer of then: nothing that
// the lost turn did counts for that answer. To refuse it as the turn's other actions are refused would tell its client that
// it was not applied.

// A standing is an answer that rests on earlier turns only.
type standing struct {
	m     *actionMessage
	reply *hibernate.Frame
	err   error // with errBefore, in the place of reply
}
