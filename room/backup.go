package room

// What operators do with a room as a whole: copy it, put another in its place, take it out
// as text and bring it in. A room that is awake goes on while it is copied; a room's file
// is replaced between two of its lives, and its connections stay.

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/archive"
	"github.com/denrooms/den/storage/dump"
)

// ErrRoomExists: there is such a room, and it is not replaced unasked.
var ErrRoomExists = errors.New("room: the room exists already")

// A Format is a form of an export.
type Format = dump.Format

// The formats of exports; see [Host.Export].
const (
	SQLFormat   = dump.SQL
	LinesFormat = dump.Lines
)

// A Point in a room's history: the newest state whose Seq is not above Seq and whose time
// is not after Time; what is zero does not count.
type Point = storage.Point

// Seq is a room's commit number.
type Seq = storage.Seq

const (
	// backupPages is how many pages of 4 KiB a room copies in one turn: about a millisecond.
	backupPages = 256
	// backupTries is how often a backup begins again because the room's life ended under it.
	backupTries = 5
)

// Backup copies a room into a new file, as it is when the copy is complete. Messages are
// served meanwhile: the room copies 1 MiB between two turns. The file must not be there
// (fs.ErrExist); it appears whole and synced, or not at all. A room that sleeps is woken; where it
// does not start, or its namespace is not registered, its file is copied all the same. A path in
// the data directory is refused (ErrInDataDir).
//
// The copy is a room's file with an epoch of its own. It can be brought back with Restore,
// or be opened as the same room in another data directory.
func (h *Host) Backup(ctx context.Context, key Key, path string) error {
	path = filepath.Clean(path)
	if err := h.mayCopy(key, path); err != nil {
		return err
	}
	err := storage.ErrClosed
	for try := 0; try < backupTries && errors.Is(err, storage.ErrClosed) && h.node.hasNamespace(key.Namespace); try++ {
		err = h.backupAwake(ctx, key, path)
	}
	if errors.Is(err, actor.ErrUnavailable) || errors.Is(err, storage.ErrClosed) {
		err = h.node.runOffline(ctx, key, func(o storage.Options) error {
			return h.node.lookInto(key, o, func(db *storage.DB) error { return archive.Write(db, path) })
		})
	}
	return operatorError(key, err)
}

// backupAwake has the room's life copy itself, some pages a turn.
func (h *Host) backupAwake(ctx context.Context, key Key, path string) error {
	b := &backup{path: path, pages: backupPages}
	defer b.end()
	for {
		done, err := false, error(nil)
		failed := h.node.runLive(ctx, key, func(r *room) { done, err = b.step(r) })
		if errors.Is(failed, storage.ErrBatchLost) && !errors.Is(failed, actor.ErrUnavailable) {
			continue // the turn was rolled back, and the task with it
		}
		if failed != nil || err != nil {
			return errors.Join(failed, err)
		}
		if done {
			return b.copy.Finish()
		}
	}
}

// A backup is a copy of a room that is under way. It does nothing for a task that comes late, when nobody waits
// for it.
type backup struct {
	path string

	mu    sync.Mutex
	ended bool
	copy  *archive.Backup
	pages int // in a turn
	left  int
}

func (b *backup) step(r *room) (done bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return false, storage.ErrClosed
	}
	if b.copy == nil {
		if b.copy, err = archive.Begin(r.db, b.path); err != nil {
			return false, err
		}
	}
	before := b.left
	done, err = b.copy.Step(b.pages)
	b.left, _ = b.copy.Left()
	if before > 0 && b.left >= before {
		b.pages *= 2 // SQLite began again, because an action was undone: finish before the next one
	}
	return done, err
}

func (b *backup) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if b.copy != nil {
		b.copy.Close()
	}
}

// StateAt writes a room as it was at a point in its history into a new file, which is as
// one of Backup's. The room waits meanwhile. How far back that goes is Options.TimeTravel. For a Point
// further back the error is storage.ErrNoHistory, for one that the room has not come to storage.ErrNotYet;
// a *storage.HistoryError says which points can be had.
func (h *Host) StateAt(ctx context.Context, key Key, at Point, path string) error {
	path = filepath.Clean(path)
	if err := h.mayCopy(key, path); err != nil {
		return err
	}
	err := error(actor.ErrUnavailable)
	if h.node.hasNamespace(key.Namespace) {
		done := error(nil)
		err = h.node.runLive(ctx, key, func(r *room) { done = archive.WriteAt(r.db, path, at) })
		err = errors.Join(err, done)
	}
	if errors.Is(err, actor.ErrUnavailable) || errors.Is(err, storage.ErrClosed) {
		err = h.node.runOffline(ctx, key, func(o storage.Options) error {
			return h.node.lookInto(key, o, func(db *storage.DB) error { return archive.WriteAt(db, path, at) })
		})
	}
	return operatorError(key, err)
}

// Restore puts a backup in a room's place, in a new epoch, and tells the path under which the
// old file is kept, "" where there was none. The source is any whole file of a room that is not
// in use; namespace and room become those of key. It is checked before anything is touched. What
// the room has been sent before is served first, then its life ends; what comes meanwhile
// waits for the next life. Connections stay, and get their channels from scratch.
func (h *Host) Restore(ctx context.Context, key Key, source string) (kept string, err error) {
	err = h.replace(ctx, key, func(o storage.Options) (*archive.Replacement, error) {
		return archive.PrepareRestore(o, source)
	}, func(r *archive.Replacement) (err error) {
		kept, err = r.Install()
		return err
	})
	return kept, err
}

// Export writes what a room holds, its own tables as SQL or as lines of JSON (see
// package storage/dump), as it is at one moment. The room is copied first, as by Backup, and
// then goes on; it takes the room's size on the disk, and memory for one row.
func (h *Host) Export(ctx context.Context, key Key, w io.Writer, format Format) error {
	path, err := h.node.scratchFile()
	if err != nil {
		return operatorError(key, err)
	}
	defer h.node.opts.FS.Remove(path)
	if err := h.Backup(ctx, key, path); err != nil {
		return err
	}
	now := h.node.now().UTC().Format(time.RFC3339)
	return operatorError(key, h.node.guard(key, func() error {
		return dump.Export(h.node.opts.FS, path, interrupted{ctx, w}, format, now)
	}))
}

// Import makes a room of an export of either format, which must not be there (ErrRoomExists).
// Nobody sees it before it is whole.
func (h *Host) Import(ctx context.Context, key Key, r io.Reader) error {
	err := h.node.exists(key)
	if err == nil {
		return operatorError(key, ErrRoomExists)
	}
	if !errors.Is(err, ErrNoRoom) {
		return err
	}
	return h.replace(ctx, key, func(o storage.Options) (*archive.Replacement, error) {
		return dump.PrepareImport(o, interruptedReader{ctx, r})
	}, (*archive.Replacement).InstallNew)
}

// ImportOver is Import in the place of a room that may be there: then it is a Restore.
func (h *Host) ImportOver(ctx context.Context, key Key, r io.Reader) (kept string, err error) {
	err = h.replace(ctx, key, func(o storage.Options) (*archive.Replacement, error) {
		return dump.PrepareImport(o, interruptedReader{ctx, r})
	}, func(r *archive.Replacement) (err error) {
		kept, err = r.Install()
		return err
	})
	return kept, err
}

// replace prepares a file while the room goes on, and installs it when nobody has the room.
func (h *Host) replace(ctx context.Context, key Key, prepare func(storage.Options) (*archive.Replacement, error), install func(*archive.Replacement) error) error {
	o, err := h.node.fileOptions(key)
	if err != nil {
		return operatorError(key, err)
	}
	h.node.offline.replacing.Lock() // the file that is prepared has one name
	defer h.node.offline.replacing.Unlock()
	var r *archive.Replacement
	err = h.node.guard(key, func() (err error) {
		r, err = prepare(o)
		return err
	})
	if err != nil {
		return operatorError(key, err)
	}
	defer r.Discard()
	r.Carry("_den_peers") // a client that is away now does not ask when it comes back
	err = h.node.runOffline(ctx, key, func(storage.Options) error { return install(r) })
	if err == nil && !h.node.hasNamespace(key.Namespace) { // no life has looked for alarms
		err = h.node.guard(key, func() error { return h.index.scanRoom(key) })
	}
	return operatorError(key, err)
}

// mayCopy returns why the room cannot be copied to path, if that is known beforehand.
func (h *Host) mayCopy(key Key, path string) error {
	if err := h.node.mayWrite(path); err != nil {
		return operatorError(key, err)
	}
	return h.node.exists(key)
}

// interrupted is a writer that ends with a context.
type interrupted struct {
	ctx context.Context
	w   io.Writer
}

func (i interrupted) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.w.Write(p)
}

// interruptedReader is a reader that ends with a context.
type interruptedReader struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptedReader) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}
