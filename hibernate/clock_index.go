package hibernate

// The index of alarms on the disk: a database of Den's own, in the form of a room's file, with
// the node's commit log in front of it as any room has. So it is durable, whole after a crash,
// and synced together with the rooms, by the code that does this for rooms.
//
//	_den_due(room, due)           a lower bound of each room's next alarm, Unix ms
//	_den_due_state(name, value)   what follows
//	_den_reminders(due, room)     see reminders.go
//
// It can be made anew from the rooms' files: state "covers <namespace>" says that all files of a
// namespace were looked into, or were made since.

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/denrooms/den/storage"
)

const (
	stateStarts = "starts"  // in a row that did not get through what they had missed
	coversNS    = "covers " // and a namespace's name

	// maxRaises is how many rows a transaction brings up to date, beside what it is for.
	maxRaises = 1000
)

type state struct {
	name  string
	value int64
}

type states []state

// A group is what one transaction writes, for all who came while the last one was on its way.
type group struct {
	lowered   []lowered
	states    states
	reminders []noted

	written bool // with err; protected by the clock's writer
	err     error
}

type lowered struct {
	b   *bell
	due int64
}

// load reads the index.
func (a *AlarmClock) load() error {
	a.writer.Lock()
	defer a.writer.Unlock()
	return a.safely(a.read)
}

func (a *AlarmClock) read() error {
	if err := a.open(); err != nil {
		return err
	}
	err := a.each("SELECT room, due FROM _den_due ORDER BY due, room", func(r *storage.Rows) {
		b := a.add(string(r.Bytes(0)))
		b.due, b.stored, b.at = r.Int(1), r.Int(1), r.Int(1)
		if b.due <= a.opened {
			b.missed = true
			a.missed++
		}
		a.queue.put(b)
	})
	if err == nil {
		err = a.each("SELECT name, value FROM _den_due_state", func(r *storage.Rows) {
			name := string(r.Bytes(0))
			if namespace, covers := strings.CutPrefix(name, coversNS); covers {
				a.covered[namespace] = r.Int(1) != 0
			} else if name == stateStarts {
				a.starts = r.Int(1)
			}
		})
	}
	if err != nil {
		err = errors.Join(err, a.db.Close())
		a.db = nil
	}
	return err
}

// safely works on the index. A panic becomes storage.ErrCorrupt and the file is let go as it is, because it comes in
// a timer's goroutine, or in the turn of a room that has no part in it. The writer's lock is held.
func (a *AlarmClock) safely(do func() error) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		err = fmt.Errorf("hibernate: %w: panic: %v\n%s", storage.ErrCorrupt, v, debug.Stack())
		if db := a.db; db != nil {
			a.db = nil
			db.Fence()
		}
	}()
	return do()
}

func (a *AlarmClock) each(sql string, do func(*storage.Rows), args ...any) error {
	rows, err := a.db.Internal().Query(sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		do(rows)
	}
	return rows.Err()
}

// open opens the file, and makes its tables. The writer's lock is held.
func (a *AlarmClock) open() error {
	if a.db != nil {
		return nil
	}
	db, err := a.o.Open()
	if err != nil {
		return err
	}
	_, err = db.Internal().Exec(`CREATE TABLE IF NOT EXISTS _den_due (room TEXT PRIMARY KEY, due INTEGER NOT NULL) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS _den_due_state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS _den_reminders (due INTEGER, room TEXT, PRIMARY KEY (due, room)) WITHOUT ROWID`)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	a.db = db
	return nil
}

// Lower makes durable that a room may have an alarm as early as due. It comes before the
// room's own commit: what a crash between the two leaves wakes the room in vain.
func (a *AlarmClock) Lower(room string, due time.Time) error {
	a.mu.Lock()
	b := a.rooms[room]
	if b == nil {
		b = a.add(room)
	}
	b.lowered = true
	at := due.UnixMilli()
	if b.stored <= at {
		a.mu.Unlock()
		return nil
	}
	g := a.gather()
	g.lowered = append(g.lowered, lowered{b, at})
	a.mu.Unlock()
	return a.write(g)
}

// Covers tells whether the index knows all of a namespace's rooms.
func (a *AlarmClock) Covers(namespace string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.covered[namespace]
}

// Cover notes that it does. It is written with what is written next, or by Write.
func (a *AlarmClock) Cover(namespace string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.covered[namespace] = true
	a.states = append(a.states, state{coversNS + namespace, 1})
}

// Write makes durable what was noted.
func (a *AlarmClock) Write() error {
	a.mu.Lock()
	g := a.gather()
	a.mu.Unlock()
	return a.write(g)
}

// Uncover notes durably that it does not: a crash may leave rooms and index apart, in a host that
// syncs neither.
func (a *AlarmClock) Uncover(namespace string) error {
	a.mu.Lock()
	delete(a.covered, namespace)
	a.mu.Unlock()
	return a.keepState(coversNS+namespace, 0)
}

func (a *AlarmClock) keepState(name string, value int64) error {
	a.mu.Lock()
	g := a.gather()
	g.states = append(g.states, state{name, value})
	a.mu.Unlock()
	return a.write(g)
}

// gather gives the group that gathers. The lock is held.
func (a *AlarmClock) gather() *group {
	if a.group == nil {
		a.group = new(group)
	}
	return a.group
}

// write returns when a group is durable. The first of the group who gets the writer's lock
// writes it for all; those who come meanwhile are the next group.
func (a *AlarmClock) write(g *group) error {
	a.writer.Lock()
	defer a.writer.Unlock()
	if g.written {
		return g.err
	}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return storage.ErrClosed
	}
	if a.group == g {
		a.group = nil
	}
	g.states = append(a.states, g.states...)
	g.reminders = append(a.reminders, g.reminders...)
	a.states, a.reminders = nil, nil
	raised := a.raise()
	relieve := a.relieving
	a.relieving = false
	a.mu.Unlock()
	g.written, g.err = true, a.safely(func() error { return a.commit(g, raised) })
	a.mu.Lock()
	a.wrote(g, raised)
	a.mu.Unlock()
	if g.err == nil && relieve {
		g.err = a.safely(a.db.Checkpoint)
	}
	return g.err
}

// mark notes a row that can be brought up to date. The lock is held.
func (a *AlarmClock) mark(b *bell) {
	if b.due > b.stored && !b.dirty {
		b.dirty = true
		a.dirty = append(a.dirty, b)
	}
}

// late tells whether there is something to bring up to date. The lock is held.
func (a *AlarmClock) late() bool { return len(a.dirty) > 0 || len(a.reminders) > 0 || a.relieving }

// raise takes rows that are to be brought up to date, and from here on counts with what they will
// be: who wants a lower one comes behind. The lock is held.
func (a *AlarmClock) raise() (raised []lowered) {
	taken := 0
	for _, b := range a.dirty {
		if len(raised) == maxRaises {
			break
		}
		taken++
		b.dirty = false
		if !b.lowered && b.due > b.stored {
			b.stored = b.due
			raised = append(raised, lowered{b, b.due})
		}
	}
	if a.dirty = slices.Delete(a.dirty, 0, taken); len(a.dirty) == 0 {
		a.dirty = nil
	}
	return raised
}

// wrote takes what came of a write. The lock is held.
func (a *AlarmClock) wrote(g *group, raised []lowered) {
	for _, l := range g.lowered {
		l.b.stored = never // not known
		if g.err == nil {
			l.b.stored = l.due
		}
	}
	for _, r := range raised {
		if g.err != nil && r.b.stored == never { // the row may still be there: it is removed again
			r.b.stored = never - 1
			a.mark(r.b)
		}
		a.forget(r.b)
	}
	if g.err != nil {
		a.states = append(g.states, a.states...)
		a.reminders = append(g.reminders, a.reminders...)
	}
}

// commit writes a group in one transaction. What fails is tried from the start the next time, with the
// file opened anew. The writer's lock is held.
func (a *AlarmClock) commit(g *group, raised []lowered) error {
	if err := a.open(); err != nil {
		return err
	}
	batch, err := a.db.Begin()
	if err == nil {
		if err = a.fill(g, raised); err == nil {
			err = batch.Commit()
		} else {
			batch.Rollback()
		}
	}
	if err != nil {
		a.db.Close() // the error of before says more
		a.db = nil
	}
	return err
}

func (a *AlarmClock) fill(g *group, raised []lowered) error {
	internal := a.db.Internal()
	for _, r := range slices.Concat(raised, g.lowered) { // a lower bound wins
		var err error
		if r.due == never {
			_, err = internal.Exec("DELETE FROM _den_due WHERE room = ?", r.b.room)
		} else {
			_, err = internal.Exec("INSERT INTO _den_due (room, due) VALUES (?, ?) ON CONFLICT DO UPDATE SET due = excluded.due", r.b.room, r.due)
		}
		if err != nil {
			return err
		}
	}
	for _, s := range g.states {
		if _, err := internal.Exec("INSERT INTO _den_due_state (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", s.name, s.value); err != nil {
			return err
		}
	}
	return a.fillReminders(g)
}

// Flush brings the rows on the disk up to date, and writes the reminders.
func (a *AlarmClock) Flush() error {
	for {
		a.mu.Lock()
		a.flushed = a.o.Now().UnixMilli()
		late := a.late()
		g := a.gather()
		a.mu.Unlock()
		if !late {
			return nil
		}
		if err := a.write(g); err != nil {
			return err
		}
	}
}

// Relieve has the index's file written down soon, so that the commit log need not keep it.
func (a *AlarmClock) Relieve() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.relieving = true
	a.arm()
}

// Close brings the index up to date, and closes it. No room may be awake.
func (a *AlarmClock) Close() error {
	a.Stop()
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	if a.starts > 0 {
		a.states = append(a.states, state{stateStarts, 0})
	}
	a.mu.Unlock()
	err := a.finish()
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.writer.Lock()
	defer a.writer.Unlock()
	if a.db != nil {
		err = errors.Join(err, a.db.Close())
		a.db = nil
	}
	return err
}

// finish writes what is left, where there is a file or need for one.
func (a *AlarmClock) finish() error {
	a.mu.Lock()
	reminded := len(a.reminders) > 0
	idle := len(a.dirty) == 0 && len(a.states) == 0
	g := a.gather()
	a.mu.Unlock()
	a.writer.Lock()
	none := a.db == nil
	a.writer.Unlock()
	if !reminded && (idle || none) {
		return nil
	}
	if err := a.write(g); err != nil {
		return err
	}
	return a.Flush()
}
