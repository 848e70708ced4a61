package room

// How a room runs the alarms that are due: in its next turn, each in a savepoint of its own.

import (
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/storage"
)

const (
	// alarmsInTurn is how many alarms a room runs before it serves its other messages, and alarmsTime is how long it
	// runs them, at most.
	alarmsInTurn = 64
	alarmsTime   = 50 * time.Millisecond
	// firstRetry is the pause after the first try that fails. Each later pause is twice as long. All of them are up to a
	// fifth longer or shorter, so that rooms that failed together do not all try again together.
	firstRetry = 2 * time.Second
)

var (
	errNoAlarmHook = errors.New("room: the room has alarms, but its handler has no OnAlarm")
	errLostTries   = errors.New("room: the last try did not end")
)

// nextAlarm returns when the room's next durable alarm is due, and whether there is one.
func (l *life) nextAlarm() (time.Time, bool) {
	return alarms.Time(l.alarms.Next), l.alarms.Next != alarms.Never
}

// countTries counts the try of an alarm if a message of the batch says countFirst.
func (l *life) countTries(batch []*actor.Envelope) {
	for _, env := range batch {
		if m, is := env.Message.(*alarmMessage); is && m.countFirst {
			if err := l.alarms.CountTry(l.host.opts.Clock.Now().UnixMilli(), l.host.opts.AlarmTries); err != nil {
				l.log.Error("an alarm's try was not counted", "err", err)
			}
			return
		}
	}
}

// alarms runs the alarms that are due.
func (t *turn) alarms(m *alarmMessage) error {
	l := t.life
	now := l.host.opts.Clock.Now()
	n := alarmsInTurn
	if m.countFirst {
		n = 1
	}
	due, err := l.alarms.List(now.UnixMilli(), n)
	if err != nil {
		return t.storageError(err)
	}
	t.alarmed = true // so that the clock hears what is next, also if it was wrong
	handler, has := l.handler.(AlarmHandler)
	if !has && len(due) > 0 {
		l.log.Error("alarms wait", "err", errNoAlarmHook)
		return errNoAlarmHook
	}
	for i, r := range due {
		if i > 0 && l.host.opts.Clock.Now().Sub(now) > alarmsTime {
			return nil // the clock will call again for the others
		}
		if i > 0 { // the alarms before may have changed this one
			again, found, err := l.alarms.Find(r.Name)
			if err != nil {
				return t.storageError(err)
			}
			if !found || again.Due > now.UnixMilli() {
				continue
			}
			r = again
		}
		if err := t.alarm(handler, r); err != nil {
			return err
		}
		if t.broken != nil {
			return nil
		}
	}
	return nil
}

// alarm runs one alarm. If it returns an error, the storage has failed and the try does not count.
func (t *turn) alarm(handler AlarmHandler, r alarms.Row) error {
	l := t.life
	try := r.Attempt + 1
	if l.alarms.Counted(r.Name) {
		try = r.Attempt // it already includes this one
	}
	if try > l.host.opts.AlarmTries {
		return t.giveUp(r, errLostTries)
	}
	r.Attempt = try - 1
	c := t.context(nil, nil)
	commit, err := t.runHook(c, "OnAlarm", func() error {
		if err := l.advanceAlarm(r, c.now); err != nil {
			return err
		}
		return handler.OnAlarm(c, alarmOf(r))
	})
	if err == nil {
		t.alarmed = true
		t.succeed(c, commit)
		return nil
	}
	if storageFailed(err) || errors.Is(err, storage.ErrClosed) {
		return err
	}
	if try >= l.host.opts.AlarmTries {
		return t.giveUp(r, err)
	}
	wait := firstRetry << min(try-1, 16)
	wait += time.Duration((l.rand.Float64() - 0.5) * 0.4 * float64(wait))
	r.Attempt, r.Due = try, c.now.Add(wait).UnixMilli()
	l.log.Warn("an alarm failed, and is tried again", "alarm", r.Name, "try", try, "in", wait, "err", err)
	return t.rewriteAlarm(r)
}

// advanceAlarm removes an alarm from the table, or sets a periodic one to its next time.
func (l *life) advanceAlarm(r alarms.Row, now time.Time) error {
	if r.Cron != "" {
		schedule, err := parseSchedule(&l.host.zones, r.Cron, r.Zone)
		if err != nil {
			return err
		}
		if next := schedule.Next(now); !next.IsZero() {
			r.Due, r.Planned, r.Attempt = next.UnixMilli(), next.UnixMilli(), 0
			return l.alarms.Write(r)
		}
	}
	_, err := l.alarms.Remove(r.Name)
	return err
}

// rewriteAlarm writes the next try of an alarm that failed, in the turn's transaction.
func (t *turn) rewriteAlarm(r alarms.Row) error {
	err := t.begin()
	if err == nil {
		err = t.life.alarms.Write(r)
	}
	t.alarmed = true
	return t.storageError(err)
}

// giveUp gives up an alarm that has failed too often, and reports it. A periodic one stays, with its next time.
func (t *turn) giveUp(r alarms.Row, cause error) error {
	l := t.life
	failure := AlarmFailure{
		Key: l.key, Name: r.Name, Due: alarmOf(r).Due, Attempts: l.host.opts.AlarmTries,
		Err: cause, At: l.host.opts.Clock.Now(),
	}
	if err := t.begin(); err != nil {
		return t.storageError(err)
	}
	if err := l.advanceAlarm(r, failure.At); errors.Is(err, ErrBadAlarm) { // its time zone no longer exists
		r.Cron = ""
		err = l.advanceAlarm(r, failure.At)
		if err != nil {
			return t.storageError(err)
		}
	} else if err != nil {
		return t.storageError(err)
	}
	t.alarmed = true
	t.after = append(t.after, func() {
		l.host.alarmFailures.note(failure)
		l.log.Error("an alarm has failed too often, and was given up", "alarm", r.Name, "due", failure.Due, "tries", failure.Attempts, "periodic", r.Cron != "", "err", cause)
		t.report(fmt.Errorf("the alarm %q was given up after %d tries: %w", r.Name, failure.Attempts, cause))
	})
	return nil
}

// lowerAlarms returns when the next alarm will be due, and makes durable that the room is woken then. It is called
// before the room's commit, which notes the time in the file for the next life.
func (t *turn) lowerAlarms() (next int64, err error) {
	l := t.life
	if next, err = l.alarms.Earliest(); err != nil {
		return next, err
	}
	if l.db.NoteAlarm(next); next == alarms.Never {
		return next, nil
	}
	return next, l.host.alarms.Lower(l.name, time.UnixMilli(next))
}

// setAlarms tells the clock when the next alarm is due, once that is durable. A life that was fenced may not.
func (l *life) setAlarms(next int64) {
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.fenced {
		return
	}
	l.alarms.Next = next
	l.alarm.Store(next)
	l.host.alarms.Set(l.name, alarms.Time(next))
}

// loadAlarms reads when the next alarm is due when a life opens its file, and corrects the clock.
func (l *life) loadAlarms() error {
	var err error
	if at, noted := l.db.Alarm(); noted {
		l.alarms = alarms.Known(l.db, at)
	} else if l.alarms, err = alarms.Load(l.db); err != nil {
		return err
	}
	l.db.NoteAlarm(l.alarms.Next)
	if at, some := l.nextAlarm(); some {
		if err := l.host.alarms.Lower(l.name, at); err != nil {
			return err
		}
	}
	l.setAlarms(l.alarms.Next)
	return nil
}
