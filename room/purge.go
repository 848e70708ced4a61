package room

import "time"

// A room's upkeep: what is too old goes, some at a time, behind the room's own work and in a
// transaction of its own. The file notes when that was, so a room that wakes often does not
// do it each time.
//
// Tombstones of typed tables go when they are older than Options.Retention. They go as any
// hard DELETE does, so what a client with an older cursor is told is still right; and when the
// change log forgets that as well, the floor has risen above such cursors. Tables that a
// handler made by SQL are its own business.

const (
	purgeEvery = time.Hour // while a room is awake, and when it wakes
	purgeRows  = 256       // at once
)

// planPurge says when upkeep is due, at the beginning of a life.
func (l *life) planPurge() {
	if l.db.Created() { // there is nothing that could be old
		l.db.Tend(l.host.opts.Clock.Now().UnixMilli())
		l.nextPurge = l.host.opts.Clock.Now().Add(purgeEvery)
		return
	}
	l.nextPurge = time.UnixMilli(l.db.Tended()).Add(purgeEvery)
	if now := l.host.opts.Clock.Now(); l.nextPurge.After(now.Add(purgeEvery)) { // the clock was set back
		l.nextPurge = now
	}
}

// purge does the upkeep, if it is time for it. An error means that the life cannot go on.
func (l *life) purge() error {
	now := l.host.opts.Clock.Now()
	if now.Before(l.nextPurge) {
		return nil
	}
	l.nextPurge = now.Add(purgeEvery)
	t := &turn{life: l}
	c := t.context(nil, nil)
	more := false
	commit, err := t.unit(c, "purge", func() (err error) {
		more, err = l.purgeAll(c, now)
		return err
	})
	if err == nil {
		t.publish(commit, nil, nil)
		if more {
			l.nextPurge = now
		} else {
			l.db.Tend(now.UnixMilli())
		}
	}
	t.commit()
	return t.broken
}

// purgeAll removes some of what is too old; more: there is more of it.
func (l *life) purgeAll(c *Context, now time.Time) (more bool, err error) {
	before := now.Add(-l.host.opts.Retention).UnixMilli()
	for _, f := range l.ns.plans {
		removed, err := c.Exec(f.plan.purge, before, purgeRows)
		if err != nil {
			return false, err
		}
		more = more || removed.RowsAffected == purgeRows
	}
	clients, err := l.purgeClients(now)
	if err != nil {
		return false, err
	}
	return more || clients, l.purgePeers(now)
}
