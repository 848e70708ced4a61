package sqlite

// How SQLite calls back: by functions that find their Conn by its handle.

import (
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// conns finds a Conn. It is package state because C memory must not hold Go pointers.
var conns cmem.Handles[Conn]

// A PreUpdateHook sees each change of a row.
type PreUpdateHook interface {
	// PreUpdate is called before the change. It may call PreUpdateCount, AppendPreUpdateOld and
	// AppendPreUpdateNew, and nothing else, on the connection. The texts are valid until it returns.
	PreUpdate(op OpType, database, table string)
}

// SetPreUpdateHook sets the hook; nil is none. A DELETE without WHERE that was compiled while there was
// none drops a table's rows without the hook's being called for them.
func (c *Conn) SetPreUpdateHook(h PreUpdateHook) {
	if (h != nil) != (c.preUpdate != nil) {
		f := uintptr(0)
		if h != nil {
			f = cmem.Func(onPreUpdate)
		}
		sqlite3.Xsqlite3_preupdate_hook(c.tls, c.db, f, c.handle)
	}
	c.preUpdate = h
}

// PreUpdateCount returns how many columns the row has that is about to change.
func (c *Conn) PreUpdateCount() int { return int(sqlite3.Xsqlite3_preupdate_count(c.tls, c.db)) }

// AppendPreUpdateOld appends column i of the row as it is before an UPDATE or a DELETE. A column that SQLite cannot give is Null.
func (c *Conn) AppendPreUpdateOld(dst []byte, i int) []byte {
	return c.appendPreUpdate(dst, sqlite3.Xsqlite3_preupdate_old(c.tls, c.db, int32(i), c.out))
}

// AppendPreUpdateNew is AppendPreUpdateOld for the row after an UPDATE or an INSERT.
func (c *Conn) AppendPreUpdateNew(dst []byte, i int) []byte {
	return c.appendPreUpdate(dst, sqlite3.Xsqlite3_preupdate_new(c.tls, c.db, int32(i), c.out))
}

func (c *Conn) appendPreUpdate(dst []byte, rc int32) []byte {
	if rc != sqlite3.SQLITE_OK {
		return append(dst, byte(Null))
	}
	return c.appendValue(dst, c.outPointer(0))
}

func onPreUpdate(_ *libc.TLS, handle, _ uintptr, op int32, zDb, zTab uintptr, _, _ int64) {
	if c := conns.Find(handle); c != nil && c.preUpdate != nil {
		c.preUpdate.PreUpdate(OpType(op), cmem.StringView(zDb), cmem.StringView(zTab))
	}
}

// SetProgressHandler has a running statement call stop about every n steps of SQLite's virtual machine.
// The statement ends with ResultInterrupt when stop returns true. A nil stop is none.
func (c *Conn) SetProgressHandler(n int, stop func() bool) {
	c.progress = stop
	f := uintptr(0)
	if stop != nil {
		f = cmem.Func(onProgress)
	}
	sqlite3.Xsqlite3_progress_handler(c.tls, c.db, int32(n), f, c.handle)
}

func onProgress(_ *libc.TLS, handle uintptr) int32 {
	if c := conns.Find(handle); c != nil && c.progress != nil && c.progress() {
		return 1
	}
	return 0
}

// An Authorizer says what statements may do.
type Authorizer interface {
	// Authorize is called while a statement is compiled. It must not use the connection.
	Authorize(Action) AuthResult
}

// Action is what a statement wants to do. The texts are valid until Authorize returns.
type Action struct {
	Op         OpType
	Arg1, Arg2 string // see sqlite.org/c3ref/c_alter_table.html
}

// AuthResult is the answer of an Authorizer.
type AuthResult int32

// The answers. A statement that is denied fails with ResultAuth.
const (
	AuthOK   AuthResult = sqlite3.SQLITE_OK
	AuthDeny AuthResult = sqlite3.SQLITE_DENY
)

// SetAuthorizer sets who is asked; nil is nobody. Only the first call makes SQLite compile the
// connection's statements again: later ones concern statements that are compiled after them.
func (c *Conn) SetAuthorizer(a Authorizer) error {
	if c.authorizer = a; c.authorizes || a == nil {
		return nil
	}
	c.authorizes = true
	return c.check(sqlite3.Xsqlite3_set_authorizer(c.tls, c.db, cmem.Func(onAuthorize), c.handle))
}

func onAuthorize(_ *libc.TLS, handle uintptr, op int32, z1, z2, _, _ uintptr) int32 {
	c := conns.Find(handle)
	if c == nil {
		return sqlite3.SQLITE_DENY
	}
	if c.authorizer == nil {
		return sqlite3.SQLITE_OK
	}
	return int32(c.authorizer.Authorize(Action{OpType(op), cmem.StringView(z1), cmem.StringView(z2)}))
}
