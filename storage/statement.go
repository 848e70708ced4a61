package storage

// Prepared statements and the cache that keeps them. A statement owns the C
// memory of its arguments: SQLite is told that it is static, which is true until
// the next binding, and Go memory is never handed out.

import (
	"fmt"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"
)

// keepArgs is how much argument memory an idle statement keeps.
const keepArgs = 16 << 10

type statement struct {
	p        uintptr
	sql      string
	auth     authority
	params   int
	names    []string // result columns
	readOnly bool
	schema   bool // changes the schema; such ones are not cached
	deletes  bool // does nothing but delete, see reserve.go
	busy     bool // between bind and reset
	cached   bool
	doomed   bool // finalize when it is done
	used     bool // in this life

	args     uintptr // C memory of the bound texts and blobs
	argsCap  int
	argsUsed int

	prev, next *statement // the cache's list, newest first
}

// cache holds a DB's idle and busy statements of one authority, least recently
// used dropped first.
type cache struct {
	max    int
	byText map[string]*statement
	list   statement // sentinel of the ring
}

func newCache(max int) *cache {
	c := &cache{max: max, byText: make(map[string]*statement)}
	c.list.prev, c.list.next = &c.list, &c.list
	return c
}

func (c *cache) unlink(s *statement) { s.prev.next, s.next.prev = s.next, s.prev }

func (c *cache) front(s *statement) {
	s.prev, s.next = &c.list, c.list.next
	s.prev.next, s.next.prev = s, s
}

// take gives the idle cached statement for sql, or nil.
func (c *cache) take(sql string) *statement {
	s := c.byText[sql]
	if s == nil || s.busy {
		return nil
	}
	if c.list.next != s {
		c.unlink(s)
		c.front(s)
	}
	s.busy, s.used = true, true
	return s
}

// put adds a busy statement, unless its text is there already.
func (d *DB) put(c *cache, s *statement) {
	if c.byText[s.sql] != nil {
		return
	}
	if len(c.byText) >= c.max {
		d.evict(c, c.list.prev)
	}
	s.cached = true
	c.byText[s.sql] = s
	c.front(s)
}

func (d *DB) evict(c *cache, s *statement) {
	c.unlink(s)
	delete(c.byText, s.sql)
	s.cached = false
	if s.busy {
		s.doomed = true
		return
	}
	d.finalize(s)
}

func (d *DB) empty(c *cache) {
	for c.list.next != &c.list {
		d.evict(c, c.list.next)
	}
}

// prepareOne compiles the first statement of sql and says where the next one
// starts. The statement is nil where there is only space and comments.
func (d *DB) prepareOne(auth authority, sql string, flags uint32) (*statement, string, error) {
	if strings.IndexByte(sql, 0) >= 0 {
		return nil, "", fmt.Errorf("storage: %w: NUL in an SQL text", ErrMisuse)
	}
	text := d.c.cstring(sql)
	defer d.c.free(text)
	d.auth, d.denied, d.sawSchema, d.sawGone = auth, "", false, false
	// A DELETE without WHERE is compiled to drop the rows unseen where no hook is
	// set at this moment.
	d.recordChanges(auth == handler)
	p, used, rc := d.c.prepare(text, len(sql), flags)
	d.auth = own
	if rc != sqlite3.SQLITE_OK {
		err := d.c.failure(rc, sql)
		if d.denied != "" {
			err.kind, err.Message = ErrForbidden, d.denied
		}
		if d.fenced.Load() {
			err.kind = ErrClosed
		}
		return nil, "", err
	}
	if p == 0 {
		return nil, sql[used:], nil
	}
	s := &statement{
		p: p, sql: sql[:used], auth: auth, busy: true, used: true,
		params: d.c.params(p), readOnly: d.c.readOnly(p), schema: d.sawSchema,
		deletes: onlyDeletes(sql[:used], d.sawGone),
	}
	s.names = make([]string, d.c.columns(p))
	for i := range s.names {
		s.names[i] = d.c.columnName(p, i)
	}
	return s, sql[used:], nil
}

// blank tells whether nothing but space, semicolons and comments is left.
func blank(sql string) bool {
	for {
		sql = strings.TrimLeft(sql, " \t\r\n\f;")
		switch {
		case sql == "":
			return true
		case strings.HasPrefix(sql, "--"):
			i := strings.IndexByte(sql, '\n')
			if i < 0 {
				return true
			}
			sql = sql[i:]
		case strings.HasPrefix(sql, "/*"):
			i := strings.Index(sql[2:], "*/")
			if i < 0 {
				return true
			}
			sql = sql[i+4:]
		default:
			return false
		}
	}
}

// statement gives a statement for sql, busy; rest is what follows it.
func (d *DB) statement(auth authority, sql string) (s *statement, rest string, err error) {
	c := d.caches[auth]
	if s := c.take(sql); s != nil {
		return s, "", nil
	}
	s, rest, err = d.prepareOne(auth, sql, sqlite3.SQLITE_PREPARE_PERSISTENT)
	if err != nil || s == nil {
		return nil, "", err
	}
	if !blank(rest) {
		return s, rest, nil
	}
	if !s.schema {
		s.sql = sql // the cache's key is what the caller wrote, tail and all
		d.put(c, s)
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
		d.release(s)
		return nil, fmt.Errorf("storage: %w: several statements where one is wanted", ErrMisuse)
	}
	return s, nil
}

// release gives a statement back after its use.
func (d *DB) release(s *statement) {
	if s == nil || !s.busy {
		return
	}
	s.busy = false
	if s.doomed || !s.cached {
		d.finalize(s)
		return
	}
	d.c.reset(s.p)
	if s.argsCap > keepArgs {
		for i := range s.params {
			sqlite3.Xsqlite3_bind_null(d.c.tls, s.p, int32(i+1))
		}
		d.dropArgs(s)
	}
}

func (d *DB) finalize(s *statement) {
	if s.p != 0 {
		d.c.finalize(s.p)
		s.p = 0
	}
	d.dropArgs(s)
}

func (d *DB) dropArgs(s *statement) {
	if s.args != 0 {
		d.c.free(s.args)
		s.args, s.argsCap, s.argsUsed = 0, 0, 0
	}
}

// step runs a statement to its next row or its end.
func (d *DB) step(s *statement) (row bool, err error) {
	d.auth = s.auth
	rc := d.c.step(s.p)
	d.auth = own
	switch rc {
	case sqlite3.SQLITE_ROW:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	}
	return false, d.stepFailed(rc, s)
}

// stepFailed makes the error of a step, and notes what it did to the batch: some
// errors roll the whole transaction back underneath.
func (d *DB) stepFailed(rc int32, s *statement) error {
	e := d.c.failure(rc, s.sql)
	if d.roomIsFull(rc, s) {
		e.kind = ErrRoomFull
	}
	if d.fenced.Load() {
		e.kind = ErrClosed
	}
	var err error = e
	if !s.readOnly {
		d.rec.doubt()
	}
	if b := d.batch; b != nil && b.dead == nil && !b.ending && d.c.autocommit() {
		b.dead = fmt.Errorf("%w: %w", ErrBatchLost, err)
		err = b.dead
	}
	return err
}
