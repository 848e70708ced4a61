package alarm

// A reminder says when to work on a room's file. No code of the room runs for it, and the room does not wake. Every room that
// was in use within a day may have one, so the clock keeps only the newest in memory. The others are in the index:
//
//	_den_reminders(due, room)   due in Unix ms
//
// A reminder is written within a minute. A process that dies earlier loses it, so what recovers rooms after a crash adds it
// again.

import (
	"time"

	"github.com/denrooms/den/storage"
)

// A Reminder says when to work on a room's file.
type Reminder struct {
	Room string // "namespace/name"
	Due  time.Time
}

// A reminderEdit is a reminder that is to be written or removed.
type reminderEdit struct {
	Reminder
	remove bool
}

// AddReminder adds a reminder. It is written within a minute. A room may have several, with different times.
func (c *Clock) AddReminder(r Reminder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.reminders = append(c.reminders, reminderEdit{Reminder: r})
	if len(c.reminders) == 1 {
		c.setTimer()
	}
}

// Reminders returns those of the index that come after one, ordered by their times and then by their rooms, at most limit.
// The zero Reminder comes before all others.
func (c *Clock) Reminders(after Reminder, limit int) (found []Reminder, err error) {
	c.indexMu.Lock()
	defer c.indexMu.Unlock()
	if c.db == nil {
		return nil, nil
	}
	due := int64(0)
	if !after.Due.IsZero() {
		due = after.Due.UnixMilli()
	}
	err = c.recoverPanics(func() error {
		return c.db.Internal().Each("SELECT due, room FROM _den_reminders WHERE (due, room) > (?, ?) ORDER BY due, room LIMIT ?", func(r *storage.Rows) {
			found = append(found, Reminder{Room: string(r.Bytes(1)), Due: time.UnixMilli(r.Int(0))})
		}, due, after.Room, limit)
	})
	return found, err
}

// RemoveReminders removes reminders durably.
func (c *Clock) RemoveReminders(done []Reminder) error {
	c.mu.Lock()
	for _, r := range done {
		c.reminders = append(c.reminders, reminderEdit{r, true})
	}
	g := c.nextGroup()
	c.mu.Unlock()
	return c.write(g)
}

// writeReminders writes the reminders of a group in the open transaction.
func (c *Clock) writeReminders(g *group) error {
	for _, edit := range g.reminders {
		sql := "INSERT OR IGNORE INTO _den_reminders (due, room) VALUES (?, ?)"
		if edit.remove {
			sql = "DELETE FROM _den_reminders WHERE due = ? AND room = ?"
		}
		if _, err := c.db.Internal().Exec(sql, edit.Due.UnixMilli(), edit.Room); err != nil {
			return err
		}
	}
	return nil
}
