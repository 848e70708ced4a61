package pool

import (
	"errors"
	"path/filepath"
	"strconv"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/vfs"
)

// maxWAL is how large a WAL file may be that a connection takes along: the usual ones are smaller.
const maxWAL = 1 << 20

// walHeader is the size of a WAL's header, without which SQLite takes nothing from the file.
const walHeader = 32

// WAL is the WAL file of a database that is about to be closed. All of its content is in the database.
type WAL struct {
	File vfs.File // nil: there is none
	Path string
	// SyncDir makes durable that the file no longer has its name.
	SyncDir func() error
}

var errNotKept = errors.New("the WAL file is not kept")

// takeWAL moves the WAL file to dir. Its header is zeroed first, so that nobody takes what is in it for a WAL. Then its name is
// removed for good, because another database's pages will be in it, and a power cut must not bring the name back.
func (c *Conn[S]) takeWAL(dir string, wal WAL) error {
	c.wal, c.path = wal.File, wal.Path
	size, err := wal.File.Size()
	if err != nil {
		return err
	}
	if dir == "" || size > maxWAL {
		return errNotKept
	}
	if _, err := wal.File.WriteAt(make([]byte, walHeader), 0); err != nil {
		return err
	}
	if err := wal.File.Sync(); err != nil {
		return err
	}
	to := filepath.Join(dir, strconv.Itoa(c.Files.Number()))
	if err := c.FS.Rename(wal.Path, to); err != nil {
		return err
	}
	c.path = to
	return wal.SyncDir()
}

// dropWAL closes and removes the WAL file.
func (c *Conn[S]) dropWAL() error {
	err := errors.Join(c.wal.Close(), c.FS.Remove(c.path))
	c.wal, c.path = nil, ""
	return err
}

// OpenWAL opens the WAL file of the connection's database at a path: the one that the connection has taken along,
// or a new one. After an error it can be called again.
func (c *Conn[S]) OpenWAL(path string) (vfs.File, error) {
	if c.wal == nil {
		return dbfile.MakeWAL(c.FS.SQLite(), path)
	}
	if err := c.FS.Rename(c.path, path); err != nil {
		return nil, err
	}
	file := c.wal
	c.wal, c.path = nil, ""
	return file, nil
}

// ClearWALs makes a directory for Options.WALs, and removes what an earlier process has left in it.
func ClearWALs(f vfs.FS, dir string) error {
	if _, err := f.MakeDirs(dir); err != nil {
		return err
	}
	names, err := f.Names(dir)
	for _, name := range names {
		err = errors.Join(err, f.Remove(filepath.Join(dir, name)))
	}
	return err
}
