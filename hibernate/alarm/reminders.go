package alarm

// Reminders are of what is to be done to a room's file later, without the room's code and whether or not it sleeps
// then. There may be one for every room that was in use within a day, so the clock has in memory only those of the
// last minute. The others are in the index's file:
//
//	_den_reminders(due, room)   due in Unix ms
//
// A reminder is written within a minute. A process that dies before that forgets it, so whoever sees to the
// rooms after a crash notes it again.

import (
	"time"

	"github.com/denrooms/den/storage"
)

// A Reminder says when something is to be done to a room.
type Reminder struct {
	Room string // "namespace/name"
	Due  time.Time
}

// A noted is a reminder that is to be written, or removed.
type noted struct {
	Reminder
	drop bool
}

// Remind notes a reminder. A room may have several, but one of a time.
func (c *Clock) Remind(r Reminder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.reminders = append(c.reminders, noted{Reminder: r})
	if len(c.reminders) == 1 {
		c.arm()
	}
}

// Reminders are those of the file that come after one, in the order of their times and of the rooms, at most limit. The zero
// Reminder comes before all.
func (c *Clock) Reminders(after Reminder, limit int) (found []Reminder, err error) {
	c.writer.Lock()
	defer c.writer.Unlock()
	if c.db == nil {
		return nil, nil
	}
	due := int64(0)
	if !after.Due.IsZero() {
		due = after.Due.UnixMilli()
	}
	err = c.safely(func() error {
		return c.each("SELECT due, room FROM _den_reminders WHERE (due, room) > (?, ?) ORDER BY due, room LIMIT ?", func(r *storage.Rows) {
			found = append(found, Reminder{Room: string(r.Bytes(1)), Due: time.UnixMilli(r.Int(0))})
		}, due, after.Room, limit)
	})
	return found, err
}

// Reminded removes reminders that were seen to, before it returns.
func (c *Clock) Reminded(done []Reminder) error {
	c.mu.Lock()
	for _, r := range done {
		c.reminders = append(c.reminders, noted{r, true})
	}
	g := c.gather()
	c.mu.Unlock()
	return c.write(g)
}

// fillReminders writes those of a group into the open batch.
func (c *Clock) fillReminders(g *group) error {
	for _, n := range g.reminders {
		sql := "INSERT OR IGNORE INTO _den_reminders (due, room) VALUES (?, ?)"
		if n.drop {
			sql = "DELETE FROM _den_reminders WHERE due = ? AND room = ?"
		}
		if _, err := c.db.Internal().Exec(sql, n.Due.UnixMilli(), n.Room); err != nil {
			return err
		}
	}
	return nil
}
