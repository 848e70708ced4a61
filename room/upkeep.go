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
	if l.db.Created() { // there is nothing that could be old
		l.db.NoteMaintenance(l.host.opts.Clock.Now().UnixMilli())
		l.nextPurge = l.host.opts.Clock.Now().Add(purgeEvery)
		return
	}
	if l.crashed { // the reminder that an earlier process has noted may be lost
		l.remind(l.host.opts.Clock.Now())
	}
	l.nextPurge = time.UnixMilli(l.db.LastMaintenance()).Add(purgeEvery)
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
	_, err := t.runHook(c, "purge", func() (err error) {
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
			l.db.NoteMaintenance(now.UnixMilli())
		}
	}
	t.commit()
	return t.broken
}

// The maintenance that cannot wait until a room wakes: the content of stored replies is removed after a day, see
// package replies. A room that stores replies adds a reminder to the index of alarms (package alarm), for the full hour
// after the replies will be a day old. When the reminder is due and the room sleeps, the host opens the room's file; no code
// of the room runs. A room that is awake does its own maintenance, and its reminder is put off by an hour.

const (
	// remindEvery is how often the host reads the reminders, at full hours. No timer is longer, because timers stand still
	// while the machine sleeps.
	remindEvery = time.Hour
	// remindFirst is how long after its start a host reads the reminders of the process before it.
	remindFirst = time.Minute
	// remindGroup is how many reminders are worked off, one after another, before they are removed.
	remindGroup = 64
	// remindPart limits the time for this work to one part in so many.
	remindPart = 4
)

// reminding is the state of a host's work on reminders. The zero value is ready to use.
type reminding struct {
	mu   sync.Mutex
	set  bool           // the timer is set, or the work is under way
	last alarm.Reminder // the last one that was worked off; the next group comes after it
}

// arm reports whether the caller has to set the timer.
func (r *reminding) arm() (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = !r.set
	r.set = true
	return first
}

// remind adds a reminder for the replies that a life stores at a time, unless the life has added the same one before.
func (l *life) remind(stored time.Time) {
	if due := contentDue(stored); !due.Equal(l.reminded) {
		l.reminded = due
		l.host.remindAt(l.key, due)
	}
}

// remindAt adds a reminder for a room.
func (h *Host) remindAt(key Key, due time.Time) {
	h.alarms.AddReminder(alarm.Reminder{Room: nameOf(key), Due: due})
	h.remindHourly()
}

// remindHourly sets the timer to the next full hour, if it is not set.
func (h *Host) remindHourly() {
	now := h.opts.Clock.Now()
	h.remindLater(now.Truncate(remindEvery).Add(remindEvery).Sub(now))
}

// remindLater sets the timer, if it is not set.
func (h *Host) remindLater(d time.Duration) {
	if h.reminding.arm() {
		h.afterFunc(d, "the maintenance of sleeping rooms", h.remindNext)
	}
}

// contentDue returns when the content of a reply that is stored at a time is to be removed: a day later, at the next full hour.
func contentDue(stored time.Time) time.Time {
	return stored.Add(replies.Content).Truncate(time.Hour).Add(time.Hour)
}

// remindNext works off a group of the reminders that are due, and sets the timer again.
func (h *Host) remindNext() {
	if h.stopping.Load() {
		return
	}
	began := h.opts.Clock.Now()
	more := false
	h.contain("the maintenance of sleeping rooms", func() {
		var err error
		if more, err = h.remindSome(began); err != nil && !errors.Is(err, errStopping) {
			h.opts.Logger.Error("the maintenance of sleeping rooms", "err", err)
		}
	})
	h.reminding.mu.Lock()
	h.reminding.set = false
	h.reminding.mu.Unlock()
	if more {
		h.remindLater(max((remindPart-1)*h.opts.Clock.Now().Sub(began), time.Second))
	} else {
		h.remindHourly()
	}
}

// remindSome works off a group of the reminders that are due, and reports whether there are more.
func (h *Host) remindSome(now time.Time) (more bool, err error) {
	found, err := h.alarms.Reminders(h.reminding.last, remindGroup)
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
		h.reminding.last = r
		key := keyNamed(r.Room)
		if !h.HasNamespace(key.Namespace) { // the reminder stays until there is one
			continue
		}
		switch err := h.stripAsleep(key, now); {
		case errors.Is(err, errStopping):
			return false, err
		case errors.Is(err, ErrCalledFor):
			h.remindAt(key, now.Add(remindEvery))
		case err != nil:
			h.complain(key, "the content of replies that are over a day old could not be removed", err)
			h.remindAt(key, now.Add(remindEvery))
		}
		done = append(done, r)
	}
	if !more {
		h.reminding.last = alarm.Reminder{}
	}
	if len(done) == 0 {
		return more, nil
	}
	return more, h.alarms.RemoveReminders(done)
}

// stripAsleep removes the content of the old replies of a room that has no life. It returns ErrCalledFor if the room has one.
func (h *Host) stripAsleep(key Key, now time.Time) error {
	return h.withoutLife(context.Background(), key, func(ctx context.Context, o storage.Options) error {
		if there, err := storage.Exists(o); err != nil || !there {
			return err
		}
		return h.lookInto(key, o, func(db *storage.DB) error {
			_, more, err := replies.OldestContent(db)
			for more && err == nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				more, err = stripSome(db, now)
			}
			if err == nil {
				err = h.remindOf(key, db)
			}
			return err
		})
	})
}

// stripSome calls stripReplies in a transaction of its own.
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

// remindOf adds the reminder of a room whose file is open anyway, because a crash may have lost it.
func (h *Host) remindOf(key Key, db *storage.DB) error {
	oldest, some, err := replies.OldestContent(db)
	if err == nil && some {
		h.remindAt(key, contentDue(oldest))
	}
	return err
}

// purgeClients is how many clients that are long gone are removed at once.
const purgeClients = 256

// purgeClients removes some of the clients that were not seen for the retention. It runs
// behind the turn: who comes back at the last moment stays.
func (l *life) purgeClients(now time.Time) (more bool, err error) {
	before := now.Add(-l.host.opts.ClientRetention).UnixMilli()
	if err := l.purgeTries(now.Add(-l.host.opts.ClientRetention)); err != nil {
		return false, err
	}
	removed, err := l.db.Internal().Exec(`DELETE FROM _den_clients WHERE (client, subject) IN
		(SELECT client, subject FROM _den_clients WHERE seen_at < ? ORDER BY seen_at LIMIT ?)`, before, purgeClients)
	if err != nil {
		return false, err
	}
	if removed.RowsAffected > 0 {
		l.marks.known = nil // whoever comes is read again
	}
	return removed.RowsAffected == purgeClients, nil
}
