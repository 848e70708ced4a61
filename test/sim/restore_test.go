package sim

// Backups and restores. A restore rewinds a room: what was done since the backup is gone, acknowledged or not, and all that
// the backup holds is there. The numbers of the journal go on above all that were ever given, so that none means two
// actions and each that is gone can be told by the restore that took it.

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/dump"
	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/vfs"
)

// A copy is a backup that was taken, or is being.
type copied struct {
	room, path string
	call       *call
	must       map[int64]string // what was acknowledged before it began
	asked      *room.Point      // nil: the room as it is
	wanted     *state           // what that must be; nil: nobody knows
	rewinds    int              // of the room, when it began
	seen       bool             // that it has ended
	spoiled    bool             // bits of it have flipped
}

// A rewind is a restore that came to the point at which the file takes the room's place.
type rewind struct {
	content map[int64]string // the backup's journal
	base    int64            // the highest number that was given out before
	sure    bool             // it was successful; otherwise the room may be the old one or the new one
	deleted map[int64]string // where it was no restore, but the room's files were deleted: what had been acknowledged
}

// A restore is one that is under way. There is one at a time: so it is known whose file takes a room's place.
type restore struct {
	room, path string
	content    map[int64]string
	call       *call
	rewind     *rewind // nil: not so far yet
}

// takes reports whether the rewind takes a number away.
func (r *rewind) takes(n int64) bool { _, kept := r.content[n]; return !kept && n <= r.base }

// lost reports whether a number may be gone with a restore.
func (w *world) lost(name string, n int64) bool {
	return slices.ContainsFunc(w.rewinds[name], func(r *rewind) bool { return r.takes(n) })
}

// backup begins a copy of a room, if none is under way. Messages go on meanwhile.
func (w *world) backup(key room.Key) {
	if w.host == nil || len(w.copies) > 0 && !w.copies[len(w.copies)-1].call.done {
		return
	}
	b := w.newCopy(key)
	for _, c := range w.clients {
		for _, a := range c.actions {
			if c.room == key.Room && a.fate == applied && a.n != 0 {
				b.must[a.n] = a.name
			}
		}
	}
	host := w.host
	b.call = w.background(func() error { return host.Backup(context.Background(), key, b.path) })
	w.copies = append(w.copies, b)
	w.wait()
}

func (w *world) newCopy(key room.Key) *copied {
	return &copied{room: key.Room, path: fmt.Sprintf("/backup/%d", len(w.copies)), must: make(map[int64]string), rewinds: len(w.rewinds[key.Room])}
}

// restore begins to bring a backup back, if there is one and none is on its way.
func (w *world) restore(key room.Key, rng *rand.Rand) {
	if w.host == nil || w.restoring != nil || w.dead() {
		return
	}
	b, content := w.draw(key, rng)
	if b == nil {
		return
	}
	host := w.host
	w.tracef("%s is restored from %s, with %d actions", key.Room, b.path, len(content))
	w.replace(key, content, func() error {
		_, err := host.Restore(context.Background(), key, b.path)
		return err
	})
}

// replace begins to put something in the place of a room.
func (w *world) replace(key room.Key, content map[int64]string, call func() error) {
	path, err := w.path(key.Room)
	if err != nil {
		w.failf("%v", err)
		return
	}
	w.restoring = &restore{room: key.Room, path: path, content: content}
	w.restoring.call = w.background(call)
	w.wait()
}

// draw draws one of the copies of a room, and reads what its journal holds. nil: there is none.
func (w *world) draw(key room.Key, rng *rand.Rand) (b *copied, content map[int64]string) {
	var of []*copied
	for _, b := range w.copies {
		if b.room == key.Room && b.call.done && b.call.err == nil && !b.spoiled {
			of = append(of, b)
		}
	}
	if len(of) == 0 {
		return nil, nil
	}
	b = of[rng.IntN(len(of))]
	t, err := w.inspect(b.path)
	if err != nil {
		w.failf("the backup %s of %s cannot be read: %v", b.path, b.room, err)
		return nil, nil
	}
	content = t.by
	for _, n := range slices.Sorted(maps.Keys(b.must)) {
		if content[n] != b.must[n] && !w.lost(b.room, n) && !w.damaged[b.room] {
			w.failf("the backup %s of %s lacks %s, number %d, which was acknowledged before", b.path, b.room, b.must[n], n)
		}
	}
	return b, content
}

// importOver begins to replace a room by what an export of one of its copies holds: its tables, and nothing that is Den's.
func (w *world) importOver(key room.Key, rng *rand.Rand) {
	if w.host == nil || w.restoring != nil || w.dead() {
		return
	}
	b, content := w.draw(key, rng)
	if b == nil {
		return
	}
	text, err := w.export(b.path, []dump.Format{dump.SQL, dump.Lines}[rng.IntN(2)])
	if err != nil {
		w.failf("the backup %s of %s cannot be exported: %v", b.path, b.room, err)
		return
	}
	host := w.host
	w.tracef("%s is replaced by an export of %s, with %d actions", key.Room, b.path, len(content))
	w.imported[key.Room] = true
	w.replace(key, content, func() error {
		_, err := host.ImportOver(context.Background(), key, bytes.NewReader(text))
		return err
	})
}

// export exports a backup from a copy of the file on a disk of its own.
func (w *world) export(path string, format dump.Format) ([]byte, error) {
	var b bytes.Buffer
	err := w.aside(path, func(fsys storage.FS) error { return dump.Export(fsys, "/copy", &b, format, "now") })
	return b.Bytes(), err
}

// follow looks what has become of a restore. Clients that know no cursors load their page again when the file has its
// place: a page that is away at a restore, and is not remembered by the backup, would have to be.
func (w *world) follow() {
	w.look()
	r := w.restoring
	if r == nil {
		return
	}
	if w.renamed {
		w.renamed = false
		for _, c := range w.clients {
			if c.room == r.room {
				c.speech.rewound()
			}
		}
	}
	if !r.call.done {
		return
	}
	w.tracef("the restore of %s: %v", r.room, r.call.err)
	w.restoring = nil
	if r.call.err != nil {
		return
	}
	if r.rewind == nil {
		w.failf("a restore of %s without a file that takes its place", r.room)
		return
	}
	r.rewind.sure = true
	w.mend(r.room)
	w.stats.Restores++
}

// judgeRewinds: of what was before a restore that was successful, what the backup held is there, and nothing else is. The
// numbers have gaps at restores alone.
func (w *world) judgeRewinds(name string, t *truth) {
	all, at := w.rewinds[name], int64(0)
	for _, n := range slices.Sorted(maps.Keys(t.by)) {
		if n != at+1 && !slices.ContainsFunc(all, func(r *rewind) bool { return r.base == n-1 }) {
			w.failf("%s: the journal goes on with %d behind %d", name, n, at)
		}
		at = n
	}
	for i, r := range all {
		if !r.sure || slices.ContainsFunc(all[i:], func(r *rewind) bool { return r.deleted != nil }) {
			continue // where the files were deleted the log may have brought back what was before the restore, too
		}
		for n := range t.by {
			if n <= r.base && !slices.ContainsFunc(all[i:], func(r *rewind) bool { return r.content[n] == t.by[n] }) {
				w.failf("%s was restored, and number %d is there still", name, n)
			}
		}
		for n, by := range r.content {
			if t.by[n] != by && !slices.ContainsFunc(all[i+1:], func(r *rewind) bool { return r.takes(n) }) {
				w.failf("%s was restored, and number %d of the backup is not there", name, n)
			}
		}
	}
}

// inspect reads a backup from a copy of the file on a disk of its own, on which the run's faults are not.
func (w *world) inspect(path string) (*truth, error) {
	t := &truth{rows: make(map[string]map[string]string)}
	err := w.aside(path, func(fsys storage.FS) error {
		db, err := sql.Open("sqlite", "file:/copy?_pragma=locking_mode(EXCLUSIVE)&vfs="+fsys.SQLite())
		if err != nil {
			return err
		}
		db.SetMaxOpenConns(1)
		return errors.Join(t.fill(db), db.Close())
	})
	t.seq-- // a copy begins one commit after what it is a copy of
	return t, err
}

// aside does something with a copy of a file, /copy on a disk of its own.
func (w *world) aside(path string, do func(storage.FS) error) error {
	data, err := w.disk.Read(path)
	if err != nil {
		return err
	}
	disk := faultdisk.New(1)
	disk.Write("/copy", data)
	name := fmt.Sprintf("copy-%p", disk)
	unregister, err := disk.Register(name)
	if err != nil {
		return err
	}
	return errors.Join(do(disk.FS(name)), unregister())
}

// A files is the server's file system. It sees a restored file take its place; and it has the calls in the background wait
// with their files until the actor whose run woke them has come to rest, so that there is one order.
type files struct {
	vfs.FS
	w *world
}

func (f files) Rename(from, to string) error {
	// Where there is an old file, the new one becomes NAME.whole: with the mark that is beside it, it is the room's from then on.
	if r := f.w.restoring; r != nil && (to == r.path || to == r.path+".whole") && strings.HasPrefix(from, r.path+".restore") {
		last := f.w.outside.last[r.room]
		r.rewind = &rewind{content: r.content, base: last}
		f.w.rewinds[r.room] = append(f.w.rewinds[r.room], r.rewind)
		f.w.outside.base[r.room] = last
		f.w.renamed = true
	}
	err := f.FS.Rename(f.alias(from), f.alias(to))
	if err == nil {
		f.w.renames(to)
	}
	return err
}

// alias is the name that the run has for a WAL that a connection keeps: storage names it by a number of the process.
func (f files) alias(path string) string {
	if filepath.Base(filepath.Dir(path)) != "_wal" || strings.HasPrefix(filepath.Base(path), "kept") {
		return path
	}
	name := f.w.wals[path]
	if name == "" {
		name = filepath.Join(filepath.Dir(path), fmt.Sprintf("kept%d", len(f.w.wals)))
		f.w.wals[path] = name
	}
	return name
}

func (f files) Remove(path string) error {
	if strings.Contains(filepath.Base(path), ".part-") || strings.Contains(filepath.Base(path), ".restore-") {
		f.w.turn.wait()
	}
	return f.FS.Remove(f.alias(path))
}

func (f files) Open(path string, flag int) (vfs.File, error) {
	if strings.Contains(filepath.Base(path), ".part") {
		f.w.turn.wait()
	}
	return f.FS.Open(f.alias(path), flag)
}
