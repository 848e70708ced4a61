package room_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

const (
	fillUp  = `CREATE TABLE IF NOT EXISTS heap (id INTEGER PRIMARY KEY, x); INSERT INTO heap (x) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700) SELECT zeroblob(4000) FROM n`
	emptied = `DELETE FROM heap`
)

// fileSize is the size of a room's file.
func fileSize(t *testing.T, dir string, key room.Key) int64 {
	t.Helper()
	path, err := roomfile.Path(dir, key.Namespace, key.Room)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// asleep lets the rooms go to sleep, however long that takes the machine: what falls due then is set when they do.
func asleep(t *testing.T, h *roomtest.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	h.Advance(10 * time.Second)
	for range 60 {
		if err := h.Quiet(ctx); err != nil {
			t.Fatal(err)
		}
		if h.Awake() == 0 {
			return
		}
		h.Advance(time.Second)
	}
	t.Fatalf("%d rooms are awake", h.Awake())
}

func filesIn(t *testing.T, dir string) int {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(names)
}

// A room that was emptied has a small file a minute after it went to sleep; its client and its history notice
// nothing, and what the history needed goes with the history.
func TestEmptiedRoomShrinks(t *testing.T) {
	dir := t.TempDir()
	h, _ := open(t, func(o *room.Options) { o.Dir = dir })
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", fillUp+`; INSERT INTO items VALUES ('then', '', 1, 1, NULL)`))
	then := h.Clock.Now()
	h.Advance(time.Second)
	mustSucceed(t, alice.Do("items", "sql", emptied+`; DELETE FROM items; INSERT INTO items VALUES ('now', '', 2, 2, NULL)`))
	rows := alice.Sync("items")
	asleep(t, h)
	if size := fileSize(t, dir, shopKey); size < 2<<20 {
		t.Fatalf("the file has %d bytes", size)
	}
	h.Advance(48 * time.Second)
	if size := fileSize(t, dir, shopKey); size > 256<<10 {
		t.Errorf("the file has %d bytes after a minute", size)
	}
	if got := alice.Sync("items"); fmt.Sprint(got) != fmt.Sprint(rows) {
		t.Errorf("the client has %v, had %v", got, rows)
	}
	mustSucceed(t, alice.Do("items", "sql", `INSERT INTO items VALUES ('later', '', 3, 3, NULL)`))
	state := filepath.Join(t.TempDir(), "then.db")
	if err := h.StateAt(t.Context(), shopKey, room.Point{Time: then}, state); err != nil {
		t.Fatal(err)
	}
	if kept, err := h.Restore(t.Context(), room.Key{Namespace: "shop", Room: "then"}, state); err != nil || kept != "" {
		t.Fatalf("%q, %v", kept, err)
	}
	if got := h.Join("shop", "then", "bob").Sync("items"); len(got) != 1 || got[0].ID() != "then" {
		t.Errorf("as it was: %v", got)
	}
	past := filepath.Join(dir, "_past")
	if n := filesIn(t, past); n != 1 {
		t.Errorf("%d files are kept for the history", n)
	}
	h.Advance(26 * time.Hour)
	if n := filesIn(t, past); n != 0 {
		t.Errorf("%d files are kept after the history", n)
	}
}

// A room that is half full, or small, is left alone.
func TestFullRoomIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	h, _ := open(t, func(o *room.Options) { o.Dir, o.TimeTravel = dir, -1 })
	full, small := h.Join("shop", "full", "a"), h.Join("shop", "small", "b")
	mustSucceed(t, full.Do("items", "sql", fillUp+`; DELETE FROM heap WHERE id % 5 < 2`))
	mustSucceed(t, small.Do("items", "sql", strings.ReplaceAll(fillUp, "700", "200")+`; `+emptied))
	asleep(t, h)
	h.Advance(2 * time.Minute)
	for name, least := range map[string]int64{"full": 2 << 20, "small": 800 << 10} {
		if size := fileSize(t, dir, room.Key{Namespace: "shop", Room: name}); size < least {
			t.Errorf("%s has %d bytes", name, size)
		}
	}
	done, err := h.CompactDue(t.Context(), room.Key{Namespace: "shop", Room: "small"})
	if err != nil || done.Before != done.After {
		t.Errorf("not due: %+v, %v", done, err)
	}
	key := room.Key{Namespace: "shop", Room: "small"}
	done, err = h.Compact(t.Context(), key)
	if err != nil || done.After > 256<<10 || done.Before < 800<<10 || fileSize(t, dir, key) != done.After {
		t.Errorf("on demand: %+v, %v", done, err)
	}
	if n := filesIn(t, filepath.Join(dir, "_past")); n != 0 {
		t.Errorf("%d files are kept for a history that there is not", n)
	}
	mustSucceed(t, small.Do("items", "sql", `INSERT INTO items VALUES ('on', '', 1, 1, NULL)`))
	if _, err := h.Compact(t.Context(), room.Key{Namespace: "shop", Room: "nobody"}); !errors.Is(err, room.ErrNoRoom) {
		t.Errorf("no room: %v", err)
	}
}

// A room that is called for while its file is written again answers, and its file becomes small after it has slept again.
func TestCalledForWhileCompacted(t *testing.T) {
	dir := t.TempDir()
	hook := &compactHook{FS: storage.HostFS()}
	h, _ := open(t, func(o *room.Options) { o.Dir, o.FS = dir, hook })
	alice := h.Join("shop", "r", "alice")
	answered := make(chan roomtest.Event, 1)
	hook.tell = func() {
		go func() { // ends with the answer
			answered <- alice.Do("items", "sql", `INSERT INTO items VALUES ('meanwhile', '', 1, 1, NULL)`)
		}()
	}
	mustSucceed(t, alice.Do("items", "sql", fillUp+`; `+emptied))
	asleep(t, h)
	h.Advance(29 * time.Second)
	select {
	case e := <-answered:
		mustSucceed(t, e)
	case <-time.After(20 * time.Second):
		t.Fatal("the room does not answer")
	}
	asleep(t, h)
	h.Advance(2 * time.Minute)
	if size := fileSize(t, dir, shopKey); size > 256<<10 {
		t.Errorf("the file has %d bytes", size)
	}
	if rows := alice.Sync("items"); len(rows) != 1 {
		t.Errorf("%v", rows)
	}
}

// compactHook is a file system that calls tell once when the first file is written again.
type compactHook struct {
	storage.FS
	tell func()
	once sync.Once
}

func (f *compactHook) Remove(path string) error {
	if strings.HasSuffix(path, ".db.fresh-wal") { // there is none, and nobody else asks
		f.once.Do(f.tell)
	}
	return f.FS.Remove(path)
}

// Shutdown does not wait for a file that is written again.
func TestShutdownEndsCompact(t *testing.T) {
	dir := t.TempDir()
	hook := &compactHook{FS: storage.HostFS()}
	h, _ := open(t, func(o *room.Options) { o.Dir, o.FS = dir, hook })
	alice := h.Join("shop", "r", "alice")
	down := make(chan error, 1)
	hook.tell = func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.Shutdown(ctx)                                      // it has begun
		go func() { down <- h.Shutdown(context.Background()) }() // ends when the file was given back
	}
	mustSucceed(t, alice.Do("items", "sql", fillUp+`; `+emptied))
	_, err := h.Compact(t.Context(), shopKey)
	if code, _ := room.ErrorCode(err); code != "shutting_down" {
		t.Errorf("it ended with %v, want that the server is shutting down", err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if size := fileSize(t, dir, shopKey); size < 2<<20 {
		t.Errorf("the file has %d bytes", size)
	}
}

// The file that a restore has replaced stays for thirty days.
func TestReplacedFileGoes(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", `INSERT INTO items VALUES ('a', '', 1, 1, NULL)`))
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := h.Backup(t.Context(), shopKey, path); err != nil {
		t.Fatal(err)
	}
	kept, err := h.Restore(t.Context(), shopKey, path)
	if err != nil {
		t.Fatal(err)
	}
	h.Advance(29 * 24 * time.Hour)
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("it went too early: %v", err)
	}
	h.Advance(48*time.Hour + 2*time.Hour)
	if _, err := os.Stat(kept); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there still: %v", err)
	}
}
