package storage

// Making a room's file from content that comes from elsewhere. Package archive puts the file in the room's place.

import (
	"errors"
	"fmt"
	"os"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// Build makes the file of a new room with the content that load puts into it. The file is not synced and does not name a room.
// Errors: those of load and of the Loader; ErrConstraint if a foreign key has no parent row, or a row breaks another rule; ErrFull,
// ErrIO.
func Build(o Options, path string, load func(*Loader) error) error {
	if err := roomfile.Make(o.FS, path); err != nil {
		return err
	}
	epoch, err := roomfile.NewEpoch(o.Random)
	if err != nil {
		return err
	}
	if err := fillNew(path, o, epoch); err != nil {
		return err
	}
	d, err := openBeside(o.FS, path)
	if err != nil {
		return err
	}
	l := &Loader{d}
	return errors.Join(l.run(o, load), d.Close())
}

// fillNew writes a new room's content, which has Den's own tables, into a file that exists. SQLite is to use no WAL for it.
func fillNew(path string, o Options, epoch string) error {
	t, err := plainTemplate(o)
	if err != nil {
		return err
	}
	content, err := t.Fill(newMeta(o, epoch))
	if err != nil {
		return err
	}
	return vfs.Use(o.FS, path, os.O_RDWR, func(f vfs.File) error {
		d := dbfile.NewDatabase(f, path)
		_, err := d.WriteAt(content, 0)
		if err == nil {
			err = roomfile.SetJournalMode(d, roomfile.RollbackMode)
		}
		return err
	})
}

// A Loader fills the file of a new room, for Build. What it writes is one transaction, without a journal: SQLite writes pages to
// the file when its cache is full. Changes are not captured, and foreign keys are checked at the end. A Loader is valid until load
// returns.
type Loader struct{ d *DB }

// run has load fill the file, checks it, and commits.
func (l *Loader) run(o Options, load func(*Loader) error) error {
	d := l.d
	for _, s := range []struct {
		option sqlite.Config
		on     int32
	}{{sqlite.ConfigDQSDDL, 0}, {sqlite.ConfigDQSDML, 0}} {
		if err := d.sql.Conn.SetConfig(s.option, s.on); err != nil {
			return failed(err)
		}
	}
	d.sql.Conn.SetLimit(sqlite.LimitAttached, 0)
	d.sql.Conn.SetLimit(sqlite.LimitLength, int32(min(o.MaxValueBytes, 1<<30)))
	if err := d.sql.Install(); err != nil {
		return err
	}
	if _, err := d.sql.Exec(session.Own, fmt.Sprintf("PRAGMA max_page_count = %d; BEGIN", o.MaxBytes/pageSize), nil); err != nil {
		return err
	}
	err := load(l)
	if err == nil {
		err = l.check()
	}
	if err != nil {
		return err
	}
	_, err = d.sql.Exec(session.Own, "COMMIT", nil)
	return err
}

// check checks the whole file, because foreign keys were not enforced while the rows came.
func (l *Loader) check() error {
	problem := ""
	err := l.d.sql.Each("SELECT coalesce(\"table\", ''), coalesce(\"parent\", '') FROM pragma_foreign_key_check LIMIT 1", func(r *Rows) {
		problem = fmt.Sprintf("a row of %s leads to none of %s", r.Bytes(0), r.Bytes(1))
	})
	if err != nil {
		return err
	}
	if problem != "" {
		return fmt.Errorf("%w: %s", ErrConstraint, problem)
	}
	err = l.d.sql.Check("PRAGMA quick_check(1)")
	if errors.Is(err, ErrCorrupt) { // a CHECK or a NOT NULL
		err = fmt.Errorf("%w: %w", ErrConstraint, err)
	}
	return err
}

// Exec runs one statement with the rights of a room's own SQL (ErrForbidden). If sql has several statements, Exec runs none of them
// and returns the text after the first one; if it has none, Exec does nothing. Arguments are those of DB.Exec. A statement with
// arguments is compiled once as long as the same text comes again.
func (l *Loader) Exec(sql string, args ...any) (rest string, err error) {
	return l.exec(session.Handler, sql, args)
}

// ExecInternal is Exec for tables named _den_…, with the rights of DB.Internal.
func (l *Loader) ExecInternal(sql string, args ...any) (rest string, err error) {
	return l.exec(session.Peer, sql, args)
}

func (l *Loader) exec(auth session.Authority, sql string, args []any) (rest string, err error) {
	if err := l.d.sql.Lock(); err != nil {
		return "", err
	}
	defer l.d.sql.Mu.Unlock()
	return l.d.sql.ExecFirst(auth, sql, args)
}
