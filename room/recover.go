package room

// Behind a crash the commit log keeps everything until each room has taken what it lacks. A
// room does that when it wakes; those that nobody calls for are seen to here, a few at a time
// and without a life, or the log would grow until they are. Rooms that were new then have no file
// yet, see package storage; who lists rooms must not forget them.

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/denrooms/den/storage"
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

// hasNoFile tells whether a room has no file; if that cannot be told, it has one.
func (h *Host) hasNoFile(key Key) bool {
	o, err := h.fileOptions(key)
	if err == nil {
		_, err = o.FS.Size(o.Path)
	}
	return errors.Is(err, fs.ErrNotExist)
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

// there tells whether there is a room: one with a file, one that the log has, or one that is awake.
func (h *Host) there(key Key) (bool, error) {
	o, err := h.fileOptions(key)
	if err != nil {
		return false, err
	}
	if _, err := o.FS.Size(o.Path); err == nil {
		return true, nil
	}
	defer h.looks.begin(key)()
	if h.actors.Has(key) {
		return true, nil
	}
	return storage.Exists(o)
}
