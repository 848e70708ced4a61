package room

// What operators do with a whole room: copy it, replace it, export it as text and import it. A room that is awake
// goes on while it is copied. A room's file is replaced between two of its lives, and its connections stay.

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

// ErrRoomExists: the room exists already, and is not replaced unasked.
var ErrRoomExists = errors.New("room: the room exists already")

// A Format is a form of an export.
type Format = dump.Format

// The formats of exports; see [Host.Export].
const (
	SQLFormat   = dump.SQL
	LinesFormat = dump.Lines
)

// A Point in a room's history: the newest state whose Seq is not above Seq and whose time is not after Time. A zero
// field is ignored.
type Point = storage.Point

// Seq is a room's commit number.
type Seq = storage.Seq

const (
	// backupPages is how many pages of 4 KiB a room copies in one turn: about a millisecond.
	backupPages = 256
	// backupTries is how often a backup begins again because the room's life ended during it.
	backupTries = 5
)

// Backup copies a room into a new file, as the room is when the copy is complete. Messages are served meanwhile: the
// room copies 1 MiB between two turns. The file must not exist (fs.ErrExist). It appears whole and synced, or not at
// all. A sleeping room is woken. If the room does not start, or its namespace is not registered, its file is copied
// nevertheless. A path in the data directory is refused (ErrInDataDir).
//
// The copy is a room's file with its own epoch. It can be brought back with Restore, or opened as the same room in
// another data directory.
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
			return h.node.withFile(key, o, func(db *storage.DB) error { return archive.Write(db, path) })
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

// A backup is a copy of a room in progress. It ignores a task that comes late, when nobody waits for it.
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

// StateAt writes a room as it was at a point in its history into a new file, under the same conditions as Backup. The
// room waits meanwhile. Options.TimeTravel says how far back it can go. The error is storage.ErrNoHistory for a Point
// further back, and storage.ErrNotYet for one that the room has not reached; a *storage.HistoryError says which
// points are available.
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
			return h.node.withFile(key, o, func(db *storage.DB) error { return archive.WriteAt(db, path, at) })
		})
	}
	return operatorError(key, err)
}

// Restore installs a backup as a room, in a new epoch. It returns the path under which the old file is kept, "" if
// there was none. The source is any whole file of a room that is not in use; its namespace and room become those of
// key. It is checked before anything is changed. The room first serves what it has been sent before, then its life
// ends, and what comes meanwhile waits for the next life. Connections stay, and get their channels from scratch.
func (h *Host) Restore(ctx context.Context, key Key, source string) (kept string, err error) {
	err = h.replace(ctx, key, func(o storage.Options) (*archive.Replacement, error) {
		return archive.PrepareRestore(o, source)
	}, func(r *archive.Replacement) (err error) {
		kept, err = r.Install()
		return err
	})
	return kept, err
}

// Export writes a room's own tables as SQL or as lines of JSON (see package storage/dump), as they are at one moment.
// The room is copied first, as by Backup, and then goes on. Export needs the room's size on the disk, and memory for
// one row.
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

// Import makes a room from an export of either format. The room must not exist (ErrRoomExists). Nobody sees it before
// it is complete.
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

// ImportOver is Import for a room that may exist; then it is a Restore.
func (h *Host) ImportOver(ctx context.Context, key Key, r io.Reader) (kept string, err error) {
	err = h.replace(ctx, key, func(o storage.Options) (*archive.Replacement, error) {
		return dump.PrepareImport(o, interruptedReader{ctx, r})
	}, func(r *archive.Replacement) (err error) {
		kept, err = r.Install()
		return err
	})
	return kept, err
}

// replace prepares a file while the room goes on, and installs it when nobody uses the room.
func (h *Host) replace(ctx context.Context, key Key, prepare func(storage.Options) (*archive.Replacement, error), install func(*archive.Replacement) error) error {
	o, err := h.node.fileOptions(key)
	if err != nil {
		return operatorError(key, err)
	}
	h.node.offline.replacing.Lock() // the prepared file has a fixed name
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

// mayCopy returns the reason if it is clear beforehand that the room cannot be copied to path.
func (h *Host) mayCopy(key Key, path string) error {
	if err := h.node.mayWrite(path); err != nil {
		return operatorError(key, err)
	}
	return h.node.exists(key)
}

// interrupted is a writer that fails after its context has ended.
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

// interruptedReader is a reader that fails after its context has ended.
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
