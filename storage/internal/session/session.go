// Package session runs SQL statements on the connection of one room: it compiles them, keeps the compiled ones, decides what a
// handler's SQL may do, reads rows, and tells the Recorder of package changes whose statement runs. What a transaction is, and when it
// is durable, is package storage's.
package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// An Authority says whose a statement is, and so what it may do.
type Authority uint8

const (
	Own     Authority = iota // package storage's: everything
	Peer                     // another of Den's packages': tables named _den_…, but not package storage's
	Handler                  // a room's own SQL
)

// A Session is a connection with what runs on it: statements by whose they are, the rows that are being read, and the Recorder of
// changes. Whoever calls a method holds Mu, which Lock takes, except for Interrupt, While and the methods of Rows.
type Session struct {
	Owner  Owner       // a storage.DB
	Fenced atomic.Bool // set by any goroutine; then every call returns ErrClosed

	alive   sync.Mutex
	running *sqlite.Conn // protected by alive: the connection as Interrupt may use it; nil when closed

	// protected by Mu
	Mu         sync.Mutex
	Conn       *Connection // nil: the connection is in the pool
	*Workspace             // the connection's
	Changes    *changes.Recorder
	Closed     bool
	Broken     error   // why the file cannot be used any more; all further calls return it
	Results    []*Rows // that are open

	auth          Authority // whose statement is compiled or run
	denied        string    // why the authorizer refused it
	sawSchema     bool      // the statement being prepared changes the schema
	sawGone       bool      // it has an UPDATE that sets deleted_at
	SchemaVersion int64     // SQLite's count of schema changes
}

// An Owner has a session, and is asked about its statements.
type Owner interface {
	// HandlerWrites is called before a handler's statement that may write. deletes reports that it does nothing but delete.
	HandlerWrites(deletes bool)
	// StatementFailed completes the error of a statement, a handler's or not, and notes what the error did to the open batch.
	StatementFailed(e *roomfile.Error, handlers bool) error
	// Overwritten reports whether the running statement must end because its action writes too much.
	Overwritten() bool
}

// Start has the session work on a connection.
func (ses *Session) Start(o Owner, c *Connection) {
	ses.Owner, ses.Conn, ses.running, ses.Workspace, ses.Changes = o, c, c.Conn, c.State, c.State.recorder
}

// End ends the session's rows. Its connection stays.
func (ses *Session) End() {
	ses.Closed = true
	ses.EndResults()
	ses.Changes.EndAction()
	ses.alive.Lock()
	ses.running = nil
	ses.alive.Unlock()
}

// Detach takes the connection out of a session that has ended.
func (ses *Session) Detach() *Connection {
	ses.recorder = ses.Changes.Renew()
	for _, c := range ses.Caches {
		for s := range c.All() {
			s.Info.used = false
		}
	}
	ses.Changes.Pause()
	ses.Conn.SetProgressHandler(0, nil)
	ses.Conn.SetAuthorizer(nil)
	c := ses.Conn
	ses.Conn, ses.Workspace = nil, nil
	return c
}

// Lock begins a call.
func (ses *Session) Lock() error {
	ses.Mu.Lock()
	if err := ses.Usable(); err != nil {
		ses.Mu.Unlock()
		return err
	}
	return nil
}

// Usable returns why no call can be made, or nil.
func (ses *Session) Usable() error {
	if ses.Closed || ses.Fenced.Load() {
		return roomfile.ErrClosed
	}
	return ses.Broken
}

// Exec runs all statements of sql. The mutex is held.
func (ses *Session) Exec(auth Authority, sql string, args []any) (Result, error) {
	s, rest, err := ses.statement(auth, sql)
	if err != nil || s == nil {
		return Result{}, err
	}
	if rest == "" {
		return ses.run(s, args)
	}
	if len(args) > 0 {
		s.Release()
		return Result{}, fmt.Errorf("storage: %w: arguments for several statements", roomfile.ErrMisuse)
	}
	var total Result
	for s != nil {
		res, err := ses.run(s, nil)
		if err != nil {
			return Result{}, err
		}
		total.RowsAffected += res.RowsAffected
		total.LastInsertID = res.LastInsertID
		if s, rest, err = ses.prepareOne(auth, rest, 0); err != nil {
			return Result{}, err
		}
	}
	return total, nil
}

// run binds, runs and releases one statement.
func (ses *Session) run(s *statement, args []any) (Result, error) {
	defer s.Release()
	if err := s.Bind(args); err != nil {
		return Result{}, roomfile.Failed(err)
	}
	ses.recording(s)
	for {
		row, err := ses.step(s)
		if err != nil {
			return Result{}, err
		}
		if !row {
			break
		}
	}
	if s.Info.schema {
		ses.schemaChanged()
	}
	if s.ReadOnly() || s.Info.schema {
		return Result{}, nil
	}
	return Result{RowsAffected: ses.Conn.Changes(), LastInsertID: ses.Conn.LastInsertRowID()}, nil
}

// recording tells the recorder whether the next statement is a handler's.
func (ses *Session) recording(s *statement) {
	if s.ReadOnly() {
		return
	}
	if s.Info.auth != Handler {
		ses.Changes.Pause()
		return
	}
	ses.Changes.BeginStatement()
	ses.Owner.HandlerWrites(s.Info.deletes)
}

// Interrupt ends the statement that runs now, if one does.
func (ses *Session) Interrupt() {
	ses.alive.Lock()
	defer ses.alive.Unlock()
	if ses.running != nil {
		ses.running.Interrupt()
	}
}

// ready returns a control statement, which it prepares if that was not done yet.
func (ses *Session) ready(n Control) (*statement, error) {
	if s := ses.Controls[n]; s != nil {
		return s, nil
	}
	s, _, err := ses.prepareOne(Own, controlSQL[n], sqlite.PreparePersistent)
	if err != nil {
		return nil, err
	}
	s.Keep()
	s.Release()
	ses.Controls[n] = s
	return s, nil
}

// Do runs a control statement.
func (ses *Session) Do(n Control) error {
	s, err := ses.ready(n)
	if err != nil {
		return err
	}
	s.Use()
	defer s.Release()
	if _, err = s.Step(); err != nil {
		err = ses.stepFailed(err, s)
	}
	return err
}

// Recorded returns an error of the Recorder as an error of package roomfile, and notes what it did to the batch.
func (ses *Session) Recorded(err error) error {
	if err == nil {
		return nil
	}
	if e, is := errors.AsType[*sqlite.Error](err); is {
		return ses.Owner.StatementFailed(roomfile.ErrorOf(e), false)
	}
	if errors.Is(err, changes.ErrCorrupt) {
		return fmt.Errorf("storage: %w: %w", roomfile.ErrCorrupt, err)
	}
	return err
}

// A Text is a statement that a connection should have.
type Text struct {
	auth Authority
	sql  string
}

// Texts returns the statements that the room has used.
func (ses *Session) Texts() (all []Text) {
	for auth, c := range ses.Caches {
		for s := range c.All() { // the newest last, as it was
			if s.Info.used {
				all = append(all, Text{Authority(auth), s.SQL()})
			}
		}
	}
	return all
}

// Prepare compiles statements for the next session of the connection, and those of the recorder. A room that runs one that cannot be
// compiled gets the error.
func (ses *Session) Prepare(texts []Text, recorder []string) {
	for _, x := range texts {
		if s, _, err := ses.statement(x.auth, x.sql); err == nil && s != nil {
			s.Release()
		}
	}
	ses.Changes.Prepare(recorder)
	for n := range controls {
		_, _ = ses.ready(n)
	}
}

// Check is roomfile.Conn.Check.
func (ses *Session) Check(pragma string) error {
	return roomfile.Conn{Conn: ses.Conn.Conn}.Check(pragma)
}

// interruptEvery is how often While interrupts a statement, because SQLite forgets an interrupt between two statements.
const interruptEvery = 5 * time.Millisecond

// While runs do, and interrupts SQLite when ctx ends. The error is then SQLite's.
func (ses *Session) While(ctx context.Context, do func() error) error {
	over, told := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		for {
			ses.Interrupt()
			select {
			case <-over:
				return
			case <-time.After(interruptEvery):
			}
		}
	})
	defer func() {
		close(over)
		if !stop() {
			<-told // nothing interrupts the connection's end
		}
	}()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return do()
}

// prepareOne compiles the first statement of sql for use, and returns the text after it. The statement is nil if there is only space
// and comments.
func (ses *Session) prepareOne(auth Authority, sql string, flags sqlite.PrepareFlags) (*statement, string, error) {
	ses.auth, ses.denied, ses.sawSchema, ses.sawGone = auth, "", false, false
	// SQLite compiles a DELETE without WHERE to drop the rows unseen if no hook is set at this moment.
	if auth == Handler {
		ses.Changes.Resume()
	} else {
		ses.Changes.Pause()
	}
	p, rest, err := ses.Conn.Prepare(sql, flags)
	ses.auth = Own
	if err != nil {
		e := roomfile.ErrorOf(err)
		if ses.denied != "" {
			e.Kind, e.Message = roomfile.ErrForbidden, ses.denied
		}
		if ses.Fenced.Load() {
			e.Kind = roomfile.ErrClosed
		}
		return nil, "", e
	}
	if p == nil {
		return nil, rest, nil
	}
	s := &statement{Stmt: p, Info: about{auth: auth, used: true, schema: ses.sawSchema, deletes: onlyDeletes(p.SQL(), ses.sawGone)}}
	s.Use()
	return s, rest, nil
}

// statement returns a statement for sql, in use. rest is the text after it.
func (ses *Session) statement(auth Authority, sql string) (s *statement, rest string, err error) {
	c := ses.Caches[auth]
	if s := c.Get(sql); s != nil {
		s.Info.used = true
		return s, "", nil
	}
	s, rest, err = ses.prepareOne(auth, sql, sqlite.PreparePersistent)
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

// One is statement for SQL that must be a single statement.
func (ses *Session) One(auth Authority, sql string) (*statement, error) {
	s, rest, err := ses.statement(auth, sql)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, fmt.Errorf("storage: %w: no statement in the SQL text", roomfile.ErrMisuse)
	case rest != "":
		s.Release()
		return nil, fmt.Errorf("storage: %w: several statements where one is wanted", roomfile.ErrMisuse)
	}
	return s, nil
}

// ExecFirst runs one statement. If sql has several, it runs none and returns the text after the first one.
func (ses *Session) ExecFirst(auth Authority, sql string, args []any) (rest string, err error) {
	var s *statement
	if len(args) > 0 {
		s, rest, err = ses.statement(auth, sql)
	} else { // not kept, because its text may be large
		s, rest, err = ses.prepareOne(auth, sql, 0)
	}
	if err != nil || s == nil {
		return "", err
	}
	if !sqlite.Blank(rest) {
		s.Release()
		return rest, nil
	}
	_, err = ses.run(s, args)
	return "", err
}

// ReadOnly reports whether sql, a single statement, writes nothing.
func (ses *Session) ReadOnly(auth Authority, sql string) (bool, error) {
	s, err := ses.One(auth, sql)
	if err != nil {
		return false, err
	}
	defer s.Release()
	return s.ReadOnly(), nil
}

// Forget drops the statements that were compiled for a schema that was rolled back.
func (ses *Session) Forget() {
	ses.Caches[Handler].Clear()
	ses.Caches[Peer].Clear()
}

// step runs a statement to its next row or its end.
func (ses *Session) step(s *statement) (row bool, err error) {
	ses.auth = s.Info.auth
	row, err = s.Step()
	ses.auth = Own
	if err != nil {
		err = ses.stepFailed(err, s)
	}
	return row, err
}

// stepFailed completes the error of a step.
func (ses *Session) stepFailed(err error, s *statement) error {
	if !s.ReadOnly() {
		ses.Changes.StatementFailed()
	}
	return ses.Owner.StatementFailed(roomfile.ErrorOf(err), s.Info.auth == Handler)
}

// Result is what a statement without rows did.
type Result struct {
	RowsAffected int64 // rows that the statement itself changed; triggers' rows are not counted
	LastInsertID int64 // rowid of the last insert
}

// onlyDeletes reports whether a statement, whose UPDATE sets deleted_at if gone, does nothing but delete.
func onlyDeletes(sql string, gone bool) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(sql, " \t\r\n\f;"), " ")
	return strings.EqualFold(word, "DELETE") || gone && strings.EqualFold(word, "UPDATE")
}

// schemaChanged drops what was prepared for the schema before.
func (ses *Session) schemaChanged() {
	version := int64(-1)
	err := ses.Each("PRAGMA schema_version", func(r *Rows) { version = r.Int(0) })
	if err == nil && version == ses.SchemaVersion {
		return // CREATE … IF NOT EXISTS
	}
	ses.SchemaVersion = version
	ses.Changes.SchemaChanged()
	for _, c := range ses.Caches {
		c.Clear()
	}
}

// ReadSchemaVersion asks SQLite for SchemaVersion.
func (ses *Session) ReadSchemaVersion() error {
	return ses.Each("PRAGMA schema_version", func(r *Rows) { ses.SchemaVersion = r.Int(0) })
}
