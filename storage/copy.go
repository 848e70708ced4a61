package storage

// A copy of a room's file while the room goes on: SQLite's online backup, some pages at a time. A write between two steps gets into
// the copy too, so the complete copy is the room as of the last step.

import (
	"fmt"
	"slices"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// A Copy is a copy under way. Step is called by the DB's goroutine, between batches;
// the other methods by any, but not at the same time as one another.
type Copy struct {
	d *DB // immutable

	// protected by the session's mutex

	dest        *sqlite.Conn // nil when the copy is done or given up
	copy        *sqlite.Backup
	copied      bool
	err         error
	pages, left int
}

// Copy makes a file and begins to copy the room into it. The file is in SQLite's rollback mode and not synced, and names the same
// room. Close, and the end of the DB, abandon a Copy that is not done. Package archive makes a backup of a Copy.
func (d *DB) Copy(path string) (*Copy, error) {
	if err := d.sql.Lock(); err != nil {
		return nil, err
	}
	defer d.sql.Mu.Unlock()
	c := &Copy{d: d}
	if err := c.start(path); err != nil {
		return nil, err
	}
	d.copies = append(d.copies, c)
	return c, nil
}

func (c *Copy) start(path string) error {
	d := c.d
	if err := roomfile.Make(d.o.FS, path); err != nil {
		return err
	}
	var err error
	if c.dest, err = dbfile.Open(d.o.FS.SQLite(), path, sqlite.OpenReadWrite); err != nil {
		return failed(err)
	}
	if err = failed(c.dest.ExecScript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")); err == nil {
		c.copy, err = sqlite.NewBackup(c.dest, d.sql.Conn.Conn)
		err = failed(err)
	}
	if err != nil {
		c.drop(err)
	}
	return err
}

// Step copies a number of pages of 4096 bytes; a negative number copies all that are left. done reports whether all are copied.
// Step must not be called while a batch is open (ErrMisuse). An error ends the copy; ErrClosed means that the DB was closed.
//
// When an action of the room is rolled back, SQLite starts the copy again. Left shows that, and more pages at once end it.
func (c *Copy) Step(pages int) (done bool, err error) {
	d := c.d
	if err := d.sql.Lock(); err != nil {
		return false, err
	}
	defer d.sql.Mu.Unlock()
	switch {
	case c.copied:
		return true, nil
	case c.err != nil:
		return false, c.err
	case d.batch != nil:
		return false, fmt.Errorf("storage: %w: a step of a backup while a batch is open", ErrMisuse)
	}
	more, err := c.copy.Step(pages)
	c.pages, c.left = c.copy.PageCount(), c.copy.Remaining()
	switch {
	case err != nil:
		return false, c.drop(failed(err))
	case more:
		return false, nil
	}
	c.copied = true
	err = c.drop(nil)
	return err == nil, err
}

// Left returns how many pages are still to be copied, and of how many, as of the last Step.
func (c *Copy) Left() (left, of int) {
	c.d.sql.Mu.Lock()
	defer c.d.sql.Mu.Unlock()
	return c.left, c.pages
}

// Done reports whether the copy is complete. The error is the one that ended the copy.
func (c *Copy) Done() (bool, error) {
	c.d.sql.Mu.Lock()
	defer c.d.sql.Mu.Unlock()
	return c.copied, c.err
}

// Close abandons the copy if it is not done. The file stays.
func (c *Copy) Close() {
	c.d.sql.Mu.Lock()
	defer c.d.sql.Mu.Unlock()
	if c.dest != nil {
		c.drop(ErrClosed)
	}
}

// drop ends SQLite's part of the copy. The session's mutex is held.
func (c *Copy) drop(cause error) error {
	if c.dest == nil {
		return c.err
	}
	if c.copy != nil {
		if err := c.copy.Close(); cause == nil {
			cause = failed(err)
		}
		c.copy = nil
	}
	if err := c.dest.Close(); cause == nil {
		cause = failed(err)
	}
	c.dest = nil
	if cause != nil {
		c.copied, c.err = false, cause
	}
	c.d.copies = slices.DeleteFunc(c.d.copies, func(other *Copy) bool { return other == c })
	return cause
}
