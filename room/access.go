package room

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/syncproto"
)

// How code outside of a room's life uses the room's file, and how it has a life do something.

// openFile opens a room's file.
func (n *node) openFile(key Key) (*storage.DB, error) {
	options, err := n.fileOptions(key)
	if err != nil {
		return nil, err
	}
	return storage.Open(options)
}

// fileOptions returns where a room's file is and how to open it.
func (n *node) fileOptions(key Key) (storage.Options, error) {
	path, err := roomfile.Path(n.opts.Dir, key.Namespace, key.Room)
	if err != nil {
		return storage.Options{}, err
	}
	options := storage.Options{
		Path:       path,
		Namespace:  key.Namespace,
		Room:       key.Room,
		MaxBytes:   n.opts.MaxRoomBytes,
		MaxChanges: n.opts.MaxRows,
		History:    n.opts.History,

		MaxActionBytes:  n.opts.MaxActionBytes,
		CheckpointBytes: n.opts.CheckpointBytes,
		Now:             n.opts.Clock.Now,
		FS:              n.opts.FS,
		Retention:       n.opts.Retention,
	}
	if ns := n.namespace(key.Namespace); ns != nil {
		options.Pool = ns.pool
	}
	if n.log != nil {
		options.Log = n.log
		if n.opts.TimeTravel > 0 {
			options.Past = filepath.Join(n.opts.Dir, pastDir)
		}
	} else if n.opts.Durability == Unsynced {
		options.Synchronous = storage.Normal
	}
	return options, nil
}

// withFile opens the file of a room that has no life, calls do, and closes the file. If do panics, it closes the file
// without writing to it.
func (n *node) withFile(key Key, o storage.Options, do func(*storage.DB) error) error {
	return n.guard(key, func() error {
		db, err := storage.Open(o)
		if err != nil {
			return err
		}
		if err = n.guard(key, func() error { return do(db) }); stackOf(err) != nil {
			return errors.Join(err, fence(db))
		}
		return errors.Join(err, closeFile(db))
	})
}

// hasNoFile reports whether a room has no file. After an error it reports false.
func (n *node) hasNoFile(key Key) bool {
	o, err := n.fileOptions(key)
	if err == nil {
		_, err = o.FS.Size(o.Path)
	}
	return errors.Is(err, fs.ErrNotExist)
}

// there reports whether a room exists: it has a file or entries in the log, or is awake.
func (n *node) there(key Key) (bool, error) {
	o, err := n.fileOptions(key)
	if err != nil {
		return false, err
	}
	if _, err := o.FS.Size(o.Path); err == nil {
		return true, nil
	}
	defer n.fileUses.begin(key)()
	if n.actors.Has(key) {
		return true, nil
	}
	return storage.Exists(o)
}

// exists returns ErrNoRoom if there is no such room, because asking for a room must not make it.
func (n *node) exists(key Key) error {
	there, err := n.there(key)
	if err == nil && !there {
		err = ErrNoRoom
	}
	return operatorError(key, err)
}

// operatorError adds the room's name to an error.
func operatorError(key Key, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrExists):
		err = fmt.Errorf("%w: %w", fs.ErrExist, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}

// ErrNoRoom: there is no such room, and the call did not make it.
var ErrNoRoom = errors.New("room: there is no such room")

// runOffline ends the room's life and has the next one run do first. If ctx ends before do has begun, do does not
// run.
func (n *node) runOffline(ctx context.Context, key Key, do func(storage.Options) error) error {
	o, err := n.fileOptions(key)
	if err != nil {
		return err
	}
	v := &offlineTask{do: func() error { return n.guard(key, func() error { return do(o) }) }, done: make(chan error, 1)}
	n.offline.add(key, v)
	err = n.actors.Stop(ctx, key)
	if err == nil {
		_, err = n.actors.Request(ctx, key, barrierMessage{})
	}
	if n.offline.withdraw(key, v) {
		if err == nil {
			err = fmt.Errorf("room: %w: the room began no new life", actor.ErrUnavailable)
		}
		return err
	}
	return <-v.done // do has begun, and ends
}

// runLive runs do in the room's life, between two turns. If the error is that of the request, do has not run. After
// ctx has ended do may still run, so it must not touch what the caller still uses.
func (n *node) runLive(ctx context.Context, key Key, do func(*room)) error {
	finished := make(chan struct{})
	var once sync.Once
	var failed error // do panicked; set before finished is closed
	m := &liveTaskMessage{do: func(r *room) {
		once.Do(func() {
			defer close(finished)
			if ctx.Err() == nil {
				failed = n.guard(key, func() error { do(r); return nil })
			}
		})
		if failed != nil { // nobody knows what state the life is in
			panic(failed)
		}
	}}
	if _, err := n.actors.Request(ctx, key, m); err != nil {
		once.Do(func() {}) // waits for a do that has begun, and keeps one that has not from beginning
		return err
	}
	<-finished // the turn that answered runs it right after its answer
	return errors.Join(failed, context.Cause(ctx))
}

// scratchFile returns an unused path in the data directory for a temporary file. The caller removes the file. If a
// process leaves files behind, the next one removes them.
func (n *node) scratchFile() (string, error) {
	dir := filepath.Join(n.opts.Dir, scratchDir)
	if _, err := n.opts.FS.MakeDirs(dir); err != nil {
		return "", err
	}
	n.offline.mu.Lock()
	defer n.offline.mu.Unlock()
	if !n.offline.scratch {
		names, err := n.opts.FS.Names(dir)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if err := n.opts.FS.Remove(filepath.Join(dir, name)); err != nil {
				return "", err
			}
		}
		n.offline.scratch = true
	}
	var name [16]byte
	rand.Read(name[:]) // never fails (crypto/rand)
	return filepath.Join(dir, hex.EncodeToString(name[:])), nil
}

// mayWrite returns ErrInDataDir if a copy must not be written to path. Scratch files are the host's own.
func (n *node) mayWrite(path string) error {
	if filepath.Dir(absolute(path)) == absolute(filepath.Join(n.opts.Dir, scratchDir)) {
		return nil
	}
	return outside(n.opts.FS, n.opts.Dir, path)
}

// withoutFile returns a namespace's rooms that have no file, sorted: those of loggedOnly, and new ones that are
// awake.
func (n *node) withoutFile(namespace string) []Key {
	keys := slices.DeleteFunc(n.loggedOnly(), func(key Key) bool { return key.Namespace != namespace })
	for _, key := range n.actors.Keys() {
		if key.Namespace == namespace && n.hasNoFile(key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, byRoom)
	return slices.Compact(keys)
}

// loggedOnly returns the rooms that have entries in the log, since a crash or since they were closed, and no file.
func (n *node) loggedOnly() (keys []Key) {
	if n.log == nil {
		return nil
	}
	add := func(namespace, name string) bool {
		if key := (Key{Namespace: namespace, Room: name}); n.hasNoFile(key) {
			keys = append(keys, key)
		}
		return true
	}
	n.log.Unrecovered(add)
	n.log.Pinned(add)
	return keys
}

func byRoom(a, b Key) int { return strings.Compare(a.Room, b.Room) }

// roomOf returns the room that a file belongs to. The file's name says it, except for a long name: then roomOf looks
// among the rooms that are awake, or into the file.
func (n *node) roomOf(namespace string, file roomfile.Found) (Key, error) {
	key := Key{Namespace: namespace, Room: file.Room}
	if file.Room != "" {
		return key, nil
	}
	for _, awake := range n.actors.Keys() {
		if path, err := roomfile.Path(n.opts.Dir, awake.Namespace, awake.Room); err == nil && path == file.Path {
			return awake, nil
		}
	}
	name := ""
	err := protect(func() (err error) {
		name, err = storage.ReadRoomName(n.opts.FS, file.Path)
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("room: %s: %w", filepath.Base(file.Path), err)
	}
	key.Room = name
	return key, nil
}

// rooms is [Host.Rooms].
func (n *node) rooms(ctx context.Context, namespace string) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		if !n.hasNamespace(namespace) {
			yield(Key{}, &Error{Code: syncproto.CodeUnknownNamespace, Message: "There is no such namespace."})
			return
		}
		others := n.withoutFile(namespace)
		for file, err := range roomfile.All(n.opts.FS, n.opts.Dir, namespace) {
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Key{}, fmt.Errorf("room: listing %s: %w", namespace, err))
				return
			}
			key, err := n.roomOf(namespace, file)
			if i, has := slices.BinarySearchFunc(others, key, byRoom); has { // it has got a file by now
				others = slices.Delete(others, i, i+1)
			}
			if !yield(key, err) {
				return
			}
		}
		for _, key := range others {
			there, err := n.there(key)
			if (there || err != nil) && !yield(key, err) {
				return
			}
		}
	}
}

// A liveTaskMessage has a life run a function for an operator between two of its turns, when no transaction is open.
type liveTaskMessage struct{ do func(*room) }

func (*liveTaskMessage) Last() {}

// errAwake: the room has a life, and with it its file.
var errAwake = fmt.Errorf("%w: it is awake", ErrCalledFor)

// ErrCalledFor: somebody called for the room while its file was being rewritten, and the room is in use now.
var ErrCalledFor = errors.New("room: the room is in use")
