package storage

// Rooms that begin in the commit log. Of a new room the content is known (template.go, plain.go), and the
// log makes durable what happens in it. So its file need not be there: until it has to be, a
// database of the same content lies in memory in its place (package dbfile), and the entry of its first
// transaction holds all pages. It is settled, that is, gets its file, when it sleeps, when the
// WAL is to go into the file, and when it has grown. A file
// under the room's name is always whole.
//
// Who finds no file asks the log. It finds a room by its epoch only, so the epoch of such a room
// is made of what is known: the log's ID and generation, and the room's name. In one generation a
// room begins once; if its file is taken away, the next time its epoch is random and it begins
// with a file.

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// bornEpoch is the epoch of a room that began in a generation of a log.
func bornEpoch(o Options, generation uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s\x00%s", o.Log.ID(), generation, o.Namespace, o.Room))
	return hex.EncodeToString(sum[:16])
}

// openBorn begins a room in memory; nil: it must begin with a file.
func openBorn(o Options) (*DB, error) {
	if o.Log == nil || o.Pool == nil {
		return nil, nil
	}
	t, err := o.beginning()
	if err != nil {
		return nil, err
	}
	if err := o.File().MakeAbsenceDurable(); err != nil {
		return nil, err
	}
	epoch := bornEpoch(o, o.Log.Generation())
	room, err := o.part(epoch)
	if err != nil {
		return nil, err
	}
	if room.Last() > 0 { // it began already, and its file was taken away
		room.Close()
		return nil, nil
	}
	d, err := inMemory(o, t, epoch)
	if err != nil {
		room.Close()
		return nil, err
	}
	d.created, d.room = true, room
	if err := d.bear(t, epoch); err != nil {
		return nil, errors.Join(err, d.refuse())
	}
	return d, nil
}

// inMemory gives a new room a connection: one that is there, or one of its own.
func inMemory(o Options, t *template, epoch string) (*DB, error) {
	content, err := t.fill(o, epoch)
	if err != nil {
		return nil, err
	}
	if t.schema != "" && o.pools() {
		if c := o.Pool.conns.Get(o.poolKey(t.schema)); c != nil {
			return newPooled(o, c, headerOf(content), dbfile.NewMemory(content)), nil
		}
	}
	return openMemory(o, content)
}

// openMemory makes a connection to a file in memory.
func openMemory(o Options, content []byte) (*DB, error) {
	c, files, err := dbfile.OpenMemory(o.FS.SQLite(), dbfile.NewMemory(content), nil)
	if err != nil {
		return nil, failed(err)
	}
	c.SetAutoCheckpoint(0)
	d := newDB(o, newConnection(o, c, files))
	d.header, d.freshWAL = headerOf(content), true
	d.takeWAL()
	if err := d.start(); err != nil {
		return nil, errors.Join(err, d.refuse())
	}
	return d, nil
}

// bear is what is left of opening a room that begins in memory: what others read in their files
// is known.
func (d *DB) bear(t *template, epoch string) error {
	w := d.wal
	w.pages = uint32(len(t.pages) / pageSize)
	w.born, w.bare, w.first = true, w.pages, t.entries
	d.epoch = epoch
	d.notes.stored = maps.Clone(t.notes)
	d.room.Release(0)
	return d.reload()
}

// headerOf is what a template's content says at its beginning.
func headerOf(content []byte) *fileHeader {
	return &fileHeader{changes: int64(binary.BigEndian.Uint32(content[40:])), wal: true}
}

// unsettled tells whether the room has no file yet.
func (d *DB) unsettled() bool { return d.c != nil && d.c.Files != nil && d.c.Files.Memory() != nil }

// Seen notes that somebody knows of the room: a new one without a transaction leaves a file
// then. Any goroutine may call it.
func (d *DB) Seen() { d.seen.Store(true) }

// checkpointMemory puts what is in the WAL into the database in memory.
func (d *DB) checkpointMemory() error {
	if err := d.appendDeferred(); err != nil {
		return err
	}
	if err := d.o.Log.Sync(); err != nil { // else a power cut could leave a file that has more than the log
		return err
	}
	return d.emptyMemoryWAL()
}

// emptyMemoryWAL is checkpointMemory for content that no file will have.
func (d *DB) emptyMemoryWAL() error {
	logged, done, err := d.c.Checkpoint(sqlite.CheckpointTruncate)
	if err != nil {
		return failed(err)
	}
	if logged != done {
		return fmt.Errorf("%w: a checkpoint wrote %d of %d frames", ErrInUse, done, logged)
	}
	return nil
}

// settle makes the file, and puts it into the place of the memory.
func (d *DB) settle() error {
	if err := d.appendDeferred(); err != nil {
		return err
	}
	if err := makeWhole(d.o, d.c.Files.Memory().Bytes()); err != nil {
		return err
	}
	f, err := dbfile.OpenFile(d.o.FS.SQLite(), d.o.Path)
	if err != nil {
		d.broken = fmt.Errorf("%w: the room's new file cannot be opened: %w", ErrIO, failed(err))
		return d.broken
	}
	d.c.Files.Replace(f)
	d.wal.born, d.wal.more, d.named = false, 0, false
	return nil
}

// settleAll is settle with all that the WAL has in the file.
func (d *DB) settleAll() error {
	err := d.checkpointMemory()
	if err == nil {
		err = d.settle()
	}
	if err == nil {
		d.unsaid = false
	}
	return err
}

const (
	maxInMemory    = 128 << 10 // how large a file may be that a room has in memory while it is awake
	maxCheckpoints = 4         // how often the WAL goes into it: who goes on to write is better off with a file
)

// settleSoon makes the file when half of what may wait for the WAL does, and the database has grown
// too; else that goes into the database in memory. Where a file cannot be made the room goes on without,
// until no more can wait.
func (d *DB) settleSoon() {
	if d.wal == nil || d.tried || d.withheld() || len(d.wal.buf) < gatherBytes/2 || len(d.results) > 0 {
		return
	}
	if d.merged++; d.merged <= maxCheckpoints && len(d.c.Files.Memory().Bytes()) <= maxInMemory && d.checkpointMemory() == nil {
		return
	}
	d.tried = true
	if d.settleAll() == nil {
		d.released = d.number
		d.room.Release(d.number)
	}
}

// leaveMemory makes the file of a room that is closed, unless nobody knows of the room.
func (d *DB) leaveMemory() error {
	if d.unseen() {
		if d.number == 0 || d.emptyMemoryWAL() == nil { // else the connection is not used again
			d.swept = d.c.Files.Empty()
		}
		return nil
	}
	if d.number > 0 {
		if err := d.markClean(); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
		if !d.unsettled() { // that transaction was too large to wait: it has made the file
			return d.emptyWAL()
		}
		if err := d.checkpointMemory(); err != nil {
			return err
		}
	}
	switch err := makeWhole(d.o, d.c.Files.Memory().Bytes()); {
	case errors.Is(diagnose(d.o.Path, err), ErrFull): // it stays in the log
		return nil
	case err != nil:
		return err
	}
	d.room.Release(d.number)
	d.swept = d.c.Files.Empty()
	return nil
}

// makeWhole makes a room's file of its content: beside its place, whole and synced, then renamed.
func makeWhole(o Options, content []byte) error {
	return makeWith(o, content, func(vfs.File) error { return nil })
}

// makeWith is makeWhole of what more makes of the content.
func makeWith(o Options, content []byte, more func(vfs.File) error) error {
	return o.File().Create(func(f vfs.File) error {
		_, err := f.WriteAt(content, 0)
		if err == nil {
			err = more(f)
		}
		return err
	})
}

// inLog finds in the log the room of which there is no file, if all of it is there, and has use do something with the
// log's part of it and its first pages, as firstPages gives them. found is false where there is no such room.
func inLog(o Options, use func(room RoomLog, content []byte) error) (found bool, err error) {
	owed, from, to, err := o.Log.Candidates(o.Namespace, o.Room)
	if err != nil {
		return false, err
	}
	var epochs []string
	if owed != "" {
		epochs = append(epochs, owed)
	}
	for ; to > 0 && to >= from; to-- {
		epochs = append(epochs, bornEpoch(o, to))
	}
	var moved *roomfile.Entries
	if !o.File().HasNoEntries() {
		if moved, err = readEntries(o); err != nil {
			return false, err
		}
	}
	defer moved.Close()
	for _, epoch := range append(epochs, moved.Epochs()...) {
		room, err := o.part(epoch)
		if err != nil {
			return false, err
		}
		room = withMoved(moved, room, epoch, 0)
		content, err := firstPages(room)
		if found = err == nil && content != nil; found {
			err = use(room, content)
		}
		room.Close() // it stays owed until the file has been opened
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// errEnough ends a replay.
var errEnough = errors.New("enough")

// firstPages gives the file as the first transaction left it that the log has, if its entry is a snapshot.
func firstPages(room RoomLog) (content []byte, err error) {
	first, _, err := room.Range()
	if err != nil || first == 0 {
		return nil, err
	}
	err = room.Replay(first-1, func(e LogEntry) error {
		t, err := pagelog.Parse(e.Number, e.Payload)
		if err == nil && t.Snapshot {
			content, err = t.Image()
		}
		if err == nil {
			err = errEnough
		}
		return pagesError(err)
	})
	if err == errEnough {
		err = nil
	}
	return content, err
}

// Exists tells whether there is a room: its file, or its beginning in the commit log.
func Exists(o Options) (bool, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return false, err
	}
	switch _, err = o.FS.Size(o.Path); {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, diagnose(o.Path, err)
	case o.Log == nil:
		return false, nil
	}
	there, err := inLog(o, func(RoomLog, []byte) error { return nil })
	return there, diagnose(o.Path, err)
}
