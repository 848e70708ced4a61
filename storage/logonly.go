package storage

// Log-only rooms. The content of a new room is known (package template, plain.go), and the log makes its transactions durable. So the
// room needs no file at first: its database is in memory (package dbfile), and the log entry of its first transaction contains all
// pages. The room is materialized, that is, its file is made, when it sleeps, when the WAL is to be checkpointed, and when the
// database has grown. A file under the room's name is always whole.
//
// If there is no file, Open asks the log. The log finds a room by its epoch, so the epoch of a log-only room is computed from the
// log's ID, the log's generation and the room's name. In one generation a room begins once without a file. If its file is removed, it
// begins again with a file and a random epoch.

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/history"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/template"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// logOnlyEpoch returns the epoch of a room that began without a file in a generation of a log.
func logOnlyEpoch(o Options, generation uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s\x00%s", o.Log.ID(), generation, o.Namespace, o.Room))
	return hex.EncodeToString(sum[:16])
}

// openLogOnly begins a room in memory. It returns nil if the room must begin with a file.
func openLogOnly(o Options) (*DB, error) {
	if o.Log == nil || o.Pool == nil {
		return nil, nil
	}
	t, err := o.beginning()
	if err != nil {
		return nil, err
	}
	if err := o.File().MakeAbsenceDurable(); err != nil {
		return nil, err
	}
	epoch := logOnlyEpoch(o, o.Log.Generation())
	room, err := o.part(epoch)
	if err != nil {
		return nil, err
	}
	if room.Last() > 0 { // it has begun already, and its file was removed
		room.Close()
		return nil, nil
	}
	d, err := openNewInMemory(o, t, epoch)
	if err != nil {
		room.Close()
		return nil, err
	}
	d.created, d.store.room = true, room
	if err := d.initInMemory(t, epoch); err != nil {
		return nil, errors.Join(err, d.refuse())
	}
	return d, nil
}

// openNewInMemory opens a new room's database in memory, with a pooled connection if there is one.
func openNewInMemory(o Options, t *template.Template, epoch string) (*DB, error) {
	content, err := t.Fill(newMeta(o, epoch))
	if err != nil {
		return nil, err
	}
	if t.Schema != "" && o.pools() {
		if c := o.Pool.conns.Get(o.poolKey(t.Schema)); c != nil {
			return newPooled(o, c, headerOf(content), dbfile.NewMemory(content)), nil
		}
	}
	return openMemory(o, content)
}

// initInMemory initializes a log-only room from its template, where another room reads its file.
func (d *DB) initInMemory(t *template.Template, epoch string) error {
	d.store.wal.BeginLogOnly(uint32(len(t.Pages)/pageSize), t.Entries)
	d.epoch = epoch
	d.notes.stored = maps.Clone(t.Notes)
	d.store.room.Release(0)
	return d.reload()
}

// inLog looks in the log for a room that has no file. If the log has all of the room, inLog calls use with the room's part of the log
// and with its first pages (see firstPages), and returns found.
func inLog(o Options, use func(room RoomLog, content []byte) error) (found bool, err error) {
	owed, from, to, err := o.Log.Candidates(o.Namespace, o.Room)
	if err != nil {
		return false, err
	}
	var epochs []string
	if owed != "" {
		epochs = append(epochs, owed)
	}
	for ; to > 0 && to >= from; to-- {
		epochs = append(epochs, logOnlyEpoch(o, to))
	}
	var moved *roomfile.Entries
	if !o.File().HasNoEntries() {
		if moved, err = readEntries(o); err != nil {
			return false, err
		}
	}
	defer moved.Close()
	for _, epoch := range append(epochs, moved.Epochs()...) {
		room, err := o.part(epoch)
		if err != nil {
			return false, err
		}
		room = nodelog.WithMoved(moved, room, epoch, 0)
		content, err := firstPages(room)
		if found = err == nil && content != nil; found {
			err = use(room, content)
		}
		room.Close() // the log keeps the entries until the file has been opened
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// errEnough ends a replay.
var errEnough = errors.New("enough")

// firstPages returns the file as the oldest transaction in the log left it, or nil if the entry of that one is no snapshot.
func firstPages(room RoomLog) (content []byte, err error) {
	first, _, err := room.Range()
	if err != nil || first == 0 {
		return nil, err
	}
	err = room.Replay(first-1, func(e LogEntry) error {
		t, err := pagelog.Parse(e.Number, e.Payload)
		if err == nil && t.Snapshot {
			content, err = t.Image()
		}
		if err == nil {
			err = errEnough
		}
		return history.PagesError(err)
	})
	if err == errEnough {
		err = nil
	}
	return content, err
}

// Exists reports whether a room exists: its file, or its first transaction in the commit log.
func Exists(o Options) (bool, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return false, err
	}
	switch _, err = o.FS.Size(o.Path); {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, diagnose(o.Path, err)
	case o.Log == nil:
		return false, nil
	}
	there, err := inLog(o, func(RoomLog, []byte) error { return nil })
	return there, diagnose(o.Path, err)
}

// recoverFromLog makes the file of a room that only the log has, because of a crash or because an operator removed the file, and
// reports whether there was one. All entries go into the new file before it gets its name. Otherwise a crash could leave a file with
// the first transactions only, which the log, having released the rest, could not complete.
func recoverFromLog(o Options) (bool, error) {
	if o.Log == nil {
		return false, nil
	}
	return inLog(o, func(room RoomLog, content []byte) error {
		first, _, err := room.Range()
		if err != nil {
			return err
		}
		return makeWith(o, content, func(f vfs.File) error {
			replay := pagelog.NewFileReplay(f, first, uint32(len(content)/pageSize))
			return room.Replay(first, func(e LogEntry) error { return history.PagesError(replay.Apply(e.Number, e.Payload)) })
		})
	})
}
