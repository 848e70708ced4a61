package room

import (
	"time"

	"github.com/denrooms/den/room/internal/replies"
)

// A room's upkeep: what is too old goes (clients' numbers, connection ids, the content of replies), some at a time, after the room's own work and in a
// transaction of its own. What cannot wait until a room that sleeps wakes is seen to without a life. The file notes when that was, so a room that wakes often does not
// do it each time.
//
// Rows are not a part of it. Those that a Table deletes are gone at once, and those that the room has marked as
// deleted by SQL of its own are the room's business.

// purgeEvery is how often the upkeep is done while a room is awake, and when it wakes.
const purgeEvery = time.Hour

// planPurge says when upkeep is due, at the beginning of a life.
func (l *life) planPurge() {
	if l.room.db.Created() { // there is nothing that could be old
		l.room.db.NoteMaintenance(l.room.now().UnixMilli())
		l.nextPurge = l.room.now().Add(purgeEvery)
		return
	}
	if l.room.crashed { // the reminder that an earlier process has noted may be lost
		l.replies.remind(l.room.now())
	}
	l.nextPurge = time.UnixMilli(l.room.db.LastMaintenance()).Add(purgeEvery)
	if now := l.room.now(); l.nextPurge.After(now.Add(purgeEvery)) { // the clock was set back
		l.nextPurge = now
	}
}

// purge does the upkeep, if it is time for it. An error means that the life cannot go on.
func (l *life) purge() error {
	now := l.room.now()
	if now.Before(l.nextPurge) {
		return nil
	}
	l.nextPurge = now.Add(purgeEvery)
	t := &turn{room: &l.room}
	c := t.context(nil, nil)
	more := false
	_, err := t.runHook(c, "purge", func() (err error) {
		if more, err = l.numbers.purgeClients(now); err != nil {
			return err
		}
		replies, err := replies.Strip(l.room.db, now)
		if err != nil {
			return err
		}
		more = more || replies
		return l.peers.purge(now)
	})
	if err == nil {
		if more {
			l.nextPurge = now
		} else {
			l.room.db.NoteMaintenance(now.UnixMilli())
		}
	}
	l.commit(t)
	return t.broken
}
