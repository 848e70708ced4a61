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

// costOfPanic is what a client is charged for a panic, which ends a room's life, in bytes.
const costOfPanic = 32 * hibernate.UnitBytes

// aloneAfterLoss is how many messages get a turn each after a batch was lost: as many as a connection may have in
// work by default.
const aloneAfterLoss = 256

// A turn serves one batch of messages with one commit. The gate holds back everything that a client could see of it
// until the commit is durable.
type turn struct {
	room    *room
	batch   *storage.Batch // nil until something may be written
	out     []delivery
	answers []answer
	states  map[*hibernate.Connection]hibernate.State // what hooks have set on connections

	// Memory for deliveries of one frame to one connection.

	frames []*hibernate.Frame
	conns  []*hibernate.Connection

	after      []func()                // starts work outside after the gate has opened
	notes      []func() error          // writes what Den remembers of clients; called last
	answered   []*hibernate.Connection // those that get the last frame of an answer
	last       bool                    // the life ends after the turn
	starting   bool                    // the turn starts the life
	checkpoint bool                    // the WAL is to be checkpointed after the commit
	flush      bool                    // the roster's pending notes are to be written; see roster.go
	alarmed    bool                    // alarms were set, cancelled or run
	undo       []func()                // called in reverse order if the turn is lost; undoes what is not in the database
	lost       error                   // why everything in the turn was undone
	broken     error                   // why the life cannot go on

	audiences map[string][]*hibernate.Connection // by channel, while some connections are held; see hold.go

	share *hibernate.Share // of the client whose message is being served; nil: not counted

	earlier []earlierAnswer // answers that stay as they are if the turn is lost
}

// An answer is kept until the turn's end. It is value if the commit succeeds, an error otherwise.
type answer struct {
	env   *actor.Envelope
	value any
	err   error
	late  bool // given when the life has nothing in work
}

// context returns the Context of a hook.
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

// runHook runs a hook like an action: in a savepoint of the turn's transaction, with a time limit. If the hook fails,
// nothing of it remains.
func (t *turn) runHook(c *Context, name string, hook func() error) (storage.Commit, error) {
	if err := t.begin(); err != nil {
		return storage.Commit{}, err
	}
	var commit storage.Commit
	t.room.watch.enter(name, c)
	err := protect(func() (err error) {
		commit, err = t.batch.Do(c.now.UnixMilli(), func() error { return sanitize(hook()) })
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

// whose returns log attributes that say which client a hook runs for.
func (c *Context) whose() []any {
	if c.conn == nil {
		return nil
	}
	return []any{"subject", c.conn.Identity().Subject, "connection", c.conn.ID()}
}

// failed handles the error of a hook: what it means for the turn and for the life.
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
			cause = storage.ErrBatchLost // the fault of this hook; it concerns no other message
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
			t.logFault("a hook failed", err, "hook", name)
		}
		t.report(err)
	}
	return err
}

// logFault logs what went wrong. A fault of the storage is reported to the operator once: here if the life goes on,
// otherwise at its end. life.start reports what keeps a room from starting.
func (t *turn) logFault(event string, err error, args ...any) {
	switch {
	case t.starting, errors.Is(err, storage.ErrTooLarge), errors.Is(err, storage.ErrConstraint): // the client is told, and can send it as often as it likes
		t.room.log.Debug(event, append(args, "err", err)...)
	case !storageFailed(err):
		t.room.log.Error(event, append(args, "err", err)...)
	case full(err):
		t.room.diskFull = true
		t.room.node.complain(t.room.key, event, err)
	default:
		t.room.log.Debug(event, append(args, "err", err)...)
	}
}

// report passes an error to the handler's OnError.
func (t *turn) report(err error) {
	if t.room.handler == nil || t.room.isFenced() {
		return
	}
	c := t.context(nil, nil)
	c.readOnly = true
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

// lose rolls back the transaction of the turn and undoes everything else that it did. Nobody has seen anything of it.
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

// storageError notes an error of the room's own access to its database.
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

// An action that was applied in an earlier turn may come again in a turn that is lost. It keeps its earlier answer,
// which does not depend on the lost turn. If it were refused like the turn's other actions, its client would conclude
// that it was not applied.

// An earlierAnswer is an answer that depends on earlier turns only.
type earlierAnswer struct {
	m     *actionMessage
	reply *hibernate.Frame
	err   error // with errBefore, instead of reply
}
