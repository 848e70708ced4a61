package room

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/denrooms/den/room/internal/alarms"
)

// An alarm wakes a room at a time that the room has set, whether or not a client is connected. Alarms are named rows in the
// room's database (package alarms), written in the transaction of the action that sets them.
// So an action that fails sets no alarm. alarm_turn.go runs alarms. alarm_host.go and package hibernate/alarm wake the room
// for them.

const (
	// MaxAlarms is how many alarms a room can have.
	MaxAlarms = 1000
	// maxAlarmName is the longest name of an alarm, in bytes.
	maxAlarmName = 128
)

var (
	// ErrBadAlarm: the alarm's name, cron expression or time zone is not valid, or the handler has no OnAlarm.
	ErrBadAlarm = errors.New("room: an alarm that cannot be set")
	// ErrTooManyAlarms: the room already has MaxAlarms alarms. A client gets the code too_large.
	ErrTooManyAlarms = errors.New("room: the room has too many alarms")
)

// An AlarmHandler is a [Handler] with alarms.
type AlarmHandler interface {
	// OnAlarm runs an alarm that is due. Before the hook begins, a one-off alarm is removed and a
	// periodic one is set to its next time, so the hook may set it again, or cancel it. If the hook fails, all of that is
	// undone with the hook's writes, and the alarm is tried again: after 2, 4, 8, 16 and 32
	// seconds, a fifth more or less, until it has failed six times (Options.AlarmTries). See [Host.AlarmFailures].
	//
	// What the hook writes to its room's database is written exactly once. What it does elsewhere may be done again after a
	// crash. Alarms that are due together run in the order of their times, and then of
	// their names. A periodic alarm that was missed several times runs once.
	OnAlarm(c *Context, alarm Alarm) error
}

// An Alarm is a time at which a room is woken.
type Alarm struct {
	// Name is the alarm's own in its room, 1 to 128 bytes of UTF-8.
	Name string
	// Due is when the alarm was to run, to the millisecond. Tries that fail do not change it. Compare it with c.Now() to
	// see how late the hook is.
	Due time.Time
	// Attempt is the number of this try, or of the next one if the alarm waits: 1, 2, …
	Attempt int
	// At is when that try was due, or will be. It is Due for the first one.
	At time.Time
	// Cron and Zone are those of SetAlarmEvery. Cron is "" for a one-off alarm.
	Cron, Zone string
}

// SetAlarm sets an alarm: OnAlarm will be called at that time, rounded up to the millisecond, or at once if the time is past.
// A room has at most MaxAlarms alarms (ErrTooManyAlarms).
//
// SetAlarm replaces an alarm of the same name, whether the new time is earlier or later. OnStart and OnWake are different,
// because they run in every life, and a room that is often used would put its alarm off each time. In these hooks a one-off
// alarm that is due earlier, or at the same time, stays as it is, with its count of tries. To put an alarm off there, call
// CancelAlarm first. After the alarm has run, the next OnStart sets it again.
func (c *Context) SetAlarm(name string, at time.Time) error {
	if err := c.maySetAlarm(name); err != nil {
		return err
	}
	if at.Year() > 9999 {
		return fmt.Errorf("%w: the year %d", ErrBadAlarm, at.Year())
	}
	due := max(at.Add(time.Millisecond-1).UnixMilli(), 1)
	if c.turn.starting {
		old, found, err := c.room.alarms.Find(name)
		if err != nil || found && old.Cron == "" && old.Planned <= due {
			return err
		}
	}
	return c.putAlarm(alarms.Row{Name: name, Due: due, Planned: due})
}

// SetAlarmEvery sets a periodic alarm: OnAlarm will be called at each time that a cron expression names. The expression has
// five fields, or is @hourly, @daily, @weekly, @monthly or @yearly, and has at most 256 bytes. If both days of the month and
// days of the week are given, a day that is in either matches. SetAlarmEvery replaces an alarm of the same name, but leaves
// one with the same expression and zone as it is, so OnStart can set it in every life.
//
// zone is an IANA name like Europe/Berlin; "" is UTC. Where the zone's clocks change, a time that they skip
// counts as the moment of the change, and of a time that they show twice the first counts. An expression
// that names every hour goes by real hours instead.
func (c *Context) SetAlarmEvery(name, cron, zone string) error {
	if err := c.maySetAlarm(name); err != nil {
		return err
	}
	schedule, err := parseSchedule(&c.room.node.zones, cron, zone)
	if err != nil {
		return err
	}
	old, found, err := c.room.alarms.Find(name)
	if err != nil || found && old.Cron == cron && old.Zone == zone {
		return err
	}
	next := schedule.Next(c.now)
	if next.IsZero() {
		return fmt.Errorf("%w: the cron expression %q names no time in the next %d years", ErrBadAlarm, cron, alarms.Years)
	}
	due := next.UnixMilli()
	return c.putAlarm(alarms.Row{Name: name, Due: due, Planned: due, Cron: cron, Zone: zone})
}

// CancelAlarm removes an alarm, and reports whether there was one of that name.
func (c *Context) CancelAlarm(name string) (bool, error) {
	if err := c.mayAct(); err != nil {
		return false, err
	}
	removed, err := c.room.alarms.Remove(name)
	c.alarmed = c.alarmed || removed
	return removed, err
}

// Alarms returns the room's alarms, in the order in which they will run.
func (c *Context) Alarms() ([]Alarm, error) {
	if c.ended {
		return nil, errEnded
	}
	rows, err := c.room.alarms.List(alarms.Never, MaxAlarms)
	if err != nil {
		return nil, err
	}
	all := make([]Alarm, len(rows))
	for i, r := range rows {
		all[i] = alarmOf(r)
	}
	return all, nil
}

// putAlarm sets an alarm, as part of the hook.
func (c *Context) putAlarm(r alarms.Row) error {
	undo, err := c.room.alarms.Put(r, MaxAlarms)
	if undo != nil {
		c.undo = append(c.undo, undo)
	}
	if errors.Is(err, alarms.ErrFull) {
		return ErrTooManyAlarms
	}
	c.alarmed = c.alarmed || err == nil
	return err
}

// alarmOf returns a row as handlers see it, before its next try.
func alarmOf(r alarms.Row) Alarm {
	return Alarm{
		Name: r.Name, Due: time.UnixMilli(r.Planned).UTC(), At: time.UnixMilli(r.Due).UTC(), Attempt: r.Attempt + 1,
		Cron: r.Cron, Zone: r.Zone,
	}
}

// parseSchedule reads a cron expression; ErrBadAlarm says what is wrong with it.
func parseSchedule(zones *alarms.Zones, cron, zone string) (alarms.Schedule, error) {
	schedule, err := zones.Parse(cron, zone)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrBadAlarm, err)
	}
	return schedule, err
}

func (c *Context) maySetAlarm(name string) error {
	if err := c.mayAct(); err != nil {
		return err
	}
	if name == "" || len(name) > maxAlarmName || !utf8.ValidString(name) {
		return fmt.Errorf("%w: a name of %d bytes: want 1 to %d, of UTF-8", ErrBadAlarm, len(name), maxAlarmName)
	}
	if _, has := c.room.ns.sample.(AlarmHandler); !has {
		return fmt.Errorf("%w: %T has no method OnAlarm(*room.Context, room.Alarm) error", ErrBadAlarm, c.room.ns.sample)
	}
	return nil
}
