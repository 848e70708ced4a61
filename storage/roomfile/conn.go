package roomfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// A Conn is a connection to a file that is not an open room's, such as one that is being made beside a room's.
type Conn struct{ *sqlite.Conn }

// Open opens an existing file without a journal and without syncs, so if anything fails the file is useless. The connection
// has no limits.
func Open(f vfs.FS, path string) (Conn, error) {
	sc, err := dbfile.Open(f.SQLite(), path, sqlite.OpenReadWrite)
	if err != nil {
		return Conn{}, Failed(err)
	}
	c := Conn{sc}
	// EXCLUSIVE comes before anything is read, so that there is no shared memory.
	err = c.Exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA temp_store = MEMORY")
	if err != nil {
		return Conn{}, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close closes the connection.
func (c Conn) Close() error { return Failed(c.Conn.Close()) }

// Exec runs one statement with arguments, or several without. It drops their rows.
func (c Conn) Exec(sql string, args ...any) error {
	if len(args) == 0 {
		return Failed(c.ExecScript(sql))
	}
	return c.Each(sql, func(*sqlite.Row) {}, args...)
}

// Each calls do with each row of a statement. A column that does not have the type that do reads is ErrCorrupt.
func (c Conn) Each(sql string, do func(*sqlite.Row), args ...any) error {
	s, _, err := c.Prepare(sql, 0)
	if err != nil {
		return Failed(err)
	}
	defer s.Finalize()
	if err := s.Bind(args); err != nil {
		return Failed(err)
	}
	row := sqlite.NewRow(s.Columns())
	for {
		more, err := s.Step()
		if err != nil || !more {
			return Failed(err)
		}
		row.Read(s)
		do(&row)
		if err := row.Err(); err != nil {
			return fmt.Errorf("storage: %w: %s", ErrCorrupt, ErrorOf(err).Message)
		}
	}
}

// Check runs a PRAGMA that checks a file. If the PRAGMA finds something, the error is ErrCorrupt. It also reports pages that
// it could not read because the disk failed. So Check then reads each page, and runs the PRAGMA again.
func (c Conn) Check(pragma string) error {
	verdict := ""
	for range 2 {
		if err := c.Each(pragma, func(r *sqlite.Row) { verdict = string(r.Bytes(0)) }); err != nil {
			return err
		}
		if verdict == "ok" {
			return nil
		}
		if err := c.Each("SELECT max(length(data)) FROM sqlite_dbpage('main')", func(*sqlite.Row) {}); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %s", ErrCorrupt, strings.TrimSpace(verdict))
}
