package storage

// Reading a file that is no open room's, such as a backup.

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
)

// OpenBackup opens a room's file that nobody has in use, such as a backup, to read it with
// Internal.Query. Exec fails with ErrReadOnly. The file is opened as it stands: it takes in
// the WAL that lies beside it, and nothing from a commit log. close closes the file.
//
// Errors: ErrNotDatabase, ErrNewer, ErrCorrupt, ErrInUse, ErrIO.
func OpenBackup(f FS, path string) (file *Internal, close func() error, err error) {
	d, err := openToRead(f, path)
	if err != nil {
		return nil, nil, diagnose(path, err)
	}
	return d.Internal(), d.Close, nil
}

func openToRead(f FS, path string) (*DB, error) {
	if err := CheckHeader(f, path); err != nil {
		return nil, err
	}
	d, err := openBeside(f, path)
	if err != nil {
		return nil, err
	}
	if _, err := d.sql.Exec(session.Own, "PRAGMA query_only = 1", nil); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// openBeside makes a DB of a file that roomfile.Open opens. There are no limits and no callbacks.
func openBeside(f FS, path string) (*DB, error) {
	o, err := Options{Path: path, FS: f, StatementCache: 1}.WithDefaults()
	if err != nil {
		return nil, err
	}
	c, err := roomfile.Open(f, path)
	if err != nil {
		return nil, err
	}
	return newDB(o, session.NewConnection(o.FS, o.StatementCache, c.Conn, nil)), nil
}

// CheckHeader returns an error unless the header of a file is that of a room's file: ErrNotDatabase, ErrNewer, ErrCorrupt.
func CheckHeader(f FS, path string) error {
	missing, err := inspect(f, path)
	if err == nil && missing {
		err = fmt.Errorf("%w: there is nothing in it", ErrNotDatabase)
	}
	return err
}

// ReadRoomName reads in a room's file which room it is of. The file must not be open.
func ReadRoomName(f FS, path string) (string, error) {
	name := ""
	err := readMeta(f, path, func(d *DB) error {
		return d.sql.Each("SELECT value FROM _den_meta WHERE name = 'room'", func(r *Rows) { name = string(r.Bytes(0)) })
	})
	if err == nil && name == "" {
		err = fmt.Errorf("%w: it does not name its room", ErrCorrupt)
	}
	if err != nil {
		return "", fmt.Errorf("storage: %s: %w", filepath.Base(path), diagnose(path, err))
	}
	return name, nil
}

// readMeta opens a file as it stands, without what the commit log may have for it.
func readMeta(f FS, path string, do func(*DB) error) error {
	o, err := Options{Path: path, FS: f}.WithDefaults()
	if err != nil {
		return err
	}
	fresh, err := inspect(f, path)
	if err == nil && fresh {
		err = fs.ErrNotExist
	}
	if err != nil {
		return err
	}
	d, err := connect(o, f.SQLite(), path)
	if err != nil {
		return err
	}
	err = d.configure()
	if err == nil {
		err = do(d)
	}
	return errors.Join(err, d.refuse())
}
