package changes

// The life of a transaction and of its actions.

import (
	"errors"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/sqlite"
)

// Resume switches the pre-update hook on, and Pause off. The hook has to be on while SQLite compiles and runs the statements
// whose changes are recorded: a DELETE without WHERE that is compiled without it drops the rows unseen.
func (r *Recorder) Resume() { r.conn.SetPreUpdateHook((*hook)(&r.capture)) }

// Pause switches the pre-update hook off.
func (r *Recorder) Pause() { r.conn.SetPreUpdateHook(nil) }

// BeginStatement is Resume for a statement that is about to run.
func (r *Recorder) BeginStatement() {
	r.capture.statement++
	r.Resume()
}

// StatementFailed notes that the statement that BeginStatement has begun failed. The rows that it touched are read again at the
// end of the action, because the kind of failure decides which of its changes stay.
func (r *Recorder) StatementFailed() {
	for i := range r.capture.changes {
		if ch := &r.capture.changes[i]; ch.statement == r.capture.statement {
			ch.uncertain = true
		}
	}
}

// Begin begins a transaction. number is its number, and at the time of its actions until BeginAction says another.
func (r *Recorder) Begin(number uint64, at int64) {
	r.log.before, r.log.number, r.log.at = r.log.extent, number, at
}

// Spill writes the log's entries of earlier actions of the transaction, if they are many. It is called before BeginAction.
func (r *Recorder) Spill() error {
	if len(r.log.entries.bytes) <= flushBytes {
		return nil
	}
	return r.log.flush()
}

// BeginAction begins an action. at is its time in Unix milliseconds, which is the stamp of the rows that it deletes.
func (r *Recorder) BeginAction(at int64) {
	r.log.at, r.log.was = at, r.log.entries
	r.capture.on = true
}

// InAction reports whether there is an action, between BeginAction and EndAction.
func (r *Recorder) InAction() bool { return r.capture.on }

// Refuse notes why the action in work cannot be committed, if it can so far.
func (r *Recorder) Refuse(why error) {
	if r.capture.refused == nil {
		r.capture.refused = why
	}
}

// Refused returns why the action in work cannot be committed, nil if it can: Refuse was called, it has changed too much
// (ErrTooLarge), or a row has NULL for its id (sqlite.ResultConstraintNotNull).
func (r *Recorder) Refused() error { return r.capture.refused }

// FinishAction returns what the action in work did, and adds it to the log. The hook is off afterwards.
func (r *Recorder) FinishAction() (Commit, error) {
	r.Pause()
	var c Commit
	if r.schema {
		if err := r.redefine(&c); err != nil {
			return Commit{}, err
		}
	}
	declared, changed := 0, r.capture.untracked
	for i := range r.capture.changes {
		ch := &r.capture.changes[i]
		if err := r.capture.reread(&r.statements, ch); err != nil {
			return Commit{}, err
		}
		o := r.capture.outcome(ch)
		if o == written || o == deleted {
			if ch.table.declared {
				declared++
			}
			if err := r.raise(ch); err != nil {
				return Commit{}, err
			}
		}
		changed = changed || o != unchanged
	}
	if !changed {
		return c, nil
	}
	c.Seq = r.Seq() + 1
	if declared > 0 {
		c.Rows = make([]Row, 0, declared)
	}
	for i := range r.capture.changes {
		r.commit(&r.capture.changes[i], &c)
	}
	r.pending = c.Seq
	return c, nil
}

// raise takes the stamps of a change into its table's highest one.
func (r *Recorder) raise(ch *change) error {
	t, c := ch.table, &r.capture
	if err := r.log.loadHighest(t); err != nil {
		return err
	}
	if ch.after.none() {
		c.scratch = t.appendDeletion(c.scratch[:0], r.log.at, c.bytes(ch.before))
		t.highest.raise(c.scratch)
		return nil
	}
	updated, deleted := t.stamps(c.bytes(ch.after))
	t.highest.raise(updated)
	t.highest.raise(deleted)
	return nil
}

var null = []byte{byte(sqlite.Null)}

// commit adds a change to the log, and to the commit if its table is declared.
func (r *Recorder) commit(ch *change, to *Commit) {
	t, c := ch.table, &r.capture
	key := c.bytes(ch.key)
	switch c.outcome(ch) {
	case purged:
		r.log.add(t, key, to.Seq, sqlite.Column(c.bytes(ch.before), t.deletedAt()))
	case deleted:
		c.scratch = t.appendDeletion(c.scratch[:0], r.log.at, c.bytes(ch.before))
		if t.declared {
			to.Rows = append(to.Rows, Row{t.name, t.tombstone(key, c.scratch)})
		}
		r.log.add(t, key, to.Seq, c.scratch)
	case written:
		if t.declared {
			row := ch.after
			if !ch.full.none() {
				row = ch.full
			}
			to.Rows = append(to.Rows, Row{t.name, t.public(c.bytes(row))})
		}
		r.log.add(t, sqlite.Column(c.bytes(ch.after), 0), to.Seq, null)
	}
}

// redefine looks at the tables again after an action that changed the schema. A declared one must stay fit; one that is not
// declared is given up.
func (r *Recorder) redefine(c *Commit) error {
	for _, t := range r.tables.sorted {
		if t.stale {
			continue
		}
		now, err := r.describe(t.name)
		switch {
		case errors.Is(err, ErrSchema) && !t.declared:
			if err := r.GiveUp(t); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case now.sql == t.sql && (now.root == t.root || t.root == 0) && !r.named(t):
			t.root = now.root
			continue
		}
		t.definition, t.root, t.queries = now.definition, now.root, [queries]string{}
		t.rebased = true
		some, err := r.rebase(t, r.Seq()+1)
		if err != nil {
			return err
		}
		r.capture.untracked = r.capture.untracked || some
		if t.declared {
			c.Rebased = append(c.Rebased, t.name)
		}
	}
	return nil
}

// named reports whether Redefining has named a table.
func (r *Recorder) named(t *Table) bool {
	return slices.ContainsFunc(r.redefined, func(name string) bool { return strings.EqualFold(name, t.name) })
}

// UndoAction takes back what the action in work has recorded. The caller rolls the action's savepoint back, and calls LoadTables
// if the action has changed the schema.
func (r *Recorder) UndoAction() {
	r.Pause()
	for _, t := range r.tables.sorted {
		t.highest.undo()
	}
	r.log.entries = r.log.was
	r.pending = 0
}

// EndAction ends the action in work. What was not undone stays.
func (r *Recorder) EndAction() {
	if r.pending != 0 {
		r.log.seq.Store(uint64(r.pending))
	}
	for _, t := range r.tables.sorted {
		if r.pending != 0 {
			t.highest.accept()
		}
		t.rebased = false
	}
	r.pending, r.redefined, r.schema = 0, r.redefined[:0], false
	r.capture.end()
}

// Finish writes the log's last row of a transaction that is about to be committed, and forgets rows that lie more than keep actions
// back or are older than a time in Unix milliseconds. Floor is then what Load has to be given if the transaction is committed.
func (r *Recorder) Finish(keep Seq, maxAge int64) error {
	if len(r.log.entries.bytes) > 0 || !r.log.flushed {
		if err := r.log.flush(); err != nil {
			return err
		}
	}
	return r.log.prune(keep, r.log.at-maxAge)
}

// Commit ends a transaction that was committed.
func (r *Recorder) Commit() {
	for name := range r.tables.replaced {
		r.tables.byName[name].highest = highest{}
	}
	r.tables.replaced = nil
	r.log.reset()
}

// Rollback ends a transaction that was rolled back. The caller calls LoadTables if the transaction has changed the schema.
func (r *Recorder) Rollback() {
	r.Pause()
	r.pending = 0
	r.capture.on = false
	r.tables.rollback()
	r.log.rollback()
}
