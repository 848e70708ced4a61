package room

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/storage"
)

// What an operator can see and do about a data directory's rooms.

// Namespaces returns the names of the registered namespaces, sorted.
func (h *Host) Namespaces() []string { return h.node.namespaceNames() }

// Rooms returns a namespace's rooms, in the order of the directory, and then those that have no file yet. It reads
// the directory as it goes: a room that is made meanwhile may be missing. An error is about one file whose room is
// unknown; or about the directory, or ctx's, and then it is the last.
func (h *Host) Rooms(ctx context.Context, namespace string) iter.Seq2[Key, error] {
	return h.node.rooms(ctx, namespace)
}

// Migrate wakes a room, so that it runs the migrations that it lacks, and ends its life again. The error is that of
// the room's start, for operators: often a *MigrationError.
func (h *Host) Migrate(ctx context.Context, key Key) error {
	err := h.node.check(key)
	if err == nil {
		_, err = h.node.actors.Request(ctx, key, migrateMessage{})
	}
	if failed, there := h.node.reports.failures.of(key); there && errors.Is(err, actor.ErrUnavailable) {
		err = failed.Err
	}
	if err != nil {
		return err
	}
	return h.node.actors.Stop(ctx, key)
}

// A MigrationStatus says which migrations a room's file has been through.
type MigrationStatus struct {
	Known   int      // the length of the namespace's list
	Applied []string // what the file has been through, in order
	Foreign error    // ErrForeignMigrations with the reason, if they are not the list's
}

// Pending reports whether the room lacks a migration.
func (s MigrationStatus) Pending() bool { return len(s.Applied) < s.Known }

// MigrationStatus returns which migrations a room's file has been through. It does not wake the room, but replays log
// entries that the file lacks. For a room without a file the error is fs.ErrNotExist.
func (h *Host) MigrationStatus(key Key) (MigrationStatus, error) {
	if err := h.node.check(key); err != nil {
		return MigrationStatus{}, err
	}
	ns := h.node.namespace(key.Namespace)
	status := MigrationStatus{Known: len(ns.migrations)}
	var applied []string
	err := h.node.guard(key, func() (err error) {
		applied, err = h.node.migrationsIn(key)
		return err
	})
	if err != nil {
		return MigrationStatus{}, err
	}
	status.Applied, status.Foreign = applied, ns.knows(applied)
	return status, nil
}

// migrationsIn reads the migrations of a file. A room that is awake has been through all of them.
func (n *node) migrationsIn(key Key) ([]string, error) {
	defer n.fileUses.begin(key)()
	if _, failed := n.reports.failures.of(key); !failed && slices.Contains(n.actors.Keys(), key) {
		var names []string
		for _, m := range n.namespace(key.Namespace).migrations {
			names = append(names, m.name)
		}
		return names, nil
	}
	o, err := n.fileOptions(key)
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
	err = n.withFile(key, o, func(db *storage.DB) (err error) {
		applied, err = appliedMigrations(db)
		return err
	})
	return applied, err
}

// Compact rewrites a room's file without the pages that have become free, so that the disk gets them back. The room
// goes to sleep for that. Whoever calls for it meanwhile gets it within milliseconds, and Compact starts again; after
// the third time the error is ErrCalledFor. The host does the same by itself, within a minute, for a room that goes
// to sleep with more than half of its file and more than 1 MiB of it free. The room's seq, cursors and history stay
// as they are. The old file stays in the data directory as long as the history needs it, see Options.TimeTravel. The
// disk must have room for both. Errors: ErrNoRoom, ErrCalledFor, those of the disk.
func (h *Host) Compact(ctx context.Context, key Key) (Compacted, error) {
	return h.compactor.compactIf(ctx, key, nil)
}

// CompactDue is Compact if the host would compact the room by itself. Otherwise Before and After are the file's size.
func (h *Host) CompactDue(ctx context.Context, key Key) (Compacted, error) {
	return h.compactor.compactIf(ctx, key, storage.Slack.Due)
}

// AlarmFailures returns the alarms that have failed in all of their tries, the oldest first: the last 1000 since the
// host was opened.
func (h *Host) AlarmFailures() []AlarmFailure {
	h.node.reports.alarmFailures.mu.Lock()
	defer h.node.reports.alarmFailures.mu.Unlock()
	return slices.Clone(h.node.reports.alarmFailures.all)
}

// RebuildAlarms builds the index of alarms of a namespace again from the rooms' files, and returns how
// many rooms there are and how many of them have alarms. A room whose file cannot be read does not end
// it; err joins the errors of the first 1000 such rooms, and names them. Den does the same by itself if the index is missing or
// was refused.
func (h *Host) RebuildAlarms(ctx context.Context, namespace string) (rooms, alarmed int, err error) {
	return h.index.scan(ctx, namespace)
}

// A RoomAlarm is an alarm and the room that has set it.
type RoomAlarm struct {
	Key Key
	Alarm
}

// Alarms returns the alarms of all rooms, room by room, starting with the room whose alarm is next. It
// reads the files of rooms that sleep, without waking them. An error is that of one room, or
// the cause of ctx's end; nothing follows that.
func (h *Host) Alarms(ctx context.Context) iter.Seq2[RoomAlarm, error] {
	return func(yield func(RoomAlarm, error) bool) {
		for _, name := range h.node.alarms.Rooms() {
			key := keyNamed(name)
			var rows []alarms.Row
			err := h.node.guard(key, func() (err error) {
				rows, err = h.index.alarmsOf(ctx, key)
				return err
			})
			if err != nil && !yield(RoomAlarm{Key: key}, fmt.Errorf("%s: %w", key, err)) || ctx.Err() != nil {
				return
			}
			for _, r := range rows {
				if !yield(RoomAlarm{key, alarmOf(r)}, nil) {
					return
				}
			}
		}
	}
}

// LostLog returns the names of those files of the commit log that rooms may need and that are missing, or damaged so
// that it is unknown which rooms they were of. It returns nil if there are none.
func (h *Host) LostLog() []string { return h.log.lost() }

// AbandonLog gives up what was in the files of LostLog, and returns their names. The rooms that were refused because
// of them continue with what they have: what was acknowledged to a room, and was only there, is lost. This is
// remembered over restarts. After storage.ErrFull or storage.ErrIO it can be called again.
func (h *Host) AbandonLog() (files []string, err error) {
	if h.node.log == nil {
		return nil, nil
	}
	return h.node.log.Abandon()
}

// LoggedNamespaces returns the namespaces of rooms that a crash has left only in the commit log, sorted. They may
// have no directory, and need not be registered.
func (h *Host) LoggedNamespaces() []string {
	var names []string
	for _, key := range h.node.loggedOnly() {
		names = append(names, key.Namespace)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
