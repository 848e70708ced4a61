package room

// A host's alarm clock: where its index is, how it calls rooms, and how the index is built from the rooms' files.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

// An alarmIndex is a host's index of alarms.
type alarmIndex struct {
	node      *node
	reminding *reminding
	recovery  *sync.Mutex
	scanned   sync.Map // of namespaces: the index knows all of their rooms
}

// open opens the alarm clock. An index that is refused is renamed, and a new one takes its place, because the rooms'
// files have all that it holds.
func (x *alarmIndex) open() error {
	o := x.options()
	_, err := o.FS.Size(o.Path)
	exists := err == nil
	if !exists && x.node.log != nil {
		x.node.log.Forget(alarmsDir, alarmsName) // what the log has is of an index that was removed
	}
	if x.node.alarms, err = x.newClock(o, exists); exists && refused(err) {
		if err = errors.Join(x.putAside(o, err)); err == nil {
			x.node.alarms, err = x.newClock(o, false)
		}
	}
	if err == nil {
		err = x.node.alarms.Start()
	}
	if err == nil && exists { // the index may have reminders
		x.reminding.later(remindFirst)
	}
	if err != nil {
		return fmt.Errorf("room: the index of alarms: %w", err)
	}
	return nil
}

func (x *alarmIndex) options() storage.Options {
	o := storage.Options{
		Path:      filepath.Join(x.node.opts.Dir, alarmsDir, alarmsName+".db"),
		Namespace: alarmsDir, Room: alarmsName,
		Retention: time.Millisecond, History: 1, // nobody asks what has changed in the index
		CheckpointBytes: x.node.opts.CheckpointBytes, Now: x.node.opts.Clock.Now, FS: x.node.opts.FS,
	}
	if x.node.log != nil {
		o.Log = x.node.log
	}
	return o
}

func (x *alarmIndex) newClock(o storage.Options, exists bool) (*alarm.Clock, error) {
	return alarm.Open(alarm.Options{
		Now: x.node.opts.Clock.Now,
		AfterFunc: func(d time.Duration, f func()) alarm.Timer {
			return x.node.afterFunc(d, "the alarm clock", f)
		},
		Known: x.node.hasNamespace,
		Send: func(call alarm.Call) error {
			return x.node.actors.Push(keyNamed(call.Room), &alarmMessage{countFirst: call.CountFirst}, func(_ any, err error) { call.Done(err) })
		},
		Open:     func() (*storage.DB, error) { return storage.Open(o) },
		Replace:  func(cause error) bool { return refused(cause) && x.replace(o, cause) },
		Exists:   exists,
		MaxCalls: x.node.opts.AlarmRooms,
		Logger:   x.node.opts.Logger,
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

// putAside renames a refused index to an unused name.
func (x *alarmIndex) putAside(o storage.Options, cause error) error {
	name := o.Path + ".refused-" + x.node.now().UTC().Format("20060102T150405.000Z")
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
	for _, suffix := range []string{"-wal", ".suspect", roomfile.EntriesSuffix, ""} {
		if err := o.FS.Rename(o.Path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(cause, err)
		}
	}
	if x.node.log != nil {
		x.node.log.Forget(alarmsDir, alarmsName)
	}
	x.node.opts.Logger.Warn("the index of alarms was refused and is built again from the rooms' files", "kept", kept, "err", cause)
	return o.FS.SyncDir(filepath.Dir(o.Path))
}

// replace puts aside an index that is refused while the host runs, and reports whether it did. The clock writes what it knows into a
// new one. The next start searches the rooms' files for the rest.
func (x *alarmIndex) replace(o storage.Options, cause error) bool {
	if err := x.putAside(o, cause); err != nil {
		x.node.opts.Logger.Error("the index of alarms was refused and not replaced", "err", err)
		return false
	}
	x.scanned.Clear()
	return true
}

// registered lets the alarms of a namespace run. If the index may lack some of its rooms, their files are searched for alarms
// in the background.
func (x *alarmIndex) registered(namespace string) {
	x.node.alarms.Release(namespace)
	if x.node.opts.AlarmRooms < 0 {
		return
	}
	if x.node.alarms.Complete(namespace) {
		x.scanned.Store(namespace, true)
		if err := x.unmarkComplete(namespace); err != nil {
			x.node.opts.Logger.Error("the index of alarms was not written", "err", err)
		}
		return
	}
	if _, err := x.node.opts.FS.Names(filepath.Join(x.node.opts.Dir, namespace)); errors.Is(err, fs.ErrNotExist) && len(x.node.withoutFile(namespace)) == 0 {
		x.markComplete(namespace) // it has no rooms yet
		return
	}
	x.node.afterFunc(0, "looking for alarms in all rooms", func() {
		began := x.node.now()
		rooms, alarmed, err := x.scan(context.Background(), namespace)
		switch {
		case errors.Is(err, errStopping):
		case errors.Is(err, actor.ErrReported):
			x.node.opts.Logger.Warn("the index of alarms may lack some rooms; the next start looks through all rooms again", "namespace", namespace)
		case err != nil:
			x.node.opts.Logger.Error("the index of alarms may lack some rooms; the next start looks through all rooms again", "namespace", namespace, "err", err)
		case rooms > 0:
			x.node.opts.Logger.Info("the rooms were looked through for alarms", "namespace", namespace, "rooms", rooms, "with alarms", alarmed, "took", x.node.now().Sub(began))
		}
	})
}

// scan searches all files of a namespace for alarms. The clock already knows the alarms of rooms that are awake. If a
// file is refused, that is logged, and the index is not marked complete.
func (x *alarmIndex) scan(ctx context.Context, namespace string) (rooms, alarmed int, err error) {
	var failed []error // of the first rooms that cannot be read
	wrong := 0
	for key, err := range x.node.rooms(ctx, namespace) {
		if err == nil {
			rooms++
			err = x.node.guard(key, func() error { return x.scanRoom(key) })
		}
		if errors.Is(err, errStopping) || errors.Is(err, context.Cause(ctx)) && err != nil {
			return rooms, alarmed, err
		}
		if err != nil {
			x.reportScan(namespace, key, err)
			if wrong++; wrong <= maxFailures {
				failed = append(failed, fmt.Errorf("%s: %w", cmp.Or(key, Key{Namespace: namespace}), err))
			}
		}
		if _, some := x.node.alarms.Next(nameOf(key)); some {
			alarmed++
		}
	}
	if wrong > 0 {
		return rooms, alarmed, reported{errors.Join(failed...)}
	}
	x.markComplete(namespace)
	if rooms > 0 { // no file is made for a namespace without rooms
		err = x.node.alarms.Sync()
	}
	return rooms, alarmed, err
}

// reportScan reports a room whose alarms cannot be read, or a file of which nobody knows the room.
func (x *alarmIndex) reportScan(namespace string, key Key, err error) {
	const event = "a room's alarms were not found out"
	if key != (Key{}) {
		x.node.report(key, event, err)
		return
	}
	x.node.opts.Logger.Error(event, append([]any{"namespace", namespace, "err", err}, stackOf(err)...)...)
}

// markComplete notes that the index has all rooms of a namespace.
func (x *alarmIndex) markComplete(namespace string) {
	x.scanned.Store(namespace, true)
	if x.node.opts.Durability != Unsynced { // with Unsynced, close marks it
		x.node.alarms.MarkComplete(namespace)
	}
}

// unmarkComplete has a host that syncs neither the rooms' files nor the index search the files again after a crash.
func (x *alarmIndex) unmarkComplete(namespace string) error {
	if x.node.opts.Durability != Unsynced {
		return nil
	}
	return x.node.alarms.MarkIncomplete(namespace)
}

// scanRoom reads the alarms of a room that has no life, and corrects the clock.
func (x *alarmIndex) scanRoom(key Key) error {
	x.recovery.Lock()
	defer x.recovery.Unlock()
	if x.node.shutdown.stopping.Load() {
		return errStopping
	}
	return x.readAlarms(key, func(table *alarms.Table) error {
		if err := x.reminding.of(key, table.DB()); err != nil {
			return err
		}
		at := alarms.Time(table.Next)
		if !at.IsZero() {
			if err := x.node.alarms.Lower(nameOf(key), at); err != nil {
				return err
			}
		}
		x.node.alarms.Set(nameOf(key), at)
		return nil
	})
}

// readAlarms opens the file of a room that has no life, and calls do. If the room has a life, readAlarms does nothing.
func (x *alarmIndex) readAlarms(key Key, do func(*alarms.Table) error) error {
	defer x.node.fileUses.begin(key)()
	if x.node.actors.Has(key) {
		return nil
	}
	o, err := x.node.fileOptions(key)
	if err != nil {
		return err
	}
	return x.node.withFile(key, o, func(db *storage.DB) error {
		table, err := alarms.Load(db)
		if err != nil {
			return err
		}
		return do(&table)
	})
}

func (x *alarmIndex) alarmsOf(ctx context.Context, key Key) (rows []alarms.Row, err error) {
	looked := false
	err = x.readAlarms(key, func(t *alarms.Table) (err error) {
		looked = true
		rows, err = t.List(alarms.Never, MaxAlarms)
		return err
	})
	if err != nil || looked {
		return rows, err
	}
	failed := x.node.runLive(ctx, key, func(r *room) { rows, err = r.alarms.List(alarms.Never, MaxAlarms) })
	return rows, cmp.Or(failed, err)
}

// close closes the index, after all rooms have ended.
func (x *alarmIndex) close() error {
	if x.node.opts.Durability == Unsynced {
		x.scanned.Range(func(namespace, _ any) bool {
			x.node.alarms.MarkComplete(namespace.(string))
			return true
		})
	}
	return x.node.alarms.Close()
}
