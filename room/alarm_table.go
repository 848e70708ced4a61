package room

// The table of a room's alarms. It is created with the room's first alarm.

import (
	"math"
	"time"

	"github.com/denrooms/den/storage"
)

// never is later than the time of every alarm, in Unix milliseconds.
const never = math.MaxInt64

// alarmTime returns a time of the table, or the zero time for never.
func alarmTime(ms int64) time.Time {
	if ms == never {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// An alarmRow is a row of _den_alarms.
type alarmRow struct {
	name       string
	due        int64 // when the next try is due, Unix ms
	planned    int64 // when the first one was
	attempt    int   // tries that have failed
	cron, zone string
}

// alarm returns the row as handlers see it, before its next try.
func (r alarmRow) alarm() Alarm {
	return Alarm{
		Name: r.name, Due: time.UnixMilli(r.planned).UTC(), At: time.UnixMilli(r.due).UTC(), Attempt: r.attempt + 1,
		Cron: r.cron, Zone: r.zone,
	}
}

// An alarmTable reads and writes the alarms of a room. In a life it belongs to the actor.
type alarmTable struct {
	db     *storage.DB
	exists bool   // false if there is no table, or only an empty one
	next   int64  // when the next durable alarm is due, Unix ms; never if there is none
	tried  string // the alarm whose count already includes the try that comes next; "" if none
}

// load reads when the next alarm is due.
func (t *alarmTable) load(db *storage.DB) error {
	t.db, t.next = db, never
	var err error
	if t.exists, err = db.Internal().HasTable("_den_alarms"); err != nil || !t.exists {
		return err
	}
	t.next, err = t.earliest()
	return err
}

// create makes the table if it does not exist, as part of the hook.
func (t *alarmTable) create(c *Context) error {
	if t.exists {
		return nil
	}
	_, err := t.db.Internal().Exec(`CREATE TABLE IF NOT EXISTS _den_alarms (
		name TEXT PRIMARY KEY, due INTEGER NOT NULL, planned INTEGER NOT NULL, attempt INTEGER NOT NULL,
		cron TEXT NOT NULL, zone TEXT NOT NULL) WITHOUT ROWID;
		CREATE INDEX IF NOT EXISTS _den_alarms_due ON _den_alarms (due, name)`)
	if err != nil {
		return err
	}
	t.exists = true
	c.undo = append(c.undo, func() { t.exists = false })
	return nil
}

// put sets an alarm, as part of the hook.
func (t *alarmTable) put(c *Context, r alarmRow) error {
	if err := t.create(c); err != nil {
		return err
	}
	if _, there, err := t.find(r.name); err != nil {
		return err
	} else if !there {
		n, err := t.number("SELECT count(*) FROM _den_alarms")
		if err != nil {
			return err
		}
		if n >= MaxAlarms {
			return ErrTooManyAlarms
		}
	}
	c.alarmed = true
	return t.write(r)
}

func (t *alarmTable) write(r alarmRow) error {
	_, err := t.db.Internal().Exec(`INSERT OR REPLACE INTO _den_alarms (name, due, planned, attempt, cron, zone) VALUES (?, ?, ?, ?, ?, ?)`,
		r.name, r.due, r.planned, r.attempt, r.cron, r.zone)
	return err
}

// remove cancels an alarm, as part of the hook, and reports whether there was one.
func (t *alarmTable) remove(c *Context, name string) (bool, error) {
	if !t.exists {
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

// find returns the alarm of a name, and whether there is one.
func (t *alarmTable) find(name string) (r alarmRow, found bool, err error) {
	rows, err := t.read(alarmColumns+"WHERE name = ?", name)
	if len(rows) == 0 {
		return alarmRow{}, false, err
	}
	return rows[0], true, err
}

// list returns the first n alarms that are due until a time, in the order in which they run.
func (t *alarmTable) list(until int64, n int) ([]alarmRow, error) {
	return t.read(alarmColumns+"WHERE due <= ? ORDER BY due, name LIMIT ?", until, n)
}

func (t *alarmTable) read(sql string, args ...any) (found []alarmRow, err error) {
	if !t.exists {
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

// earliest returns when the next alarm is due, or never. It includes what the open transaction has written.
func (t *alarmTable) earliest() (int64, error) {
	if !t.exists {
		return never, nil
	}
	return t.number("SELECT coalesce(min(due), 9223372036854775807) FROM _den_alarms")
}

func (t *alarmTable) number(sql string) (n int64, err error) {
	_, err = t.db.Internal().First(func(row *storage.Rows) { n = row.Int(0) }, sql)
	return n, err
}
