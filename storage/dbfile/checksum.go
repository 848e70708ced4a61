package dbfile

// The checksums of a database's pages. A database has them if SQLite leaves 8 bytes at the end of each page to others, which
// its header says at byte 20 (sqlite.org/fileformat2.html):
//
//	4088  u32  the page's number, little endian
//	4092  u32  CRC-32C of the 4092 bytes before it, little endian
//
// They are in the database's file only. A page that is read loses them: SQLite, the WAL, the commit log and a database in memory
// have zeros there. So no page changes because its place or its checksum does.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

const (
	// ReservedBytes is how many bytes at the end of each page a database with checksums has for them.
	ReservedBytes = 8
	// PageSize is the size of the pages of a database with checksums, in bytes.
	PageSize = 4096

	headerBytes    = 100      // of the database, at the beginning of its first page
	reservedAt     = 20       // where in it the number of reserved bytes is
	bufferedWrites = 64 << 10 // bytes of pages that are written at once
	magic          = "SQLite format 3\x00"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a page's checksum into it.
func seal(page []byte, number uint32) {
	binary.LittleEndian.PutUint32(page[PageSize-8:], number)
	binary.LittleEndian.PutUint32(page[PageSize-4:], crc32.Checksum(page[:PageSize-4], castagnoli))
}

// sealed reports whether a page has its checksum, or is all zeros, which no one has written: a page that became free in the
// transaction that would have made it, the page at 1 GiB that SQLite leaves out, what Truncate adds.
func sealed(page []byte, number uint32) bool {
	return binary.LittleEndian.Uint32(page[PageSize-8:]) == number &&
		binary.LittleEndian.Uint32(page[PageSize-4:]) == crc32.Checksum(page[:PageSize-4], castagnoli) || isZero(page)
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// fileKind is what is known of a database's file.
type fileKind uint8

const (
	unknown fileKind = iota
	blank            // it has no header yet
	plain            // its pages have no checksums
	summed           // they have
)

// kindOf tells the kind by the beginning of a file.
func kindOf(header []byte) fileKind {
	switch {
	case len(header) <= reservedAt || string(header[:len(magic)]) != magic:
		return blank
	case header[reservedAt] == ReservedBytes:
		return summed
	}
	return plain
}

// A Database is the file of a database. If the database has checksums, ReadAt checks the pages that it reads and WriteAt adds the
// checksums to the pages that it writes. Then both take whole pages only, except that ReadAt also reads the header, or a part of
// it, which it does not check. Any other file is read and written as it is. One goroutine uses it.
type Database struct {
	vfs.File
	path string
	kind fileKind
	bad  uint32 // the last page that was read without its checksum; 0: none
}

// NewDatabase makes a Database of an open file. path is for errors.
func NewDatabase(f vfs.File, path string) *Database { return &Database{File: f, path: path} }

// ReadAt is io.ReaderAt. If a page does not have its checksum, the error is a *sqlite.Error with ResultCorrupt.
func (d *Database) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.File.ReadAt(p, off)
	if off == 0 && d.kind <= blank && n > reservedAt {
		d.kind = kindOf(p[:n])
	}
	if len(p) <= headerBytes || err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	if d.kind == unknown {
		if failed := d.look(); failed != nil {
			return n, failed
		}
	}
	if d.kind == summed {
		if failed := d.check(p, n, off); failed != nil {
			return n, failed
		}
	}
	return n, err
}

// look finds out what kind of file it is.
func (d *Database) look() error {
	header := make([]byte, reservedAt+1)
	n, err := d.File.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	d.kind = kindOf(header[:n])
	return nil
}

// check checks the n bytes that were read into p, and takes the checksums out.
func (d *Database) check(p []byte, n int, off int64) error {
	if off%PageSize != 0 || len(p)%PageSize != 0 {
		return d.misplaced("read", len(p), off)
	}
	clear(p[n:]) // of a page that the file has a part of
	for at := 0; at < n; at += PageSize {
		page, number := p[at:at+PageSize], uint32((off+int64(at))/PageSize)+1
		if !sealed(page, number) {
			d.bad = number
			return &sqlite.Error{Code: sqlite.ResultCorrupt, Message: d.complaint()}
		}
		clear(page[PageSize-ReservedBytes:])
	}
	return nil
}

func (d *Database) misplaced(what string, n int, off int64) error {
	return &sqlite.Error{
		Code: sqlite.ResultCorrupt, Message: fmt.Sprintf("a %s of %d bytes at %d of %s, which are not whole pages", what, n, off, d.path),
	}
}

// complaint says which page did not have its checksum; "": each had.
func (d *Database) complaint() string {
	if d.bad == 0 {
		return ""
	}
	return fmt.Sprintf("page %d of %s does not have its checksum", d.bad, d.path)
}

// WriteAt is io.WriterAt. The first page says whether the pages have checksums. SQLite may write others before it: they get their
// checksums together with the first one. A database cannot begin or cease to have checksums.
func (d *Database) WriteAt(p []byte, off int64) (int, error) {
	if d.kind == unknown {
		if err := d.look(); err != nil {
			return 0, err
		}
	}
	if off > 0 || len(p) < headerBytes || kindOf(p) == blank {
		return d.write(p, off)
	}
	was, is := d.kind, kindOf(p)
	if was != blank && was != is {
		return 0, &sqlite.Error{
			Code: sqlite.ResultCorrupt, Message: fmt.Sprintf("%s would have %d reserved bytes in each page, and has others", d.path, p[reservedAt]),
		}
	}
	d.kind = is
	n, err := d.write(p, off)
	if err == nil && was == blank && is == summed {
		err = d.sealFrom(int64(n))
	}
	return n, err
}

// buffers are for pages with their checksums: the caller's must not change.
var buffers = sync.Pool{New: func() any { return new([bufferedWrites]byte) }}

// write writes pages with their checksums, or anything as it is.
func (d *Database) write(p []byte, off int64) (done int, err error) {
	if d.kind != summed {
		return d.File.WriteAt(p, off)
	}
	if off%PageSize != 0 || len(p)%PageSize != 0 {
		return 0, d.misplaced("write", len(p), off)
	}
	buffer := buffers.Get().(*[bufferedWrites]byte)
	defer buffers.Put(buffer)
	for done < len(p) && err == nil {
		part := buffer[:copy(buffer[:], p[done:])]
		for at := 0; at < len(part); at += PageSize {
			seal(part[at:at+PageSize], uint32((off+int64(done+at))/PageSize)+1)
		}
		var n int
		n, err = d.File.WriteAt(part, off+int64(done))
		done += n
	}
	return done, err
}

// sealFrom gives the pages from an offset on their checksums, which have none.
func (d *Database) sealFrom(off int64) error {
	buffer := buffers.Get().(*[bufferedWrites]byte)
	defer buffers.Put(buffer)
	page := buffer[:PageSize]
	size, err := d.File.Size()
	for ; off < size && err == nil; off += PageSize {
		if _, err = d.File.ReadAt(page, off); err == nil && !isZero(page) {
			_, err = d.write(page, off)
		}
	}
	return err
}

// Seal gives all pages their checksums, whatever they have in their place, if the database is one that has checksums. It is for a
// file that a program has changed which knows nothing of them.
func (d *Database) Seal() error {
	if err := d.look(); err != nil || d.kind != summed {
		return err
	}
	return d.sealFrom(0)
}

// CheckAt reads up to 64 KiB from a page on, as ReadAt does. next is where the pages begin that follow; 0: none do, or the database has
// no checksums.
func (d *Database) CheckAt(off int64) (next int64, err error) {
	buffer := buffers.Get().(*[bufferedWrites]byte)
	defer buffers.Put(buffer)
	n, err := d.ReadAt(buffer[:], off)
	if errors.Is(err, io.EOF) {
		return 0, nil
	}
	if err != nil || d.kind != summed {
		return 0, err
	}
	return off + int64(n), nil
}

// Scan reads the whole file, and calls found with the number of each page that does not have its checksum. Nothing else is found in
// a database without checksums.
func (d *Database) Scan(found func(page uint32)) error {
	if err := d.look(); err != nil || d.kind != summed {
		return err
	}
	buffer := buffers.Get().(*[bufferedWrites]byte)
	defer buffers.Put(buffer)
	for off := int64(0); ; off += bufferedWrites {
		n, err := d.File.ReadAt(buffer[:], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(buffer[n:])
		for at := 0; at < n; at += PageSize {
			if number := uint32((off+int64(at))/PageSize) + 1; !sealed(buffer[at:at+PageSize], number) {
				found(number)
			}
		}
		if n < len(buffer) {
			return nil
		}
	}
}
