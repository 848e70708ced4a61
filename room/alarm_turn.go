package room

// How a room runs the alarms that are due: each as a unit of its own, in the room's next turn.

import (
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
)

const (
	// alarmsInTurn is how many alarms a room runs at most before it looks after its other messages, and
	// alarmsTime how long it does.
	alarmsInTurn = 64
	alarmsTime   = 50 * time.Millisecond
	// firstRetry is how long after the first try that failed the second is; each later one takes twice as
	// long, and all of them up to a fifth more or less, so that rooms that failed together don't
	// come back together.
	firstRetry = 2 * time.Second
)

// An alarmMessage has a room run the alarms that are due. When it is careful the room counts the
// try of the first one durably, before it runs it, and runs no other: an alarm that ends the process or
// hangs must come to an end some time.
type alarmMessage struct{ countFirst bool }

var (
	errNoAlarmHook = errors.New("room: the room has alarms, but its handler has no OnAlarm")
	errLostTries   = errors.New("room: its last try did not come to an end")
)

// nextAlarm is when the room's next alarm is due, as far as that is durable.
func (l *life) nextAlarm() (time.Time, bool) {
	if l.alarms.next == never {
		return time.Time{}, false
	}
	return time.UnixMilli(l.alarms.next), true
}

// countTries counts the try that a careful message in the batch asks for.
func (l *life) countTries(batch []*actor.Envelope) {
	for _, env := range batch {
		if m, is := env.Message.(*alarmMessage); is && m.countFirst {
			if err := l.alarms.countTry(l.host.opts.Clock.Now().UnixMilli(), l.host.opts.AlarmTries); err != nil {
				l.log.Error("an alarm's try was not counted", "err", err)
			}
			return
		}
	}
}

// countTry writes down, in a transaction of its own, that the first alarm that is due is tried once more.
func (t *alarmTable) countTry(now int64, tries int) error {
	due, err := t.list(now, 1)
	if err != nil || len(due) == 0 || due[0].attempt >= tries {
		return err
	}
	due[0].attempt++
	if err := t.write(due[0]); err != nil {
		return err
	}
	t.tried = due[0].name
	return nil
}

// alarms runs those that are due.
func (t *turn) alarms(m *alarmMessage) error {
	l := t.life
	now := l.host.opts.Clock.Now()
	n := alarmsInTurn
	if m.countFirst {
		n = 1
	}
	due, err := l.alarms.list(now.UnixMilli(), n)
	if err != nil {
		return t.storageError(err)
	}
	t.alarmed = true // the clock is told what is next, also where it was wrong
	handler, has := l.handler.(AlarmHandler)
	if !has && len(due) > 0 {
		l.log.Error("alarms wait", "err", errNoAlarmHook)
		return errNoAlarmHook
	}
	for i, r := range due {
		if i > 0 && l.host.opts.Clock.Now().Sub(now) > alarmsTime {
			return nil // the others come with the clock's next call
		}
		if i > 0 { // those before may have changed it
			again, there, err := l.alarms.find(r.name)
			if err != nil {
				return t.storageError(err)
			}
			if !there || again.due > now.UnixMilli() {
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

// alarm runs one. An error is no fault of the alarm's: it was not counted.
func (t *turn) alarm(handler AlarmHandler, r alarmRow) error {
	l := t.life
	try := r.attempt + 1
	if l.alarms.tried == r.name {
		try = r.attempt // which counts it already
	}
	l.alarms.tried = ""
	if try > l.host.opts.AlarmTries {
		return t.giveUp(r, errLostTries)
	}
	r.attempt = try - 1
	c := t.context(nil, nil)
	commit, err := t.unit(c, "OnAlarm", func() error {
		if err := l.pass(r, c.now); err != nil {
			return err
		}
		return handler.OnAlarm(c, r.alarm())
	})
	if err == nil {
		t.alarmed = true
		t.out = append(t.out, c.out...)
		t.publish(commit, nil, nil)
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
	r.attempt, r.due = try, c.now.Add(wait).UnixMilli()
	l.log.Warn("an alarm failed, and is tried again", "alarm", r.name, "try", try, "in", wait, "err", err)
	return t.rewrite(r)
}

// pass takes an alarm out of the table, or on to its next time.
func (l *life) pass(r alarmRow, now time.Time) error {
	if r.cron != "" {
		schedule, err := l.host.zones.parseSchedule(r.cron, r.zone)
		if err != nil {
			return err
		}
		if next := schedule.next(now); !next.IsZero() {
			r.due, r.planned, r.attempt = next.UnixMilli(), next.UnixMilli(), 0
			return l.alarms.write(r)
		}
	}
	_, err := l.db.Internal().Exec("DELETE FROM _den_alarms WHERE name = ?", r.name)
	return err
}

// rewrite writes what has become of an alarm that failed, in the turn's transaction.
func (t *turn) rewrite(r alarmRow) error {
	err := t.begin()
	if err == nil {
		err = t.life.alarms.write(r)
	}
	t.alarmed = true
	return t.storageError(err)
}

// giveUp ends an alarm that has failed too often: it is reported, and a periodic one goes on
// with its next time.
func (t *turn) giveUp(r alarmRow, cause error) error {
	l := t.life
	failure := AlarmFailure{
		Key: l.key, Name: r.name, Due: r.alarm().Due, Attempts: l.host.opts.AlarmTries,
		Err: cause, At: l.host.opts.Clock.Now(),
	}
	if err := t.begin(); err != nil {
		return t.storageError(err)
	}
	if err := l.pass(r, failure.At); errors.Is(err, ErrBadAlarm) { // its time zone has gone
		r.cron = ""
		err = l.pass(r, failure.At)
		if err != nil {
			return t.storageError(err)
		}
	} else if err != nil {
		return t.storageError(err)
	}
	t.alarmed = true
	t.after = append(t.after, func() {
		l.host.alarmFailures.note(failure)
		l.log.Error("an alarm has failed too often, and was given up", "alarm", r.name, "due", failure.Due, "tries", failure.Attempts, "periodic", r.cron != "", "err", cause)
		t.report(fmt.Errorf("the alarm %q was given up after %d tries: %w", r.name, failure.Attempts, cause))
	})
	return nil
}

// lowerAlarms finds out when the next alarm will be, and makes durable that the room is woken then. It comes
// before the room's own commit, in which the file notes it for the next life.
func (t *turn) lowerAlarms() (next int64, err error) {
	l := t.life
	if next, err = l.alarms.earliest(); err != nil {
		return next, err
	}
	if l.db.NoteAlarm(next); next == never {
		return next, nil
	}
	return next, l.host.alarms.Lower(l.name, time.UnixMilli(next))
}

// setAlarms tells the clock what has become durable. A life that was fenced has no say any more.
func (l *life) setAlarms(next int64) {
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.fenced {
		return
	}
	l.alarms.next = next
	l.alarm.Store(next)
	at, _ := l.nextAlarm()
	l.host.alarms.Set(l.name, at)
}

// loadAlarms finds a room's alarms when its file is opened, and corrects the clock.
func (l *life) loadAlarms() error {
	if at, noted := l.db.Alarm(); noted {
		l.alarms = alarmTable{db: l.db, next: at, there: at != never}
	} else if err := l.alarms.load(l.db); err != nil {
		return err
	}
	l.db.NoteAlarm(l.alarms.next)
	if at, some := l.nextAlarm(); some {
		if err := l.host.alarms.Lower(l.name, at); err != nil {
			return err
		}
	}
	l.setAlarms(l.alarms.next)
	return nil
}
