package alarm

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
func (c *Clock) load() error {
	c.writer.Lock()
	defer c.writer.Unlock()
	return c.safely(c.read)
}

func (c *Clock) read() error {
	if err := c.open(); err != nil {
		return err
	}
	err := c.each("SELECT room, due FROM _den_due ORDER BY due, room", func(r *storage.Rows) {
		b := c.add(string(r.Bytes(0)))
		b.due, b.stored, b.at = r.Int(1), r.Int(1), r.Int(1)
		if b.due <= c.opened {
			b.missed = true
			c.missed++
		}
		c.queue.put(b)
	})
	if err == nil {
		err = c.each("SELECT name, value FROM _den_due_state", func(r *storage.Rows) {
			name := string(r.Bytes(0))
			if namespace, covers := strings.CutPrefix(name, coversNS); covers {
				c.covered[namespace] = r.Int(1) != 0
			} else if name == stateStarts {
				c.starts = r.Int(1)
			}
		})
	}
	if err != nil {
		err = errors.Join(err, c.db.Close())
		c.db = nil
	}
	return err
}

// safely works on the index. A panic becomes storage.ErrCorrupt and the file is let go as it is, because it comes in
// a timer's goroutine, or in the turn of a room that has no part in it. The writer's lock is held.
func (c *Clock) safely(do func() error) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		err = fmt.Errorf("alarm: %w: panic: %v\n%s", storage.ErrCorrupt, v, debug.Stack())
		if db := c.db; db != nil {
			c.db = nil
			db.Fence()
		}
	}()
	return do()
}

func (c *Clock) each(sql string, do func(*storage.Rows), args ...any) error {
	rows, err := c.db.Internal().Query(sql, args...)
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
func (c *Clock) open() error {
	if c.db != nil {
		return nil
	}
	db, err := c.o.Open()
	if err != nil {
		return err
	}
	_, err = db.Internal().Exec(`CREATE TABLE IF NOT EXISTS _den_due (room TEXT PRIMARY KEY, due INTEGER NOT NULL) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS _den_due_state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS _den_reminders (due INTEGER, room TEXT, PRIMARY KEY (due, room)) WITHOUT ROWID`)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	c.db = db
	return nil
}

// Lower makes durable that a room may have an alarm as early as due. It comes before the
// room's own commit: what a crash between the two leaves wakes the room in vain.
func (c *Clock) Lower(room string, due time.Time) error {
	c.mu.Lock()
	b := c.rooms[room]
	if b == nil {
		b = c.add(room)
	}
	b.lowered = true
	at := due.UnixMilli()
	if b.stored <= at {
		c.mu.Unlock()
		return nil
	}
	g := c.gather()
	g.lowered = append(g.lowered, lowered{b, at})
	c.mu.Unlock()
	return c.write(g)
}

// Covers tells whether the index knows all of a namespace's rooms.
func (c *Clock) Covers(namespace string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.covered[namespace]
}

// Cover notes that it does. It is written with what is written next, or by Write.
func (c *Clock) Cover(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.covered[namespace] = true
	c.states = append(c.states, state{coversNS + namespace, 1})
}

// Write makes durable what was noted.
func (c *Clock) Write() error {
	c.mu.Lock()
	g := c.gather()
	c.mu.Unlock()
	return c.write(g)
}

// Uncover notes durably that it does not: a crash may leave rooms and index apart, in a host that
// syncs neither.
func (c *Clock) Uncover(namespace string) error {
	c.mu.Lock()
	delete(c.covered, namespace)
	c.mu.Unlock()
	return c.keepState(coversNS+namespace, 0)
}

func (c *Clock) keepState(name string, value int64) error {
	c.mu.Lock()
	g := c.gather()
	g.states = append(g.states, state{name, value})
	c.mu.Unlock()
	return c.write(g)
}

// gather gives the group that gathers. The lock is held.
func (c *Clock) gather() *group {
	if c.group == nil {
		c.group = new(group)
	}
	return c.group
}

// write returns when a group is durable. The first of the group who gets the writer's lock
// writes it for all; those who come meanwhile are the next group.
func (c *Clock) write(g *group) error {
	c.writer.Lock()
	defer c.writer.Unlock()
	if g.written {
		return g.err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return storage.ErrClosed
	}
	if c.group == g {
		c.group = nil
	}
	g.states = append(c.states, g.states...)
	g.reminders = append(c.reminders, g.reminders...)
	c.states, c.reminders = nil, nil
	raised := c.raise()
	relieve := c.relieving
	c.relieving = false
	c.mu.Unlock()
	g.written, g.err = true, c.safely(func() error { return c.commit(g, raised) })
	c.mu.Lock()
	c.wrote(g, raised)
	c.mu.Unlock()
	if g.err == nil && relieve {
		g.err = c.safely(c.db.Checkpoint)
	}
	return g.err
}

// mark notes a row that can be brought up to date. The lock is held.
func (c *Clock) mark(b *bell) {
	if b.due > b.stored && !b.dirty {
		b.dirty = true
		c.dirty = append(c.dirty, b)
	}
}

// late tells whether there is something to bring up to date. The lock is held.
func (c *Clock) late() bool { return len(c.dirty) > 0 || len(c.reminders) > 0 || c.relieving }

// raise takes rows that are to be brought up to date, and from here on counts with what they will
// be: who wants a lower one comes behind. The lock is held.
func (c *Clock) raise() (raised []lowered) {
	taken := 0
	for _, b := range c.dirty {
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
	if c.dirty = slices.Delete(c.dirty, 0, taken); len(c.dirty) == 0 {
		c.dirty = nil
	}
	return raised
}

// wrote takes what came of a write. The lock is held.
func (c *Clock) wrote(g *group, raised []lowered) {
	for _, l := range g.lowered {
		l.b.stored = never // not known
		if g.err == nil {
			l.b.stored = l.due
		}
	}
	for _, r := range raised {
		if g.err != nil && r.b.stored == never { // the row may still be there: it is removed again
			r.b.stored = never - 1
			c.mark(r.b)
		}
		c.forget(r.b)
	}
	if g.err != nil {
		c.states = append(g.states, c.states...)
		c.reminders = append(g.reminders, c.reminders...)
	}
}

// commit writes a group in one transaction. What fails is tried from the start the next time, with the
// file opened anew. The writer's lock is held.
func (c *Clock) commit(g *group, raised []lowered) error {
	if err := c.open(); err != nil {
		return err
	}
	batch, err := c.db.Begin()
	if err == nil {
		if err = c.fill(g, raised); err == nil {
			err = batch.Commit()
		} else {
			batch.Rollback()
		}
	}
	if err != nil {
		c.db.Close() // the error of before says more
		c.db = nil
	}
	return err
}

func (c *Clock) fill(g *group, raised []lowered) error {
	internal := c.db.Internal()
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
	return c.fillReminders(g)
}

// Flush brings the rows on the disk up to date, and writes the reminders.
func (c *Clock) Flush() error {
	for {
		c.mu.Lock()
		c.flushed = c.o.Now().UnixMilli()
		late := c.late()
		g := c.gather()
		c.mu.Unlock()
		if !late {
			return nil
		}
		if err := c.write(g); err != nil {
			return err
		}
	}
}

// Relieve has the index's file written down soon, so that the commit log need not keep it.
func (c *Clock) Relieve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.relieving = true
	c.arm()
}

// Close brings the index up to date, and closes it. No room may be awake.
func (c *Clock) Close() error {
	c.Stop()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	if c.starts > 0 {
		c.states = append(c.states, state{stateStarts, 0})
	}
	c.mu.Unlock()
	err := c.finish()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.writer.Lock()
	defer c.writer.Unlock()
	if c.db != nil {
		err = errors.Join(err, c.db.Close())
		c.db = nil
	}
	return err
}

// finish writes what is left, where there is a file or need for one.
func (c *Clock) finish() error {
	c.mu.Lock()
	reminded := len(c.reminders) > 0
	idle := len(c.dirty) == 0 && len(c.states) == 0
	g := c.gather()
	c.mu.Unlock()
	c.writer.Lock()
	none := c.db == nil
	c.writer.Unlock()
	if !reminded && (idle || none) {
		return nil
	}
	if err := c.write(g); err != nil {
		return err
	}
	return c.Flush()
}
