package storage

// Where a transaction is caught on its way into the file: SQLite writes each page that
// it changed as a frame into its WAL, and the last frame of a transaction commits it.
// The write method of that one file is replaced by one that takes the difference of each
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
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/sqlite"
)

const (
	walHeaderSize   = 32
	frameHeaderSize = 24
	frameSize       = frameHeaderSize + pageSize
)

// walMethods is the table of methods that SQLite finds in its open WAL. It lies in C memory.
type walMethods struct {
	methods sqlite3.Tsqlite3_io_methods
	handle  uintptr // finds the DB
}

// wal watches the WAL of an open file. The DB's mutex protects it.
//
// It also gathers what SQLite writes in small pieces: two writes for each page.
type wal struct {
	file, main uintptr                                    // SQLite's open files: the WAL and the database
	base       uintptr                                    // the WAL's own methods; 0: it is not open, nothing was written into it yet
	parked     string                                     // where it is, if not in its place: open, and nothing is in it
	open       func() int32                               // opens it then, or puts it in its place
	stays      bool                                       // it is not to be cut to nothing
	table      *walMethods                                // what stands in their place
	place      map[uint32]int64                           // where in the WAL a page's newest committed version is
	pages      uint32                                     // of the database
	bare       uint32                                     // pages of which no entry tells: the next one holds them; 0: none
	first      [][]byte                                   // what it says of each, as far as that is known
	born       bool                                       // there is no file yet, born.go
	end        int64                                      // of the newest committed frame
	newest     int64                                      // where the newest committed transaction begins
	append     func(payload []byte, more ...[]byte) error // makes a payload durable
	armed      bool                                       // a commit is expected now
	refused    error                                      // why the last commit was refused
	diskFull   bool                                       // a write of the transaction in work found no room on the disk
	ahead      bool                                       // the log has the transaction in work; its COMMIT has not returned
	fresh      bool                                       // nothing was written into the file since it was made, or since its header was zeroed and synced
	unsynced   bool                                       // the next sync is that of a first header, and need not be done

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

// watch puts our methods into the WAL of an open database, which must be empty.
func (d *DB) watch() error {
	w := &wal{place: make(map[uint32]int64), append: d.append, at: -1, fresh: d.freshWAL}
	for op, to := range map[sqlite.FileControl]*uintptr{sqlite.FileControlJournal: &w.file, sqlite.FileControlFile: &w.main} {
		p, err := d.c.FileControl(op)
		if err != nil {
			return failed(err)
		}
		*to = p
	}
	if w.file == 0 || *(*uintptr)(cmem.Pointer(w.file)) == 0 {
		return errors.New("storage: SQLite has no WAL open")
	}
	if err := d.each("PRAGMA page_count", func(r *Rows) { w.pages = uint32(r.Int(0)) }); err != nil {
		return err
	}
	d.c.SetAutoCheckpoint(0)
	w.base = *(*uintptr)(cmem.Pointer(w.file))
	w.table = (*walMethods)(cmem.Pointer(cmem.Malloc(d.c.TLS(), int(unsafe.Sizeof(walMethods{})))))
	w.table.methods = *w.own()
	w.table.catch()
	w.table.handle = d.handle
	*(*uintptr)(cmem.Pointer(w.file)) = w.address()
	d.wal = w
	return nil
}

// catch puts our methods into the table.
func (t *walMethods) catch() {
	t.methods.FxWrite = cmem.Func(onWALWrite)
	t.methods.FxRead = cmem.Func(onWALRead)
	t.methods.FxSync = cmem.Func(onWALSync)
	t.methods.FxTruncate = cmem.Func(onWALTruncate)
	t.methods.FxFileSize = cmem.Func(onWALSize)
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
	w := &wal{place: was.place, append: d.append, at: -1, fresh: true, file: was.file, main: was.main, table: was.table, buf: was.buf[:0],
		base: was.base, parked: was.parked}
	w.open = d.openWAL
	d.wal = w
	return w
}

// openWAL makes the WAL that SQLite believes to have open, or takes the one that the connection
// has brought along.
func (d *DB) openWAL() int32 {
	if d.unsettled() {
		if err := diagnose(d.o.Path, d.settle()); err != nil {
			return ioCode(err)
		}
	}
	if d.wal.parked != "" {
		return d.unparkWAL()
	}
	f, err := d.o.FS.Open(d.o.Path+"-wal", os.O_RDWR|os.O_CREATE) // its owner's alone, and its error tells more than SQLite's
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return ioCode(diagnose(d.o.Path, err))
	}
	w, methods := d.wal, (*uintptr)(cmem.Pointer(d.wal.file))
	const flags = sqlite3.SQLITE_OPEN_READWRITE | sqlite3.SQLITE_OPEN_CREATE | sqlite3.SQLITE_OPEN_WAL
	rc := d.seat.open(sqlite3.Xsqlite3_filename_wal(d.c.TLS(), d.seat.name), w.file, flags)
	if rc == sqlite3.SQLITE_OK {
		w.base = *methods
	}
	*methods = w.address()
	return rc
}

// ioCode is what SQLite is told of an error of a write.
func ioCode(err error) int32 {
	if errors.Is(err, ErrFull) {
		return sqlite3.SQLITE_FULL
	}
	return sqlite3.SQLITE_IOERR_WRITE
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
	tls := d.c.TLS()
	out := cmem.Malloc(tls, 8)
	defer cmem.Free(tls, out)
	if rc := cmem.Method[sizeMethod](w.own().FxFileSize)(tls, w.file, out); rc != sqlite3.SQLITE_OK {
		return said(sqlite.ResultCode(rc))
	}
	if size := *(*int64)(cmem.Pointer(out)); dir == "" || size > maxParked {
		return ErrTooLarge
	}
	if rc := w.put(tls, make([]byte, walHeaderSize), 0); rc != sqlite3.SQLITE_OK {
		return said(sqlite.ResultCode(rc))
	}
	if rc := cmem.Method[syncMethod](w.own().FxSync)(tls, w.file, sqlite3.SQLITE_SYNC_NORMAL); rc != sqlite3.SQLITE_OK {
		return said(sqlite.ResultCode(rc))
	}
	to := filepath.Join(dir, strconv.Itoa(int(d.handle)))
	if err := d.o.FS.Rename(d.o.Path+"-wal", to); err != nil {
		return err
	}
	w.parked = to
	return d.o.syncDir()
}

// unparkWAL puts it in its place.
func (d *DB) unparkWAL() int32 {
	if err := d.o.FS.Rename(d.wal.parked, d.o.Path+"-wal"); err != nil {
		return ioCode(diagnose(d.o.Path, err))
	}
	d.wal.parked = ""
	return sqlite3.SQLITE_OK
}

// away tells that the WAL is not in its place: nothing is in it.
func (w *wal) away() bool { return w.base == 0 || w.parked != "" }

// unwatch ends the watching, before SQLite closes the WAL. If what waits cannot be written into
// it, that is in the log. parked is where the WAL is if it was not used.
func (d *DB) unwatch() (parked string) {
	w := d.wal
	if w == nil {
		return ""
	}
	w.reset()
	if !w.born {
		w.flush(d.c.TLS())
	}
	if w.file != 0 {
		*(*uintptr)(cmem.Pointer(w.file)) = w.base
	}
	cmem.Free(d.c.TLS(), w.address())
	d.wal = nil
	return w.parked
}

// leave closes the WAL, which is empty, beneath SQLite.
func (w *wal) leave(tls *libc.TLS) {
	if w.base == 0 {
		return
	}
	cmem.Method[closeMethod](w.own().FxClose)(tls, w.file)
	w.base, w.parked = 0, ""
	*(*uintptr)(cmem.Pointer(w.file)) = w.address()
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

// address is where our methods are.
func (w *wal) address() uintptr { return uintptr(unsafe.Pointer(w.table)) }

// own are the methods that the WAL's file has of its own.
func (w *wal) own() *sqlite3.Tsqlite3_io_methods {
	return (*sqlite3.Tsqlite3_io_methods)(cmem.Pointer(w.base))
}

// The forms of the methods of SQLite's files.
type (
	ioMethod   = func(tls *libc.TLS, file, p uintptr, n int32, off int64) int32 // xRead, xWrite
	syncMethod = func(tls *libc.TLS, file uintptr, flags int32) int32
	cutMethod  = func(tls *libc.TLS, file uintptr, size int64) int32
	sizeMethod = func(tls *libc.TLS, file, out uintptr) int32
)

// walOf finds the wal of an open file.
func walOf(file uintptr) *wal {
	table := (*walMethods)(cmem.Pointer(*(*uintptr)(cmem.Pointer(file))))
	return open.Find(table.handle).wal
}

func onWALWrite(tls *libc.TLS, file, p uintptr, n int32, off int64) int32 {
	w := walOf(file)
	rc, err := w.write(tls, p, int(n), off)
	if err != nil {
		w.refused = err
		rc = ioCode(err)
	}
	w.noteFull(rc, err)
	return rc
}

// The other methods see the file as if all had been written.

func onWALRead(tls *libc.TLS, file, p uintptr, n int32, off int64) int32 {
	w := walOf(file)
	if b := w.buffered(off, int(n), len(w.buf)); b != nil { // on a disk that is full, too
		copy(cmem.Bytes(p, int(n)), b)
		return sqlite3.SQLITE_OK
	}
	if off+int64(n) > w.at+int64(w.written) {
		if rc := w.flush(tls); rc != sqlite3.SQLITE_OK {
			return rc
		}
	}
	if w.away() {
		clear(cmem.Bytes(p, int(n)))
		return sqlite3.SQLITE_IOERR_SHORT_READ
	}
	return cmem.Method[ioMethod](w.own().FxRead)(tls, file, p, n, off)
}

func onWALSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	w := walOf(file)
	if w.unsynced {
		w.unsynced = false
		return sqlite3.SQLITE_OK
	}
	if w.born {
		return sqlite3.SQLITE_OK
	}
	if rc := w.flush(tls); rc != sqlite3.SQLITE_OK {
		return rc
	}
	if w.away() {
		return sqlite3.SQLITE_OK
	}
	return cmem.Method[syncMethod](w.own().FxSync)(tls, file, flags)
}

func onWALTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	w := walOf(file)
	if w.born {
		if size == 0 {
			w.forgetGathered()
		}
		return sqlite3.SQLITE_OK
	}
	if rc := w.flush(tls); rc != sqlite3.SQLITE_OK {
		return rc
	}
	if w.away() || w.stays && size == 0 {
		return sqlite3.SQLITE_OK
	}
	return cmem.Method[cutMethod](w.own().FxTruncate)(tls, file, size)
}

func onWALSize(tls *libc.TLS, file, out uintptr) int32 {
	w := walOf(file)
	size := (*int64)(cmem.Pointer(out))
	*size = 0
	if !w.away() {
		if rc := cmem.Method[sizeMethod](w.own().FxFileSize)(tls, file, out); rc != sqlite3.SQLITE_OK {
			return rc
		}
	}
	if w.at >= 0 {
		*size = max(*size, w.at+int64(len(w.buf)))
	}
	return sqlite3.SQLITE_OK
}

// put writes into the WAL's file.
func (w *wal) put(tls *libc.TLS, b []byte, off int64) int32 {
	if w.away() {
		if rc := w.open(); rc != sqlite3.SQLITE_OK {
			return rc
		}
	}
	w.fresh = false
	return cmem.Method[ioMethod](w.own().FxWrite)(tls, w.file, uintptr(unsafe.Pointer(unsafe.SliceData(b))), int32(len(b)), off)
}

// flush writes what was gathered, in pieces that the VFS takes.
func (w *wal) flush(tls *libc.TLS) int32 {
	for w.written < len(w.buf) {
		next := min(w.written+gatherBytes, len(w.buf))
		rc := w.put(tls, w.buf[w.written:next], w.at+int64(w.written))
		if rc != sqlite3.SQLITE_OK { // it is tried again: SQLite believes that it is there
			return rc
		}
		w.written = next
	}
	return sqlite3.SQLITE_OK
}

// buffered gives n bytes of the WAL that are in the first limit ones of buf, nil if they are not.
func (w *wal) buffered(off int64, n, limit int) []byte {
	from := off - w.at
	if w.at < 0 || from < 0 || from+int64(n) > int64(limit) {
		return nil
	}
	return w.buf[from : from+int64(n)]
}

// gatherBytes is how much is gathered at most, but for a new room that nobody has seen: 66 KB, five transactions of three pages. It is written by one call
// of the VFS, and SQLite's for Unix takes a write's length modulo 128 KiB (os_unix.c, seekAndWriteFd: nBuf &= 0x1ffff):
// more than that would be written in part, without an error. SQLite itself writes a page at a time, 64 KiB at most.
const gatherBytes = 16 * frameSize

// The index is negative, and this does not compile, if gatherBytes is more than one write takes.
var _ = [1]struct{}{}[min(0, 0x1ffff-gatherBytes)]

// gather takes a piece that is to be written, if it follows what was gathered.
func (w *wal) gather(tls *libc.TLS, b []byte, off int64) (rc int32) {
	follows := w.at >= 0 && off == w.at+int64(len(w.buf))
	if !follows || len(w.buf)+len(b) > gatherBytes+w.more {
		if rc := w.flush(tls); rc != sqlite3.SQLITE_OK {
			return rc
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
	return sqlite3.SQLITE_OK
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
func (w *wal) write(tls *libc.TLS, p uintptr, n int, off int64) (rc int32, err error) {
	b := cmem.Bytes(p, n)
	switch {
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
			return w.gather(tls, b, off), nil
		}
		return w.put(tls, b, off), nil
	case n == frameHeaderSize && off >= walHeaderSize && (off-walHeaderSize)%frameSize == 0:
		return w.header(tls, b, off), nil
	case n == pageSize:
		return w.page(tls, b, off)
	}
	return 0, fmt.Errorf("%w: a write of %d bytes at %d of the WAL, which this Den does not know", ErrIO, n, off)
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
func (w *wal) header(tls *libc.TLS, b []byte, off int64) int32 {
	if off < w.end { // of a frame that was committed: its checksum is made anew
		if rc := w.flush(tls); rc != sqlite3.SQLITE_OK {
			return rc
		}
		w.forgetGathered()
		return w.put(tls, b, off)
	}
	if n := off - w.at; w.at >= 0 && n >= int64(w.committed) && n < int64(len(w.buf)) {
		w.buf, w.written = w.buf[:n], min(w.written, int(n))
	}
	w.entry.Truncate(off)
	w.next = frameHeader{off + frameHeaderSize, binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
	return w.gather(tls, b, off)
}

// page takes a page of the transaction.
func (w *wal) page(tls *libc.TLS, b []byte, off int64) (rc int32, err error) {
	next := w.next
	w.next = frameHeader{}
	if next.at != off {
		return w.again(tls, b, off)
	}
	before, err := w.read(tls, next.page)
	if err != nil {
		return 0, err
	}
	if next.pages != 0 {
		// SQLite appends the page that commits even if it was spilled before.
		w.entry.Remove(next.page)
	}
	w.entry.Add(off, next.page, before, b)
	if next.pages != 0 {
		return w.commit(tls, next.pages, b, off)
	}
	if rc := w.gather(tls, b, off); rc != sqlite3.SQLITE_OK {
		w.entry.Truncate(off)
		return rc, nil
	}
	return sqlite3.SQLITE_OK, nil
}

// again takes a page that was spilled before.
func (w *wal) again(tls *libc.TLS, b []byte, off int64) (rc int32, err error) {
	page, found := w.entry.At(off)
	if !found {
		return 0, fmt.Errorf("%w: a page without a header at %d of the WAL", ErrIO, off)
	}
	if rc := w.flush(tls); rc != sqlite3.SQLITE_OK {
		return rc, nil
	}
	w.forgetGathered()
	before, err := w.read(tls, page)
	if err != nil {
		return 0, err
	}
	w.entry.Replace(off, before, b)
	return w.put(tls, b, off), nil
}

// read gives a page as it was before the transaction; it is valid until the next read.
func (w *wal) read(tls *libc.TLS, page uint32) ([]byte, error) {
	if page > w.pages {
		clear(w.scratch[:])
		return w.scratch[:], nil
	}
	file, methods, off := w.main, (*sqlite3.Tsqlite3_io_methods)(cmem.Pointer(*(*uintptr)(cmem.Pointer(w.main)))), int64(page-1)*pageSize
	if at, there := w.place[page]; there {
		if b := w.buffered(at, pageSize, w.committed); b != nil {
			return b, nil
		}
		file, methods, off = w.file, w.own(), at
	}
	rc := cmem.Method[ioMethod](methods.FxRead)(tls, file, uintptr(unsafe.Pointer(&w.scratch)), pageSize, off)
	if rc != sqlite3.SQLITE_OK && rc != sqlite3.SQLITE_IOERR_SHORT_READ { // what is short is zeros
		return nil, fmt.Errorf("%w: reading page %d as it was: SQLite's code %d", ErrIO, page, rc)
	}
	return w.scratch[:], nil
}

// commit has the transaction made durable, and takes the page that commits it.
func (w *wal) commit(tls *libc.TLS, pages uint32, b []byte, off int64) (rc int32, err error) {
	if !w.armed {
		return 0, fmt.Errorf("%w: a transaction without a number", ErrMisuse)
	}
	if w.at < 0 || off != w.at+int64(len(w.buf)) {
		return 0, fmt.Errorf("%w: a frame that commits at %d of the WAL, behind none", ErrIO, off)
	}
	w.buf = append(w.buf, b...)
	if begin := max(w.end, walHeaderSize); w.at > begin {
		return w.commitLarge(tls, pages)
	}
	if err := w.enter(tls, pages); err != nil {
		return 0, err // and reset takes its frames back
	}
	w.committedAt(pages)
	return sqlite3.SQLITE_OK, nil
}

// commitLarge is commit for a transaction of which a part is in the file already. There all of
// it but the header that makes it a commit goes before the log has it: so a disk that is full
// says so in time.
func (w *wal) commitLarge(tls *libc.TLS, pages uint32) (rc int32, err error) {
	header := len(w.buf) - frameSize
	var commits [frameHeaderSize]byte
	copy(commits[:], w.buf[header:])
	clear(w.buf[header : header+frameHeaderSize])
	if rc := w.flush(tls); rc != sqlite3.SQLITE_OK {
		return rc, nil
	}
	at := w.at + int64(header)
	w.forgetGathered()
	if err := w.enter(tls, pages); err != nil {
		return 0, err
	}
	w.ahead = true
	if rc := w.put(tls, commits[:], at); rc != sqlite3.SQLITE_OK {
		return rc, nil
	}
	w.committedAt(pages)
	return sqlite3.SQLITE_OK, nil
}

// beginning begins the payload of a room's first entry with all pages as they were before it.
func (w *wal) beginning(tls *libc.TLS) ([]byte, error) {
	known := w.first
	if bug.On("born-pages") {
		known = nil
	}
	return pagelog.BeginSnapshot(w.bare, known, func(number uint32) ([]byte, error) {
		page, err := w.read(tls, number)
		if bug.On("born-pages") && number > 1 {
			page = make([]byte, pageSize)
		}
		return page, err
	})
}

// enter has the log take the transaction.
func (w *wal) enter(tls *libc.TLS, pages uint32) error {
	var base []byte
	if w.bare > 0 {
		var err error
		if base, err = w.beginning(tls); err != nil {
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
