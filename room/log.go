package room

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage"
)

// The host's commit log: how it is opened and closed, what of it is lost, and what a crash has left in it.

// relaxedSync is how often a relaxed log is synced.
const relaxedSync = 100 * time.Millisecond

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
			h.contain("asking a room for a checkpoint", func() { h.requestCheckpoint(Key{Namespace: namespace, Room: room}) })
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
	h.log = log
	h.warnOfLostLog()
	h.recoverLater(make(map[Key]struct{}))
	if o.Durability == Relaxed {
		h.syncLog()
	}
	return nil
}

// continueWithoutLog closes the log of a directory that is now used without a log. It fails if a room needs the log.
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

// syncLog syncs a relaxed log periodically, until the host stops.
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

// requestCheckpoint asks a room to write to its file what the commit log keeps for it. The room wakes if it sleeps.
func (h *Host) requestCheckpoint(key Key) {
	if key.Namespace == alarmsDir {
		h.alarms.CheckpointSoon()
		return
	}
	if !h.HasNamespace(key.Namespace) {
		h.opts.Logger.Warn("the commit log keeps entries for a room of a namespace that is not registered",
			"namespace", key.Namespace, "room", key.Room)
		return
	}
	if err := h.actors.Send(key, checkpointMessage{}, nil); err != nil && !h.stopping.Load() {
		h.opts.Logger.Warn("a room was not asked for a checkpoint", "namespace", key.Namespace, "room", key.Room, "err", err)
	}
}

// logFailed tells that the disk has failed under the commit log: nothing is written then
// that nobody asked for, so that rooms can go on to be read.
func (h *Host) logFailed() bool { return h.log != nil && h.log.Failed() }

// A part of the commit log that is lost for good. Until somebody gives it up, each room that may have
// had its newest transactions there is refused, and each new one too, because nobody can say that it is new.

// LostLog returns the names of the files of the commit log that are missing, or damaged so that it is not
// known which rooms they were of, and that rooms may need. None: nil.
func (h *Host) LostLog() []string {
	if h.log == nil {
		return nil
	}
	return h.log.Lost()
}

// AbandonLog gives up what the files of LostLog had, and returns their names. The rooms that were refused
// because of them go on with what they have from then on: what was acknowledged to a room, and was only
// there, is lost. It is remembered over restarts. After storage.ErrFull or storage.ErrIO it can be
// called again.
func (h *Host) AbandonLog() (files []string, err error) {
	if h.log == nil {
		return nil, nil
	}
	return h.log.Abandon()
}

// warnOfLostLog tells the operator which rooms cannot be used, once a start.
func (h *Host) warnOfLostLog() {
	if files := h.LostLog(); len(files) > 0 {
		h.opts.Logger.Error("files of the commit log are missing or damaged: rooms that may have had something there are refused, and new rooms too if a crash left the file",
			"files", files, "hint", "put them back; or, while no server runs, give them up: den log -data "+h.opts.Dir+" -abandon")
	}
}

// Behind a crash the commit log keeps everything until each room has taken what it lacks. A
// room does that when it wakes; those that nobody calls for are seen to here, a few at a time
// and without a life, or the log would grow until they are. Rooms that were new then have no file
// yet, see package storage; who lists rooms must not forget them.

const (
	// recoverPause is how long the host leaves the disk to the rooms that are called for,
	// between one group and the next.
	recoverPause = 10 * time.Second
	// recoverGroup is how many rooms are in a group.
	recoverGroup = 64
)

// recoverLater goes on with the recovery after a pause. tried are the rooms that were seen to.
func (h *Host) recoverLater(tried map[Key]struct{}) {
	if h.log.Crashed() == 0 {
		return
	}
	h.afterFunc(recoverPause, "recovery", func() {
		if h.recoverSome(tried) {
			h.recoverLater(tried)
		}
	})
}

// recoverSome sees to a group of rooms, and tells whether there are others.
func (h *Host) recoverSome(tried map[Key]struct{}) (more bool) {
	h.recovery.Lock()
	defer h.recovery.Unlock()
	if h.stopping.Load() {
		return false
	}
	var group []Key
	for namespace, name := range h.log.Unrecovered {
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
		if err := h.guard(key, func() error { return h.recoverRoom(key) }); err != nil {
			h.report(key, "a room cannot take from the commit log what it lacks, and the log keeps it", err)
		}
	}
	return len(group) > 0
}

// recoverRoom opens the file of a room that has no life, and closes it.
func (h *Host) recoverRoom(key Key) error {
	defer h.looks.begin(key)()
	if slices.Contains(h.actors.Keys(), key) {
		return nil // its life does it
	}
	o, err := h.fileOptions(key)
	if err != nil {
		return err
	}
	there, err := storage.Exists(o)
	if err != nil {
		return err
	}
	if !there {
		h.opts.Logger.Warn("the file of a room that the commit log has entries of is not there", "namespace", key.Namespace, "room", key.Room)
		h.log.Forget(key.Namespace, key.Room)
		return nil
	}
	return h.lookInto(key, o, func(db *storage.DB) error { return h.remindOf(key, db) })
}

// loggedOnly are the rooms that have entries in the log, of a crash or since they were closed, and no file.
func (h *Host) loggedOnly() (keys []Key) {
	if h.log == nil {
		return nil
	}
	add := func(namespace, name string) bool {
		if key := (Key{Namespace: namespace, Room: name}); h.hasNoFile(key) {
			keys = append(keys, key)
		}
		return true
	}
	h.log.Unrecovered(add)
	h.log.Pinned(add)
	return keys
}

// withoutFile are a namespace's rooms that have no file, sorted: those of loggedOnly, and new ones that
// are awake.
func (h *Host) withoutFile(namespace string) []Key {
	keys := slices.DeleteFunc(h.loggedOnly(), func(key Key) bool { return key.Namespace != namespace })
	for _, key := range h.actors.Keys() {
		if key.Namespace == namespace && h.hasNoFile(key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, byRoom)
	return slices.Compact(keys)
}

// LoggedNamespaces are the namespaces of rooms that a crash has left in the commit log only, sorted. They may have no directory, and
// need not be registered.
func (h *Host) LoggedNamespaces() []string {
	var names []string
	for _, key := range h.loggedOnly() {
		names = append(names, key.Namespace)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func byRoom(a, b Key) int { return strings.Compare(a.Room, b.Room) }
