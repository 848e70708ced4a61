package roomfile

// What a room's file begins with, and its two versions: that of files with checksums of their pages, and the older one of files
// without. Package dbfile adds the checksums and compares them. Every file that is made has them. A file without goes on as it
// is until it is written again as a whole.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

const (
	// ApplicationID is SQLite's application_id, "DenR", at byte 68 of the file.
	ApplicationID = 0x44656E52
	// Version is SQLite's user_version, at byte 60, of a file with checksums.
	Version = 3
	// PlainVersion is the user_version of a file without checksums.
	PlainVersion = 2
	// ReservedAt is where the header says how many bytes at the end of each page SQLite leaves to others.
	ReservedAt = 20

	versionAt = 60
)

// ErrOldChecksums: the file's version is that of a file without checksums, and its pages have the bytes for them. So somebody has noted
// in it that another program than Den has changed it. It is an ErrCorrupt.
var ErrOldChecksums = fmt.Errorf("%w: another program has changed it, and its checksums are not those of its pages; restore it as a backup", ErrCorrupt)

// CheckVersion returns an error unless these are the application id and the version of a file that this Den can read:
// ErrNotDatabase, ErrCorrupt, ErrNewer.
func CheckVersion(id, version uint32) error {
	switch {
	case id != ApplicationID:
		return fmt.Errorf("%w: application id %08x", ErrNotDatabase, id)
	case version == 0:
		return fmt.Errorf("%w: no schema version", ErrCorrupt)
	case version < PlainVersion:
		return fmt.Errorf("%w: it has schema %d, of a Den that was never released; this Den needs %d", ErrNotDatabase, version, PlainVersion)
	case version > Version:
		return fmt.Errorf("%w: it has schema %d, this Den knows up to %d; upgrade Den to open it", ErrNewer, version, Version)
	}
	return nil
}

// CheckFormat is CheckVersion for the header of a file, whose reserved bytes must be those of its version. Its errors are also
// ErrOldChecksums.
func CheckFormat(header []byte) error {
	version, reserved := binary.BigEndian.Uint32(header[versionAt:]), header[ReservedAt]
	if err := CheckVersion(binary.BigEndian.Uint32(header[68:]), version); err != nil {
		return err
	}
	switch {
	case version == PlainVersion && reserved == dbfile.ReservedBytes:
		return ErrOldChecksums
	case version == PlainVersion && reserved != 0, version == Version && reserved != dbfile.ReservedBytes:
		return fmt.Errorf("%w: it has schema %d, and %d reserved bytes in each page", ErrCorrupt, version, reserved)
	}
	return nil
}

// RenewChecksums gives the pages of a file with ErrOldChecksums the checksums of what is in them. Nobody has the file open. It is not
// synced.
func RenewChecksums(f vfs.FS, path string) error {
	file, err := f.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	database := dbfile.NewDatabase(file, path)
	_, err = file.WriteAt(binary.BigEndian.AppendUint32(nil, Version), versionAt)
	changed := false
	if err == nil {
		err = database.Scan(func(page uint32) { changed = changed || page == 1 })
	}
	if err == nil && !changed {
		err = fmt.Errorf("%w: a bit of its version has changed, and nothing else of its first page", ErrCorrupt)
	}
	if err == nil {
		err = database.Seal()
	}
	return errors.Join(err, database.Close())
}

// AddChecksums writes a file without checksums again, with them, and checks it. Nobody has the file open, and no transaction of a
// commit log belongs to it. It is not synced. After an error it is as it was.
func AddChecksums(f vfs.FS, path string) error {
	temp := path + FreshSuffix
	err := vacuumWithChecksums(f, path, temp)
	if err == nil {
		err = f.Rename(temp, path)
	}
	if err != nil {
		err = errors.Join(err, RemoveDatabase(f, temp))
	}
	return err
}

// vacuumWithChecksums is AddChecksums into another file. VACUUM counts as a change of the schema: the count is kept, because Den's notes
// in the file name it.
func vacuumWithChecksums(f vfs.FS, path, to string) error {
	if err := Make(f, to); err != nil {
		return err
	}
	var cookie int64
	err := in(f, path, func(c Conn) error {
		if err := c.Each("PRAGMA schema_version", func(r *sqlite.Row) { cookie = r.Int(0) }); err != nil {
			return err
		}
		if err := c.ReserveBytes(dbfile.ReservedBytes); err != nil {
			return Failed(err)
		}
		return c.Exec("VACUUM INTO ?1", to)
	})
	if err != nil {
		return err
	}
	return in(f, to, func(c Conn) error {
		if err := c.Exec(fmt.Sprintf("PRAGMA user_version = %d; PRAGMA schema_version = %d", Version, cookie)); err != nil {
			return err
		}
		return c.Check("PRAGMA integrity_check(1)")
	})
}

// in does something with a connection to a file.
func in(f vfs.FS, path string, do func(Conn) error) error {
	c, err := Open(f, path)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}
