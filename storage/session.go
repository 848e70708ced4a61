package storage

// A session runs statements on a room's connection.

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

// authority is whose statement is compiled or run.
type authority uint8

const (
	own     authority = iota // this package's: everything
	peer                     // DB.Internal: tables named _den_…, but not this package's
	handler                  // a room's own SQL
)

// A session is a connection with what runs on it: statements by whose they are, the rows that are being read, and the
// Recorder of changes. Each call holds mu while SQLite works.
type session struct {
	owner  owner       // the DB
	fenced atomic.Bool // set by any goroutine; then every call returns ErrClosed

	alive   sync.Mutex
	running *sqlite.Conn // protected by alive: the connection as interrupt may use it; nil when closed

	// protected by mu
	mu         sync.Mutex
	c          *connection // nil: the connection is in the pool
	*workspace             // the connection's
	changes    *changes.Recorder
	closed     bool
	broken     error // an I/O error of a commit; all further calls return it
	results    []*Rows

	auth          authority // whose statement is compiled or run
	denied        string    // why the authorizer refused it
	sawSchema     bool      // the statement being prepared changes the schema
	sawGone       bool      // it has an UPDATE that sets deleted_at
	schemaVersion int64     // SQLite's count of schema changes

	header *fileHeader // the file's header at Open; nil: it may have changed since
}

// An owner has a session, and is asked about its statements.
type owner interface {
	// writes is called before a handler's statement that may write.
	writes(s *statement)
	// statementFailed completes the error of a statement, and notes what the error did to the open batch. s is nil if the
	// Recorder's statement failed.
	statementFailed(e *Error, s *statement) error
	// overwritten reports whether the running statement must end because its action writes too much.
	overwritten() bool
}

// begin has the session work on a connection.
func (ses *session) begin(o owner, c *connection) {
	ses.owner, ses.c, ses.running, ses.workspace, ses.changes = o, c, c.Conn, c.State, c.State.recorder
}

// lock begins a call.
func (ses *session) lock() error {
	ses.mu.Lock()
	if err := ses.usable(); err != nil {
		ses.mu.Unlock()
		return err
	}
	return nil
}

func (ses *session) usable() error {
	if ses.closed || ses.fenced.Load() {
		return ErrClosed
	}
	return ses.broken
}

// exec runs all statements of sql. The mutex is held.
func (ses *session) exec(auth authority, sql string, args []any) (Result, error) {
	s, rest, err := ses.statement(auth, sql)
	if err != nil || s == nil {
		return Result{}, err
	}
	if rest == "" {
		return ses.run(s, args)
	}
	if len(args) > 0 {
		s.Release()
		return Result{}, fmt.Errorf("storage: %w: arguments for several statements", ErrMisuse)
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
func (ses *session) run(s *statement, args []any) (Result, error) {
	defer s.Release()
	if err := s.Bind(args); err != nil {
		return Result{}, failed(err)
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
	return Result{RowsAffected: ses.c.Changes(), LastInsertID: ses.c.LastInsertRowID()}, nil
}

// recording tells the recorder whether the next statement is a handler's.
func (ses *session) recording(s *statement) {
	if s.ReadOnly() {
		return
	}
	if s.Info.auth != handler {
		ses.changes.Pause()
		return
	}
	ses.changes.BeginStatement()
	ses.owner.writes(s)
}

// interrupt ends the statement that runs now, if one does.
func (ses *session) interrupt() {
	ses.alive.Lock()
	defer ses.alive.Unlock()
	if ses.running != nil {
		ses.running.Interrupt()
	}
}

// ready prepares a statement that is kept, if it is not yet.
func (ses *session) ready(p *prepared) (*statement, error) {
	if p.statement == nil {
		s, err := ses.kept(p.sql)
		if err != nil {
			return nil, err
		}
		s.Release()
		p.statement = s
	}
	return p.statement, nil
}

// kept prepares a statement that stays prepared. It is in use.
func (ses *session) kept(sql string) (*statement, error) {
	if c := ses.caches[own]; c.Get(sql) != nil { // an earlier life's
		return c.Take(sql), nil
	}
	s, _, err := ses.prepareOne(own, sql, sqlite.PreparePersistent)
	if err != nil {
		return nil, err
	}
	s.Keep()
	return s, nil
}

// do runs a kept statement that has no rows and whose arguments are bound.
func (ses *session) do(p *prepared) error {
	s, err := ses.ready(p)
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

// recorded returns an error of the Recorder as an error of this package, and notes what it did to the batch.
func (ses *session) recorded(err error) error {
	if err == nil {
		return nil
	}
	if e, is := errors.AsType[*sqlite.Error](err); is {
		return ses.owner.statementFailed(roomfile.ErrorOf(e), nil)
	}
	if errors.Is(err, changes.ErrCorrupt) {
		return fmt.Errorf("storage: %w: %w", ErrCorrupt, err)
	}
	return err
}

// texts returns the statements that the room has used.
func (ses *session) texts() (all []text) {
	for auth, c := range ses.caches {
		for s := range c.All() { // the newest last, as it was
			if s.Info.used {
				all = append(all, text{authority(auth), s.SQL()})
			}
		}
	}
	return all
}

// check is roomfile.Conn.Check.
func (ses *session) check(pragma string) error { return roomfile.Conn{Conn: ses.c.Conn}.Check(pragma) }

// interruptEvery is how often while interrupts a statement, because SQLite forgets an interrupt between two statements.
const interruptEvery = 5 * time.Millisecond

// while runs do, and interrupts SQLite when ctx ends. The error is then SQLite's.
func (ses *session) while(ctx context.Context, do func() error) error {
	over, told := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		for {
			ses.interrupt()
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
func (ses *session) prepareOne(auth authority, sql string, flags sqlite.PrepareFlags) (*statement, string, error) {
	ses.auth, ses.denied, ses.sawSchema, ses.sawGone = auth, "", false, false
	// SQLite compiles a DELETE without WHERE to drop the rows unseen if no hook is set at this moment.
	if auth == handler {
		ses.changes.Resume()
	} else {
		ses.changes.Pause()
	}
	p, rest, err := ses.c.Prepare(sql, flags)
	ses.auth = own
	if err != nil {
		e := roomfile.ErrorOf(err)
		if ses.denied != "" {
			e.Kind, e.Message = ErrForbidden, ses.denied
		}
		if ses.fenced.Load() {
			e.Kind = ErrClosed
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
func (ses *session) statement(auth authority, sql string) (s *statement, rest string, err error) {
	c := ses.caches[auth]
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

// one is statement for SQL that must be a single statement.
func (ses *session) one(auth authority, sql string) (*statement, error) {
	s, rest, err := ses.statement(auth, sql)
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
func (ses *session) step(s *statement) (row bool, err error) {
	ses.auth = s.Info.auth
	row, err = s.Step()
	ses.auth = own
	if err != nil {
		err = ses.stepFailed(err, s)
	}
	return row, err
}

// stepFailed completes the error of a step.
func (ses *session) stepFailed(err error, s *statement) error {
	if !s.ReadOnly() {
		ses.changes.StatementFailed()
	}
	return ses.owner.statementFailed(roomfile.ErrorOf(err), s)
}

// Result is what a statement without rows did.
type Result struct {
	RowsAffected int64 // rows that the statement itself changed; triggers' rows are not counted
	LastInsertID int64 // rowid of the last insert
}

// A text is a statement that a connection should have.
type text struct {
	auth authority
	sql  string
}

// onlyDeletes reports whether a statement, whose UPDATE sets deleted_at if gone, does nothing but delete.
func onlyDeletes(sql string, gone bool) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(sql, " \t\r\n\f;"), " ")
	return strings.EqualFold(word, "DELETE") || gone && strings.EqualFold(word, "UPDATE")
}

// schemaChanged drops what was prepared for the schema before.
func (ses *session) schemaChanged() {
	version := int64(-1)
	err := ses.each("PRAGMA schema_version", func(r *Rows) { version = r.Int(0) })
	if err == nil && version == ses.schemaVersion {
		return // CREATE … IF NOT EXISTS
	}
	ses.schemaVersion = version
	ses.changes.SchemaChanged()
	for _, c := range ses.caches {
		c.Clear()
	}
}

func (ses *session) readSchemaVersion() error {
	if h := ses.header; h != nil {
		ses.schemaVersion, ses.header = h.changes, nil
		return nil
	}
	return ses.each("PRAGMA schema_version", func(r *Rows) { ses.schemaVersion = r.Int(0) })
}

// A fileHeader is what a file says of itself at its beginning. It is all there is to know if
// the file has no WAL.
type fileHeader struct {
	changes int64  // SQLite's count of schema changes
	wal     bool   // SQLite will make a WAL
	schema  string // all that SQLite's parsed schema depends on; "": not known
}
