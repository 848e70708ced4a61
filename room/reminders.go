package room

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
)

// Maintenance that cannot wait until a room wakes: the content of stored replies is removed after a day, see package
// replies. A room that stores replies adds a reminder to the index of alarms (package alarm), for the full hour after
// the replies will be a day old. When the reminder is due and the room sleeps, the host opens the room's file; no
// code of the room runs. A room that is awake does its own maintenance, and its reminder is postponed by an hour.

// reminding is the state of a host's work on reminders. The zero value is ready to use.
type reminding struct {
	node      *node
	compactor *compactor

	mu   sync.Mutex
	set  bool           // the timer is set, or the work is in progress
	last alarm.Reminder // the last one that was processed; the next group comes after it
}

const (
	// remindEvery is how often the host reads the reminders, at full hours. No timer is longer, because timers stand still
	// while the machine sleeps.
	remindEvery = time.Hour
	// remindFirst is how long after its start a host reads the reminders of earlier processes.
	remindFirst = time.Minute
	// remindGroup is how many reminders are processed, one after another, before they are removed.
	remindGroup = 64
	// remindPart limits this work to one part in so many of the time.
	remindPart = 4
)

// arm reports whether the caller has to set the timer.
func (r *reminding) arm() (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = !r.set
	r.set = true
	return first
}

// at adds a reminder for a room.
func (rem *reminding) at(key Key, due time.Time) {
	rem.node.alarms.AddReminder(alarm.Reminder{Room: nameOf(key), Due: due})
	rem.hourly()
}

// hourly sets the timer to the next full hour, if it is not set.
func (rem *reminding) hourly() {
	now := rem.node.now()
	rem.later(now.Truncate(remindEvery).Add(remindEvery).Sub(now))
}

// later sets the timer, if it is not set.
func (rem *reminding) later(d time.Duration) {
	if rem.arm() {
		rem.node.afterFunc(d, "the maintenance of sleeping rooms", rem.next)
	}
}

// contentDue returns when the content of a reply that is stored at a time is to be removed: a day later, at the next full hour.
func contentDue(stored time.Time) time.Time {
	return stored.Add(replies.Content).Truncate(time.Hour).Add(time.Hour)
}

// next processes a group of due reminders, and sets the timer again.
func (rem *reminding) next() {
	if rem.node.shutdown.stopping.Load() {
		return
	}
	began := rem.node.now()
	more := false
	rem.node.contain("the maintenance of sleeping rooms", func() {
		var err error
		if more, err = rem.some(began); err != nil && !errors.Is(err, errStopping) {
			rem.node.opts.Logger.Error("the maintenance of sleeping rooms", "err", err)
		}
	})
	rem.mu.Lock()
	rem.set = false
	rem.mu.Unlock()
	if more {
		rem.later(max((remindPart-1)*rem.node.now().Sub(began), time.Second))
	} else {
		rem.hourly()
	}
}

// some processes a group of due reminders, and reports whether there are more.
func (rem *reminding) some(now time.Time) (more bool, err error) {
	found, err := rem.node.alarms.Reminders(rem.last, remindGroup)
	if err != nil {
		return false, err
	}
	more = len(found) == remindGroup
	var done []alarm.Reminder
	for _, r := range found {
		if r.Due.After(now) {
			more = false
			break
		}
		rem.last = r
		key := keyNamed(r.Room)
		if !rem.node.hasNamespace(key.Namespace) { // the reminder stays until there is one
			continue
		}
		switch err := rem.stripAsleep(key, now); {
		case errors.Is(err, errStopping):
			return false, err
		case errors.Is(err, ErrCalledFor):
			rem.at(key, now.Add(remindEvery))
		case err != nil:
			rem.node.complain(key, "the content of replies that are over a day old could not be removed", err)
			rem.at(key, now.Add(remindEvery))
		}
		done = append(done, r)
	}
	if !more {
		rem.last = alarm.Reminder{}
	}
	if len(done) == 0 {
		return more, nil
	}
	return more, rem.node.alarms.RemoveReminders(done)
}

// stripAsleep removes the content of the old replies of a room that has no life. It returns ErrCalledFor if the room has one.
func (rem *reminding) stripAsleep(key Key, now time.Time) error {
	return rem.compactor.withoutLife(context.Background(), key, func(ctx context.Context, o storage.Options) error {
		if there, err := storage.Exists(o); err != nil || !there {
			return err
		}
		return rem.node.withFile(key, o, func(db *storage.DB) error {
			_, more, err := replies.OldestContent(db)
			for more && err == nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				more, err = stripSome(db, now)
			}
			if err == nil {
				err = rem.of(key, db)
			}
			return err
		})
	})
}

// stripSome calls replies.Strip in a transaction of its own.
func stripSome(db *storage.DB, now time.Time) (more bool, err error) {
	batch, err := db.Begin()
	if err != nil {
		return false, err
	}
	if more, err = replies.Strip(db, now); err != nil {
		batch.Rollback()
		return false, fmt.Errorf("stored replies: %w", err)
	}
	return more, batch.Commit()
}

// of adds the reminder of a room whose file is open anyway, because a crash may have lost it.
func (rem *reminding) of(key Key, db *storage.DB) error {
	oldest, some, err := replies.OldestContent(db)
	if err == nil && some {
		rem.at(key, contentDue(oldest))
	}
	return err
}
