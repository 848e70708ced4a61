package room

import (
	"time"

	"github.com/denrooms/den/room/internal/replies"
)

// The maintenance of a room removes what is too old: the numbers of clients, the notes on connection ids, the content of
// replies. It removes some at a time, after the room's own work, in a transaction of its own. The file notes the time
// of the last maintenance, so a room that wakes often does not repeat it each time. A room that sleeps has the
// maintenance that cannot wait done by the host, see reminders.go.
//
// Maintenance removes no rows. The rows that a Table deletes are gone at once, and the room itself removes the rows that
// its own SQL has marked as deleted.

// maintenanceEvery is the time between two maintenances of a room that is awake. A room that wakes after a longer time
// begins with one.
const maintenanceEvery = time.Hour

// planMaintenance finds out when maintenance is due. It is called at the beginning of a life.
func (l *life) planMaintenance() {
	if l.room.db.Created() { // nothing in it can be old
		l.room.db.NoteMaintenance(l.room.now().UnixMilli())
		l.nextMaintenance = l.room.now().Add(maintenanceEvery)
		return
	}
	if l.room.crashed { // the crash may have lost the reminder that an earlier process noted
		l.replies.remind(l.room.now())
	}
	l.nextMaintenance = time.UnixMilli(l.room.db.LastMaintenance()).Add(maintenanceEvery)
	if now := l.room.now(); l.nextMaintenance.After(now.Add(maintenanceEvery)) { // the clock was set back
		l.nextMaintenance = now
	}
}

// maintain does the maintenance if it is due. After an error the life cannot go on.
func (l *life) maintain() error {
	now := l.room.now()
	if now.Before(l.nextMaintenance) {
		return nil
	}
	l.nextMaintenance = now.Add(maintenanceEvery)
	t := &turn{room: &l.room}
	c := t.context(nil, nil)
	more := false
	_, err := t.runHook(c, "maintenance", func() (err error) {
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
			l.nextMaintenance = now
		} else {
			l.room.db.NoteMaintenance(now.UnixMilli())
		}
	}
	l.commit(t)
	return t.broken
}
