// Package walfile catches a transaction on its way into the file. SQLite writes each page that it has changed as a frame into its WAL,
// and the last frame of a transaction commits it. A WAL of this package is installed in the place of the WAL's file (package dbfile). It
// takes the difference of each page, and when the frame comes that commits, it has the commit log make the transaction durable before
// it lets the frame through. So nothing that SQLite can do to a file goes past the log: schema changes, full-text segments, sequences,
// Den's own tables.
//
// What is in the log need not be in the WAL at once. The frames of small transactions wait here and are written several transactions
// at a time. Reads of the WAL find them here, and SQLite believes that they are in the file. If the process dies, the next Open takes
// them from the log.
//
// The WAL's format is sqlite.org/fileformat2.html#walformat. SQLite's wal.c writes a transaction's frames through
// sqlite3_io_methods.xWrite, one header and one page at a time, the frame that commits last, and overwrites a page that was spilled
// earlier in its place. Any other write is refused.
package walfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

const (
	// HeaderSize is the size of the WAL's header in bytes.
	HeaderSize = 32
	// FrameSize is the size of a frame in bytes.
	FrameSize       = frameHeaderSize + pagelog.PageSize
	frameHeaderSize = 24
)

// A WAL stands between SQLite and the WAL's file. It has each transaction logged before SQLite commits it, and buffers SQLite's
// small writes, two for each page. The session's mutex protects it.
type WAL struct {
	files    *dbfile.Files    // the connection's files
	Base     vfs.File         // the WAL's file; nil: not open yet, because nothing was written to it
	Open     func() error     // opens the WAL's file
	KeepFile bool             // Truncate(0) leaves the file as it is
	places   map[uint32]int64 // offset in the WAL of each page's newest committed version
	Pages    uint32           // of the database
	unlogged uint32           // pages that no log entry contains, so that the next entry is a snapshot of them; 0: none
	first    [][]byte         // the parts of that snapshot, as far as they are known
	LogOnly  bool             // the room has no file yet, see package storage
	End      int64            // of the newest committed frame
	newest   int64            // offset of the newest committed transaction
	log      nodelog.RoomLog  // where the COMMIT that is running logs its transaction; nil: none is running
	number   nodelog.LogEntry // that transaction, without a payload
	layout   uint64           // the store's
	Refused  error            // why the last commit was refused
	DiskFull bool             // a write of the current transaction found the disk full
	logged   bool             // the log has the current transaction, whose COMMIT has not returned
	fresh    bool             // the file is new, or its header was zeroed and synced, and nothing was written since
	unsynced bool             // the next sync is for the first header and can be skipped

	next  frameHeader
	Entry pagelog.Builder // its pages, by their offsets in the WAL

	walBuffer

	scratch [pagelog.PageSize]byte
}

// A walBuffer is a part of the WAL: committed frames that may wait, then the current transaction's. Written frames stay while there
// is room, because the next transaction is likely to change the same pages.
type walBuffer struct {
	buf       []byte
	at        int64 // offset of buf in the WAL; -1: buf is empty
	written   int   // how many bytes of buf are in the file
	committed int   // how many bytes of buf are committed
	Extra     int   // bytes that may wait beyond BufferBytes; see DB.Withhold
}

// New makes the WAL of a connection. places and buffer are memory that it may use. fresh says that the file is new.
func New(files *dbfile.Files, places map[uint32]int64, buffer []byte, fresh bool) *WAL {
	clear(places)
	return &WAL{files: files, places: places, fresh: fresh, walBuffer: walBuffer{buf: buffer[:0], at: -1}}
}

// BeginLogOnly begins the WAL of a room without a file, whose pages no log entry contains yet. first are the parts of the first
// entry that are known.
func (w *WAL) BeginLogOnly(pages uint32, first [][]byte) {
	w.Pages = pages
	w.LogOnly, w.unlogged, w.first = true, pages, first
}

// LogAll has the next entry contain all pages, because the log has lost how the room began.
func (w *WAL) LogAll() { w.unlogged = w.Pages }

// GetsFile notes that the room has a file now.
func (w *WAL) GetsFile() { w.LogOnly, w.Extra = false, 0 }

// InBuffer returns how many bytes are in the buffer, and how many of them are in the file.
func (w *WAL) InBuffer() (bytes, written int) { return len(w.buf), w.written }

type frameHeader struct {
	at          int64 // offset of the page's bytes; 0: no header
	page, pages uint32
}

// IOCode returns SQLite's result code for a failed write.
func IOCode(err error) sqlite.ResultCode {
	if errors.Is(err, roomfile.ErrFull) {
		return sqlite.ResultFull
	}
	return dbfile.WriteCode(err)
}

// noFile reports whether the WAL has no file, and so no content.
func (w *WAL) noFile() bool { return w.Base == nil }

// Abandon writes what can be written of the buffer, before SQLite closes the file. The log has the frames that cannot be written.
func (w *WAL) Abandon() {
	w.Reset()
	if !w.LogOnly {
		_ = w.Flush()
	}
}

// Memory returns what New was given, empty, for the next user of the connection.
func (w *WAL) Memory() (places map[uint32]int64, buffer []byte) {
	w.clearPlaces()
	if cap(w.buf) > 2*BufferBytes { // only a room with withheld transactions needs as much
		return w.places, nil
	}
	return w.places, w.buf[:0]
}

// WriteAt is called by SQLite, with the WAL's header, the header of a frame, or a frame's page.
func (w *WAL) WriteAt(p []byte, off int64) (int, error) {
	var err error
	switch n := len(p); {
	case n == HeaderSize && off == 0:
		err = w.restart(p)
	case n == frameHeaderSize && off >= HeaderSize && (off-HeaderSize)%FrameSize == 0:
		err = w.addHeader(p, off)
	case n == pagelog.PageSize:
		err = w.addPage(p, off)
	default:
		err = w.refuse(fmt.Errorf("%w: a write of %d bytes at %d of the WAL, which this Den does not know", roomfile.ErrIO, n, off))
	}
	if err == nil {
		return len(p), nil
	}
	code := IOCode(err)
	if code == sqlite.ResultFull {
		w.DiskFull = true
	}
	return 0, sqlite.ErrorOf(code)
}

// The other methods show SQLite the file as if the buffer had been written.

// ReadAt is called by SQLite.
func (w *WAL) ReadAt(p []byte, off int64) (int, error) {
	if b := w.buffered(off, len(p), len(w.buf)); b != nil { // also when the disk is full
		return copy(p, b), nil
	}
	if off+int64(len(p)) > w.at+int64(w.written) {
		if err := w.Flush(); err != nil {
			return 0, sqlite.ErrorOf(IOCode(err))
		}
	}
	if w.noFile() {
		return 0, io.EOF
	}
	return w.Base.ReadAt(p, off)
}

// Sync is called by SQLite.
func (w *WAL) Sync() error {
	if w.unsynced {
		w.unsynced = false
		return nil
	}
	if w.LogOnly {
		return nil
	}
	if err := w.Flush(); err != nil {
		return sqlite.ErrorOf(IOCode(err))
	}
	if w.noFile() {
		return nil
	}
	return w.Base.Sync()
}

// Truncate is called by SQLite.
func (w *WAL) Truncate(size int64) error {
	if w.LogOnly {
		if size == 0 {
			w.clearBuffer()
		}
		return nil
	}
	if err := w.Flush(); err != nil {
		return sqlite.ErrorOf(IOCode(err))
	}
	if w.noFile() || w.KeepFile && size == 0 {
		return nil
	}
	return w.Base.Truncate(size)
}

// Size is called by SQLite.
func (w *WAL) Size() (size int64, err error) {
	if !w.noFile() {
		if size, err = w.Base.Size(); err != nil {
			return 0, err
		}
	}
	if w.at >= 0 {
		size = max(size, w.at+int64(len(w.buf)))
	}
	return size, nil
}

// Close closes the WAL itself, if it is open.
func (w *WAL) Close() error {
	if w.Base == nil {
		return nil
	}
	return w.Base.Close()
}

// writeFile writes to the WAL's file.
func (w *WAL) writeFile(b []byte, off int64) error {
	if w.noFile() {
		if err := w.Open(); err != nil {
			return err
		}
	}
	w.fresh = false
	_, err := w.Base.WriteAt(b, off)
	return err
}

// Flush writes the buffer to the file. After an error the next flush tries again, because SQLite has been told that the data is
// written.
func (w *WAL) Flush() error {
	for w.written < len(w.buf) {
		next := min(w.written+BufferBytes, len(w.buf))
		if err := w.writeFile(w.buf[w.written:next], w.at+int64(w.written)); err != nil {
			return err
		}
		w.written = next
	}
	return nil
}

// buffered returns n bytes at an offset of the WAL if they are in the first limit bytes of buf, or nil.
func (w *walBuffer) buffered(off int64, n, limit int) []byte {
	from := off - w.at
	if w.at < 0 || from < 0 || from+int64(n) > int64(limit) {
		return nil
	}
	return w.buf[from : from+int64(n)]
}

// BufferBytes is the size of the buffer, except in a new room that nobody has seen, and of one write to the file: 66 KB, five
// transactions of three pages.
const BufferBytes = 16 * FrameSize

// buffer adds a write to the buffer. If it does not follow the buffered data, the buffer is flushed first.
func (w *WAL) buffer(b []byte, off int64) error {
	follows := w.at >= 0 && off == w.at+int64(len(w.buf))
	if !follows || len(w.buf)+len(b) > BufferBytes+w.Extra {
		if err := w.Flush(); err != nil {
			return err
		}
		if follows {
			w.trimBuffer(w.newest)
		}
		if !follows || len(w.buf)+len(b) > BufferBytes+w.Extra {
			w.clearBuffer()
			w.at = off
		}
	}
	w.buf = append(w.buf, b...)
	return nil
}

// trimBuffer drops the part of buf before an offset. All of buf is in the file.
func (w *walBuffer) trimBuffer(off int64) {
	n := int(off - w.at)
	if n <= 0 || n > len(w.buf) {
		return
	}
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	w.at, w.written, w.committed = off, len(w.buf), max(w.committed-n, 0)
}

// clearBuffer empties buf, whose content is in the file or not needed.
func (w *walBuffer) clearBuffer() { w.buf, w.at, w.written, w.committed = w.buf[:0], -1, 0, 0 }

// restart handles the WAL's header: SQLite begins the WAL again because all of it is in the database.
func (w *WAL) restart(header []byte) error {
	w.clearPlaces()
	w.End, w.newest = 0, 0
	w.Reset()
	w.clearBuffer()
	// SQLite syncs the header before it writes frames after it. Otherwise a power cut could leave the old header with some of the
	// old frames, which SQLite would play over a newer file. A file that nothing was ever written into has no old frames, and
	// needs no sync.
	w.unsynced = w.fresh || bug.On("wal-header")
	if w.noFile() {
		return w.buffer(header, 0)
	}
	return w.writeFile(header, 0)
}

// refuse keeps the reason of a refused write that is not an error of the file.
func (w *WAL) refuse(err error) error {
	w.Refused = err
	return err
}

// keepPlaces is the largest number of pages for which the map's memory is kept: those of a WAL that is checkpointed in time.
const keepPlaces = 2 * (4 << 20) / FrameSize

func (w *WAL) clearPlaces() {
	if len(w.places) > keepPlaces {
		w.places = make(map[uint32]int64)
	}
	clear(w.places)
}

// addHeader handles a frame's header. A savepoint has taken back the frames at its offset and after it.
func (w *WAL) addHeader(b []byte, off int64) error {
	if off < w.End { // a committed frame, whose checksum SQLite rewrites
		if err := w.Flush(); err != nil {
			return err
		}
		w.clearBuffer()
		return w.writeFile(b, off)
	}
	if n := off - w.at; w.at >= 0 && n >= int64(w.committed) && n < int64(len(w.buf)) {
		w.buf, w.written = w.buf[:n], min(w.written, int(n))
	}
	w.Entry.Truncate(off)
	w.next = frameHeader{off + frameHeaderSize, binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
	return w.buffer(b, off)
}

// addPage handles a page of the transaction.
func (w *WAL) addPage(b []byte, off int64) error {
	next := w.next
	w.next = frameHeader{}
	if next.at != off {
		return w.rewritePage(b, off)
	}
	before, err := w.pageBefore(next.page)
	if err != nil {
		return w.refuse(err)
	}
	if next.pages != 0 {
		// SQLite appends the page that commits even if it was spilled before.
		w.Entry.Remove(next.page)
	}
	w.Entry.Add(off, next.page, before, b)
	if next.pages != 0 {
		return w.commitFrame(next.pages, b, off)
	}
	if err := w.buffer(b, off); err != nil {
		w.Entry.Truncate(off)
		return err
	}
	return nil
}

// rewritePage handles a page that SQLite has spilled before.
func (w *WAL) rewritePage(b []byte, off int64) error {
	page, found := w.Entry.At(off)
	if !found {
		return w.refuse(fmt.Errorf("%w: a page without a header at %d of the WAL", roomfile.ErrIO, off))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	w.clearBuffer()
	before, err := w.pageBefore(page)
	if err != nil {
		return w.refuse(err)
	}
	w.Entry.Replace(off, before, b)
	return w.writeFile(b, off)
}

// pageBefore returns a page as it was before the transaction. It is valid until the next call.
func (w *WAL) pageBefore(page uint32) ([]byte, error) {
	if page > w.Pages {
		clear(w.scratch[:])
		return w.scratch[:], nil
	}
	file, off := w.files.Main(), int64(page-1)*pagelog.PageSize
	if at, there := w.places[page]; there {
		if b := w.buffered(at, pagelog.PageSize, w.committed); b != nil {
			return b, nil
		}
		file, off = w.Base, at
	}
	n, err := file.ReadAt(w.scratch[:], off)
	if err != nil && !errors.Is(err, io.EOF) {
		if e := roomfile.ErrorOf(err); e != nil {
			return nil, e
		}
		return nil, fmt.Errorf("%w: reading page %d as it was: %v", roomfile.ErrIO, page, err)
	}
	clear(w.scratch[n:]) // a missing part is zeros
	return w.scratch[:], nil
}

// commitFrame handles the last frame of a transaction: it has the transaction logged.
func (w *WAL) commitFrame(pages uint32, b []byte, off int64) error {
	if w.log == nil {
		return w.refuse(fmt.Errorf("%w: a transaction without a number", roomfile.ErrMisuse))
	}
	if w.at < 0 || off != w.at+int64(len(w.buf)) {
		return w.refuse(fmt.Errorf("%w: a frame that commits at %d of the WAL, which does not follow the frames before it", roomfile.ErrIO, off))
	}
	w.buf = append(w.buf, b...)
	if begin := max(w.End, HeaderSize); w.at > begin {
		return w.commitLarge(pages)
	}
	if err := w.appendEntry(pages); err != nil {
		return w.refuse(err) // Reset drops its frames
	}
	w.committedAt(pages)
	return nil
}

// commitLarge is commitFrame for a transaction that is partly in the file already. It writes everything except the header that
// commits before the transaction is logged, so that a full disk is noticed in time.
func (w *WAL) commitLarge(pages uint32) error {
	header := len(w.buf) - FrameSize
	var commits [frameHeaderSize]byte
	copy(commits[:], w.buf[header:])
	clear(w.buf[header : header+frameHeaderSize])
	if err := w.Flush(); err != nil {
		return err
	}
	at := w.at + int64(header)
	w.clearBuffer()
	if err := w.appendEntry(pages); err != nil {
		return w.refuse(err)
	}
	w.logged = true
	if err := w.writeFile(commits[:], at); err != nil {
		return err
	}
	w.committedAt(pages)
	return nil
}

// beginSnapshot begins the payload of a room's first entry, with all pages as they were before it.
func (w *WAL) beginSnapshot() ([]byte, error) {
	known := w.first
	if bug.On("log-only-pages") {
		known = nil
	}
	return pagelog.BeginSnapshot(w.unlogged, known, func(number uint32) ([]byte, error) {
		page, err := w.pageBefore(number)
		if bug.On("log-only-pages") && number > 1 {
			page = make([]byte, pagelog.PageSize)
		}
		return page, err
	})
}

// appendEntry appends the transaction to the log.
func (w *WAL) appendEntry(pages uint32) error {
	var base []byte
	if w.unlogged > 0 {
		var err error
		if base, err = w.beginSnapshot(); err != nil {
			return err
		}
	}
	payload, more := w.Entry.Payload(base, w.Pages, pages)
	pagelog.SetLayout(payload, w.layout)
	e := w.number
	e.Payload = payload
	return w.log.Append(e, more...)
}

// Arm lets the next frame that commits through, after log has the transaction as e.
func (w *WAL) Arm(log nodelog.RoomLog, e nodelog.LogEntry, layout uint64) {
	w.log, w.number, w.layout, w.logged, w.Refused = log, e, layout, false, nil
}

// Disarm ends what Arm began. logged reports whether the log has the transaction although COMMIT may have failed; refused is why
// the WAL refused it.
func (w *WAL) Disarm() (logged bool, refused error) {
	logged, refused = w.logged, w.Refused
	w.log, w.logged, w.Refused = nil, false, nil
	return logged, refused
}

// committedAt updates the pages' offsets after a commit.
func (w *WAL) committedAt(pages uint32) {
	w.newest = max(w.End, HeaderSize)
	for page, at := range w.Entry.Pages() {
		w.places[page] = at
		w.End = at + pagelog.PageSize
	}
	w.unlogged, w.first = 0, nil
	w.Pages, w.committed = pages, len(w.buf)
	w.Entry.Done()
	w.Reset()
}

// Reset drops the current transaction and its part of the buffer.
func (w *WAL) Reset() {
	w.next = frameHeader{}
	w.Entry.Reset()
	w.buf, w.written = w.buf[:w.committed], min(w.written, w.committed)
	if w.committed == 0 {
		w.at = -1
	}
}
