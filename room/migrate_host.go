package room

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/syncproto"
)

// What an operator can see and do about a data directory's rooms.

// Namespaces are the names of the registered namespaces, sorted.
func (h *Host) Namespaces() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Sorted(maps.Keys(h.namespaces))
}

// Rooms gives a namespace's rooms, in the order of the directory; behind them those that have no file
// yet. It reads the directory as it goes: a room that is made meanwhile may or may not be among them. An error
// is of one file whose room cannot be told, or of the directory, and then it is the last;
// or ctx's.
func (h *Host) Rooms(ctx context.Context, namespace string) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		if !h.HasNamespace(namespace) {
			yield(Key{}, &Error{Code: syncproto.CodeUnknownNamespace, Message: "There is no such namespace."})
			return
		}
		others := h.withoutFile(namespace)
		for file, err := range roomfile.All(h.opts.FS, h.opts.Dir, namespace) {
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Key{}, fmt.Errorf("room: listing %s: %w", namespace, err))
				return
			}
			key, err := h.roomOf(namespace, file)
			if i, has := slices.BinarySearchFunc(others, key, byRoom); has { // by now
				others = slices.Delete(others, i, i+1)
			}
			if !yield(key, err) {
				return
			}
		}
		for _, key := range others {
			there, err := h.there(key)
			if (there || err != nil) && !yield(key, err) {
				return
			}
		}
	}
}

// roomOf finds which room a file is of: by the file's name, or for a long one among the rooms
// that are awake, or in the file.
func (h *Host) roomOf(namespace string, file roomfile.Found) (Key, error) {
	key := Key{Namespace: namespace, Room: file.Room}
	if file.Room != "" {
		return key, nil
	}
	for _, awake := range h.actors.Keys() {
		if path, err := roomfile.Path(h.opts.Dir, awake.Namespace, awake.Room); err == nil && path == file.Path {
			return awake, nil
		}
	}
	name := ""
	err := protect(func() (err error) {
		name, err = storage.ReadRoomName(h.opts.FS, file.Path)
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("room: %s: %w", filepath.Base(file.Path), err)
	}
	key.Room = name
	return key, nil
}

// Migrate wakes a room, which takes it through the migrations that it lacks, and ends its life
// again. The error is that of the room's start, for operators: often a *MigrationError.
func (h *Host) Migrate(ctx context.Context, key Key) error {
	err := h.check(key)
	if err == nil {
		_, err = h.actors.Request(ctx, key, migrateMessage{})
	}
	if failed, there := h.failures.of(key); there && errors.Is(err, actor.ErrUnavailable) {
		err = failed.Err
	}
	if err != nil {
		return err
	}
	return h.actors.Stop(ctx, key)
}

// A MigrationStatus says how far a room's file has come.
type MigrationStatus struct {
	Known   int      // the length of the namespace's list
	Applied []string // what the file has been through, in order
	Foreign error    // ErrForeignMigrations with the reason: these are not the list's
}

// Pending tells whether the room lacks a migration.
func (s MigrationStatus) Pending() bool { return len(s.Applied) < s.Known }

// MigrationStatus tells how far a room's file has come. It does not wake the room, but takes from the
// commit log what the file lacks. A room that has no file is an fs.ErrNotExist.
func (h *Host) MigrationStatus(key Key) (MigrationStatus, error) {
	if err := h.check(key); err != nil {
		return MigrationStatus{}, err
	}
	ns := h.namespace(key.Namespace)
	status := MigrationStatus{Known: len(ns.migrations)}
	var applied []string
	err := h.guard(key, func() (err error) {
		applied, err = h.lookIn(key)
		return err
	})
	if err != nil {
		return MigrationStatus{}, err
	}
	status.Applied, status.Foreign = applied, ns.knows(applied)
	return status, nil
}

// lookIn reads the migrations of a file. A room that is awake has gone through all of them.
func (h *Host) lookIn(key Key) ([]string, error) {
	defer h.looks.begin(key)()
	if _, failed := h.failures.of(key); !failed && slices.Contains(h.actors.Keys(), key) {
		var names []string
		for _, m := range h.namespace(key.Namespace).migrations {
			names = append(names, m.name)
		}
		return names, nil
	}
	o, err := h.fileOptions(key)
	if err != nil {
		return nil, err
	}
	there, err := storage.Exists(o)
	if err == nil && !there {
		err = fmt.Errorf("room: %s: %w", key, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	var applied []string
	err = h.lookInto(key, o, func(db *storage.DB) (err error) {
		applied, err = appliedMigrations(db)
		return err
	})
	return applied, err
}
