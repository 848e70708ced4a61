package storage

// What a session works with, and leaves to the next room of the Pool.

import (
	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pool"
	"github.com/denrooms/den/storage/sqlite"
)

// A connection is what a session works with, and leaves to the next one.
type connection = pool.Conn[*workspace]

// A workspace is what a session has beside SQLite's connection: statements by whose they are, and memory.
type workspace struct {
	caches [3]*cache
	tx     transactionStatements
	// recorder is for session.changes.
	recorder *changes.Recorder
	places   map[uint32]int64 // for wal.place
	frames   []byte           // for wal.buf
}

// Close finalizes the statements.
func (w *workspace) Close() {
	w.recorder.Close()
	for _, c := range w.caches {
		if c != nil {
			c.Clear()
		}
	}
	for _, p := range w.tx.all() {
		if p.statement != nil {
			p.Finalize()
		}
	}
}

type (
	statement = sqlite.CachedStmt[about]
	cache     = sqlite.Cache[about]
)

// about is what a DB knows of a statement.
type about struct {
	auth    authority
	schema  bool // changes the schema; such ones are not cached
	deletes bool // does nothing but delete, see reserve.go
	used    bool // in this life
}

// transactionStatements are prepared when they are first used, and stay prepared.
type transactionStatements struct {
	begin, commit, rollback, savepoint, release, rollbackTo *prepared
}

// prepared is a statement that is kept.
type prepared struct {
	sql        string
	*statement // nil: not prepared yet
}

func (t *transactionStatements) all() []*prepared {
	return []*prepared{t.begin, t.commit, t.rollback, t.savepoint, t.release, t.rollbackTo}
}

func newTransactionStatements() transactionStatements {
	return transactionStatements{
		begin: &prepared{sql: "BEGIN"}, commit: &prepared{sql: "COMMIT"}, rollback: &prepared{sql: "ROLLBACK"},
		savepoint: &prepared{sql: "SAVEPOINT action"}, release: &prepared{sql: "RELEASE action"}, rollbackTo: &prepared{sql: "ROLLBACK TO action"},
	}
}

func newConnection(o Options, c *sqlite.Conn, files *dbfile.Files) *connection {
	w := &workspace{places: make(map[uint32]int64), tx: newTransactionStatements(), recorder: changes.New(c)}
	w.caches = [3]*cache{own: sqlite.NewCache[about](64), peer: sqlite.NewCache[about](64), handler: sqlite.NewCache[about](o.StatementCache)}
	return &connection{Conn: c, Files: files, FS: o.FS, State: w}
}
