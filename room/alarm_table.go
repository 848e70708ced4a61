package room

// The table of a room's alarms. It is made with the room's first alarm.

import (
	"math"
	"time"

	"github.com/denrooms/den/storage"
)

// never is behind every alarm, in Unix milliseconds.
const never = math.MaxInt64

// An alarmRow is a row of _den_alarms.
type alarmRow struct {
	name       string
	due        int64 // of the next try, Unix ms
	planned    int64 // of the first one
	attempt    int   // tries that have failed
	cron, zone string
}

// alarm is the row as handlers see it, before its next try.
func (r alarmRow) alarm() Alarm {
	return Alarm{
		Name: r.name, Due: time.UnixMilli(r.planned).UTC(), At: time.UnixMilli(r.due).UTC(), Attempt: r.attempt + 1,
		Cron: r.cron, Zone: r.zone,
	}
}

// alarmTable is a life's look at its alarms. It belongs to the actor.
type alarmTable struct {
	db    *storage.DB
	there bool   // the table is; if not, it may be there and empty
	next  int64  // the earliest that is durable; never: none
	tried string // counts a try already that it has not begun
}

// load finds out whether there are alarms.
func (t *alarmTable) load(db *storage.DB) error {
	t.db, t.next = db, never
	var err error
	if t.there, err = hasTable(db, "_den_alarms"); err != nil || !t.there {
		return err
	}
	t.next, err = t.earliest()
	return err
}

// make makes the table.
func (t *alarmTable) make(c *Context) error {
	if t.there {
		return nil
	}
	_, err := t.db.Internal().Exec(`CREATE TABLE IF NOT EXISTS _den_alarms (
		name TEXT PRIMARY KEY, due INTEGER NOT NULL, planned INTEGER NOT NULL, attempt INTEGER NOT NULL,
		cron TEXT NOT NULL, zone TEXT NOT NULL) WITHOUT ROWID;
		CREATE INDEX IF NOT EXISTS _den_alarms_due ON _den_alarms (due, name)`)
	if err != nil {
		return err
	}
	t.there = true
	c.undo = append(c.undo, func() { t.there = false })
	return nil
}

// put sets an alarm, as a part of the hook.
func (t *alarmTable) put(c *Context, r alarmRow) error {
	if err := t.make(c); err != nil {
		return err
	}
	if _, there, err := t.find(r.name); err != nil {
		return err
	} else if !there {
		if n, err := t.number("SELECT count(*) FROM _den_alarms"); err != nil || n >= MaxAlarms {
			return orElse(err, ErrTooManyAlarms)
		}
	}
	c.alarmed = true
	return t.write(r)
}

func orElse(err, other error) error {
	if err == nil {
		return other
	}
	return err
}

func (t *alarmTable) write(r alarmRow) error {
	_, err := t.db.Internal().Exec(`INSERT OR REPLACE INTO _den_alarms (name, due, planned, attempt, cron, zone) VALUES (?, ?, ?, ?, ?, ?)`,
		r.name, r.due, r.planned, r.attempt, r.cron, r.zone)
	return err
}

// remove cancels an alarm, as a part of the hook.
func (t *alarmTable) remove(c *Context, name string) (bool, error) {
	if !t.there {
		return false, nil
	}
	removed, err := t.db.Internal().Exec("DELETE FROM _den_alarms WHERE name = ?", name)
	if err != nil {
		return false, err
	}
	c.alarmed = c.alarmed || removed.RowsAffected > 0
	return removed.RowsAffected > 0, nil
}

const alarmColumns = "SELECT name, due, planned, attempt, cron, zone FROM _den_alarms "

func (t *alarmTable) find(name string) (r alarmRow, there bool, err error) {
	found, err := t.read(alarmColumns+"WHERE name = ?", name)
	if len(found) == 0 {
		return alarmRow{}, false, err
	}
	return found[0], true, err
}

// list gives the first n alarms that are due up to a time, in the order in which they run.
func (t *alarmTable) list(until int64, n int) ([]alarmRow, error) {
	return t.read(alarmColumns+"WHERE due <= ? ORDER BY due, name LIMIT ?", until, n)
}

func (t *alarmTable) read(sql string, args ...any) (found []alarmRow, err error) {
	if !t.there {
		return nil, nil
	}
	rows, err := t.db.Internal().Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		found = append(found, alarmRow{
			name: string(rows.Bytes(0)), due: rows.Int(1), planned: rows.Int(2), attempt: int(rows.Int(3)),
			cron: string(rows.Bytes(4)), zone: string(rows.Bytes(5)),
		})
	}
	return found, rows.Err()
}

// earliest is when the next alarm is due, those of the turn in work counted; never if there is none.
func (t *alarmTable) earliest() (int64, error) {
	if !t.there {
		return never, nil
	}
	return t.number("SELECT coalesce(min(due), 9223372036854775807) FROM _den_alarms")
}

func (t *alarmTable) number(sql string) (n int64, err error) {
	rows, err := t.db.Internal().Query(sql)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	if rows.Next() {
		n = rows.Int(0)
	}
	return n, rows.Err()
}
