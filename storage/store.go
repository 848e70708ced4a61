package storage

// What a room has on the disk: its file, the file's WAL, and its part of the node's commit log.

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/history"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/internal/walfile"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// A fileState is what is known of a room's file. A log-only room, whose database is in memory, has a state as well: inMemory tells
// the two apart.
type fileState uint8

const (
	fileOpened  fileState = iota // nothing was committed since it was opened
	fileNoted                    // a transaction has the note that the file is in use, and the WAL buffers the note
	fileInUse                    // the note is in the WAL
	fileClean                    // the file contains all of its WAL and does not need the log
	fileSuspect                  // the disk failed under the file, or changed a page, so its content is not trusted
)

// A store makes a room's transactions durable, and its file independent of the log. The session's mutex protects it.
type store struct {
	o   *Options
	sql *session.Session

	room     RoomLog      // the room's part of the log
	wal      *walfile.WAL // nil: there is no commit log
	number   uint64       // the newest transaction
	released uint64       // the newest transaction that the log need not keep
	mark     nodelog.Mark // what the file says about the log
	layout   uint64       // the transaction after which the file was compacted; 0: it never was

	keepIfEmpty       atomic.Bool // set by KeepIfEmpty; any goroutine
	named             bool        // the WAL's name survives a power cut
	freshWAL          bool        // the file had no WAL when it was opened
	memoryCheckpoints int         // checkpoints into the database in memory so far
	materializeTried  bool        // materializeIfDue has tried to make the file
	state             fileState
}

// commit runs SQLite's COMMIT, which writes to the commit log first (see wal). seq and at are those of the transaction's newest
// action.
func (st *store) commit(seq Seq, at int64) error {
	w := st.wal
	if w == nil {
		return st.sql.Do(session.Commit)
	}
	if w.LogOnly && st.room.Last() < st.number { // a log that is relaxed has lost what it did not sync: with it, how the room began
		w.LogAll()
	}
	w.Arm(st.room, LogEntry{Number: st.number + 1, Seq: uint64(seq), At: at}, st.layout)
	err := st.sql.Do(session.Commit)
	logged, refused := w.Disarm()
	switch {
	case err != nil && logged && bug.On("full"):
	case err != nil && logged: // the next life takes it from the log
		// Not %w: a disk that is full is no reason to say that nothing has changed.
		err = fmt.Errorf("%w: the commit log has the transaction, and the file could not take it: %v", ErrIO, err)
		st.state = fileSuspect
	case refused != nil:
		err = refused
		w.Reset()
	case errors.Is(err, ErrIO):
		st.state = fileSuspect
	}
	return err
}

// catchUp adds the transactions to the file that only the log has. again reports that the connection must be made again.
func (st *store) catchUp(room RoomLog, epoch string) (again bool, err error) {
	whole, err := st.mark.Whole(st.o.Log)
	if err != nil {
		return false, err
	}
	if whole && room.Last() <= st.number {
		room.Release(st.number)
		return false, nil
	}
	first, last, err := room.Range()
	switch {
	case err != nil:
		return false, err
	case last == 0: // all entries were released
		room.Release(st.number)
		return false, nil
	case first > st.number+1:
		if err := room.Replay(st.number, func(LogEntry) error { return nil }); errors.Is(err, ErrLogMissing) {
			return false, err // a file of the log is gone, and not the room's too old
		}
		return false, fmt.Errorf("%w: the file has transactions up to %d, the log begins at %d: the file is too old; %s", ErrLogMismatch, st.number, first, nodelog.LogHint)
	case last > st.number && bug.On("replay-none"):
	case last > st.number:
		err := history.Replay(st.sql, room, st.number, st.layout)
		if err == nil {
			err = st.checkpoint(sqlite.CheckpointTruncate)
		}
		return !bug.On("replay-last"), err
	}
	if last < st.number {
		if err := st.ahead(last, epoch); err != nil {
			return false, err
		}
	}
	if err := st.checkpoint(sqlite.CheckpointTruncate); err != nil {
		return false, err
	}
	room.Release(max(last, st.number))
	return false, nil
}

// ahead refuses a file that has more than the log, unless the log was relaxed when the file was last used, or an operator has
// abandoned a part of the log since.
func (st *store) ahead(last uint64, epoch string) error {
	if r, ok := st.o.Log.(interface {
		Relaxed() bool
		RelaxedCrash() uint64
	}); ok && (r.Relaxed() || r.RelaxedCrash() != 0 && st.mark.Since <= r.RelaxedCrash()) {
		return nil
	}
	if l, ok := st.o.Log.(interface {
		Abandoned(namespace, room, epoch string) bool
	}); ok && l.Abandoned(st.o.Namespace, st.o.Room, epoch) {
		return nil
	}
	return fmt.Errorf("%w: the file has transactions up to %d, the log ends at %d: the log has lost something; %s", ErrLogMismatch, st.number, last, nodelog.LogHint)
}

// checkpointBacklog is Checkpoint with the mutex held.
func (st *store) checkpointBacklog() error {
	if st.wal == nil || st.released == st.number {
		return nil
	}
	var err error
	switch {
	case bug.On("release-early"):
	case st.inMemory():
		err = st.checkpointAndMaterialize()
	default:
		err = st.checkpoint(sqlite.CheckpointPassive)
	}
	if err != nil {
		return err
	}
	st.released = st.number
	st.room.Release(st.number)
	return nil
}

// checkpoint runs SQLite's checkpoint. It fails unless all of the WAL is in the file.
func (st *store) checkpoint(mode sqlite.CheckpointMode) error {
	if st.wal != nil { // otherwise a power cut could leave a file with more transactions than the log
		if err := st.o.Log.Sync(); err != nil {
			return err
		}
	}
	var failure *Error
	if st.wal != nil { // which may only now be made
		if err := st.wal.Flush(); err != nil {
			failure = roomfile.Said(walfile.IOCode(err))
			failure.SQL = "checkpoint"
		}
	}
	if err := st.nameWAL(); err != nil {
		return err
	}
	if failure == nil {
		logged, done, err := st.sql.Conn.Checkpoint(mode)
		if err == nil && logged == done {
			return nil
		}
		if err == nil {
			return fmt.Errorf("%w: a checkpoint wrote %d of %d frames", ErrInUse, done, logged)
		}
		failure = roomfile.ErrorOf(err)
	}
	if !errors.Is(failure, ErrFull) {
		st.sql.Broken, st.state = failure, fileSuspect
	}
	return failure
}

// nameWAL makes the WAL's name survive a power cut before any of its content is written into the file. SQLite does so too, but ignores
// errors. A file with a part of its WAL, whose other part is lost, cannot be completed.
func (st *store) nameWAL() error {
	if st.named {
		return nil
	}
	if err := st.o.File().SyncDir(); err != nil {
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
	st.named = true
	return nil
}

// emptyWAL checkpoints the whole WAL, so that the log need not keep its content.
func (st *store) emptyWAL() error {
	st.wal.KeepFile = st.o.Pool != nil && st.o.Pool.conns.WALs != ""
	switch err := st.checkpoint(sqlite.CheckpointTruncate); {
	case errors.Is(err, ErrFull): // its content stays in the WAL and in the log
		return nil
	case err != nil:
		return err
	}
	st.room.Release(st.number)
	st.noteClean()
	return nil
}

// closeRoomLog closes the room's part of the log after the file was closed.
func (st *store) closeRoomLog() {
	if st.room != nil {
		st.room.Close()
	}
}

// removeWAL removes the WAL after a complete checkpoint.
func (st *store) removeWAL() error { return roomfile.RemoveIfThere(st.o.FS, st.o.Path+"-wal") }

// inMemory reports whether the room has no file yet.
func (st *store) inMemory() bool {
	return st.sql.Conn != nil && st.sql.Conn.Files != nil && st.sql.Conn.Files.Memory() != nil
}

// checkpointMemory checkpoints the WAL into the database in memory.
func (st *store) checkpointMemory() error {
	if err := st.appendDeferred(); err != nil {
		return err
	}
	if err := st.o.Log.Sync(); err != nil { // otherwise a power cut could leave a file with more transactions than the log
		return err
	}
	return st.emptyMemoryWAL()
}

// emptyMemoryWAL is checkpointMemory for content that will not get into a file.
func (st *store) emptyMemoryWAL() error {
	logged, done, err := st.sql.Conn.Checkpoint(sqlite.CheckpointTruncate)
	if err != nil {
		return failed(err)
	}
	if logged != done {
		return fmt.Errorf("%w: a checkpoint wrote %d of %d frames", ErrInUse, done, logged)
	}
	return nil
}

// materialize makes the room's file and continues on it.
func (st *store) materialize() error {
	if err := st.appendDeferred(); err != nil {
		return err
	}
	if err := makeWhole(*st.o, st.sql.Conn.Files.Memory().Bytes()); err != nil {
		return err
	}
	f, err := dbfile.OpenFile(st.o.FS.SQLite(), st.o.Path)
	if err != nil {
		st.sql.Broken = fmt.Errorf("%w: the room's new file cannot be opened: %w", ErrIO, failed(err))
		return st.sql.Broken
	}
	st.sql.Conn.Files.Replace(f)
	st.wal.GetsFile()
	st.named = false
	return nil
}

// checkpointAndMaterialize is materialize with the WAL's content in the file.
func (st *store) checkpointAndMaterialize() error {
	err := st.checkpointMemory()
	if err == nil {
		err = st.materialize()
	}
	if err == nil {
		st.state = fileInUse
	}
	return err
}

const (
	maxInMemory    = 128 << 10 // the largest database that a room that is awake keeps in memory
	maxCheckpoints = 4         // checkpoints into memory before a room that goes on writing gets a file
)

// materializeIfDue empties the buffer of the WAL when it is half full: by a checkpoint into memory, or, if the database has grown or
// there were enough such checkpoints, by making the file. If the file cannot be made, the room goes on without it until the
// buffer is full.
func (st *store) materializeIfDue() {
	if st.wal == nil || st.materializeTried || st.withheld() || len(st.sql.Results) > 0 {
		return
	}
	if waiting, _ := st.wal.InBuffer(); waiting < walfile.BufferBytes/2 {
		return
	}
	if st.memoryCheckpoints++; st.memoryCheckpoints <= maxCheckpoints && len(st.sql.Conn.Files.Memory().Bytes()) <= maxInMemory && st.checkpointMemory() == nil {
		return
	}
	st.materializeTried = true
	if st.checkpointAndMaterialize() == nil {
		st.released = st.number
		st.room.Release(st.number)
	}
}

// appendDeferred is Keep with the mutex held.
func (st *store) appendDeferred() error {
	h, is := st.room.(*nodelog.Deferred)
	if !is {
		return nil
	}
	if err := h.Keep(); err != nil {
		if errors.Is(err, ErrIO) || errors.Is(err, ErrCorrupt) {
			st.sql.Broken = err
		}
		return err
	}
	st.room = h.RoomLog
	st.wal.Extra, _ = st.wal.InBuffer() // these frames wait on until AfterCommit
	return nil
}

// withheld is Withheld with the mutex held.
func (st *store) withheld() bool {
	_, is := st.room.(*nodelog.Deferred)
	return is
}

// discardable reports whether nobody has seen the room and the log has nothing of it.
func (st *store) discardable() bool {
	if st.keepIfEmpty.Load() {
		return false
	}
	h, deferred := st.room.(*nodelog.Deferred)
	return st.number == 0 || deferred && h.RoomLog.Last() == 0
}

// noteClean notes that the file has all of its transactions, unless something is left in the WAL.
func (st *store) noteClean() {
	if st.sql.Conn.Files.Empty() {
		st.state = fileClean
	}
}

// noteDamage notes that the file is suspect if a page was read from it that did not have its checksum. What was read once may be read
// otherwise the next time, so the next Open reads the whole file and writes it again.
func (st *store) noteDamage() {
	if st.sql.Conn.Files.Damaged() {
		st.state = fileSuspect
	}
}

// withheldBytes is how much of the WAL of a room that nobody has seen may wait in memory: 1 MB, about 250 pages.
const withheldBytes = 256 * walfile.FrameSize

// wrapWAL makes SQLite read and write the WAL of an open database through st.wal. The WAL must be empty.
func (st *store) wrapWAL() error {
	w := st.newWAL(st.freshWAL)
	if err := st.countPages(); err != nil {
		return err
	}
	st.sql.Conn.SetAutoCheckpoint(0)
	return failed(st.sql.Conn.Files.WrapWAL(st.sql.Conn.Conn, func(base vfs.File) vfs.File { w.Base = base; return w }))
}

// installWAL is wrapWAL for a connection without a WAL. The WAL is opened by the first write. The pages are not counted.
func (st *store) installWAL() {
	w := st.newWAL(true)
	w.Open = st.openWAL
	st.sql.Conn.Files.InstallWAL(w)
}

func (st *store) newWAL(fresh bool) *walfile.WAL {
	st.wal = walfile.New(st.sql.Conn.Files, st.sql.Places, st.sql.Frames, fresh)
	return st.wal
}

// countPages has SQLite count the database's pages.
func (st *store) countPages() (err error) {
	pages, err := st.sql.PageCount()
	st.wal.Pages = uint32(pages)
	return err
}

// openWAL opens the WAL's file: the one that the pooled connection has brought along, or a new one.
func (st *store) openWAL() error {
	if st.inMemory() {
		if err := st.materialize(); err != nil {
			return diagnose(st.o.Path, err)
		}
	}
	f, err := st.sql.Conn.OpenWAL(st.o.Path + "-wal")
	if err != nil {
		return diagnose(st.o.Path, err)
	}
	st.wal.Base = f
	return nil
}

// unwrapWAL returns the WAL's file to SQLite before SQLite closes it. The log has the frames that cannot be written.
func (st *store) unwrapWAL() {
	w := st.wal
	if w == nil {
		return
	}
	w.Abandon()
	st.sql.Conn.Files.InstallWAL(w.Base)
	st.wal = nil
}

// makeWhole writes content to a new file, syncs it, and renames it to the room's file.
func makeWhole(o Options, content []byte) error {
	return makeWith(o, content, func(vfs.File) error { return nil })
}

// makeWith is makeWhole with more writes before the sync.
func makeWith(o Options, content []byte, more func(vfs.File) error) error {
	return o.File().Create(func(f vfs.File) error {
		f = dbfile.NewDatabase(f, o.Path)
		_, err := f.WriteAt(content, 0)
		if err == nil {
			err = more(f)
		}
		return err
	})
}
