package room

// What Context.Go does: work outside of the room's turns, and the hook that follows it. The room's life owns both. A
// room stays awake for its work, so each piece of work has a time limit, and a room no longer stays awake for one
// that does not return after that.
//
//	commit ─▶ work under way ──returns──▶ its result waits in the mailbox ──▶ then, in a turn ──commit──▶ done
//	               │                                                            ▲      └──taken back──┐
//	               └──WorkTimeout──▶ its context ends                           └─────────────────────┘
//
// If the life ends before a then is durable, the then does not run, or is undone. Host.WorkLost counts that.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// maxWork is how many pieces of work a room may have at a time.
const maxWork = 64

var (
	errLast = errors.New("room: the room is about to sleep, and nobody would take the result of work")
	// errWorkExited is the error of work that ended its goroutine (runtime.Goexit).
	errWorkExited = errors.New("room: the work ended its goroutine")
	// errLifeEnded is the answer to the result of work whose life has ended.
	errLifeEnded = errors.New("the life that began the work has ended")
)

// Go does slow work (an HTTP call, a query elsewhere) outside of the room. then runs exactly once after work. If the
// room's life ends first, because the room crashes, is put to sleep by force, or the server shuts down, then does not
// run: [Host.WorkLost] counts that, and each is logged. A process that is killed can do neither. To have such work
// done in any case, note it in a table in the hook that calls Go, and remove the note in then. OnWake calls Go for
// the remaining notes, at most for the first 64, and the then of each for one more. OnWake must not return the
// overloaded of a Go, because a room whose OnWake fails stays asleep, and the next try would fail in the same way.
//
// The room serves others meanwhile, and stays awake. When the hook's writes are durable, work runs in its own
// goroutine. After that, then runs in the room as a hook, with the error of work. If work panics, then gets an error,
// and the panic is logged with its stack. work leaves its results in variables that then reads. In then, Conn is nil
// and Identity is zero: copy what it needs of them before. work must not use the room or its handler. Its context
// ends with the room's life, and after Options.WorkTimeout, 60 s by default, with context.DeadlineExceeded. If work
// has not returned after as long again, the room no longer stays awake for it.
//
// A then that fails is not run again. If its batch is lost, because the disk is full or because of another action, it
// has left nothing in the database and sent nothing, and runs again; what it changed in the handler's memory stays.
//
// A room has at most 64 pieces of work, each until its then has run; Go returns an *Error with the code overloaded for
// one more. Go also fails in OnHibernate, and in an OnClose at a shutdown, because the life is about to end.
func (c *Context) Go(work func(context.Context) error, then func(*Context, error) error) error {
	if err := c.mayAct(); err != nil {
		return err
	}
	return c.room.work.start(c, work, then)
}

// work is a room's work outside of its turns.
type work struct {
	room      *room
	publisher *publisher
	running   atomic.Int32 // pieces of work that the room waits for
	stuck     atomic.Int32 // pieces of work that the room no longer waits for
	under     underWay
}

// underWay counts the pieces of a life's work that have not returned. The zero value is ready to use.
type underWay struct {
	mu   sync.Mutex
	n    int
	over bool // the life has ended, and they are counted as lost
}

func (u *underWay) begin() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n++
}

// returned notes that one has returned, and reports whether its result may be sent to the room.
func (u *underWay) returned() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
	return !u.over
}

// end notes that the life has ended, and returns how many pieces lose their then.
func (u *underWay) end() (lost int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		lost = u.n
	}
	u.over = true
	return lost
}

// A piece is a piece of work in progress.
type piece struct {
	// Immutable.

	of     *work
	sender uint64           // see thenMessage
	share  *hibernate.Share // of the sender's client
	ctx    workContext
	work   func(context.Context) error
	then   func(*Context, error) error

	mu       sync.Mutex
	timer    Timer
	returned bool
	stuck    bool // counted in work.stuck, and not in work.running
}

// A workContext is the context of a piece of work. It uses the host's clock.
type workContext struct{ hookContext }

// Value returns nil.
func (*workContext) Value(any) any { return nil }

func (wk *work) start(c *Context, work func(context.Context) error, then func(*Context, error) error) error {
	if c.turn.last {
		return errLast
	}
	if n := wk.running.Load() + wk.stuck.Load(); n >= maxWork {
		return &Error{Code: syncproto.CodeOverloaded, Message: fmt.Sprintf("The room waits for %d things already. Try again later.", n)}
	}
	p := &piece{of: wk, share: c.turn.share, work: work, then: then}
	if c.conn != nil {
		p.sender = c.conn.c.Serial
	}
	wk.running.Add(1)
	c.undo = append(c.undo, func() { wk.running.Add(-1) })
	c.after = append(c.after, func() {
		p.begin()
		wk.under.begin()
		go p.run() // it ends when work returns; its context ends before
	})
	return nil
}

// begin starts the time limit of the work, in the turn that has asked for it.
func (p *piece) begin() {
	r, limit := p.of.room, p.of.room.node.opts.WorkTimeout
	p.ctx.began = r.now()
	p.ctx.deadline = p.ctx.began.Add(limit)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = r.node.afterFunc(limit, "ending a room's work", p.overdue)
}

// run does the work and sends its result to the room, however it ends.
func (p *piece) run() {
	wk := p.of
	unlink := context.AfterFunc(wk.room.ctx, func() { p.ctx.finish(context.Canceled) })
	err := errWorkExited
	defer func() {
		unlink()
		p.done()
		p.ctx.finish(context.Canceled)
		if !wk.under.returned() {
			return // end has counted it
		}
		wk.push(&thenMessage{sender: p.sender, share: p.share, life: wk.room.number, err: err, then: p.then}, 0)
	}()
	err = protect(func() error { return p.work(&p.ctx) })
	if stack := stackOf(err); stack != nil {
		wk.room.log.Error("a room's work panicked", append(stack, "err", err)...)
	}
}

// overdue ends the time of the work, and after as long again the room's waiting for it.
func (p *piece) overdue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	wk := p.of
	switch {
	case p.returned || wk.room.ctx.Err() != nil:
	case p.ctx.Err() == nil:
		p.ctx.finish(context.DeadlineExceeded)
		p.timer.Reset(wk.room.node.opts.WorkTimeout)
	default:
		p.stuck = true
		wk.stuck.Add(1)
		wk.running.Add(-1)
		wk.room.log.Warn("a room's work does not return; the room no longer stays awake for it", "began", p.ctx.began)
	}
}

// done notes that the work has returned. The room waits until its result has been served.
func (p *piece) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.returned = true
	p.timer.Stop()
	if p.stuck {
		p.of.running.Add(1)
		p.of.stuck.Add(-1)
	}
}

// push sends a result of work to the life that began it, and again each time its turn is lost. It does not wake the
// room.
func (wk *work) push(m *thenMessage, try int) {
	err := wk.room.node.actors.SendAwake(wk.room.key, m, func(_ any, err error) {
		switch {
		case errors.Is(err, errTakenBack):
			wk.room.node.repeat(try, "running what follows a room's work", func() { wk.push(m, try+1) })
		case err != nil:
			wk.lose(err)
		}
	})
	if err != nil {
		wk.lose(err)
	}
}

// lose counts a piece of work whose life has ended.
func (wk *work) lose(err error) {
	total := wk.room.node.workLost.Add(1)
	wk.room.log.Warn(workWasLost, "pieces", 1, "err", err, "since start", total)
}

const workWasLost = "what was to follow a room's work did not run: the room's life had ended"

// end counts the pieces of work that have not returned when the life ends. The process may be over before they do.
func (wk *work) end() {
	if lost := wk.under.end(); lost > 0 {
		total := wk.room.node.workLost.Add(uint64(lost))
		wk.room.log.Warn(workWasLost, "pieces", lost, "since start", total)
	}
}

// then runs what follows a piece of work. It returns an error if the hook did not run. An error of the hook itself
// has already been reported.
func (wk *work) then(t *turn, m *thenMessage) error {
	if m.life != wk.room.number {
		return errLifeEnded
	}
	c := t.context(nil, nil)
	ran := false
	wk.running.Add(-1) // so that the hook may begin the next piece
	commit, err := t.runHook(c, "Go", func() error {
		ran = true
		return m.then(c, m.err)
	})
	if err != nil && !ran {
		wk.running.Add(1)
		return err
	}
	t.undo = append(t.undo, func() { wk.running.Add(1) })
	if err != nil {
		return nil
	}
	wk.publisher.succeed(t, c, commit)
	return nil
}
