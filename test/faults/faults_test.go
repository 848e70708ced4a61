// Package faults shows what becomes of rooms whose disk is full, read-only, or
// holds something else than their database: a coded error, other rooms untouched,
// nothing lost that was acknowledged.
package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

func open(t *testing.T, dir string, opts ...roomtest.Option) *roomtest.Host {
	t.Helper()
	opts = append(opts, func(o *room.Options) { o.Dir = dir })
	return roomtest.New(t, todo.Register, opts...)
}

func create(c *roomtest.Client, id, text string) roomtest.Event {
	return c.Do("todos", "create", map[string]any{"id": id, "text": text, "completed": 0})
}

func path(t *testing.T, dir, name string) string {
	t.Helper()
	p, err := roomfile.Path(dir, todo.Namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
		t.Fatal(err)
	}
	return p
}

// mustBeUnavailable checks that a room refuses with a code, and that its neighbour
// does not.
func mustBeUnavailable(t *testing.T, h *roomtest.Host, name string) {
	t.Helper()
	_, err := h.TryJoin(todo.Namespace, name, "alice")
	var refusal *room.Error
	if !errors.As(err, &refusal) || refusal.Code != "storage_unavailable" {
		t.Fatalf("joining gave %v, want storage_unavailable", err)
	}
	for _, secret := range []string{"/", ".db", "sqlite", "SQLite"} {
		if strings.Contains(refusal.Message, secret) {
			t.Errorf("the refusal tells of %q: %s", secret, refusal.Message)
		}
	}
	if e := create(h.Join(todo.Namespace, "neighbour of "+name, "bob"), "1", "milk"); e.Kind != "success" {
		t.Errorf("the room next door: %s", e.Data)
	}
}

func TestFileThatIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	file := path(t, dir, "r")
	content := bytes.Repeat([]byte("Dear diary. "), 1000)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	mustBeUnavailable(t, h, "r")
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file was touched (%v)", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	h.Advance(time.Minute)
	if e := create(h.Join(todo.Namespace, "r", "alice"), "1", "milk"); e.Kind != "success" {
		t.Errorf("when it was out of the way: %s", e.Data)
	}
}

func TestDirectoryInTheDatabasesPlace(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	if err := os.Mkdir(path(t, dir, "r"), 0o750); err != nil {
		t.Fatal(err)
	}
	mustBeUnavailable(t, h, "r")
}

func TestAnotherRoomsFile(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	if e := create(h.Join(todo.Namespace, "mine", "alice"), "1", "secret"); e.Kind != "success" {
		t.Fatalf("%s", e.Data)
	}
	h.SleepRoom(todo.Namespace, "mine")
	data, err := os.ReadFile(path(t, dir, "mine"))
	if err == nil {
		err = os.WriteFile(path(t, dir, "yours"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	mustBeUnavailable(t, h, "yours")
}

func TestDamagedDatabase(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	alice := h.Join(todo.Namespace, "r", "alice")
	for i := range 200 {
		if e := create(alice, fmt.Sprint(i), strings.Repeat("x", 400)); e.Kind != "success" {
			t.Fatalf("%s", e.Data)
		}
	}
	h.SleepRoom(todo.Namespace, "r")
	file := path(t, dir, "r")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(data); i++ { // all but the header's page
		data[i] = 0xA5
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	mustBeUnavailable(t, h, "r")
}

func TestFullDisk(t *testing.T) {
	disk := tmpfs(t, "size=2m")
	h := open(t, disk.path, func(o *room.Options) { o.IdleAfter = -1 }) // a room that sleeps lets the log give space back
	alice, bob := h.Join(todo.Namespace, "r", "alice"), h.Join(todo.Namespace, "other", "bob")
	alice.Sync("todos")
	acknowledged := 0
	for i := 0; ; i++ {
		e := create(alice, fmt.Sprint(i), strings.Repeat("x", 490))
		if e.Kind == "success" {
			acknowledged++
			continue
		}
		if e.Code != "storage_unavailable" {
			t.Fatalf("on a full disk: %s", e.Data)
		}
		break
	}
	if e := create(bob, "1", strings.Repeat("x", 490)); e.Kind != "success" && e.Code != "storage_unavailable" {
		t.Errorf("another room on the full disk: %s", e.Data)
	}
	if rows := alice.Sync("todos"); len(rows) != acknowledged {
		t.Errorf("%d rows, %d acknowledged", len(rows), acknowledged)
	}
	// Who is new could not be caught up when it comes back: it is told so, and not served. A
	// note is short, and the first ones may still fit.
	refused := false
	for i := 0; i < 200 && !refused; i++ {
		newcomer := h.Join(todo.Namespace, "r", fmt.Sprint("newcomer ", i))
		if err := newcomer.Send([]byte(`{"channel":"todos","sync":true,"from":null}`)); err != nil {
			t.Fatal(err)
		}
		var got []roomtest.Event
		for tries := 0; tries < 30 && len(got) == 0; tries++ {
			h.Settle(t.Context(), room.Key{Namespace: todo.Namespace, Room: "r"}) // it may share the fate of a try
			if got = newcomer.Received(); len(got) == 0 {
				h.Clock.Advance(5 * time.Second)
			}
		}
		if len(got) == 0 || got[0].Kind != "sync" && got[0].Code != "storage_unavailable" {
			t.Fatalf("a newcomer on a full disk got %v", got)
		}
		refused = got[0].Code == "storage_unavailable"
	}
	if !refused {
		t.Error("the full disk notes everybody")
	}
	disk.remount("size=8m")
	h.Advance(time.Minute)
	if e := create(alice, "room again", "milk"); e.Kind != "success" {
		t.Errorf("when there was room again: %s", e.Data)
	}
	h.Reopen()
	if rows := h.Join(todo.Namespace, "r", "carol").Sync("todos"); len(rows) != acknowledged+1 {
		t.Errorf("after a restart %d rows, %d acknowledged", len(rows), acknowledged+1)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	disk := tmpfs(t, "size=2m")
	h := open(t, disk.path)
	if e := create(h.Join(todo.Namespace, "r", "alice"), "1", "milk"); e.Kind != "success" {
		t.Fatalf("%s", e.Data)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	disk.remount("ro")
	_, err := room.Open(room.Options{Dir: disk.path})
	if err == nil || !errors.Is(err, storage.ErrReadOnly) || !strings.Contains(err.Error(), disk.path) {
		t.Errorf("opening a host on a read-only disk: %v", err)
	}
}
