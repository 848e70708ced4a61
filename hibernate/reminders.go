package hibernate

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
func (a *AlarmClock) Remind(r Reminder) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.reminders = append(a.reminders, noted{Reminder: r})
	if len(a.reminders) == 1 {
		a.arm()
	}
}

// Reminders are those of the file that come after one, in the order of their times and of the rooms, at most limit. The zero
// Reminder comes before all.
func (a *AlarmClock) Reminders(after Reminder, limit int) (found []Reminder, err error) {
	a.writer.Lock()
	defer a.writer.Unlock()
	if a.db == nil {
		return nil, nil
	}
	due := int64(0)
	if !after.Due.IsZero() {
		due = after.Due.UnixMilli()
	}
	err = a.safely(func() error {
		return a.each("SELECT due, room FROM _den_reminders WHERE (due, room) > (?, ?) ORDER BY due, room LIMIT ?", func(r *storage.Rows) {
			found = append(found, Reminder{Room: string(r.Bytes(1)), Due: time.UnixMilli(r.Int(0))})
		}, due, after.Room, limit)
	})
	return found, err
}

// Reminded removes reminders that were seen to, before it returns.
func (a *AlarmClock) Reminded(done []Reminder) error {
	a.mu.Lock()
	for _, r := range done {
		a.reminders = append(a.reminders, noted{r, true})
	}
	g := a.gather()
	a.mu.Unlock()
	return a.write(g)
}

// fillReminders writes those of a group into the open batch.
func (a *AlarmClock) fillReminders(g *group) error {
	for _, n := range g.reminders {
		sql := "INSERT OR IGNORE INTO _den_reminders (due, room) VALUES (?, ?)"
		if n.drop {
			sql = "DELETE FROM _den_reminders WHERE due = ? AND room = ?"
		}
		if _, err := a.db.Internal().Exec(sql, n.Due.UnixMilli(), n.Room); err != nil {
			return err
		}
	}
	return nil
}
