// Package alarms keeps a room's alarms in a table of its database, and tells when a periodic one is due. The table is created with
// the room's first alarm:
//
//	_den_alarms(name, due, planned, attempt, cron, zone)   times in Unix ms
package alarms

import (
	"errors"
	"math"
	"time"

	"github.com/denrooms/den/storage"
)

// Never is later than the time of every alarm, in Unix milliseconds.
const Never = math.MaxInt64

// Time returns a time of the table, or the zero time for Never.
func Time(ms int64) time.Time {
	if ms == Never {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// ErrFull: the table has as many alarms as it may.
var ErrFull = errors.New("too many alarms")

// A Row is a row of _den_alarms.
type Row struct {
	Name       string
	Due        int64 // when the next try is due, Unix ms
	Planned    int64 // when the first one was
	Attempt    int   // tries that have failed
	Cron, Zone string
}

// A Table reads and writes the alarms of a room. In a life it belongs to the actor.
type Table struct {
	db     *storage.DB
	exists bool   // false if there is no table, or only an empty one
	Next   int64  // when the next durable alarm is due, Unix ms; Never if there is none
	tried  string // the alarm whose count already includes the try that comes next; "" if none
}

// Load finds out when a room's next alarm is due.
func Load(db *storage.DB) (t Table, err error) {
	t = Table{db: db, Next: Never}
	if t.exists, err = db.Internal().HasTable("_den_alarms"); err != nil || !t.exists {
		return t, err
	}
	t.Next, err = t.Earliest()
	return t, err
}

// DB is the room's database.
func (t *Table) DB() *storage.DB { return t.db }

// Known is Load for a room whose next alarm is already known.
func Known(db *storage.DB, next int64) Table { return Table{db: db, Next: next, exists: next != Never} }

// create creates the table if it does not exist. The caller calls undo, if it is not nil, when the transaction is
// rolled back.
func (t *Table) create() (undo func(), err error) {
	if t.exists {
		return nil, nil
	}
	_, err = t.db.Internal().Exec(`CREATE TABLE IF NOT EXISTS _den_alarms (
		name TEXT PRIMARY KEY, due INTEGER NOT NULL, planned INTEGER NOT NULL, attempt INTEGER NOT NULL,
		cron TEXT NOT NULL, zone TEXT NOT NULL) WITHOUT ROWID;
		CREATE INDEX IF NOT EXISTS _den_alarms_due ON _den_alarms (due, name)`)
	if err != nil {
		return nil, err
	}
	t.exists = true
	return func() { t.exists = false }, nil
}

// Put sets an alarm, replacing one of the same name. If there are most others, it returns ErrFull. The caller calls
// undo, if it is not nil, when what Put has written is rolled back.
func (t *Table) Put(r Row, most int64) (undo func(), err error) {
	if undo, err = t.create(); err != nil {
		return nil, err
	}
	if _, there, err := t.Find(r.Name); err != nil {
		return undo, err
	} else if !there {
		n, err := t.number("SELECT count(*) FROM _den_alarms")
		if err != nil {
			return undo, err
		}
		if n >= most {
			return undo, ErrFull
		}
	}
	return undo, t.Write(r)
}

// Write is Put for an alarm that was just read.
func (t *Table) Write(r Row) error {
	_, err := t.db.Internal().Exec(`INSERT OR REPLACE INTO _den_alarms (name, due, planned, attempt, cron, zone) VALUES (?, ?, ?, ?, ?, ?)`,
		r.Name, r.Due, r.Planned, r.Attempt, r.Cron, r.Zone)
	return err
}

// Remove cancels an alarm, and reports whether there was one.
func (t *Table) Remove(name string) (bool, error) {
	if !t.exists {
		return false, nil
	}
	removed, err := t.db.Internal().Exec("DELETE FROM _den_alarms WHERE name = ?", name)
	return removed.RowsAffected > 0, err
}

// CountTry adds one to the tries of the first alarm that is due, unless the next try is its last. It is not part of a
// batch's transaction.
func (t *Table) CountTry(now int64, tries int) error {
	due, err := t.List(now, 1)
	if err != nil || len(due) == 0 || due[0].Attempt >= tries {
		return err
	}
	due[0].Attempt++
	if err := t.Write(due[0]); err != nil {
		return err
	}
	t.tried = due[0].Name
	return nil
}

// Counted reports whether the count of an alarm already includes the next try, because CountTry has counted that.
func (t *Table) Counted(name string) bool {
	counted := t.tried == name
	t.tried = ""
	return counted
}

// Columns reads all columns of the alarms, in the order of a Row's fields.
const Columns = "SELECT name, due, planned, attempt, cron, zone FROM _den_alarms "

// Find returns the alarm of a name, and whether there is one.
func (t *Table) Find(name string) (r Row, found bool, err error) {
	rows, err := t.read(Columns+"WHERE name = ?", name)
	if len(rows) == 0 {
		return Row{}, false, err
	}
	return rows[0], true, err
}

// List returns the first n alarms that are due until a time, in the order in which they run.
func (t *Table) List(until int64, n int) ([]Row, error) {
	return t.read(Columns+"WHERE due <= ? ORDER BY due, name LIMIT ?", until, n)
}

func (t *Table) read(sql string, args ...any) (found []Row, err error) {
	if !t.exists {
		return nil, nil
	}
	err = t.db.Internal().Each(sql, func(row *storage.Rows) {
		found = append(found, Row{
			Name: string(row.Bytes(0)), Due: row.Int(1), Planned: row.Int(2), Attempt: int(row.Int(3)),
			Cron: string(row.Bytes(4)), Zone: string(row.Bytes(5)),
		})
	}, args...)
	return found, err
}

// Earliest returns when the next alarm is due, or Never. It includes what the open transaction has written.
func (t *Table) Earliest() (int64, error) {
	if !t.exists {
		return Never, nil
	}
	return t.number("SELECT coalesce(min(due), 9223372036854775807) FROM _den_alarms")
}

func (t *Table) number(sql string) (n int64, err error) {
	_, err = t.db.Internal().First(func(row *storage.Rows) { n = row.Int(0) }, sql)
	return n, err
}
