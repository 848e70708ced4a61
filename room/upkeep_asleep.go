package room

// The maintenance that cannot wait until a room wakes: the content of stored replies is removed after a day, see
// reply_content.go. A room that stores replies adds a reminder to the index of alarms (package alarm), for the full hour
// after the replies will be a day old. When the reminder is due and the room sleeps, the host opens the room's file; no code
// of the room runs. A room that is awake does its own maintenance, and its reminder is put off by an hour.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/storage"
)

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
	if due := contentDue(stored); !due.Equal(l.replies.reminded) {
		l.replies.reminded = due
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
	return stored.Add(replyContent).Truncate(time.Hour).Add(time.Hour)
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
			_, more, err := oldestContent(db)
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
	if more, err = stripReplies(db, now); err != nil {
		batch.Rollback()
		return false, fmt.Errorf("stored replies: %w", err)
	}
	return more, batch.Commit()
}

// remindOf adds the reminder of a room whose file is open anyway, because a crash may have lost it.
func (h *Host) remindOf(key Key, db *storage.DB) error {
	oldest, some, err := oldestContent(db)
	if err == nil && some {
		h.remindAt(key, contentDue(oldest))
	}
	return err
}
