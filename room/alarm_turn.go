package room

// How a room runs the alarms that are due: in its next turn, each in a savepoint of its own.

import (
	"errors"
	"fmt"
	"sync/atomic"
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

// An alarmRunner runs the alarms of a room.
type alarmRunner struct {
	room      *room
	publisher *publisher
	due       atomic.Int64 // when the next alarm is due, Unix milliseconds; never: it has none. Safe from any goroutine.
}

// next returns when the room's next durable alarm is due, and whether there is one.
func (ar *alarmRunner) next() (time.Time, bool) {
	return alarms.Time(ar.room.alarms.Next), ar.room.alarms.Next != alarms.Never
}

// countTries counts the try of an alarm if a message of the batch says countFirst.
func (ar *alarmRunner) countTries(batch []*actor.Envelope) {
	for _, env := range batch {
		if m, is := env.Message.(*alarmMessage); is && m.countFirst {
			if err := ar.room.alarms.CountTry(ar.room.now().UnixMilli(), ar.room.node.opts.AlarmTries); err != nil {
				ar.room.log.Error("an alarm's try was not counted", "err", err)
			}
			return
		}
	}
}

// runDue runs the alarms that are due.
func (ar *alarmRunner) runDue(t *turn, m *alarmMessage) error {
	now := ar.room.now()
	n := alarmsInTurn
	if m.countFirst {
		n = 1
	}
	due, err := ar.room.alarms.List(now.UnixMilli(), n)
	if err != nil {
		return t.storageError(err)
	}
	t.alarmed = true // so that the clock learns what is next, even if it was wrong
	handler, has := ar.room.handler.(AlarmHandler)
	if !has && len(due) > 0 {
		ar.room.log.Error("alarms wait", "err", errNoAlarmHook)
		return errNoAlarmHook
	}
	for i, r := range due {
		if i > 0 && ar.room.now().Sub(now) > alarmsTime {
			return nil // the clock will call again for the others
		}
		if i > 0 { // the earlier alarms may have changed this one
			again, found, err := ar.room.alarms.Find(r.Name)
			if err != nil {
				return t.storageError(err)
			}
			if !found || again.Due > now.UnixMilli() {
				continue
			}
			r = again
		}
		if err := ar.run(t, handler, r); err != nil {
			return err
		}
		if t.broken != nil {
			return nil
		}
	}
	return nil
}

// run runs one alarm. If it returns an error, the storage has failed and the try does not count.
func (ar *alarmRunner) run(t *turn, handler AlarmHandler, r alarms.Row) error {
	try := r.Attempt + 1
	if ar.room.alarms.Counted(r.Name) {
		try = r.Attempt // it already includes this one
	}
	if try > ar.room.node.opts.AlarmTries {
		return ar.giveUp(t, r, errLostTries)
	}
	r.Attempt = try - 1
	c := t.context(nil, nil)
	commit, err := t.runHook(c, "OnAlarm", func() error {
		if err := ar.advance(r, c.now); err != nil {
			return err
		}
		return handler.OnAlarm(c, alarmOf(r))
	})
	if err == nil {
		t.alarmed = true
		ar.publisher.succeed(t, c, commit)
		return nil
	}
	if storageFailed(err) || errors.Is(err, storage.ErrClosed) {
		return err
	}
	if try >= ar.room.node.opts.AlarmTries {
		return ar.giveUp(t, r, err)
	}
	wait := firstRetry << min(try-1, 16)
	wait += time.Duration((ar.room.random.rand.Float64() - 0.5) * 0.4 * float64(wait))
	r.Attempt, r.Due = try, c.now.Add(wait).UnixMilli()
	ar.room.log.Warn("an alarm failed, and is tried again", "alarm", r.Name, "try", try, "in", wait, "err", err)
	return ar.rewrite(t, r)
}

// advance removes an alarm from the table, or sets a periodic one to its next time.
func (ar *alarmRunner) advance(r alarms.Row, now time.Time) error {
	if r.Cron != "" {
		schedule, err := parseSchedule(&ar.room.node.zones, r.Cron, r.Zone)
		if err != nil {
			return err
		}
		if next := schedule.Next(now); !next.IsZero() {
			r.Due, r.Planned, r.Attempt = next.UnixMilli(), next.UnixMilli(), 0
			return ar.room.alarms.Write(r)
		}
	}
	_, err := ar.room.alarms.Remove(r.Name)
	return err
}

// rewrite writes the next try of an alarm that failed, in the turn's transaction.
func (ar *alarmRunner) rewrite(t *turn, r alarms.Row) error {
	err := t.begin()
	if err == nil {
		err = ar.room.alarms.Write(r)
	}
	t.alarmed = true
	return t.storageError(err)
}

// giveUp gives up an alarm that has failed too often, and reports it. A periodic one stays, with its next time.
func (ar *alarmRunner) giveUp(t *turn, r alarms.Row, cause error) error {
	failure := AlarmFailure{
		Key: ar.room.key, Name: r.Name, Due: alarmOf(r).Due, Attempts: ar.room.node.opts.AlarmTries,
		Err: cause, At: ar.room.now(),
	}
	if err := t.begin(); err != nil {
		return t.storageError(err)
	}
	if err := ar.advance(r, failure.At); errors.Is(err, ErrBadAlarm) { // its time zone no longer exists
		r.Cron = ""
		err = ar.advance(r, failure.At)
		if err != nil {
			return t.storageError(err)
		}
	} else if err != nil {
		return t.storageError(err)
	}
	t.alarmed = true
	t.after = append(t.after, func() {
		ar.room.node.reports.alarmFailures.note(failure)
		ar.room.log.Error("an alarm has failed too often, and was given up", "alarm", r.Name, "due", failure.Due, "tries", failure.Attempts, "periodic", r.Cron != "", "err", cause)
		t.report(fmt.Errorf("the alarm %q was given up after %d tries: %w", r.Name, failure.Attempts, cause))
	})
	return nil
}

// lower returns when the next alarm will be due, and makes durable that the room is woken then. It is called before
// the room's commit, which notes the time in the file for the next life.
func (ar *alarmRunner) lower() (next int64, err error) {
	if next, err = ar.room.alarms.Earliest(); err != nil {
		return next, err
	}
	if ar.room.db.NoteAlarm(next); next == alarms.Never {
		return next, nil
	}
	return next, ar.room.node.alarms.Lower(ar.room.name, time.UnixMilli(next))
}

// set tells the clock when the next alarm is due, once that is durable. A life that was fenced may not.
func (ar *alarmRunner) set(next int64) {
	ar.room.gate.Lock()
	defer ar.room.gate.Unlock()
	if ar.room.fenced {
		return
	}
	ar.room.alarms.Next = next
	ar.due.Store(next)
	ar.room.node.alarms.Set(ar.room.name, alarms.Time(next))
}

// load reads when the next alarm is due when a life opens its file, and corrects the clock.
func (ar *alarmRunner) load() error {
	var err error
	if at, noted := ar.room.db.Alarm(); noted {
		ar.room.alarms = alarms.Known(ar.room.db, at)
	} else if ar.room.alarms, err = alarms.Load(ar.room.db); err != nil {
		return err
	}
	ar.room.db.NoteAlarm(ar.room.alarms.Next)
	if at, some := ar.next(); some {
		if err := ar.room.node.alarms.Lower(ar.room.name, at); err != nil {
			return err
		}
	}
	ar.set(ar.room.alarms.Next)
	return nil
}
