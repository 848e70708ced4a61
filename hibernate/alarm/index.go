package alarm

// The index on the disk: a database of Den's own with the format of a room's file, behind the node's commit log. So the
// code that makes rooms durable, recovers them after a crash and syncs many of them at once does the same for the index.
//
//	_den_due(room, due)           a bound for each room: not later than its next alarm, Unix ms
//	_den_due_state(name, value)   "starts" and "covers <namespace>", see below
//	_den_reminders(due, room)     see reminders.go
//
// "covers <namespace>" is 1 if the index has all rooms of the namespace that have alarms: each file was searched, or was made
// since then.

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
	// stateStarts counts the starts in a row that did not call all rooms with missed alarms.
	stateStarts = "starts"
	// stateCovers comes before a namespace's name.
	stateCovers = "covers "

	// maxRaises is how many bounds a transaction raises at most, besides what it is for.
	maxRaises = 1000
)

// A state is a row of _den_due_state.
type state struct {
	name  string
	value int64
}

// A bound is a row of _den_due that is to be written, or removed if due is never.
type bound struct {
	e   *entry
	due int64
}

// A group is what one transaction writes for all callers that came while the previous one was written.
type group struct {
	lowered   []bound
	states    []state
	reminders []reminderEdit

	written bool // with the result err; protected by indexMu
	err     error
}

// load reads the index.
func (c *Clock) load() error {
	c.indexMu.Lock()
	defer c.indexMu.Unlock()
	return c.recoverPanics(c.read)
}

func (c *Clock) read() error {
	if err := c.open(); err != nil {
		return err
	}
	err := c.db.Internal().Each("SELECT room, due FROM _den_due ORDER BY due, room", func(r *storage.Rows) {
		e := c.add(string(r.Bytes(0)))
		e.due, e.bound, e.callAt = r.Int(1), r.Int(1), r.Int(1)
		if e.due <= c.opened {
			e.missed = true
			c.missed++
		}
		c.queue.put(e)
	})
	if err == nil {
		err = c.db.Internal().Each("SELECT name, value FROM _den_due_state", func(r *storage.Rows) {
			name := string(r.Bytes(0))
			if namespace, covers := strings.CutPrefix(name, stateCovers); covers {
				c.complete[namespace] = r.Int(1) != 0
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

// recoverPanics calls a function that works on the index. A panic becomes storage.ErrCorrupt, and the file is left as it is:
// the panic would end a timer's goroutine, or the turn of a room that has nothing to do with it. c.indexMu is held.
func (c *Clock) recoverPanics(do func() error) (err error) {
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

// open opens the file if it is not open, and makes its tables. c.indexMu is held.
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

// Lower makes durable that a room may have an alarm at due or later. It is called before the room's own commit. A crash
// between the two calls the room once for nothing.
func (c *Clock) Lower(room string, due time.Time) error {
	c.mu.Lock()
	e := c.rooms[room]
	if e == nil {
		e = c.add(room)
	}
	e.lowered = true
	at := due.UnixMilli()
	if e.bound <= at {
		c.mu.Unlock()
		return nil
	}
	g := c.nextGroup()
	g.lowered = append(g.lowered, bound{e, at})
	c.mu.Unlock()
	return c.write(g)
}

// Complete reports whether the index has all rooms of a namespace that have alarms.
func (c *Clock) Complete(namespace string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.complete[namespace]
}

// MarkComplete notes that the index has all rooms of a namespace that have alarms. The note becomes durable with the next
// write to the index, or by Sync.
func (c *Clock) MarkComplete(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete[namespace] = true
	c.states = append(c.states, state{stateCovers + namespace, 1})
}

// MarkIncomplete makes durable that the index may lack rooms of a namespace. A host that syncs neither the rooms nor the
// index calls it, because a crash may leave them in disagreement.
func (c *Clock) MarkIncomplete(namespace string) error {
	c.mu.Lock()
	delete(c.complete, namespace)
	c.mu.Unlock()
	return c.writeState(stateCovers+namespace, 0)
}

// Sync makes durable what MarkComplete has noted.
func (c *Clock) Sync() error {
	c.mu.Lock()
	g := c.nextGroup()
	c.mu.Unlock()
	return c.write(g)
}

func (c *Clock) writeState(name string, value int64) error {
	c.mu.Lock()
	g := c.nextGroup()
	g.states = append(g.states, state{name, value})
	c.mu.Unlock()
	return c.write(g)
}

// nextGroup returns the group that the next transaction writes. c.mu is held.
func (c *Clock) nextGroup() *group {
	if c.group == nil {
		c.group = new(group)
	}
	return c.group
}

// write returns after a group is durable. The first caller that gets indexMu writes the group for all its callers. Those
// who come meanwhile share the next group.
func (c *Clock) write(g *group) error {
	c.indexMu.Lock()
	defer c.indexMu.Unlock()
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
	raised := c.takeRaises()
	checkpoint := c.checkpoint
	c.checkpoint = false
	c.mu.Unlock()
	g.written, g.err = true, c.recoverPanics(func() error { return c.commit(g, raised) })
	c.mu.Lock()
	c.committed(g, raised)
	c.mu.Unlock()
	if g.err == nil && checkpoint {
		g.err = c.recoverPanics(c.db.Checkpoint)
	}
	return g.err
}

// markDirty notes an entry whose bound can be raised. c.mu is held.
func (c *Clock) markDirty(e *entry) {
	if e.due > e.bound && !e.dirty {
		e.dirty = true
		c.dirty = append(c.dirty, e)
	}
}

// behind reports whether the index is to be brought up to date. c.mu is held.
func (c *Clock) behind() bool { return len(c.dirty) > 0 || len(c.reminders) > 0 || c.checkpoint }

// takeRaises returns the bounds that the next transaction raises. The entries have them from now on, so that Lower adds a
// lower one to a later transaction. c.mu is held.
func (c *Clock) takeRaises() (raised []bound) {
	taken := 0
	for _, e := range c.dirty {
		if len(raised) == maxRaises {
			break
		}
		taken++
		e.dirty = false
		if !e.lowered && e.due > e.bound {
			e.bound = e.due
			raised = append(raised, bound{e, e.due})
		}
	}
	if c.dirty = slices.Delete(c.dirty, 0, taken); len(c.dirty) == 0 {
		c.dirty = nil
	}
	return raised
}

// committed takes the result of a transaction. c.mu is held.
func (c *Clock) committed(g *group, raised []bound) {
	for _, l := range g.lowered {
		l.e.bound = never // not known
		if g.err == nil {
			l.e.bound = l.due
		}
	}
	for _, r := range raised {
		if g.err != nil && r.e.bound == never { // the row may still be there, so it is to be removed again
			r.e.bound = never - 1
			c.markDirty(r.e)
		}
		c.forget(r.e)
	}
	if g.err != nil {
		c.states = append(g.states, c.states...)
		c.reminders = append(g.reminders, c.reminders...)
	}
}

// commit writes a group in one transaction. After an error it closes the file, so that the next group opens it again. If the file
// is refused then, a new one takes its place, and all bounds that the clock knows go there. c.indexMu is held.
func (c *Clock) commit(g *group, raised []bound) error {
	err := c.open()
	if err != nil && c.o.Replace != nil && c.o.Replace(err) {
		if err = c.open(); err == nil {
			raised = append(c.bounds(), raised...)
			g.states = slices.DeleteFunc(g.states, func(s state) bool { return s.value == 1 && strings.HasPrefix(s.name, stateCovers) })
		}
	}
	if err != nil {
		return err
	}
	batch, err := c.db.Begin()
	if err == nil {
		if err = c.writeRows(g, raised); err == nil {
			err = batch.Commit()
		} else {
			batch.Rollback()
		}
	}
	if err != nil {
		c.db.Close() // the first error says more
		c.db = nil
	}
	return err
}

// bounds returns a bound for each room that has an alarm or may have one.
func (c *Clock) bounds() (all []bound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.complete) // the new file lacks what the clock does not know
	for _, e := range c.rooms {
		if at := min(e.due, e.bound); at < never {
			all = append(all, bound{e, at})
		}
	}
	return all
}

func (c *Clock) writeRows(g *group, raised []bound) error {
	internal := c.db.Internal()
	for _, b := range slices.Concat(raised, g.lowered) { // where an entry has both, the lower bound is written last
		var err error
		if b.due == never {
			_, err = internal.Exec("DELETE FROM _den_due WHERE room = ?", b.e.room)
		} else {
			_, err = internal.Exec("INSERT INTO _den_due (room, due) VALUES (?, ?) ON CONFLICT DO UPDATE SET due = excluded.due", b.e.room, b.due)
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
	return c.writeReminders(g)
}

// flush raises the bounds of the index to the times that the clock knows, and writes the reminders.
func (c *Clock) flush() error {
	for {
		c.mu.Lock()
		c.flushed = c.o.Now().UnixMilli()
		behind := c.behind()
		g := c.nextGroup()
		c.mu.Unlock()
		if !behind {
			return nil
		}
		if err := c.write(g); err != nil {
			return err
		}
	}
}

// CheckpointSoon has the index's file checkpointed within a minute, so that the commit log need not keep its entries.
func (c *Clock) CheckpointSoon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checkpoint = true
	c.setTimer()
}

// writeRest writes what is left when the clock closes. It makes no file only to remove bounds that none has.
func (c *Clock) writeRest() error {
	c.mu.Lock()
	reminders := len(c.reminders) > 0
	clean := len(c.dirty) == 0 && len(c.states) == 0
	g := c.nextGroup()
	c.mu.Unlock()
	c.indexMu.Lock()
	notOpen := c.db == nil
	c.indexMu.Unlock()
	if !reminders && (clean || notOpen) {
		return nil
	}
	if err := c.write(g); err != nil {
		return err
	}
	return c.flush()
}

// closeIndex closes the file, and joins its error to an earlier one.
func (c *Clock) closeIndex(err error) error {
	c.indexMu.Lock()
	defer c.indexMu.Unlock()
	if c.db != nil {
		err = errors.Join(err, c.db.Close())
		c.db = nil
	}
	return err
}
