package room

import (
	"time"

	"github.com/denrooms/den/room/internal/replies"
)

// A room's upkeep: what is too old goes (clients' numbers, connection ids, the content of replies), some at a time, after the room's own work and in a
// transaction of its own. What cannot wait until a room that sleeps wakes is in upkeep_asleep.go. The file notes when that was, so a room that wakes often does not
// do it each time.
//
// Rows are not a part of it. Those that a Table deletes are gone at once, and those that the room has marked as
// deleted by SQL of its own are the room's business.

// purgeEvery is how often the upkeep is done while a room is awake, and when it wakes.
const purgeEvery = time.Hour

// planPurge says when upkeep is due, at the beginning of a life.
func (l *life) planPurge() {
	if l.db.Created() { // there is nothing that could be old
		l.db.Tend(l.host.opts.Clock.Now().UnixMilli())
		l.nextPurge = l.host.opts.Clock.Now().Add(purgeEvery)
		return
	}
	if l.crashed { // the reminder that an earlier process has noted may be lost
		l.remind(l.host.opts.Clock.Now())
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
	_, err := t.unit(c, "purge", func() (err error) {
		if more, err = l.purgeClients(now); err != nil {
			return err
		}
		replies, err := replies.Strip(l.db, now)
		if err != nil {
			return err
		}
		more = more || replies
		return l.purgePeers(now)
	})
	if err == nil {
		if more {
			l.nextPurge = now
		} else {
			l.db.Tend(now.UnixMilli())
		}
	}
	t.commit()
	return t.broken
}
