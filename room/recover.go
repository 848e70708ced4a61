package room

// Behind a crash the commit log keeps everything until each room has taken what it lacks. A
// room does that when it wakes; those that nobody calls for are seen to here, a few at a time
// and without a life, or the log would grow until they are.

import (
	"errors"
	"io/fs"
	"slices"
	"time"
)

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
	h.opts.Clock.AfterFunc(recoverPause, func() {
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
		if err := h.recoverRoom(key); err != nil {
			h.opts.Logger.Error("a room cannot take from the commit log what it lacks, and the log keeps it",
				"namespace", key.Namespace, "room", key.Room, "err", err)
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
	if _, err := o.FS.Size(o.Path); errors.Is(err, fs.ErrNotExist) {
		h.opts.Logger.Warn("the file of a room that the commit log has entries of is not there", "namespace", key.Namespace, "room", key.Room)
		h.log.Forget(key.Namespace, key.Room)
		return nil
	}
	db, err := h.openFile(key)
	if err != nil {
		return err
	}
	return db.Close()
}
