package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/dbfile"
)

// The rooms of an image: what a power cut has left of a host that was at work.
const (
	asleep  = "asleep"  // its life had ended: the file needs no log
	current = "current" // in use, and its file has all
	behind  = "behind"  // in use, and its file lacks its newest actions
)

// logDir is the commit log's directory in a data directory.
const logDir = "_log"

// An image is a data directory as a power cut has left it: a copy that was taken while the
// host ran, with one room's file from a moment before.
type image struct {
	t     *testing.T
	dir   string
	first string // all of it when each room had 3 todos, in use, in the run before
	early string // all of it when each room had 5 todos, in use
}

// crashed makes an image in which every room has the todos 1 to 10, as far as anybody was
// told. A run of the host before has left a segment of the log.
func crashed(t *testing.T, opts ...roomtest.Option) image {
	t.Helper()
	im := image{t: t, dir: t.TempDir(), first: t.TempDir(), early: t.TempDir()}
	h := roomtest.New(t, todo.Register, opts...)
	dir := dataDir(t, h)
	do := func(from, to int) {
		t.Helper()
		for _, name := range []string{asleep, current, behind} {
			c := h.Join(todo.Namespace, name, "alice")
			for i := from; i <= to; i++ {
				if e := create(c, fmt.Sprint(i), strings.Repeat(name+" ", 10)); e.Kind != "success" {
					t.Fatalf("%s", e.Data)
				}
			}
		}
	}
	copyTo := func(to string) {
		t.Helper()
		if err := h.Quiet(t.Context()); err != nil { // some get their files when nobody waits for them
			t.Fatal(err)
		}
		copyTree(t, dir, to)
	}
	do(1, 2)
	for _, name := range []string{asleep, current, behind} {
		h.SleepRoom(todo.Namespace, name) // from here on they have files
	}
	do(3, 3)
	copyTo(im.first)
	h.Reopen()
	do(4, 5)
	copyTo(im.early)
	do(6, 10)
	h.SleepRoom(todo.Namespace, asleep)
	copyTo(im.dir)
	im.take(im.early, behind, behind)
	return im
}

// dataDir is where a host's rooms are.
func dataDir(t *testing.T, h *roomtest.Host) string {
	t.Helper()
	path, err := inner.OfHost(h).ScratchFile()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(path))
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path) // path is in from
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o750)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// take puts the file of a room of another directory in a room's place.
func (im image) take(dir, from, to string) {
	im.t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		dest := path(im.t, im.dir, to) + suffix
		if err := os.Remove(dest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			im.t.Fatal(err)
		}
		b, err := os.ReadFile(path(im.t, dir, from) + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(dest, b, 0o600)
		}
		if err != nil {
			im.t.Fatal(err)
		}
	}
}

// takeLog puts the commit log of another directory in the log's place.
func (im image) takeLog(dir string) {
	im.t.Helper()
	if err := os.RemoveAll(filepath.Join(im.dir, logDir)); err != nil {
		im.t.Fatal(err)
	}
	copyTree(im.t, filepath.Join(dir, logDir), filepath.Join(im.dir, logDir))
}

// segments are the log's files, the oldest first.
func (im image) segments() []string {
	im.t.Helper()
	names, err := filepath.Glob(filepath.Join(im.dir, logDir, "*.log"))
	if err != nil || len(names) == 0 {
		im.t.Fatal(names, err)
	}
	slices.Sort(names)
	return names
}

// flip changes a bit of a file.
func flip(t *testing.T, name string, at func(content []byte) int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at(b)] ^= 1 << 4 // panics where there is no such place
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// seal gives a room's file the checksums of what is in its pages: the damage is one that was written like that.
func seal(t *testing.T, name string) {
	t.Helper()
	f, err := storage.HostFS().Open(name, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dbfile.NewDatabase(f, name).Seal(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// smash changes more bits than can be put right.
func smash(t *testing.T, name string, at func(content []byte) int) {
	t.Helper()
	for i := range 8 {
		place := at
		flip(t, name, func(b []byte) int {
			first := place(b)
			at = func([]byte) int { return first }
			return first + 2*i
		})
	}
}

// middle is a place in the middle of what was written.
func middle(b []byte) int { return written(b) / 2 }

// entryOf is a place in the newest entry of a room.
func entryOf(name string) func([]byte) int {
	return func(b []byte) int { return bytes.LastIndex(b, []byte(name+" "+name)) }
}

// written is how much of a segment is not zeros that were written ahead.
func written(b []byte) int { return len(bytes.TrimRight(b, "\x00")) }

// content is what the files in a part of the image hold. An empty WAL is as none.
func (im image) content(under string) map[string]string {
	im.t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(im.dir, under), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if len(b) > 0 {
			sum := sha256.Sum256(b)
			all[path] = hex.EncodeToString(sum[:])
		}
		return err
	})
	if err != nil {
		im.t.Fatal(err)
	}
	return all
}

// mustBeAsBefore compares what files hold with what they held.
func (im image) mustBeAsBefore(before map[string]string, under string) {
	im.t.Helper()
	after := im.content(under)
	for name, sum := range before {
		if after[name] != sum {
			im.t.Errorf("%s was touched", name)
		}
	}
}

// refused opens a host on the image, which must not open and must not touch anything, and
// gives the error.
func (im image) refused(opts ...roomtest.Option) error {
	im.t.Helper()
	o := room.Options{Dir: im.dir, Logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	rooms, log := im.content(todo.Namespace), im.content(logDir)
	h, err := room.Open(o)
	if err == nil {
		h.Shutdown(im.t.Context())
		im.t.Fatal("the host opened")
	}
	im.mustBeAsBefore(rooms, todo.Namespace)
	im.mustBeAsBefore(log, logDir)
	for name := range im.content(logDir) {
		if _, there := log[name]; !there {
			im.t.Errorf("%s was made", name)
		}
	}
	return err
}

// opened opens a host on the image.
func (im image) opened(opts ...roomtest.Option) *roomtest.Host {
	im.t.Helper()
	return roomtest.New(im.t, todo.Register, append(opts, func(o *room.Options) { o.Dir = im.dir })...)
}

// mustRefuse checks that a room does not open: its clients get a code and nothing of the
// reason, the operator gets the reason, and the file stays as it is.
func (im image) mustRefuse(h *roomtest.Host, name string) error {
	im.t.Helper()
	before := im.content(filepath.Join(todo.Namespace))
	_, err := h.TryJoin(todo.Namespace, name, "alice")
	var refusal *room.Error
	if !errors.As(err, &refusal) || refusal.Code != "storage_unavailable" {
		im.t.Fatalf("joining %s gave %v, want a code", name, err)
	}
	for _, secret := range []string{"/", ".db", ".log", "SQL", "transaction", "log"} {
		if strings.Contains(refusal.Message, secret) {
			im.t.Errorf("the refusal tells of %q: %s", secret, refusal.Message)
		}
	}
	for file, sum := range im.content(todo.Namespace) {
		if _, there := before[file]; !there && strings.HasSuffix(file, ".db.entries") {
			continue // what the log had of it
		}
		if strings.HasPrefix(file, path(im.t, im.dir, name)) && before[file] != sum {
			im.t.Errorf("%s was touched", file)
		}
	}
	for _, f := range h.Failures() {
		if f.Key.Room == name {
			return f.Err
		}
	}
	im.t.Fatalf("nobody tells the operator of %s", name)
	return nil
}

// mustHave checks that a room has its todos, and takes another one.
func mustHave(t *testing.T, h *roomtest.Host, name string, n int) {
	t.Helper()
	h.Advance(time.Minute) // a room that did not start is tried again
	c := h.Join(todo.Namespace, name, "bob")
	if rows := c.Sync("todos"); len(rows) != n {
		t.Errorf("%s has %d todos, want %d", name, len(rows), n)
	}
	if e := create(c, fmt.Sprint(n+1), "one more"); e.Kind != "success" {
		t.Errorf("%s: %s", name, e.Data)
	}
}

// mustSay checks what an operator reads.
func mustSay(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("the error is %v, want %v", err, kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error says nothing of %q: %v", word, err)
		}
	}
}
