package storage

// Where a transaction is caught on its way into the file: SQLite writes each page that
// it changed as a frame into its WAL, and the last frame of a transaction commits it.
// A file of ours is installed in that one's place (package dbfile). It takes the difference of each
// page, and when the frame comes that commits, has the commit log make it durable before
// it lets it through. So nothing that SQLite can do to a file goes past the log: schema
// changes, full-text segments, sequences, Den's own tables.
//
// What is in the log need not be in the WAL at once: the frames of small transactions wait
// here and go into it some at a time, in one write. Until then reads of the WAL find them here,
// and if the process dies the next Open takes them from the log. SQLite believes that they are
// there.
//
// The WAL's format is sqlite.org/fileformat2.html#walformat; that a transaction's frames
// come through sqlite3_io_methods.xWrite one header and one page at a time, the frame that
// commits last, and that a page that was spilled earlier is overwritten in its place, is
// what SQLite's wal.c does; a write that fits none of it is refused.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

const (
	walHeaderSize   = 32
	frameHeaderSize = 24
	frameSize       = frameHeaderSize + pageSize
)

// wal watches the WAL of an open file. The DB's mutex protects it.
//
// It also gathers what SQLite writes in small pieces: two writes for each page.
type wal struct {
	files    *dbfile.Files                              // of the connection
	base     vfs.File                                   // the WAL itself; nil: it is not open, nothing was written into it yet
	parked   string                                     // where it is, if not in its place: open, and nothing is in it
	open     func() error                               // opens it then, or puts it in its place
	stays    bool                                       // it is not to be cut to nothing
	place    map[uint32]int64                           // where in the WAL a page's newest committed version is
	pages    uint32                                     // of the database
	bare     uint32                                     // pages of which no entry tells: the next one holds them; 0: none
	first    [][]byte                                   // what it says of each, as far as that is known
	born     bool                                       // there is no file yet, born.go
	end      int64                                      // of the newest committed frame
	newest   int64                                      // where the newest committed transaction begins
	append   func(payload []byte, more ...[]byte) error // makes a payload durable
	armed    bool                                       // a commit is expected now
	refused  error                                      // why the last commit was refused
	diskFull bool                                       // a write of the transaction in work found no room on the disk
	ahead    bool                                       // the log has the transaction in work; its COMMIT has not returned
	fresh    bool                                       // nothing was written into the file since it was made, or since its header was zeroed and synced
	unsynced bool                                       // the next sync is that of a first header, and need not be done

	// The transaction in work.

	next  frameHeader
	entry pagelog.Builder // of its pages, by where they are in the WAL

	// A piece of the WAL: what is committed and may wait, then the transaction in work. What
	// was written stays as long as there is room, for its pages are likely to be the next
	// transaction's.

	buf       []byte
	at        int64 // where it begins in the WAL; -1: nowhere
	written   int   // how much of it is in the file
	committed int   // how much of it is committed
	more      int   // bytes that may wait beyond gatherBytes; see Withhold

	scratch [pageSize]byte
}

type frameHeader struct {
	at          int64 // of the page's bytes; 0: none
	page, pages uint32
}

// watch has the WAL of an open database, which must be empty, be read and written through d.wal.
func (d *DB) watch() error {
	w := &wal{place: make(map[uint32]int64), append: d.append, at: -1, fresh: d.freshWAL, files: d.files}
	if err := d.each("PRAGMA page_count", func(r *Rows) { w.pages = uint32(r.Int(0)) }); err != nil {
		return err
	}
	d.c.SetAutoCheckpoint(0)
	err := d.files.WrapWAL(d.c, func(base vfs.File) vfs.File { w.base = base; return w })
	if err != nil {
		return failed(err)
	}
	d.wal = w
	return nil
}

// watchAgain is watch for a connection that was moved: its WAL is not there, and is made when
// something is to be written into it.
func (d *DB) watchAgain(was *wal) error {
	w := d.takeWAL(was)
	return d.each("PRAGMA page_count", func(r *Rows) { w.pages = uint32(r.Int(0)) })
}

// takeWAL is watchAgain without the number of pages.
func (d *DB) takeWAL(was *wal) *wal {
	clear(was.place)
	w := &wal{place: was.place, append: d.append, at: -1, fresh: true, files: d.files, buf: was.buf[:0], base: was.base, parked: was.parked}
	w.open = d.openWAL
	d.files.InstallWAL(w)
	d.wal = w
	return w
}

// openWAL makes the WAL that SQLite believes to have open, or takes the one that the connection
// has brought along.
func (d *DB) openWAL() error {
	if d.unsettled() {
		if err := d.settle(); err != nil {
			return diagnose(d.o.Path, err)
		}
	}
	if d.wal.parked != "" {
		return d.unparkWAL()
	}
	f, err := dbfile.MakeWAL(d.o.FS.SQLite(), d.o.Path+"-wal")
	if err != nil {
		return diagnose(d.o.Path, err)
	}
	d.wal.base = f
	return nil
}

// ioCode is what SQLite is told of an error of a write.
func ioCode(err error) sqlite.ResultCode {
	if errors.Is(err, ErrFull) {
		return sqlite.ResultFull
	}
	return dbfile.WriteCode(err)
}

// maxParked is how large a WAL may be that a connection keeps: the usual ones are smaller.
const maxParked = 1 << 20

// parkWAL takes a WAL whose content is in the database out of its place, open as it is, for the
// next room that the connection serves; some file systems take milliseconds to free a file's blocks, and
// longer to make one than to sync one. First it is made sure of that nobody takes
// what is in it for a WAL, and then that no power cut brings its name back, for soon there
// will be another room's pages in it.
func (d *DB) parkWAL() error {
	w, dir := d.wal, d.o.Kind.wals
	size, err := w.base.Size()
	if err != nil {
		return err
	}
	if dir == "" || size > maxParked {
		return ErrTooLarge
	}
	if err := w.put(make([]byte, walHeaderSize), 0); err != nil {
		return err
	}
	if err := w.base.Sync(); err != nil {
		return err
	}
	to := filepath.Join(dir, strconv.Itoa(d.files.Number()))
	if err := d.o.FS.Rename(d.o.Path+"-wal", to); err != nil {
		return err
	}
	w.parked = to
	return d.o.File().SyncDir()
}

// unparkWAL puts it in its place.
func (d *DB) unparkWAL() error {
	if err := d.o.FS.Rename(d.wal.parked, d.o.Path+"-wal"); err != nil {
		return diagnose(d.o.Path, err)
	}
	d.wal.parked = ""
	return nil
}

// away tells that the WAL is not in its place: nothing is in it.
func (w *wal) away() bool { return w.base == nil || w.parked != "" }

// unwatch ends the watching, before SQLite closes the WAL. If what waits cannot be written into
// it, that is in the log. parked is where the WAL is if it was not used.
func (d *DB) unwatch() (parked string) {
	w := d.wal
	if w == nil {
		return ""
	}
	w.reset()
	if !w.born {
		_ = w.flush()
	}
	d.files.InstallWAL(w.base)
	d.wal = nil
	return w.parked
}

// leave closes the WAL, which is empty, beneath SQLite.
func (w *wal) leave() {
	_ = w.Close()
	w.base, w.parked = nil, ""
}

// forget lets go of what belonged to the DB that is over.
func (w *wal) forget() {
	w.forgetPlaces()
	w.end, w.newest = 0, 0
	w.reset()
	w.forgetGathered()
	w.append, w.open, w.stays, w.bare, w.first, w.born, w.more = nil, nil, false, 0, nil, false, 0
	if cap(w.buf) > 2*gatherBytes { // what a room has withheld is seldom as much
		w.buf = nil
	}
}

// WriteAt is called by SQLite.
func (w *wal) WriteAt(p []byte, off int64) (int, error) {
	err := w.write(p, off)
	if err == nil {
		return len(p), nil
	}
	code := ioCode(err)
	if code == sqlite.ResultFull {
		w.diskFull = true
	}
	return 0, sqlite.ErrorOf(code)
}

// The other methods show SQLite the file as if all had been written.

// ReadAt is called by SQLite.
func (w *wal) ReadAt(p []byte, off int64) (int, error) {
	if b := w.buffered(off, len(p), len(w.buf)); b != nil { // on a disk that is full, too
		return copy(p, b), nil
	}
	if off+int64(len(p)) > w.at+int64(w.written) {
		if err := w.flush(); err != nil {
			return 0, sqlite.ErrorOf(ioCode(err))
		}
	}
	if w.away() {
		return 0, io.EOF
	}
	return w.base.ReadAt(p, off)
}

// Sync is called by SQLite.
func (w *wal) Sync() error {
	if w.unsynced {
		w.unsynced = false
		return nil
	}
	if w.born {
		return nil
	}
	if err := w.flush(); err != nil {
		return sqlite.ErrorOf(ioCode(err))
	}
	if w.away() {
		return nil
	}
	return w.base.Sync()
}

// Truncate is called by SQLite.
func (w *wal) Truncate(size int64) error {
	if w.born {
		if size == 0 {
			w.forgetGathered()
		}
		return nil
	}
	if err := w.flush(); err != nil {
		return sqlite.ErrorOf(ioCode(err))
	}
	if w.away() || w.stays && size == 0 {
		return nil
	}
	return w.base.Truncate(size)
}

// Size is called by SQLite.
func (w *wal) Size() (size int64, err error) {
	if !w.away() {
		if size, err = w.base.Size(); err != nil {
			return 0, err
		}
	}
	if w.at >= 0 {
		size = max(size, w.at+int64(len(w.buf)))
	}
	return size, nil
}

// Close closes the WAL itself, if it is open.
func (w *wal) Close() error {
	if w.base == nil {
		return nil
	}
	return w.base.Close()
}

// put writes into the WAL's file.
func (w *wal) put(b []byte, off int64) error {
	if w.away() {
		if err := w.open(); err != nil {
			return err
		}
	}
	w.fresh = false
	_, err := w.base.WriteAt(b, off)
	return err
}

// flush writes what was gathered. After an error it is tried again: SQLite believes that it is there.
func (w *wal) flush() error {
	for w.written < len(w.buf) {
		next := min(w.written+gatherBytes, len(w.buf))
		if err := w.put(w.buf[w.written:next], w.at+int64(w.written)); err != nil {
			return err
		}
		w.written = next
	}
	return nil
}

// buffered gives n bytes of the WAL that are in the first limit ones of buf, nil if they are not.
func (w *wal) buffered(off int64, n, limit int) []byte {
	from := off - w.at
	if w.at < 0 || from < 0 || from+int64(n) > int64(limit) {
		return nil
	}
	return w.buf[from : from+int64(n)]
}

// gatherBytes is how much is gathered at most, but for a new room that nobody has seen, and how much is written by
// one call: 66 KB, five transactions of three pages.
const gatherBytes = 16 * frameSize

// gather takes a piece that is to be written, if it follows what was gathered.
func (w *wal) gather(b []byte, off int64) error {
	follows := w.at >= 0 && off == w.at+int64(len(w.buf))
	if !follows || len(w.buf)+len(b) > gatherBytes+w.more {
		if err := w.flush(); err != nil {
			return err
		}
		if follows {
			w.forgetBefore(w.newest)
		}
		if !follows || len(w.buf)+len(b) > gatherBytes+w.more {
			w.forgetGathered()
			w.at = off
		}
	}
	w.buf = append(w.buf, b...)
	return nil
}

// forgetBefore shortens buf from its beginning; all of it is in the file.
func (w *wal) forgetBefore(off int64) {
	n := int(off - w.at)
	if n <= 0 || n > len(w.buf) {
		return
	}
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	w.at, w.written, w.committed = off, len(w.buf), max(w.committed-n, 0)
}

// forgetGathered begins a new buf; what was in it is in the file, or of no use.
func (w *wal) forgetGathered() { w.buf, w.at, w.written, w.committed = w.buf[:0], -1, 0, 0 }

// write takes what SQLite writes to the WAL.
func (w *wal) write(b []byte, off int64) error {
	switch n := len(b); {
	case n == walHeaderSize && off == 0:
		w.forgetPlaces() // SQLite begins the WAL anew because all of it is in the database
		w.end, w.newest = 0, 0
		w.reset()
		w.forgetGathered()
		// SQLite syncs the header before it writes frames after it. Otherwise a power cut could leave
		// the old header with some of the old frames, which SQLite would play over a newer file. A file
		// that nothing was ever written into has no old frames, and needs no sync.
		w.unsynced = w.fresh || bug.On("wal-header")
		if w.away() {
			return w.gather(b, off)
		}
		return w.put(b, off)
	case n == frameHeaderSize && off >= walHeaderSize && (off-walHeaderSize)%frameSize == 0:
		return w.header(b, off)
	case n == pageSize:
		return w.page(b, off)
	}
	return w.refuse(fmt.Errorf("%w: a write of %d bytes at %d of the WAL, which this Den does not know", ErrIO, len(b), off))
}

// refuse notes why a write is refused, where it is not the file that failed.
func (w *wal) refuse(err error) error {
	w.refused = err
	return err
}

// keepPlaces is how many pages the memory for them is kept for: those of a WAL that is
// checkpointed when it should be.
const keepPlaces = 2 * checkpointBytes / frameSize

func (w *wal) forgetPlaces() {
	if len(w.place) > keepPlaces {
		w.place = make(map[uint32]int64)
	}
	clear(w.place)
}

// header notes which page comes next. Frames at or behind it were taken back by a
// savepoint.
func (w *wal) header(b []byte, off int64) error {
	if off < w.end { // of a frame that was committed: its checksum is made anew
		if err := w.flush(); err != nil {
			return err
		}
		w.forgetGathered()
		return w.put(b, off)
	}
	if n := off - w.at; w.at >= 0 && n >= int64(w.committed) && n < int64(len(w.buf)) {
		w.buf, w.written = w.buf[:n], min(w.written, int(n))
	}
	w.entry.Truncate(off)
	w.next = frameHeader{off + frameHeaderSize, binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
	return w.gather(b, off)
}

// page takes a page of the transaction.
func (w *wal) page(b []byte, off int64) error {
	next := w.next
	w.next = frameHeader{}
	if next.at != off {
		return w.again(b, off)
	}
	before, err := w.read(next.page)
	if err != nil {
		return w.refuse(err)
	}
	if next.pages != 0 {
		// SQLite appends the page that commits even if it was spilled before.
		w.entry.Remove(next.page)
	}
	w.entry.Add(off, next.page, before, b)
	if next.pages != 0 {
		return w.commit(next.pages, b, off)
	}
	if err := w.gather(b, off); err != nil {
		w.entry.Truncate(off)
		return err
	}
	return nil
}

// again takes a page that was spilled before.
func (w *wal) again(b []byte, off int64) error {
	page, found := w.entry.At(off)
	if !found {
		return w.refuse(fmt.Errorf("%w: a page without a header at %d of the WAL", ErrIO, off))
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.forgetGathered()
	before, err := w.read(page)
	if err != nil {
		return w.refuse(err)
	}
	w.entry.Replace(off, before, b)
	return w.put(b, off)
}

// read gives a page as it was before the transaction; it is valid until the next read.
func (w *wal) read(page uint32) ([]byte, error) {
	if page > w.pages {
		clear(w.scratch[:])
		return w.scratch[:], nil
	}
	file, off := w.files.Main(), int64(page-1)*pageSize
	if at, there := w.place[page]; there {
		if b := w.buffered(at, pageSize, w.committed); b != nil {
			return b, nil
		}
		file, off = w.base, at
	}
	n, err := file.ReadAt(w.scratch[:], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: reading page %d as it was: %v", ErrIO, page, err)
	}
	clear(w.scratch[n:]) // what is short is zeros
	return w.scratch[:], nil
}

// commit has the transaction made durable, and takes the page that commits it.
func (w *wal) commit(pages uint32, b []byte, off int64) error {
	if !w.armed {
		return w.refuse(fmt.Errorf("%w: a transaction without a number", ErrMisuse))
	}
	if w.at < 0 || off != w.at+int64(len(w.buf)) {
		return w.refuse(fmt.Errorf("%w: a frame that commits at %d of the WAL, behind none", ErrIO, off))
	}
	w.buf = append(w.buf, b...)
	if begin := max(w.end, walHeaderSize); w.at > begin {
		return w.commitLarge(pages)
	}
	if err := w.enter(pages); err != nil {
		return w.refuse(err) // and reset takes its frames back
	}
	w.committedAt(pages)
	return nil
}

// commitLarge is commit for a transaction of which a part is in the file already. There all of
// it but the header that makes it a commit goes before the log has it: so a disk that is full
// says so in time.
func (w *wal) commitLarge(pages uint32) error {
	header := len(w.buf) - frameSize
	var commits [frameHeaderSize]byte
	copy(commits[:], w.buf[header:])
	clear(w.buf[header : header+frameHeaderSize])
	if err := w.flush(); err != nil {
		return err
	}
	at := w.at + int64(header)
	w.forgetGathered()
	if err := w.enter(pages); err != nil {
		return w.refuse(err)
	}
	w.ahead = true
	if err := w.put(commits[:], at); err != nil {
		return err
	}
	w.committedAt(pages)
	return nil
}

// beginning begins the payload of a room's first entry with all pages as they were before it.
func (w *wal) beginning() ([]byte, error) {
	known := w.first
	if bug.On("born-pages") {
		known = nil
	}
	return pagelog.BeginSnapshot(w.bare, known, func(number uint32) ([]byte, error) {
		page, err := w.read(number)
		if bug.On("born-pages") && number > 1 {
			page = make([]byte, pageSize)
		}
		return page, err
	})
}

// enter has the log take the transaction.
func (w *wal) enter(pages uint32) error {
	var base []byte
	if w.bare > 0 {
		var err error
		if base, err = w.beginning(); err != nil {
			return err
		}
	}
	first, more := w.entry.Payload(base, w.pages, pages)
	return w.append(first, more...)
}

// committedAt takes note of where the pages are now.
func (w *wal) committedAt(pages uint32) {
	w.newest = max(w.end, walHeaderSize)
	for page, at := range w.entry.Pages() {
		w.place[page] = at
		w.end = at + pageSize
	}
	w.bare, w.first = 0, nil
	w.pages, w.committed = pages, len(w.buf)
	w.entry.Done()
	w.reset()
}

// reset forgets the transaction in work, and what of it was gathered.
func (w *wal) reset() {
	w.next = frameHeader{}
	w.entry.Reset()
	w.buf, w.written = w.buf[:w.committed], min(w.written, w.committed)
	if w.committed == 0 {
		w.at = -1
	}
}
