package room

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/syncproto"
)

// How a life starts, and how it ends.

// Start opens the database and lets the handler make itself ready.
func (l *life) Start(_ context.Context, first any) error {
	l.room.why = wakeReason(first)
	if err := l.room.node.awake.Enter(&l.awake); err != nil {
		l.room.node.recent.losses.Put(l.room.key, l.room.alone)
		l.room.end()
		return &Error{Code: syncproto.CodeOverloaded, Message: "Too many rooms are in use. Try again later.", cause: err}
	}
	return l.start()
}

// errExited is the error of a start whose hook has ended its goroutine (runtime.Goexit).
var errExited = errors.New("a hook ended its goroutine")

// start starts the life. If it fails, in whatever way, it gives back everything that it has taken.
func (l *life) start() (err error) {
	err = errExited
	defer func() {
		if err != nil {
			l.giveBack(err)
			err = notStarted(err)
		}
	}()
	l.room.seed()
	l.room.watch.arm()
	defer l.room.watch.disarm()
	err = protect(l.makeReady) // a panic must leave the file to the next life
	if err == nil && !l.room.isFenced() {
		l.room.node.reports.failures.note(l.room.key, nil, time.Time{})
	}
	return err
}

// giveBack ends a life that has not begun: it gives up its place, its file and its context. The next life gets what
// the room has to remember.
func (l *life) giveBack(err error) {
	defer l.room.node.awake.Leave(&l.awake)
	switch {
	case errors.Is(err, errOfflineTask):
		l.room.log.Debug("an offline task has used the room's file")
	case l.room.isFenced():
		l.room.log.Error("the room did not start", "err", err)
	default:
		l.room.node.report(l.room.key, "the room did not start", err)
	}
	l.room.end()
	if !l.room.isFenced() { // otherwise Abandon has done so
		l.room.node.recent.losses.Put(l.room.key, l.room.alone)
	}
	switch {
	case l.room.db == nil:
	case stackOf(err) != nil, errors.Is(err, errExited): // a hook may have left anything half done
		fence(l.room.db)
	default:
		closeFile(l.room.db)
	}
}

// makeReady does everything that can fail in a start.
func (l *life) makeReady() error {
	err := l.open()
	if err == nil {
		err = l.alarms.load()
	}
	if err == nil {
		err = l.begin()
	}
	return err
}

// notStarted returns the error for those who called for a room that does not start. It reveals nothing of what the
// room's code or SQL said, unless that was written for clients or the disk failed.
func notStarted(err error) error {
	if written(err) || storageFailed(err) {
		return reported{err}
	}
	return reported{&Error{Code: syncproto.CodeRoomUnavailable, Message: "The room is not available. Try again later.", cause: err}}
}

func (l *life) open() error {
	l.room.node.fileUses.wait(l.room.key)
	l.room.node.offline.receive(l.room.key)
	if l.room.ns == nil {
		return errOfflineTask
	}
	l.room.crashed = l.room.node.log != nil && l.room.node.log.Crashed() != 0
	db, err := l.room.node.openFile(l.room.key)
	if err != nil {
		return err
	}
	l.room.gate.Lock()
	defer l.room.gate.Unlock()
	l.room.db = db
	l.replies.store = replies.New(db, l.room.node.opts.ReplyMemory)
	if l.room.fenced {
		return actor.ErrAbandoned
	}
	db.Withhold() // see turn.shows
	return nil
}

// begin brings the file to the program's state, runs OnStart, and then declares the synced tables.
func (l *life) begin() error {
	if err := l.prepare(); err != nil {
		return err
	}
	l.planMaintenance()
	l.holds.restore()
	l.peers.findWaiting()
	if err := l.roster.load(); err != nil {
		return err
	}
	t := &turn{room: &l.room, starting: true}
	l.room.handler = l.newHandler(t)
	c := t.context(nil, nil)
	_, err := t.runHook(c, "OnStart", func() error {
		if err := l.room.handler.OnStart(c); err != nil {
			return fmt.Errorf("OnStart: %w", err)
		}
		if l.room.db.Created() && len(l.room.connections()) == 0 { // otherwise the room was awake before, and nobody got anything of it
			return nil
		}
		if err := l.room.handler.OnWake(c); err != nil {
			return fmt.Errorf("OnWake: %w", err)
		}
		return nil
	})
	if err != nil {
		return err // the batch ends with the file, see giveBack
	}
	t.out = append(t.out, c.out...)
	l.commit(t)
	if t.broken != nil {
		return t.broken
	}
	if t.lost != nil { // the disk is full: the next life tries again
		return t.lost
	}
	if err := l.room.db.Sync(l.room.ns.channels...); err != nil {
		return err
	}
	if bug.On("untold") {
		return nil
	}
	return l.answers.resend()
}

// newHandler makes the life's handler, within the time limit of a hook.
func (l *life) newHandler(t *turn) Handler {
	l.room.watch.enter("making the handler", t.context(nil, nil))
	defer l.room.watch.leave()
	return l.room.ns.newHandler()
}

// Stop ends the life. If the life ends in good order, OnHibernate is its last hook.
func (l *life) Stop(reason actor.StopReason) {
	defer l.room.node.awake.Leave(&l.awake)
	l.room.node.recent.losses.Put(l.room.key, l.room.alone)
	present, stopping := l.room.connections(), l.room.node.shutdown.stopping.Load()
	if reason == actor.StopIdle || reason == actor.StopRequested {
		if stopping {
			l.closeAll(present)
		}
		l.hibernate()
	}
	l.roster.handOver()
	l.room.watch.stop()
	l.room.end()
	l.holds.scheduleDrop()
	if stopping {
		if len(present) > 0 {
			l.room.db.KeepIfEmpty() // their clients come back to the next process and must find the same room
		}
		l.room.node.closeLinks(l.room.key, present)
	}
	shrinks := l.room.db.CompactDue()
	if err := closeFile(l.room.db); err != nil {
		l.room.log.Error("closing the room's database", append([]any{"err", err}, stackOf(err)...)...)
	} else if shrinks {
		l.compactor.later(l.room.key)
	}
	l.room.log.Debug("the room stopped", "reason", reason)
}

// hibernate lets the handler write what it has only in memory.
func (l *life) hibernate() {
	l.room.watch.arm()
	defer l.room.watch.disarm()
	t := &turn{room: &l.room, last: true}
	c := t.context(nil, nil)
	commit, err := t.runHook(c, "OnHibernate", func() error { return l.room.handler.OnHibernate(c) })
	if err == nil {
		l.publisher.succeed(t, c, commit)
	}
	l.commit(t)
}

// Abandon gives up a life whose hook does not return, so that the next one can begin. It is called from another
// goroutine than the life's.
func (l *life) Abandon() {
	defer l.room.node.awake.Leave(&l.awake)
	l.room.fenceHung()
	l.room.node.recent.losses.Put(l.room.key, aloneAfterLoss)
	l.roster.handOver()
	l.room.end()
	l.room.log.Error("a hook did not return; the room goes on without it", "hook", l.room.watch.current())
}

// wakeReason returns the reason for a life with this first message.
func wakeReason(first any) WakeReason {
	switch first.(type) {
	case *connectMessage:
		return WakeConnect
	case *actionMessage, *syncMessage, *rawMessage:
		return WakeMessage
	case *closeMessage, rosterMessage:
		return WakeClose
	case *requestMessage:
		return WakeRequest
	case *alarmMessage:
		return WakeAlarm
	case nil, *thenMessage:
		return WakeRestart
	}
	return WakeOperator
}

// prepare brings the file to the program's state.
func (l *life) prepare() error {
	if l.room.db.Prepared(l.room.ns.fingerprint) {
		return nil
	}
	if err := l.migrate(); err != nil {
		return err
	}
	if err := l.prepareTables(); err != nil {
		return err
	}
	l.room.db.Prepare(l.room.ns.fingerprint)
	if !l.room.ns.alike() {
		return nil
	}
	return l.room.db.MakeTemplate(l.room.ns.tables()...)
}

// migrate runs the migrations that the room lacks.
func (l *life) migrate() error {
	done, err := appliedMigrations(l.room.db)
	if err == nil {
		err = l.room.ns.knows(done)
	}
	if err != nil {
		return err
	}
	for i := len(done); i < len(l.room.ns.migrations); i++ {
		m := l.room.ns.migrations[i]
		if err := l.migrateOnce(i+1, m); err != nil {
			return &MigrationError{Version: i + 1, Name: m.name, Err: err}
		}
		l.room.log.Info("a migration was applied", "version", i+1, "migration", m.name)
	}
	return nil
}

// migrateOnce runs one migration in its own transaction.
func (l *life) migrateOnce(version int, m Migration) error {
	t := &turn{room: &l.room}
	return l.upgrade(t, "migration "+m.name, func(c *Context) error {
		skip, err := m.skips(c)
		if err == nil && !skip {
			err = m.run(c)
		}
		if err != nil {
			return err
		}
		internal := l.room.db.Internal()
		_, err = internal.Exec(`CREATE TABLE IF NOT EXISTS _den_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)`)
		if err == nil {
			_, err = internal.Exec(`INSERT INTO _den_migrations (version, name, applied_at) VALUES (?, ?, ?)`, version, m.name, c.now.UnixMilli())
		}
		return err
	})
}

// upgrade brings a file to the program's state in a transaction of its own, without the limits of an action on time
// and rows.
func (l *life) upgrade(t *turn, name string, do func(*Context) error) error {
	limit := l.room.node.opts.MigrationTimeout
	l.room.watch.allow(limit)
	defer l.room.watch.allow(l.room.node.opts.ActionTimeout)
	c := t.context(nil, nil)
	c.ctx.deadline = c.ctx.began.Add(limit)
	if err := t.begin(); err != nil {
		return err
	}
	l.room.watch.enter(name, c)
	err := protect(func() error {
		_, err := t.batch.DoUnbounded(c.now.UnixMilli(), func() error { return sanitize(do(c)) })
		return err
	})
	late := l.room.watch.leave()
	c.ended = true
	c.ctx.finish(context.Canceled)
	next := int64(alarms.Never)
	if err == nil && c.alarmed {
		if err = l.room.db.Keep(); err == nil { // see turn.shows
			next, err = l.alarms.lower()
		}
	}
	if err == nil {
		err = t.batch.Commit()
	}
	if err != nil {
		t.batch.Rollback()
		if late {
			err = fmt.Errorf("it took longer than Options.MigrationTimeout, %v: %w", limit, err)
		}
		return err
	}
	if c.alarmed {
		l.alarms.set(next)
	}
	t.batch, t.after, t.out = nil, c.after, c.out
	l.commit(t) // only deliveries are left
	return t.broken
}

// prepareTables makes Den's own tables, and compares the handler's with their structs.
func (l *life) prepareTables() error {
	return l.upgrade(&turn{room: &l.room}, "tables", func(c *Context) error {
		if _, err := l.room.db.Internal().Exec(l.room.ns.ownTables()); err != nil {
			return err
		}
		for _, f := range l.room.ns.plans {
			if err := f.plan.Prepare(l.room.db, l.room.log); err != nil {
				return err
			}
		}
		return nil
	})
}
