package room

import "time"

// Tombstones of typed tables go when they are older than Options.Retention: some at a
// time, behind the room's own work. They go as any hard DELETE does, so what a client
// with an older cursor is told is still right; and when the change log forgets that as well,
// the floor has risen above such cursors. Tables that a handler made by SQL are its own
// business.

const (
	purgeEvery = time.Hour // while a room is awake, and when it wakes
	purgeRows  = 256       // at once
)

// purge removes some old tombstones, if it is time for that. An error means that the life
// cannot go on.
func (l *life) purge() error {
	now := l.host.opts.Clock.Now()
	if now.Before(l.nextPurge) || len(l.ns.plans) == 0 {
		return nil
	}
	l.nextPurge = now.Add(purgeEvery)
	before := now.Add(-l.host.opts.Retention).UnixMilli()
	t := &turn{life: l}
	c := t.context(nil, nil)
	commit, err := t.unit(c, "purge", func() error {
		for _, f := range l.ns.plans {
			removed, err := c.Exec(f.plan.purge, before, purgeRows)
			if err != nil {
				return err
			}
			if removed.RowsAffected == purgeRows {
				l.nextPurge = now // more with the next turn
			}
		}
		return nil
	})
	if err == nil {
		t.publish(commit, nil, nil)
	}
	t.commit()
	return t.broken
}
