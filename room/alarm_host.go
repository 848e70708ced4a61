package room

// A host's alarm clock: where its index is, how it calls for rooms, and how it is made anew from
// the rooms' files.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/storage"
)

// alarmsDir is the directory of the index of alarms, beside those of the namespaces, whose names
// do not begin like this; and the index's name where rooms have theirs.
const (
	alarmsDir  = "_alarms"
	alarmsName = "index"
)

// An AlarmFailure says why an alarm was given up.
type AlarmFailure struct {
	Key      Key
	Name     string    // the alarm's
	Due      time.Time // when it was to run
	Attempts int       // tries
	Err      error     // of the last one; for logs and operators, never for clients
	At       time.Time
}

// alarmFailures are the newest of a process. Their zero value is ready.
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

// AlarmFailures are the alarms that have failed in all of their tries, the oldest first; the
// newest 1000 since the host was opened.
func (h *Host) AlarmFailures() []AlarmFailure {
	h.alarmFailures.mu.Lock()
	defer h.alarmFailures.mu.Unlock()
	return slices.Clone(h.alarmFailures.all)
}

// openAlarms opens the alarm clock. An index that is refused is put aside: all that it holds is
// in the rooms' files too.
func (h *Host) openAlarms() error {
	o := h.indexOptions()
	_, err := o.FS.Size(o.Path)
	exists := err == nil
	if !exists && h.log != nil {
		h.log.Forget(alarmsDir, alarmsName) // of one that was removed
	}
	if h.alarms, err = h.newClock(o, exists); exists && refused(err) {
		if err = errors.Join(h.putAside(o, err)); err == nil {
			h.alarms, err = h.newClock(o, false)
		}
	}
	if err == nil {
		err = h.alarms.Start()
	}
	if err == nil && exists { // it may have reminders
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
		Retention: time.Millisecond, History: 1, // nobody asks what changed in it
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

// refused tells that a file is not to be believed, whatever one tries.
func refused(err error) bool {
	for _, reason := range []error{storage.ErrNotDatabase, storage.ErrNewer, storage.ErrWrongRoom, storage.ErrCorrupt, storage.ErrLogMissing, storage.ErrLogMismatch} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// putAside gives an index that is refused another name, which nothing has.
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
	h.opts.Logger.Warn("the index of alarms was refused, and is made anew from the rooms' files", "kept", kept, "err", cause)
	return o.FS.SyncDir(filepath.Dir(o.Path))
}

// keyNamed returns the key of a room from the name that the alarm clock knows it by.
func keyNamed(name string) Key {
	namespace, room, _ := strings.Cut(name, "/")
	return Key{Namespace: namespace, Room: room}
}

// registered lets a namespace's alarms ring. What the index may not know of its rooms is found out in the
// background.
func (h *Host) registered(namespace string) {
	h.alarms.Release(namespace)
	if h.opts.AlarmRooms < 0 {
		return
	}
	if h.alarms.Complete(namespace) {
		h.scanned.Store(namespace, true)
		if err := h.uncover(namespace); err != nil {
			h.opts.Logger.Error("the index of alarms was not written", "err", err)
		}
		return
	}
	if _, err := h.opts.FS.Names(filepath.Join(h.opts.Dir, namespace)); errors.Is(err, fs.ErrNotExist) && len(h.withoutFile(namespace)) == 0 {
		h.covered(namespace) // it has no rooms yet
		return
	}
	h.afterFunc(0, "looking for alarms in all rooms", func() {
		began := h.opts.Clock.Now()
		rooms, alarmed, err := h.scanAlarms(context.Background(), namespace)
		switch {
		case errors.Is(err, errStopping):
		case errors.Is(err, actor.ErrReported):
			h.opts.Logger.Warn("the index of alarms may lack some rooms; it is looked for them at the next start", "namespace", namespace)
		case err != nil:
			h.opts.Logger.Error("the index of alarms may lack some rooms; it is looked for them at the next start", "namespace", namespace, "err", err)
		case rooms > 0:
			h.opts.Logger.Info("the rooms were looked through for alarms", "namespace", namespace, "rooms", rooms, "with alarms", alarmed, "took", h.opts.Clock.Now().Sub(began))
		}
	})
}

var errStopping = errors.New("room: the host is stopping")

// scanAlarms looks into all files of a namespace for alarms. A room that is awake has told of its
// own; one whose file is refused is logged, and the index does not count as whole.
func (h *Host) scanAlarms(ctx context.Context, namespace string) (rooms, alarmed int, err error) {
	var failed []error // of the first that have one
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
	h.covered(namespace)
	if rooms > 0 { // else no file is made for it
		err = h.alarms.Sync()
	}
	return rooms, alarmed, err
}

// reportScan tells of a room whose alarms are not known; of a file whose room is not known, that.
func (h *Host) reportScan(namespace string, key Key, err error) {
	const event = "a room's alarms were not found out"
	if key != (Key{}) {
		h.report(key, event, err)
		return
	}
	h.opts.Logger.Error(event, append([]any{"namespace", namespace, "err", err}, stackOf(err)...)...)
}

// covered notes that the index knows all of a namespace's rooms.
func (h *Host) covered(namespace string) {
	h.scanned.Store(namespace, true)
	if h.opts.Durability != Unsynced { // there closeAlarms says so
		h.alarms.MarkComplete(namespace)
	}
}

// uncover has the files looked into after a bad end of a host that syncs neither them nor, therefore,
// what of the index rests on them.
func (h *Host) uncover(namespace string) error {
	if h.opts.Durability != Unsynced {
		return nil
	}
	return h.alarms.MarkIncomplete(namespace)
}

// scanRoom looks into the file of a room that has no life.
func (h *Host) scanRoom(key Key) error {
	h.recovery.Lock()
	defer h.recovery.Unlock()
	if h.stopping.Load() {
		return errStopping
	}
	return h.lookForAlarms(key, func(table *alarmTable) error {
		if err := h.remindOf(key, table.db); err != nil {
			return err
		}
		at := time.Time{}
		if table.next != never {
			at = time.UnixMilli(table.next)
			if err := h.alarms.Lower(nameOf(key), at); err != nil {
				return err
			}
		}
		h.alarms.Set(nameOf(key), at)
		return nil
	})
}

// lookForAlarms opens the file of a room that has no life; of another it does nothing.
func (h *Host) lookForAlarms(key Key, do func(*alarmTable) error) error {
	defer h.looks.begin(key)()
	if h.actors.Has(key) {
		return nil
	}
	o, err := h.fileOptions(key)
	if err != nil {
		return err
	}
	return h.lookInto(key, o, func(db *storage.DB) error {
		var table alarmTable
		if err := table.load(db); err != nil {
			return err
		}
		return do(&table)
	})
}

func nameOf(key Key) string { return key.Namespace + "/" + key.Room }

// RebuildAlarms makes the index of alarms of a namespace anew from the rooms' files, and tells how
// many rooms there are and how many of them have alarms. It goes on after a room that cannot be looked
// into; err joins the errors of the first 1000 of those, and names the rooms. Den does so by itself where the index is missing or
// was refused.
func (h *Host) RebuildAlarms(ctx context.Context, namespace string) (rooms, alarmed int, err error) {
	return h.scanAlarms(ctx, namespace)
}

// A RoomAlarm is an alarm, and whose it is.
type RoomAlarm struct {
	Key Key
	Alarm
}

// Alarms gives the alarms of all rooms, room by room, the room first whose alarm is next. It
// looks into the files of rooms that sleep, without waking them. An error is of one room; or
// ctx's, and then it is the last.
func (h *Host) Alarms(ctx context.Context) iter.Seq2[RoomAlarm, error] {
	return func(yield func(RoomAlarm, error) bool) {
		for _, name := range h.alarms.Rooms() {
			key := keyNamed(name)
			var rows []alarmRow
			err := h.guard(key, func() (err error) {
				rows, err = h.alarmsOf(ctx, key)
				return err
			})
			if err != nil && !yield(RoomAlarm{Key: key}, fmt.Errorf("%s: %w", key, err)) || ctx.Err() != nil {
				return
			}
			for _, r := range rows {
				if !yield(RoomAlarm{key, r.alarm()}, nil) {
					return
				}
			}
		}
	}
}

func (h *Host) alarmsOf(ctx context.Context, key Key) (rows []alarmRow, err error) {
	looked := false
	err = h.lookForAlarms(key, func(t *alarmTable) (err error) {
		looked = true
		rows, err = t.list(never, MaxAlarms)
		return err
	})
	if err != nil || looked {
		return rows, err
	}
	failed := h.errand(ctx, key, func(l *life) { rows, err = l.alarms.list(never, MaxAlarms) })
	return rows, cmp.Or(failed, err)
}

// SettleAlarms waits until no room runs alarms, and none is due. A room that could not be woken is
// called again later, and is not waited for.
func (h *Host) SettleAlarms(ctx context.Context) error {
	if err := h.alarms.WaitIdle(ctx); err != nil {
		return err
	}
	for _, name := range h.alarms.Failing() { // their lives end behind the answer
		if err := h.actors.Ended(ctx, keyNamed(name)); err != nil {
			return err
		}
	}
	return nil
}

// closeAlarms closes the index. All rooms have ended.
func (h *Host) closeAlarms() error {
	if h.opts.Durability == Unsynced {
		h.scanned.Range(func(namespace, _ any) bool {
			h.alarms.MarkComplete(namespace.(string))
			return true
		})
	}
	return h.alarms.Close()
}
