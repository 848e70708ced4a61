package room

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Alarms wake a room at a time that it has set for itself, whether or not anybody is there. They
// are named rows in the room's database, written by the action that sets them:
//
//	_den_alarms(name, due, planned, attempt, cron, zone)   times in Unix ms
//
// So an alarm of an action that failed was never set. What runs them is in alarm_turn.go, what
// wakes the room for them in alarm_host.go and in package hibernate/alarm.

const (
	// MaxAlarms is how many alarms a room can have.
	MaxAlarms = 1000
	// maxAlarmName is the longest name of an alarm, in bytes.
	maxAlarmName = 128
)

var (
	// ErrBadAlarm: an alarm's name, cron expression or time zone is none, or the handler has no OnAlarm.
	ErrBadAlarm = errors.New("room: an alarm that cannot be set")
	// ErrTooManyAlarms: the room has MaxAlarms alarms already. To a client it is the code too_large.
	ErrTooManyAlarms = errors.New("room: the room has too many alarms")
)

// An AlarmHandler is a [Handler] with alarms.
type AlarmHandler interface {
	// OnAlarm runs an alarm that is due. A one-off alarm is gone when the hook begins, and a
	// periodic one is set to its next time, so the hook may set it again, or cancel it. All of that is
	// undone with the hook's writes when it fails; then the alarm is tried again: after 2, 4, 8, 16 and 32
	// seconds, some more or less, and not after the sixth try (Options.AlarmTries), see [Host.AlarmFailures].
	//
	// What the hook writes it writes exactly once; what it does elsewhere it may do again, after a
	// crash. Alarms that are due at the same time run in the order of their times and then of
	// their names. A periodic alarm that was missed runs once, however often it was.
	OnAlarm(c *Context, alarm Alarm) error
}

// An Alarm is a time at which a room is woken.
type Alarm struct {
	// Name is the alarm's own in its room, 1 to 128 bytes of UTF-8.
	Name string
	// Due is when it was to run, to the millisecond. Tries that failed do not change it; how late
	// the hook is tells c.Now().
	Due time.Time
	// Attempt is which try this is, or, of an alarm that waits, the next one will be: 1, 2, …
	Attempt int
	// At is when that try was to be, or is to be: Due for the first one.
	At time.Time
	// Cron and Zone are what a periodic alarm was set with; Cron is "" for a one-off one.
	Cron, Zone string
}

// SetAlarm has OnAlarm called at a time, rounded up to the millisecond; one that is past is due at once. A
// room has at most MaxAlarms (ErrTooManyAlarms).
//
// An alarm of that name is replaced, by one that is due earlier or later. But OnStart and OnWake run in every life,
// and a room that is often used would put its alarm off each time. So in these hooks an alarm that is due earlier, or at
// the same time, stays as it is, with the tries that it has behind it; only a later one is replaced, and a periodic one. To
// put an alarm off there, call CancelAlarm first. After it has run, the next OnStart sets it again.
func (c *Context) SetAlarm(name string, at time.Time) error {
	if err := c.maySetAlarm(name); err != nil {
		return err
	}
	if at.Year() > 9999 {
		return fmt.Errorf("%w: the year %d", ErrBadAlarm, at.Year())
	}
	due := max(at.Add(time.Millisecond-1).UnixMilli(), 1)
	if c.turn.starting {
		old, there, err := c.life.alarms.find(name)
		if err != nil || there && old.cron == "" && old.planned <= due {
			return err
		}
	}
	return c.life.alarms.put(c, alarmRow{name: name, due: due, planned: due})
}

// SetAlarmEvery has OnAlarm called again and again, at the times that a cron expression names:
// five fields, or @hourly, @daily, @weekly, @monthly, @yearly, at most 256 bytes. Where days of the month and of the
// week are both given, either will do. An alarm of that name is replaced; but one with the same
// expression and zone stays as it is, so OnStart can set it in every life.
//
// zone is an IANA name like Europe/Berlin; "" is UTC. Where its clocks change: a time that is skipped
// counts as the moment of the change, of times that come twice the first counts. An expression
// that names every hour goes by real hours instead.
func (c *Context) SetAlarmEvery(name, cron, zone string) error {
	if err := c.maySetAlarm(name); err != nil {
		return err
	}
	schedule, err := c.life.host.zones.parseSchedule(cron, zone)
	if err != nil {
		return err
	}
	old, there, err := c.life.alarms.find(name)
	if err != nil || there && old.cron == cron && old.zone == zone {
		return err
	}
	next := schedule.next(c.now)
	if next.IsZero() {
		return fmt.Errorf("%w: the cron expression %q names no time in the next %d years", ErrBadAlarm, cron, cronYears)
	}
	due := next.UnixMilli()
	return c.life.alarms.put(c, alarmRow{name: name, due: due, planned: due, cron: cron, zone: zone})
}

// CancelAlarm removes an alarm, and tells whether there was one of that name.
func (c *Context) CancelAlarm(name string) (bool, error) {
	if err := c.mayAct(); err != nil {
		return false, err
	}
	return c.life.alarms.remove(c, name)
}

// Alarms are the room's alarms, in the order in which they will run.
func (c *Context) Alarms() ([]Alarm, error) {
	if c.ended {
		return nil, errEnded
	}
	rows, err := c.life.alarms.list(never, MaxAlarms)
	if err != nil {
		return nil, err
	}
	alarms := make([]Alarm, len(rows))
	for i, r := range rows {
		alarms[i] = r.alarm()
	}
	return alarms, nil
}

func (c *Context) maySetAlarm(name string) error {
	if err := c.mayAct(); err != nil {
		return err
	}
	if name == "" || len(name) > maxAlarmName || !utf8.ValidString(name) {
		return fmt.Errorf("%w: a name of %d bytes: want 1 to %d, of UTF-8", ErrBadAlarm, len(name), maxAlarmName)
	}
	if _, has := c.life.ns.sample.(AlarmHandler); !has {
		return fmt.Errorf("%w: %T has no method OnAlarm(*room.Context, room.Alarm) error", ErrBadAlarm, c.life.ns.sample)
	}
	return nil
}
