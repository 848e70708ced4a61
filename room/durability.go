package room

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage"
)

// Durability says what has happened to an action when its client is told that it was
// applied.
type Durability uint8

const (
	// Durable: it survives a power cut, by the commit log of the node: one file for all rooms,
	// and one sync of the disk for all that wait for it. The default.
	Durable Durability = iota
	// Relaxed: it survives the end of the process, and after 100 ms a power cut too: the log is
	// synced that often. A client that saw what a power cut then took may keep it until it gets
	// its channels from scratch.
	Relaxed
	// DurableFiles: it survives a power cut, by the room's own file. There is no commit log, so no
	// earlier states of a room; on a disk that syncs fast, and with few rooms, it is as good.
	DurableFiles
	// Unsynced: it survives the end of the process. A power cut takes the newest actions of a
	// room, and leaves an earlier state of it. For tests and caches.
	Unsynced
)

// relaxedSync is how often a relaxed log is synced.
const relaxedSync = 100 * time.Millisecond

// A relieveMessage asks a room to write what is in its WAL into its file, so that the
// commit log need not keep it.
type relieveMessage struct{}

// logDir is the commit log's directory, beside those of the namespaces, whose names do not
// begin like this.
const logDir = "_log"

// damagedLogHint is what an operator can do about a log that is refused.
const damagedLogHint = "nothing was changed; put the directory's files back as they were, or move the directory away: " +
	"rooms that were closed well go on with a new log, the others are refused until a backup of them is restored"

// openLog opens the host's commit log; nil where it has none.
func (h *Host) openLog() error {
	o := h.opts
	dir := filepath.Join(o.Dir, logDir)
	without := o.Durability != Durable && o.Durability != Relaxed
	if names, err := o.FS.Names(dir); without && (errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0) {
		return nil
	}
	log, err := storage.OpenLog(storage.LogOptions{
		Dir: dir, FS: o.FS, Relaxed: o.Durability == Relaxed || bug.On("ack-before-sync"), History: max(o.TimeTravel, 0), SegmentBytes: o.LogSegmentBytes,
		RequestCheckpoint: func(namespace, room string) { // in the turn of another room
			h.contain("asking a room for a checkpoint", func() { h.relieve(Key{Namespace: namespace, Room: room}) })
		},
		Now: o.Clock.Now, Logger: o.Logger,
	})
	if errors.Is(err, storage.ErrLogMismatch) || errors.Is(err, storage.ErrLogMissing) {
		return fmt.Errorf("room: the commit log in %s: %w; %s", dir, err, damagedLogHint)
	}
	if err != nil {
		return fmt.Errorf("room: the commit log in %s: %w", dir, err)
	}
	if without {
		return leaveLog(log, dir)
	}
	h.log = log
	h.warnOfLostLog()
	h.recoverLater(make(map[Key]struct{}))
	if o.Durability == Relaxed {
		h.syncLog()
	}
	return nil
}

// leaveLog lets a directory that had a commit log go on without, if no room needs it.
func leaveLog(log *storage.NodeLog, dir string) error {
	unreleased := log.HasUnreleased()
	if err := log.Close(); err != nil {
		return fmt.Errorf("room: the commit log in %s: %w", dir, err)
	}
	if unreleased {
		return fmt.Errorf("room: the commit log in %s has transactions that rooms' files lack: start once with the durability that it had (-durability durable or relaxed, in Go room.Durable or room.Relaxed), and stop in good order", dir)
	}
	return nil
}

// syncLog syncs a relaxed log again and again, until the host stops.
func (h *Host) syncLog() {
	h.opts.Clock.AfterFunc(relaxedSync, func() {
		if h.stopping.Load() {
			return
		}
		h.contain("syncing the commit log", func() {
			if err := h.log.Sync(); err != nil {
				h.opts.Logger.Error("syncing the commit log", "err", err)
			}
		})
		h.syncLog()
	})
}

func (h *Host) closeLog() error {
	if h.log == nil {
		return nil
	}
	return h.log.Close()
}

// relieve asks a room to write into its file what the commit log keeps for it. The room
// wakes if it must.
func (h *Host) relieve(key Key) {
	if key.Namespace == alarmsDir {
		h.alarms.CheckpointSoon()
		return
	}
	if !h.HasNamespace(key.Namespace) {
		h.opts.Logger.Warn("the commit log keeps entries for a room of a namespace that is not registered",
			"namespace", key.Namespace, "room", key.Room)
		return
	}
	if err := h.actors.Send(key, relieveMessage{}, nil); err != nil && !h.stopping.Load() {
		h.opts.Logger.Warn("a room was not asked for a checkpoint", "namespace", key.Namespace, "room", key.Room, "err", err)
	}
}

// logFailed tells that the disk has failed under the commit log: nothing is written then
// that nobody asked for, so that rooms can go on to be read.
func (h *Host) logFailed() bool { return h.log != nil && h.log.Failed() }
