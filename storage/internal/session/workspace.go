package session

// What a session works with, and leaves to the next session of the connection.

import (
	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pool"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// A Connection is what a session works with, and leaves to the next one.
type Connection = pool.Conn[*Workspace]

// A Workspace is what a session has beside SQLite's connection: statements by whose they are, and memory.
type Workspace struct {
	Caches   [3]*cache
	Controls [controls]*statement // nil: not prepared yet
	recorder *changes.Recorder    // for Session.Changes
	Places   map[uint32]int64     // the places of pages in the WAL, empty between sessions
	Frames   []byte               // the buffer of the WAL, empty between sessions
}

// Close finalizes the statements.
func (w *Workspace) Close() {
	w.recorder.Close()
	for _, c := range w.Caches {
		if c != nil {
			c.Clear()
		}
	}
	for _, s := range w.Controls {
		if s != nil {
			s.Finalize()
		}
	}
}

type (
	statement = sqlite.CachedStmt[about]
	cache     = sqlite.Cache[about]
)

// about is what a Session knows of a statement.
type about struct {
	auth    Authority
	schema  bool // changes the schema; such ones are not cached
	deletes bool // does nothing but delete, see onlyDeletes
	used    bool // in this life
}

// A Control is one of the statements that control transactions. They are prepared when they are first used, and stay prepared.
type Control uint8

const (
	Begin      Control = iota // a transaction, a batch
	Commit                    // it
	Rollback                  // it
	Savepoint                 // begins an action
	Release                   // ends an action
	RollbackTo                // undoes an action
	controls
)

var controlSQL = [controls]string{"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT action", "RELEASE action", "ROLLBACK TO action"}

// NewConnection makes a connection of SQLite's ready for sessions. statements is how many statements of handlers it keeps.
func NewConnection(fs vfs.FS, statements int, c *sqlite.Conn, files *dbfile.Files) *Connection {
	w := &Workspace{Places: make(map[uint32]int64), recorder: changes.New(c)}
	w.Caches = [3]*cache{Own: sqlite.NewCache[about](64), Peer: sqlite.NewCache[about](64), Handler: sqlite.NewCache[about](statements)}
	return &Connection{Conn: c, Files: files, FS: fs, State: w}
}
