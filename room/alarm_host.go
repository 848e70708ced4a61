package room

// A host's alarm clock: where its index is, how it calls rooms, and how the index is built from the rooms' files.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/storage"
)

// An AlarmFailure says why an alarm was given up.
type AlarmFailure struct {
	Key      Key
	Name     string    // the alarm's
	Due      time.Time // when the alarm was to run
	Attempts int       // how often it was tried
	Err      error     // of the last try; for logs and operators, never for clients
	At       time.Time
}

// alarmFailures are the newest failures of a host. The zero value is ready to use.
type alarmFailures struct {
	mu  sync.Mutex
	all []AlarmFailure // the oldest first
}

func (f *alarmFailures) note(failure AlarmFailure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, failure)
	if len(f.all) > maxFailures {
		f.all = slices.Delete(f.all, 0, len(f.all)-maxFailures)
	}
}

// AlarmFailures returns the alarms that have failed in all of their tries, the oldest first: the
// last 1000 since the host was opened.
func (h *Host) AlarmFailures() []AlarmFailure {
	h.alarmFailures.mu.Lock()
	defer h.alarmFailures.mu.Unlock()
	return slices.Clone(h.alarmFailures.all)
}

// openAlarms opens the alarm clock. An index that is refused is renamed, and a new one takes its place, because the rooms'
// files have all that it holds.
func (h *Host) openAlarms() error {
	o := h.indexOptions()
	_, err := o.FS.Size(o.Path)
	exists := err == nil
	if !exists && h.log != nil {
		h.log.Forget(alarmsDir, alarmsName) // what the log has is of an index that was removed
	}
	if h.alarms, err = h.newClock(o, exists); exists && refused(err) {
		if err = errors.Join(h.putAside(o, err)); err == nil {
			h.alarms, err = h.newClock(o, false)
		}
	}
	if err == nil {
		err = h.alarms.Start()
	}
	if err == nil && exists { // the index may have reminders
		h.remindLater(remindFirst)
	}
	if err != nil {
		return fmt.Errorf("room: the index of alarms: %w", err)
	}
	return nil
}

func (h *Host) indexOptions() storage.Options {
	o := storage.Options{
		Path:      filepath.Join(h.opts.Dir, alarmsDir, alarmsName+".db"),
		Namespace: alarmsDir, Room: alarmsName,
		Retention: time.Millisecond, History: 1, // nobody asks what has changed in the index
		CheckpointBytes: h.opts.CheckpointBytes, Now: h.opts.Clock.Now, FS: h.opts.FS,
	}
	if h.log != nil {
		o.Log = h.log
	}
	return o
}

func (h *Host) newClock(o storage.Options, exists bool) (*alarm.Clock, error) {
	return alarm.Open(alarm.Options{
		Now: h.opts.Clock.Now,
		AfterFunc: func(d time.Duration, f func()) alarm.Timer {
			return h.afterFunc(d, "the alarm clock", f)
		},
		Known: h.HasNamespace,
		Send: func(call alarm.Call) error {
			return h.actors.Push(keyNamed(call.Room), &alarmMessage{countFirst: call.CountFirst}, func(_ any, err error) { call.Done(err) })
		},
		Open:     func() (*storage.DB, error) { return storage.Open(o) },
		Exists:   exists,
		MaxCalls: h.opts.AlarmRooms,
		Logger:   h.opts.Logger,
	})
}

// refused reports whether an error says that a file cannot be used, however often it is opened.
func refused(err error) bool {
	for _, reason := range []error{storage.ErrNotDatabase, storage.ErrNewer, storage.ErrWrongRoom, storage.ErrCorrupt, storage.ErrLogMissing, storage.ErrLogMismatch} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// putAside gives an index that is refused a name that no file has.
func (h *Host) putAside(o storage.Options, cause error) error {
	name := o.Path + ".refused-" + h.opts.Clock.Now().UTC().Format("20060102T150405.000Z")
	kept := name
	for n := 2; ; n++ {
		_, err := o.FS.Size(kept)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return errors.Join(cause, err)
		}
		kept = fmt.Sprintf("%s-%d", name, n)
	}
	for _, suffix := range []string{"-wal", ".suspect", ""} {
		if err := o.FS.Rename(o.Path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(cause, err)
		}
	}
	if h.log != nil {
		h.log.Forget(alarmsDir, alarmsName)
	}
	h.opts.Logger.Warn("the index of alarms was refused and is built again from the rooms' files", "kept", kept, "err", cause)
	return o.FS.SyncDir(filepath.Dir(o.Path))
}

// registered lets the alarms of a namespace run. If the index may lack some of its rooms, their files are searched for alarms
// in the background.
func (h *Host) registered(namespace string) {
	h.alarms.Release(namespace)
	if h.opts.AlarmRooms < 0 {
		return
	}
	if h.alarms.Complete(namespace) {
		h.scanned.Store(namespace, true)
		if err := h.unmarkComplete(namespace); err != nil {
			h.opts.Logger.Error("the index of alarms was not written", "err", err)
		}
		return
	}
	if _, err := h.opts.FS.Names(filepath.Join(h.opts.Dir, namespace)); errors.Is(err, fs.ErrNotExist) && len(h.withoutFile(namespace)) == 0 {
		h.markComplete(namespace) // it has no rooms yet
		return
	}
	h.afterFunc(0, "looking for alarms in all rooms", func() {
		began := h.opts.Clock.Now()
		rooms, alarmed, err := h.scanAlarms(context.Background(), namespace)
		switch {
		case errors.Is(err, errStopping):
		case errors.Is(err, actor.ErrReported):
			h.opts.Logger.Warn("the index of alarms may lack some rooms; the next start looks through all rooms again", "namespace", namespace)
		case err != nil:
			h.opts.Logger.Error("the index of alarms may lack some rooms; the next start looks through all rooms again", "namespace", namespace, "err", err)
		case rooms > 0:
			h.opts.Logger.Info("the rooms were looked through for alarms", "namespace", namespace, "rooms", rooms, "with alarms", alarmed, "took", h.opts.Clock.Now().Sub(began))
		}
	})
}

var errStopping = errors.New("room: the host is stopping")

// scanAlarms searches all files of a namespace for alarms. The clock already knows the alarms of rooms that are awake. If a
// file is refused, that is logged, and the index is not marked complete.
func (h *Host) scanAlarms(ctx context.Context, namespace string) (rooms, alarmed int, err error) {
	var failed []error // of the first rooms that cannot be read
	wrong := 0
	for key, err := range h.Rooms(ctx, namespace) {
		if err == nil {
			rooms++
			err = h.guard(key, func() error { return h.scanRoom(key) })
		}
		if errors.Is(err, errStopping) || errors.Is(err, context.Cause(ctx)) && err != nil {
			return rooms, alarmed, err
		}
		if err != nil {
			h.reportScan(namespace, key, err)
			if wrong++; wrong <= maxFailures {
				failed = append(failed, fmt.Errorf("%s: %w", cmp.Or(key, Key{Namespace: namespace}), err))
			}
		}
		if _, some := h.alarms.Next(nameOf(key)); some {
			alarmed++
		}
	}
	if wrong > 0 {
		return rooms, alarmed, reported{errors.Join(failed...)}
	}
	h.markComplete(namespace)
	if rooms > 0 { // no file is made for a namespace without rooms
		err = h.alarms.Sync()
	}
	return rooms, alarmed, err
}

// reportScan reports a room whose alarms cannot be read, or a file of which nobody knows the room.
func (h *Host) reportScan(namespace string, key Key, err error) {
	const event = "a room's alarms were not found out"
	if key != (Key{}) {
		h.report(key, event, err)
		return
	}
	h.opts.Logger.Error(event, append([]any{"namespace", namespace, "err", err}, stackOf(err)...)...)
}

// markComplete notes that the index has all rooms of a namespace.
func (h *Host) markComplete(namespace string) {
	h.scanned.Store(namespace, true)
	if h.opts.Durability != Unsynced { // with Unsynced, closeAlarms marks it
		h.alarms.MarkComplete(namespace)
	}
}

// unmarkComplete has a host that syncs neither the rooms' files nor the index search the files again after a crash.
func (h *Host) unmarkComplete(namespace string) error {
	if h.opts.Durability != Unsynced {
		return nil
	}
	return h.alarms.MarkIncomplete(namespace)
}

// scanRoom reads the alarms of a room that has no life, and corrects the clock.
func (h *Host) scanRoom(key Key) error {
	h.recovery.Lock()
	defer h.recovery.Unlock()
	if h.stopping.Load() {
		return errStopping
	}
	return h.lookForAlarms(key, func(table *alarms.Table) error {
		if err := h.remindOf(key, table.DB()); err != nil {
			return err
		}
		at := alarms.Time(table.Next)
		if !at.IsZero() {
			if err := h.alarms.Lower(nameOf(key), at); err != nil {
				return err
			}
		}
		h.alarms.Set(nameOf(key), at)
		return nil
	})
}

// lookForAlarms opens the file of a room that has no life, and calls do. If the room has a life it does nothing.
func (h *Host) lookForAlarms(key Key, do func(*alarms.Table) error) error {
	defer h.looks.begin(key)()
	if h.actors.Has(key) {
		return nil
	}
	o, err := h.fileOptions(key)
	if err != nil {
		return err
	}
	return h.lookInto(key, o, func(db *storage.DB) error {
		table, err := alarms.Load(db)
		if err != nil {
			return err
		}
		return do(&table)
	})
}

// RebuildAlarms builds the index of alarms of a namespace again from the rooms' files, and returns how
// many rooms there are and how many of them have alarms. A room whose file cannot be read does not end
// it; err joins the errors of the first 1000 such rooms, and names them. Den does the same by itself if the index is missing or
// was refused.
func (h *Host) RebuildAlarms(ctx context.Context, namespace string) (rooms, alarmed int, err error) {
	return h.scanAlarms(ctx, namespace)
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
		for _, name := range h.alarms.Rooms() {
			key := keyNamed(name)
			var rows []alarms.Row
			err := h.guard(key, func() (err error) {
				rows, err = h.alarmsOf(ctx, key)
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

func (h *Host) alarmsOf(ctx context.Context, key Key) (rows []alarms.Row, err error) {
	looked := false
	err = h.lookForAlarms(key, func(t *alarms.Table) (err error) {
		looked = true
		rows, err = t.List(alarms.Never, MaxAlarms)
		return err
	})
	if err != nil || looked {
		return rows, err
	}
	failed := h.runLive(ctx, key, func(l *life) { rows, err = l.alarms.List(alarms.Never, MaxAlarms) })
	return rows, cmp.Or(failed, err)
}

// closeAlarms closes the index, after all rooms have ended.
func (h *Host) closeAlarms() error {
	if h.opts.Durability == Unsynced {
		h.scanned.Range(func(namespace, _ any) bool {
			h.alarms.MarkComplete(namespace.(string))
			return true
		})
	}
	return h.alarms.Close()
}
