package storage

// Prepared statements, by whose they are.

import (
	"fmt"

	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// prepareOne compiles the first statement of sql, for use, and says where the next one
// starts. The statement is nil where there is only space and comments.
func (d *DB) prepareOne(auth authority, sql string, flags sqlite.PrepareFlags) (*statement, string, error) {
	d.auth, d.denied, d.sawSchema, d.sawGone = auth, "", false, false
	// A DELETE without WHERE is compiled to drop the rows unseen where no hook is
	// set at this moment.
	if auth == handler {
		d.changes.Resume()
	} else {
		d.changes.Pause()
	}
	p, rest, err := d.c.Prepare(sql, flags)
	d.auth = own
	if err != nil {
		e := roomfile.ErrorOf(err)
		if d.denied != "" {
			e.Kind, e.Message = ErrForbidden, d.denied
		}
		if d.fenced.Load() {
			e.Kind = ErrClosed
		}
		return nil, "", e
	}
	if p == nil {
		return nil, rest, nil
	}
	s := &statement{Stmt: p, Info: about{auth: auth, used: true, schema: d.sawSchema, deletes: onlyDeletes(p.SQL(), d.sawGone)}}
	s.Use()
	return s, rest, nil
}

// statement gives a statement for sql, in use; rest is what follows it.
func (d *DB) statement(auth authority, sql string) (s *statement, rest string, err error) {
	c := d.caches[auth]
	if s := c.Get(sql); s != nil {
		s.Info.used = true
		return s, "", nil
	}
	s, rest, err = d.prepareOne(auth, sql, sqlite.PreparePersistent)
	if err != nil || s == nil {
		return nil, "", err
	}
	if !sqlite.Blank(rest) {
		return s, rest, nil
	}
	if !s.Info.schema {
		c.Put(sql, s)
	}
	return s, "", nil
}

// one is statement for SQL that must be a single statement.
func (d *DB) one(auth authority, sql string) (*statement, error) {
	s, rest, err := d.statement(auth, sql)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, fmt.Errorf("storage: %w: no statement in the SQL text", ErrMisuse)
	case rest != "":
		s.Release()
		return nil, fmt.Errorf("storage: %w: several statements where one is wanted", ErrMisuse)
	}
	return s, nil
}

// step runs a statement to its next row or its end.
func (d *DB) step(s *statement) (row bool, err error) {
	d.auth = s.Info.auth
	row, err = s.Step()
	d.auth = own
	if err != nil {
		err = d.stepFailed(roomfile.ErrorOf(err), s)
	}
	return row, err
}

// stepFailed completes the error of a step, and notes what it did to the batch: some
// errors roll the whole transaction back underneath.
func (d *DB) stepFailed(e *Error, s *statement) error {
	if d.roomIsFull(e, s) {
		e.Kind = ErrRoomFull
	}
	if !s.ReadOnly() {
		d.changes.StatementFailed()
	}
	return d.sqliteFailed(e)
}

// sqliteFailed is stepFailed for a statement that is not the DB's.
func (d *DB) sqliteFailed(e *Error) error {
	if d.fenced.Load() {
		e.Kind = ErrClosed
	}
	var err error = e
	if b := d.batch; b != nil && b.dead == nil && !b.ending && d.c.AutocommitEnabled() {
		b.dead = fmt.Errorf("%w: %w", ErrBatchLost, err)
		err = b.dead
	}
	return err
}
