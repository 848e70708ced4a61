package room

// The upkeep that cannot wait until a room wakes: the content of its stored replies goes after a day, see
// reply_content.go. A room that stores replies notes a reminder for the full hour after they will be a day old, in the
// file of the index of alarms (package alarm). When it is due, the file of a room that sleeps is opened without
// a life, and none of the room's code runs. A room that is awake does its upkeep by itself, and the reminder comes again
// an hour later.

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
	// remindEvery is how often reminders are looked for, at full hours. No timer is longer: it stands still while a
	// machine sleeps.
	remindEvery = time.Hour
	// remindFirst is when a host looks for reminders that its predecessor has left.
	remindFirst = time.Minute
	// remindGroup is how many reminders are seen to, one after another, before they are removed.
	remindGroup = 64
	// remindPart says how much of the time rooms that sleep are seen to, at the most: a fourth.
	remindPart = 4
)

// reminding has the one timer. Its zero value is ready.
type reminding struct {
	mu   sync.Mutex
	set  bool // a timer is set, or reminders are being seen to
	last alarm.Reminder
}

// arm tells whether a timer is to be set.
func (r *reminding) arm() (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = !r.set
	r.set = true
	return first
}

// remind notes a reminder for the replies that a life stores at a time, if it has not noted that one.
func (l *life) remind(stored time.Time) {
	if due := contentDue(stored); !due.Equal(l.replies.reminded) {
		l.replies.reminded = due
		l.host.remindAt(l.key, due)
	}
}

// remindAt notes that a room's stored replies are to be looked at.
func (h *Host) remindAt(key Key, due time.Time) {
	h.alarms.AddReminder(alarm.Reminder{Room: nameOf(key), Due: due})
	h.remindHourly()
}

// remindHourly sets the timer to the next full hour, if none is set.
func (h *Host) remindHourly() {
	now := h.opts.Clock.Now()
	h.remindLater(now.Truncate(remindEvery).Add(remindEvery).Sub(now))
}

// remindLater sets the timer, if none is set.
func (h *Host) remindLater(d time.Duration) {
	if h.reminding.arm() {
		h.afterFunc(d, "the upkeep of rooms that sleep", h.remindNext)
	}
}

// contentDue is when the content of a reply that is stored at a time is to go: at the full hour after a day.
func contentDue(stored time.Time) time.Time {
	return stored.Add(replyContent).Truncate(time.Hour).Add(time.Hour)
}

// remindNext sees to some of the reminders that are due, and sets the timer again.
func (h *Host) remindNext() {
	if h.stopping.Load() {
		return
	}
	began := h.opts.Clock.Now()
	more := false
	h.contain("the upkeep of rooms that sleep", func() {
		var err error
		if more, err = h.remindSome(began); err != nil && !errors.Is(err, errStopping) {
			h.opts.Logger.Error("the upkeep of rooms that sleep", "err", err)
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

// remindSome sees to a group of the reminders that are due; more: there are others.
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
		if !h.HasNamespace(key.Namespace) { // it stays until there is one
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

// stripAsleep takes the content out of the old replies of a room that has no life; ErrCalledFor: it has one.
func (h *Host) stripAsleep(key Key, now time.Time) error {
	defer h.tendSpares()
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

// stripSome is stripReplies in a transaction of its own.
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

// remindOf notes a reminder for a room that is looked into: others may have been lost in a crash.
func (h *Host) remindOf(key Key, db *storage.DB) error {
	oldest, some, err := oldestContent(db)
	if err == nil && some {
		h.remindAt(key, contentDue(oldest))
	}
	return err
}
