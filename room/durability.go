package room

import (
	"fmt"
	"path/filepath"
	"time"

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
	// synced that often.
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

// openLog opens the host's commit log; nil where it has none.
func (h *Host) openLog() error {
	o := h.opts
	if o.Durability != Durable && o.Durability != Relaxed {
		return nil
	}
	log, err := storage.OpenLog(storage.LogOptions{
		Dir: filepath.Join(o.Dir, logDir), FS: o.FS, Relaxed: o.Durability == Relaxed, History: max(o.TimeTravel, 0),
		Pressure: func(namespace, room string) { h.relieve(Key{Namespace: namespace, Room: room}) },
		Now:      o.Clock.Now, Logger: o.Logger,
	})
	if err != nil {
		return fmt.Errorf("room: the commit log: %w", err)
	}
	h.log = log
	if o.Durability == Relaxed {
		h.syncLog()
	}
	return nil
}

// syncLog syncs a relaxed log again and again, until the host stops.
func (h *Host) syncLog() {
	h.opts.Clock.AfterFunc(relaxedSync, func() {
		if h.stopping.Load() {
			return
		}
		if err := h.log.Sync(); err != nil {
			h.opts.Logger.Error("syncing the commit log", "err", err)
		}
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
	if !h.HasNamespace(key.Namespace) {
		h.opts.Logger.Warn("the commit log keeps entries for a room of a namespace that is not registered",
			"namespace", key.Namespace, "room", key.Room)
		return
	}
	if err := h.actors.Send(key, relieveMessage{}, nil); err != nil && !h.stopping.Load() {
		h.opts.Logger.Warn("a room was not asked for a checkpoint", "namespace", key.Namespace, "room", key.Room, "err", err)
	}
}
