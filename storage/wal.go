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

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

const (
	walHeaderSize   = 32
	frameHeaderSize = 24
	frameSize       = frameHeaderSize + pageSize
)

// wal stands between SQLite and the WAL's file. It has each transaction logged before SQLite commits it, and buffers SQLite's
// small writes, two for each page. The DB's mutex protects it.
type wal struct {
	files    *dbfile.Files    // the connection's files
	base     vfs.File         // the WAL's file; nil: not open yet, because nothing was written to it
	open     func() error     // opens the WAL's file
	keepFile bool             // Truncate(0) leaves the file as it is
	places   map[uint32]int64 // offset in the WAL of each page's newest committed version
	pages    uint32           // of the database
	unlogged uint32           // pages that no log entry contains, so that the next entry is a snapshot of them; 0: none
	first    [][]byte         // the parts of that snapshot, as far as they are known
	logOnly  bool             // the room has no file yet, see logonly.go
	end      int64            // of the newest committed frame
	newest   int64            // offset of the newest committed transaction
	log      RoomLog          // where the COMMIT that is running logs its transaction; nil: none is running
	number   LogEntry         // that transaction, without a payload
	layout   uint64           // the store's
	refused  error            // why the last commit was refused
	diskFull bool             // a write of the current transaction found the disk full
	logged   bool             // the log has the current transaction, whose COMMIT has not returned
	fresh    bool             // the file is new, or its header was zeroed and synced, and nothing was written since
	unsynced bool             // the next sync is for the first header and can be skipped

	next  frameHeader
	entry pagelog.Builder // its pages, by their offsets in the WAL

	walBuffer

	scratch [pageSize]byte
}

// A walBuffer is a part of the WAL: committed frames that may wait, then the current transaction's. Written frames stay while there
// is room, because the next transaction is likely to change the same pages.
type walBuffer struct {
	buf       []byte
	at        int64 // offset of buf in the WAL; -1: buf is empty
	written   int   // how many bytes of buf are in the file
	committed int   // how many bytes of buf are committed
	extra     int   // bytes that may wait beyond bufferBytes; see Withhold
}

type frameHeader struct {
	at          int64 // offset of the page's bytes; 0: no header
	page, pages uint32
}

// wrapWAL makes SQLite read and write the WAL of an open database through d.wal. The WAL must be empty.
func (st *store) wrapWAL() error {
	w := st.newWAL(st.freshWAL)
	if err := st.countPages(); err != nil {
		return err
	}
	st.sql.c.SetAutoCheckpoint(0)
	return failed(st.sql.c.Files.WrapWAL(st.sql.c.Conn, func(base vfs.File) vfs.File { w.base = base; return w }))
}

// installWAL is wrapWAL for a connection without a WAL. The WAL is opened by the first write. The pages are not counted.
func (st *store) installWAL() {
	w := st.newWAL(true)
	w.open = st.openWAL
	st.sql.c.Files.InstallWAL(w)
}

func (st *store) newWAL(fresh bool) *wal {
	clear(st.sql.places)
	st.wal = &wal{places: st.sql.places, fresh: fresh, files: st.sql.c.Files, walBuffer: walBuffer{buf: st.sql.frames[:0], at: -1}}
	return st.wal
}

// countPages has SQLite count the database's pages.
func (st *store) countPages() (err error) {
	pages, err := st.sql.pageCount()
	st.wal.pages = uint32(pages)
	return err
}

// openWAL opens the WAL's file: the one that the pooled connection has brought along, or a new one.
func (st *store) openWAL() error {
	if st.inMemory() {
		if err := st.materialize(); err != nil {
			return diagnose(st.o.Path, err)
		}
	}
	f, err := st.sql.c.OpenWAL(st.o.Path + "-wal")
	if err != nil {
		return diagnose(st.o.Path, err)
	}
	st.wal.base = f
	return nil
}

// ioCode returns SQLite's result code for a failed write.
func ioCode(err error) sqlite.ResultCode {
	if errors.Is(err, ErrFull) {
		return sqlite.ResultFull
	}
	return dbfile.WriteCode(err)
}

// noFile reports whether the WAL has no file, and so no content.
func (w *wal) noFile() bool { return w.base == nil }

// unwrapWAL returns the WAL's file to SQLite before SQLite closes it. The log has the frames that cannot be written.
func (st *store) unwrapWAL() {
	w := st.wal
	if w == nil {
		return
	}
	w.reset()
	if !w.logOnly {
		_ = w.flush()
	}
	st.sql.c.Files.InstallWAL(w.base)
	st.wal = nil
}

// giveMemory leaves the buffers to the next user of the connection.
func (w *wal) giveMemory(to *workspace) {
	w.clearPlaces()
	to.places, to.frames = w.places, w.buf[:0]
	if cap(w.buf) > 2*bufferBytes { // only a room with withheld transactions needs as much
		to.frames = nil
	}
}

// WriteAt is called by SQLite, with the WAL's header, the header of a frame, or a frame's page.
func (w *wal) WriteAt(p []byte, off int64) (int, error) {
	var err error
	switch n := len(p); {
	case n == walHeaderSize && off == 0:
		err = w.restart(p)
	case n == frameHeaderSize && off >= walHeaderSize && (off-walHeaderSize)%frameSize == 0:
		err = w.addHeader(p, off)
	case n == pageSize:
		err = w.addPage(p, off)
	default:
		err = w.refuse(fmt.Errorf("%w: a write of %d bytes at %d of the WAL, which this Den does not know", ErrIO, n, off))
	}
	if err == nil {
		return len(p), nil
	}
	code := ioCode(err)
	if code == sqlite.ResultFull {
		w.diskFull = true
	}
	return 0, sqlite.ErrorOf(code)
}

// The other methods show SQLite the file as if the buffer had been written.

// ReadAt is called by SQLite.
func (w *wal) ReadAt(p []byte, off int64) (int, error) {
	if b := w.buffered(off, len(p), len(w.buf)); b != nil { // also when the disk is full
		return copy(p, b), nil
	}
	if off+int64(len(p)) > w.at+int64(w.written) {
		if err := w.flush(); err != nil {
			return 0, sqlite.ErrorOf(ioCode(err))
		}
	}
	if w.noFile() {
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
	if w.logOnly {
		return nil
	}
	if err := w.flush(); err != nil {
		return sqlite.ErrorOf(ioCode(err))
	}
	if w.noFile() {
		return nil
	}
	return w.base.Sync()
}

// Truncate is called by SQLite.
func (w *wal) Truncate(size int64) error {
	if w.logOnly {
		if size == 0 {
			w.clearBuffer()
		}
		return nil
	}
	if err := w.flush(); err != nil {
		return sqlite.ErrorOf(ioCode(err))
	}
	if w.noFile() || w.keepFile && size == 0 {
		return nil
	}
	return w.base.Truncate(size)
}

// Size is called by SQLite.
func (w *wal) Size() (size int64, err error) {
	if !w.noFile() {
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

// writeFile writes to the WAL's file.
func (w *wal) writeFile(b []byte, off int64) error {
	if w.noFile() {
		if err := w.open(); err != nil {
			return err
		}
	}
	w.fresh = false
	_, err := w.base.WriteAt(b, off)
	return err
}

// flush writes the buffer to the file. After an error the next flush tries again, because SQLite has been told that the data is
// written.
func (w *wal) flush() error {
	for w.written < len(w.buf) {
		next := min(w.written+bufferBytes, len(w.buf))
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

// bufferBytes is the size of the buffer, except in a new room that nobody has seen, and of one write to the file: 66 KB, five
// transactions of three pages.
const bufferBytes = 16 * frameSize

// buffer adds a write to the buffer. If it does not follow the buffered data, the buffer is flushed first.
func (w *wal) buffer(b []byte, off int64) error {
	follows := w.at >= 0 && off == w.at+int64(len(w.buf))
	if !follows || len(w.buf)+len(b) > bufferBytes+w.extra {
		if err := w.flush(); err != nil {
			return err
		}
		if follows {
			w.trimBuffer(w.newest)
		}
		if !follows || len(w.buf)+len(b) > bufferBytes+w.extra {
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
func (w *wal) restart(header []byte) error {
	w.clearPlaces()
	w.end, w.newest = 0, 0
	w.reset()
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
func (w *wal) refuse(err error) error {
	w.refused = err
	return err
}

// keepPlaces is the largest number of pages for which the map's memory is kept: those of a WAL that is checkpointed in time.
const keepPlaces = 2 * checkpointBytes / frameSize

func (w *wal) clearPlaces() {
	if len(w.places) > keepPlaces {
		w.places = make(map[uint32]int64)
	}
	clear(w.places)
}

// addHeader handles a frame's header. A savepoint has taken back the frames at its offset and after it.
func (w *wal) addHeader(b []byte, off int64) error {
	if off < w.end { // a committed frame, whose checksum SQLite rewrites
		if err := w.flush(); err != nil {
			return err
		}
		w.clearBuffer()
		return w.writeFile(b, off)
	}
	if n := off - w.at; w.at >= 0 && n >= int64(w.committed) && n < int64(len(w.buf)) {
		w.buf, w.written = w.buf[:n], min(w.written, int(n))
	}
	w.entry.Truncate(off)
	w.next = frameHeader{off + frameHeaderSize, binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
	return w.buffer(b, off)
}

// addPage handles a page of the transaction.
func (w *wal) addPage(b []byte, off int64) error {
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
		w.entry.Remove(next.page)
	}
	w.entry.Add(off, next.page, before, b)
	if next.pages != 0 {
		return w.commitFrame(next.pages, b, off)
	}
	if err := w.buffer(b, off); err != nil {
		w.entry.Truncate(off)
		return err
	}
	return nil
}

// rewritePage handles a page that SQLite has spilled before.
func (w *wal) rewritePage(b []byte, off int64) error {
	page, found := w.entry.At(off)
	if !found {
		return w.refuse(fmt.Errorf("%w: a page without a header at %d of the WAL", ErrIO, off))
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.clearBuffer()
	before, err := w.pageBefore(page)
	if err != nil {
		return w.refuse(err)
	}
	w.entry.Replace(off, before, b)
	return w.writeFile(b, off)
}

// pageBefore returns a page as it was before the transaction. It is valid until the next call.
func (w *wal) pageBefore(page uint32) ([]byte, error) {
	if page > w.pages {
		clear(w.scratch[:])
		return w.scratch[:], nil
	}
	file, off := w.files.Main(), int64(page-1)*pageSize
	if at, there := w.places[page]; there {
		if b := w.buffered(at, pageSize, w.committed); b != nil {
			return b, nil
		}
		file, off = w.base, at
	}
	n, err := file.ReadAt(w.scratch[:], off)
	if err != nil && !errors.Is(err, io.EOF) {
		if e := roomfile.ErrorOf(err); e != nil {
			return nil, e
		}
		return nil, fmt.Errorf("%w: reading page %d as it was: %v", ErrIO, page, err)
	}
	clear(w.scratch[n:]) // a missing part is zeros
	return w.scratch[:], nil
}

// commitFrame handles the last frame of a transaction: it has the transaction logged.
func (w *wal) commitFrame(pages uint32, b []byte, off int64) error {
	if w.log == nil {
		return w.refuse(fmt.Errorf("%w: a transaction without a number", ErrMisuse))
	}
	if w.at < 0 || off != w.at+int64(len(w.buf)) {
		return w.refuse(fmt.Errorf("%w: a frame that commits at %d of the WAL, which does not follow the frames before it", ErrIO, off))
	}
	w.buf = append(w.buf, b...)
	if begin := max(w.end, walHeaderSize); w.at > begin {
		return w.commitLarge(pages)
	}
	if err := w.appendEntry(pages); err != nil {
		return w.refuse(err) // reset drops its frames
	}
	w.committedAt(pages)
	return nil
}

// commitLarge is commitFrame for a transaction that is partly in the file already. It writes everything except the header that
// commits before the transaction is logged, so that a full disk is noticed in time.
func (w *wal) commitLarge(pages uint32) error {
	header := len(w.buf) - frameSize
	var commits [frameHeaderSize]byte
	copy(commits[:], w.buf[header:])
	clear(w.buf[header : header+frameHeaderSize])
	if err := w.flush(); err != nil {
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
func (w *wal) beginSnapshot() ([]byte, error) {
	known := w.first
	if bug.On("log-only-pages") {
		known = nil
	}
	return pagelog.BeginSnapshot(w.unlogged, known, func(number uint32) ([]byte, error) {
		page, err := w.pageBefore(number)
		if bug.On("log-only-pages") && number > 1 {
			page = make([]byte, pageSize)
		}
		return page, err
	})
}

// appendEntry appends the transaction to the log.
func (w *wal) appendEntry(pages uint32) error {
	var base []byte
	if w.unlogged > 0 {
		var err error
		if base, err = w.beginSnapshot(); err != nil {
			return err
		}
	}
	payload, more := w.entry.Payload(base, w.pages, pages)
	pagelog.SetLayout(payload, w.layout)
	e := w.number
	e.Payload = payload
	return w.log.Append(e, more...)
}

// arm lets the next frame that commits through, after log has the transaction as e.
func (w *wal) arm(log RoomLog, e LogEntry, layout uint64) {
	w.log, w.number, w.layout, w.logged, w.refused = log, e, layout, false, nil
}

// disarm ends what arm began. logged reports whether the log has the transaction although COMMIT may have failed; refused is why
// the WAL refused it.
func (w *wal) disarm() (logged bool, refused error) {
	logged, refused = w.logged, w.refused
	w.log, w.logged, w.refused = nil, false, nil
	return logged, refused
}

// committedAt updates the pages' offsets after a commit.
func (w *wal) committedAt(pages uint32) {
	w.newest = max(w.end, walHeaderSize)
	for page, at := range w.entry.Pages() {
		w.places[page] = at
		w.end = at + pageSize
	}
	w.unlogged, w.first = 0, nil
	w.pages, w.committed = pages, len(w.buf)
	w.entry.Done()
	w.reset()
}

// reset drops the current transaction and its part of the buffer.
func (w *wal) reset() {
	w.next = frameHeader{}
	w.entry.Reset()
	w.buf, w.written = w.buf[:w.committed], min(w.written, w.committed)
	if w.committed == 0 {
		w.at = -1
	}
}
