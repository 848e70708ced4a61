package pool

import (
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// State is what the owner of a connection keeps with it, such as compiled statements.
type State interface {
	// Close finalizes the statements. It is called before the connection is closed.
	Close()
}

// Conn is a connection with its files. Whoever has got it from a pool or has made it owns it.
type Conn[S State] struct {
	*sqlite.Conn
	// Files are the connection's; nil: it does not hold its database (see dbfile.Hold) and cannot be put.
	Files *dbfile.Files
	// FS is where the files are.
	FS vfs.FS
	// State is the owner's.
	State S

	wal  vfs.File // the WAL's file that it has taken along, open; nil: none
	path string   // where that is
}

// Close finalizes the statements and closes the connection, which rolls an open transaction back. A WAL file that
// the connection has taken along is removed.
func (c *Conn[S]) Close() error {
	c.State.Close()
	err := c.Conn.Close()
	if err == nil && c.Files != nil {
		c.Files.Free()
	}
	if c.wal != nil {
		if failed := c.dropWAL(); err == nil {
			err = failed
		}
	}
	return err
}

// drop closes a connection that has no database.
func (c *Conn[S]) drop() {
	_ = c.SetConfig(sqlite.ConfigNoCheckpoint, 1)
	_ = c.Close()
}

// rest takes the database away from the connection.
func (c *Conn[S]) rest(dir string, wal WAL) {
	c.ReleaseMemory()
	c.SetLastInsertRowID(0)
	c.Files.InstallWAL(nil)
	if wal.File != nil && c.takeWAL(dir, wal) != nil {
		_ = c.dropWAL() // one that stays is in the next owner's way, who sees to it
	}
	_ = c.Files.CloseMain() // gives the lock back: the WAL is no longer the database's
}
