package storage

// Scrubbing compares the checksums of a room's file before anybody needs its pages, some pages at a time. A page with a
// wrong checksum makes the file suspect, as a read of the page does. So the next Open writes the file again, or refuses
// the room.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// Scrub compares the checksums of 64 KiB of an open room's file, from an offset on. next is the offset for the following
// call. It is 0 if there is nothing more, or if the pages have no checksums. The error is ErrCorrupt if a page has a wrong
// checksum. Then the file is marked when it is closed; the room can go on until it needs the page.
func Scrub(d *DB, from int64) (next int64, err error) {
	if err := d.sql.Lock(); err != nil {
		return 0, err
	}
	defer d.sql.Mu.Unlock()
	file, is := d.sql.Conn.Files.Main().(*dbfile.Database)
	if !is { // the room is in memory
		return 0, nil
	}
	return scrub(file, from, d.o.Path)
}

// ScrubFile is Scrub for a file that is not open and that nobody opens meanwhile. It marks the file at once. It does
// nothing if the file does not exist, if it is marked already, or if a crash has left a part of it in the WAL, because a
// page may be half written then.
func ScrubFile(o Options, from int64) (next int64, err error) {
	if marked, err := roomfile.Exists(o.FS, o.Path+roomfile.SuspectSuffix); marked || err != nil {
		return 0, err
	}
	if err := takenIn(o.FS, o.Path+"-wal"); err != nil {
		if errors.Is(err, ErrFull) {
			err = nil
		}
		return 0, err
	}
	f, err := o.FS.Open(o.Path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, diagnose(o.Path, err)
	}
	if from == 0 {
		err = checkHeader(f, o)
	}
	if err == nil {
		next, err = scrub(dbfile.NewDatabase(f, o.Path), from, o.Path)
	}
	f.Close()
	if errors.Is(err, ErrCorrupt) {
		err = errors.Join(err, o.File().MarkOrRemember())
	}
	return next, err
}

// checkHeader checks what the next Open checks in the header, and the size of the file. A damaged header can make a file look as if it
// had no checksums.
func checkHeader(f vfs.File, o Options) error {
	if bug.On("scrub-blind") {
		return nil
	}
	header := make([]byte, headerSize)
	size, err := f.Size()
	if err == nil && size > 0 {
		_, err = f.ReadAt(header, 0)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case string(header[:len(magic)]) != magic:
		return fmt.Errorf("%w: %s does not begin as an SQLite file", ErrCorrupt, o.Path)
	case size/pageSize < int64(binary.BigEndian.Uint32(header[28:])):
		return fmt.Errorf("%w: %s is shorter than its header says", ErrCorrupt, o.Path)
	}
	if err := roomfile.CheckFormat(header); errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("%s: %w", o.Path, err)
	}
	return nil
}

func scrub(file *dbfile.Database, from int64, path string) (next int64, err error) {
	next, err = file.CheckAt(from)
	if bug.On("scrub-blind") {
		return next, nil
	}
	return next, diagnose(path, failed(err))
}
