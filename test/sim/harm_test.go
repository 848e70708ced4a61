package sim

// What happens to files behind the server's back: bits flip in them, operators delete them. Whose bytes they were decides
// what is still promised of which room.

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/faultdisk"
)

// harmed are the rooms of which nothing is promised any more. Their zero value is ready.
type harmed struct {
	damaged   map[string]bool
	logHarmed bool           // the log was damaged
	bits      map[string]int // flipped in the log, by segment and record
	unrung    bool           // the index of alarms was damaged: some may not ring
}

func (h *harmed) damage(name string) {
	if h.damaged == nil {
		h.damaged = make(map[string]bool)
	}
	h.damaged[name] = true
}

// roomOf is the room that a file belongs to; "" for none.
func (w *world) roomOf(file string) string {
	for _, name := range append(w.rooms[:len(w.rooms):len(w.rooms)], "model") {
		if path, err := w.path(name); err == nil && strings.HasPrefix(file, path) && !strings.Contains(file, ".before-restore") {
			return name
		}
	}
	return ""
}

// flip flips bits at rest, and notes whose they are.
func (w *world) flip(suffix string, n int) {
	for _, f := range w.disk.FlipBits(suffix, n) {
		w.stats.Flips++
		w.tracef("%v", f)
		switch {
		case strings.HasSuffix(f.Name, ".db.seq"): // then the next seq is far above all
		case w.roomOf(f.Name) != "":
			w.damage(w.roomOf(f.Name))
		case strings.HasPrefix(f.Name, "/data/_alarms/"):
			w.unrung = true
		case filepath.Dir(f.Name) == "/backup":
			for _, b := range w.copies {
				b.spoiled = b.spoiled || b.path == f.Name
			}
		case filepath.Base(f.Name) == "CURRENT":
			w.logHarmed = true
		case strings.HasSuffix(f.Name, ".log"):
			w.flippedLog(f)
		}
	}
}

// scrub lets the server read the files of all rooms. A file of which a page does not have its checksum is marked then, unless a crash has
// left it so and its WAL completes it.
func (w *world) scrub(rng *rand.Rand) {
	for range 300 { // 25 h, in steps that are shorter than a directory's turn
		w.pass(5 * time.Minute)
		w.settle(rng)
	}
	for _, name := range w.rooms {
		path, err := w.path(name)
		if err != nil || w.host == nil {
			return
		}
		file, err := w.options.FS.Open(path, os.O_RDONLY)
		if err != nil {
			continue // a room that has no file
		}
		bad := uint32(0)
		err = dbfile.NewDatabase(file, path).Scan(func(page uint32) { bad = page })
		_, unmarked := w.disk.Size(path + ".suspect")
		wal, _ := w.disk.Size(path + "-wal")
		if err = errors.Join(err, file.Close()); bad > 0 && unmarked != nil && wal == 0 || err != nil {
			w.failf("the scrub has not found page %d of %s: %v", bad, name, err)
		}
	}
}

// wreck overwrites the beginning of a room's file, so that it is no database any more.
func (w *world) wreck(key room.Key) {
	path, err := w.path(key.Room)
	if err != nil {
		w.failf("%v", err)
		return
	}
	if w.disk.Corrupt(path, 0, bytes.Repeat([]byte{0xff}, 100)) == nil {
		w.tracef("the file of %s is wrecked", key.Room)
		w.stats.Flips++
		w.damage(key.Room)
	}
}

// wrecked reports whether a room's file is as wreck has left it.
func (w *world) wrecked(disk *faultdisk.Disk, name string) bool {
	path, err := w.path(name)
	if err != nil {
		return false
	}
	data, err := disk.Read(path)
	return err == nil && bytes.HasPrefix(data, []byte{0xff, 0xff})
}

// harmCurrent damages the file that says which the log's files are, in one copy of what it says or in both, or takes it away.
func (w *world) harmCurrent(rng *rand.Rand) {
	const current = "/data/_log/CURRENT"
	w.logHarmed = true
	switch size, err := w.disk.Size(current); {
	case err != nil:
	case rng.IntN(4) > 0:
		w.flip("CURRENT", 1+rng.IntN(3))
	case rng.IntN(2) == 0:
		w.tracef("CURRENT is gone")
		_ = w.disk.Remove(current)
	default:
		w.tracef("CURRENT is wrecked")
		_ = w.disk.Corrupt(current, 0, bytes.Repeat([]byte{0xff}, int(size)))
	}
}

// loseLog damages a segment of the log in several bytes, or takes one away that is not the newest. Nothing is promised of
// the rooms then, but that the server starts.
func (w *world) loseLog(rng *rand.Rand) {
	var segments []string
	for _, name := range w.disk.Files() {
		if strings.HasSuffix(name, ".log") {
			segments = append(segments, name)
		}
	}
	if len(segments) == 0 {
		return
	}
	name := segments[rng.IntN(len(segments))]
	if rng.IntN(2) == 0 && name != segments[len(segments)-1] {
		w.tracef("%s is gone", name)
		if err := w.disk.Remove(name); err != nil {
			w.failf("%v", err)
		}
	} else if size, err := w.disk.Size(name); err == nil && size > 64 {
		at := rng.Int64N(size - 64)
		w.tracef("%s is damaged at %d", name, at)
		if err := w.disk.Corrupt(name, at, bytes.Repeat([]byte{0xff}, 1+rng.IntN(64))); err != nil {
			w.failf("%v", err)
		}
	}
	w.stats.Flips++
	w.logHarmed, w.unrung = true, true
	for _, name := range append(w.rooms[:len(w.rooms):len(w.rooms)], "model") {
		w.damage(name)
	}
}

// put is an operator who copies a backup to where a room's file is. The room begins from there.
func (w *world) put(key room.Key, rng *rand.Rand) {
	b, content := w.draw(key, rng)
	path, err := w.path(key.Room)
	if b == nil || err != nil || w.restoring != nil {
		return
	}
	data, err := w.disk.Read(b.path)
	if err != nil {
		w.failf("%v", err)
		return
	}
	w.tracef("an operator puts %s in the place of %s, with %d actions", b.path, key.Room, len(content))
	for _, file := range w.disk.Files() {
		if w.roomOf(file) == key.Room {
			if err := w.disk.Remove(file); err != nil {
				w.failf("%v", err)
			}
		}
	}
	w.disk.Write(path, data)
	w.stats.Deletes++
	w.supersede(key.Room, &rewind{content: content, deleted: make(map[int64]string)})
}

// supersede notes that another file has taken a room's place while the server was down.
func (w *world) supersede(name string, r *rewind) {
	r.base = w.outside.last[name]
	w.rewinds[name] = append(w.rewinds[name], r) // before the clients learn of it: what they may be shown depends on it
	w.outside.base[name] = r.base
	for _, c := range w.clients {
		if c.room == name {
			c.speech.rewound()
		}
	}
}

// mend follows a restore that was successful: the room is as good as any. What it showed when it was damaged says nothing.
func (w *world) mend(name string) {
	if !w.damaged[name] {
		return
	}
	delete(w.damaged, name)
	for _, c := range w.clients {
		if c.room == name {
			clear(c.shown)
		}
	}
}

// flippedLog notes that a bit of the log has flipped. One is put right, wherever it is; another one in the same record, or
// in the same segment outside of records, may cost whoever has something there.
func (w *world) flippedLog(f faultdisk.Flip) {
	w.logHarmed = true
	start, owner := w.record(f.Name, f.Offset)
	place := fmt.Sprintf("%s %d", f.Name, start)
	if w.bits[place]++; w.bits[place] == 1 {
		return
	}
	if owner != "" {
		w.damage(owner)
		return
	}
	for _, name := range append(w.rooms[:len(w.rooms):len(w.rooms)], "model") {
		w.damage(name)
	}
}

// record is where the record in a segment of the log begins that has a byte, by the byte tables in commitlog's doc, and
// whose it is; -1 and "" for what is in no room's record. Only the lengths are read, and the names of all segments.
func (w *world) record(file string, at int64) (start int64, owner string) {
	const first, header = 1536, 72
	data, err := w.disk.Read(file)
	if err != nil {
		return -1, ""
	}
	for pos := int64(first); pos+header <= int64(len(data)) && pos <= at; {
		names, payload := int64(binary.LittleEndian.Uint16(data[pos+48:])), int64(binary.LittleEndian.Uint32(data[pos+4:]))
		if data[pos+50]&1 == 0 {
			names = 0
		}
		end := pos + (header+names+payload+7)/8*8 + 8
		if key := [16]byte(data[pos+56:]); at < end && key != [16]byte{} {
			return pos, w.named(key)
		}
		pos = end
	}
	return -1, ""
}

// named is the room of a key in the log's records.
func (w *world) named(key [16]byte) string {
	for _, file := range w.disk.Files() {
		if !strings.HasSuffix(file, ".log") {
			continue
		}
		data, err := w.disk.Read(file)
		if err != nil {
			continue
		}
		for _, name := range append(w.rooms[:len(w.rooms):len(w.rooms)], "model") {
			prefix := namespace + "\x00" + name + "\x00"
			for rest := string(data); ; {
				_, after, found := strings.Cut(rest, prefix)
				if !found {
					break
				}
				if epoch := after[:min(len(after), 32)]; [16]byte(sum(prefix+epoch)) == key {
					return name
				}
				rest = after
			}
		}
	}
	return ""
}

func sum(names string) []byte {
	s := sha256.Sum256([]byte(names))
	return s[:16]
}

// deleteFiles is an operator who takes a room away: all of its files, or those that he knows. What the log has of it may bring it back.
func (w *world) deleteFiles(key room.Key, which func(file, path string) bool) {
	path, err := w.path(key.Room)
	if err != nil {
		w.failf("%v", err)
		return
	}
	gone := 0
	for _, file := range w.disk.Files() {
		if w.roomOf(file) == key.Room && which(file, path) && w.disk.Remove(file) == nil {
			gone++
		}
	}
	w.tracef("an operator deletes %d files of %s", gone, key.Room)
	if gone == 0 {
		return
	}
	w.stats.Deletes++
	r := &rewind{deleted: make(map[int64]string)}
	for _, c := range w.clients {
		for _, a := range c.actions {
			if c.room == key.Room && a.fate == applied && a.n != 0 {
				r.deleted[a.n] = a.name
			}
		}
	}
	w.supersede(key.Room, r)
}

// everyFile and databaseFiles say which of a room's files an operator deletes; path is the database's.
func everyFile(string, string) bool        { return true }
func databaseFiles(file, path string) bool { return strings.TrimSuffix(file, "-wal") == path }

// judgeDeleted: a room whose files were deleted is new, or the log has brought all of it back, as it was at the end or
// before a restore.
func (w *world) judgeDeleted(name string, t *truth) {
	if slices.ContainsFunc(w.rewinds[name], func(r *rewind) bool { return r.deleted == nil }) {
		return
	}
	for i, r := range w.rewinds[name] {
		there, missing := "", ""
		for n, by := range r.deleted {
			switch {
			case slices.ContainsFunc(w.rewinds[name][i+1:], func(r *rewind) bool { return r.takes(n) }):
			case t.by[n] == by:
				there = by
			default:
				missing = by
			}
		}
		if there != "" && missing != "" {
			w.failf("the files of %s were deleted, and %s is there still, but not %s", name, there, missing)
		}
	}
}
