package room

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage"
)

// The host's commit log: how it is opened and closed, which parts are lost, and how rooms recover from it after a
// crash.

// relaxedSync is how often a relaxed log is synced.
const relaxedSync = 100 * time.Millisecond

// damagedLogHint says what an operator can do about a log that is refused.
const damagedLogHint = "nothing was changed; put the directory's files back as they were, or move the directory away: " +
	"rooms that were closed well go on with a new log, the others are refused until a backup of them is restored"

// A commitLog is a host's commit log, and what it does for rooms outside of their lives.
type commitLog struct {
	node      *node
	reminding *reminding
	recovery  sync.Mutex
}

// open opens the host's commit log. Without one node.log stays nil.
func (g *commitLog) open() error {
	o := g.node.opts
	dir := filepath.Join(o.Dir, logDir)
	without := o.Durability != Durable && o.Durability != Relaxed
	if names, err := o.FS.Names(dir); without && (errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0) {
		return nil
	}
	log, err := storage.OpenLog(storage.LogOptions{
		Dir: dir, FS: o.FS, Relaxed: o.Durability == Relaxed || bug.On("ack-before-sync"), History: max(o.TimeTravel, 0), SegmentBytes: o.LogSegmentBytes,
		RequestCheckpoint: func(namespace, room string) { // called in the turn of another room
			g.node.contain("asking a room for a checkpoint", func() { g.requestCheckpoint(Key{Namespace: namespace, Room: room}) })
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
		return continueWithoutLog(log, dir)
	}
	g.node.log = log
	g.warnOfLost()
	g.recoverLater(make(map[Key]struct{}))
	if o.Durability == Relaxed {
		g.sync()
	}
	return nil
}

// continueWithoutLog closes the log of a directory that is now used without one. It fails if a room still needs the
// log.
func continueWithoutLog(log *storage.NodeLog, dir string) error {
	unreleased := log.HasUnreleased()
	if err := log.Close(); err != nil {
		return fmt.Errorf("room: the commit log in %s: %w", dir, err)
	}
	if unreleased {
		return fmt.Errorf("room: the commit log in %s has transactions that rooms' files lack: start once with the durability that it had (-durability durable or relaxed, in Go room.Durable or room.Relaxed), and stop in good order", dir)
	}
	return nil
}

// sync syncs a relaxed log periodically until the host stops.
func (g *commitLog) sync() {
	g.node.opts.Clock.AfterFunc(relaxedSync, func() {
		if g.node.shutdown.stopping.Load() {
			return
		}
		g.node.contain("syncing the commit log", func() {
			if err := g.node.log.Sync(); err != nil {
				g.node.opts.Logger.Error("syncing the commit log", "err", err)
			}
		})
		g.sync()
	})
}

func (g *commitLog) close() error {
	if g.node.log == nil {
		return nil
	}
	return g.node.log.Close()
}

// requestCheckpoint asks a room to write to its file what the commit log keeps for it. A sleeping room wakes.
func (g *commitLog) requestCheckpoint(key Key) {
	if key.Namespace == alarmsDir {
		g.node.alarms.CheckpointSoon()
		return
	}
	if !g.node.hasNamespace(key.Namespace) {
		g.node.opts.Logger.Warn("the commit log keeps entries for a room of a namespace that is not registered",
			"namespace", key.Namespace, "room", key.Room)
		return
	}
	if err := g.node.actors.Send(key, checkpointMessage{}, nil); err != nil && !g.node.shutdown.stopping.Load() {
		g.node.opts.Logger.Warn("a room was not asked for a checkpoint", "namespace", key.Namespace, "room", key.Room, "err", err)
	}
}

// A part of the commit log may be lost for good. Until an operator gives it up, each room whose newest transactions
// may have been there is refused, and so is each new room, because nobody can say that it is new.

// warnOfLost tells the operator, once a start, which rooms cannot be used.
func (g *commitLog) warnOfLost() {
	if files := g.lost(); len(files) > 0 {
		g.node.opts.Logger.Error("files of the commit log are missing or damaged: rooms that may have had transactions there are refused, and so are new rooms if a crash left the file",
			"files", files, "hint", "put them back; or, while no server runs, give them up: den log -data "+g.node.opts.Dir+" -abandon")
	}
}

// After a crash the commit log keeps everything until each room has recovered: until its file has all of its
// transactions. A room recovers when it wakes. The host recovers the rooms that nobody calls for, a few at a time and
// without a life, because the log would grow until then. Rooms that were new have no file yet, see package storage; a
// list of rooms must include them.

const (
	// recoverPause is how long the host leaves the disk to the rooms in use between two groups.
	recoverPause = 10 * time.Second
	// recoverGroup is how many rooms are in a group.
	recoverGroup = 64
)

// recoverLater continues the recovery after a pause. tried are the rooms that were handled.
func (g *commitLog) recoverLater(tried map[Key]struct{}) {
	if g.node.log.Crashed() == 0 {
		return
	}
	g.node.afterFunc(recoverPause, "recovery", func() {
		if g.recoverSome(tried) {
			g.recoverLater(tried)
		}
	})
}

// recoverSome recovers a group of rooms, and reports whether there are others.
func (g *commitLog) recoverSome(tried map[Key]struct{}) (more bool) {
	g.recovery.Lock()
	defer g.recovery.Unlock()
	if g.node.shutdown.stopping.Load() {
		return false
	}
	var group []Key
	for namespace, name := range g.node.log.Unrecovered {
		key := Key{Namespace: namespace, Room: name}
		if _, again := tried[key]; again {
			continue // it could not be opened
		}
		if group = append(group, key); len(group) == recoverGroup {
			break
		}
	}
	for _, key := range group {
		tried[key] = struct{}{}
		if err := g.node.guard(key, func() error { return g.recoverRoom(key) }); err != nil {
			g.node.report(key, "a room cannot recover from the commit log, which keeps its transactions", err)
		}
	}
	return len(group) > 0
}

// recoverRoom opens and closes the file of a room that has no life.
func (g *commitLog) recoverRoom(key Key) error {
	defer g.node.fileUses.begin(key)()
	if slices.Contains(g.node.actors.Keys(), key) {
		return nil // its life does it
	}
	o, err := g.node.fileOptions(key)
	if err != nil {
		return err
	}
	there, err := storage.Exists(o)
	if err != nil {
		return err
	}
	if !there {
		g.node.opts.Logger.Warn("the file of a room with entries in the commit log is missing", "namespace", key.Namespace, "room", key.Room)
		g.node.log.Forget(key.Namespace, key.Room)
		return nil
	}
	return g.node.withFile(key, o, func(db *storage.DB) error { return g.reminding.of(key, db) })
}

// lost is [Host.LostLog].
func (g *commitLog) lost() []string {
	if g.node.log == nil {
		return nil
	}
	return g.node.log.Lost()
}
