package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
)

type note struct {
	ID   string
	Text string
	room.Stamps
}

type notes struct {
	room.Base
	Notes room.Table[note]
}

// OnStart writes something, for a room with nothing in it leaves no file.
func (n *notes) OnStart(c *room.Context) error { return n.Notes.Upsert(c, note{ID: "one", Text: "x"}) }

// OnRequest answers that the room is there.
func (n *notes) OnRequest(*room.Context, http.ResponseWriter, *http.Request) error { return nil }

// ask has a room of notes answer a request: a room that nobody has got anything of leaves nothing.
func ask(t *testing.T, h *room.Host, name string) {
	t.Helper()
	key := room.Key{Namespace: "notes", Room: name}
	w := httptest.NewRecorder()
	if err := h.ServeRequest(t.Context(), key, room.Identity{}, w, httptest.NewRequest("GET", "/", nil)); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s answers %d, %v", name, w.Code, err)
	}
}

// openNotes opens a directory with as many migrations as a version of a program has.
func openNotes(t *testing.T, dir string, version int) *room.Host {
	t.Helper()
	h, err := room.Open(room.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	list := []room.Migration{
		room.SQLMigration("one", `CREATE TABLE extra (n INTEGER)`),
		room.GoMigration("two", func(c *room.Context) error {
			if c.Key().Room == "room 3" {
				return errors.New("no luck")
			}
			return nil
		}),
	}
	if err := h.Register("notes", func() room.Handler { return new(notes) }, room.Migrations(list[:version]...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeHost(h) })
	return h
}

func TestMigrateStatusAndAll(t *testing.T) {
	dir := t.TempDir()
	h := openNotes(t, dir, 1)
	for i := range 5 {
		if err := h.Migrate(t.Context(), room.Key{Namespace: "notes", Room: fmt.Sprint("room ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := closeHost(h); err != nil {
		t.Fatal(err)
	}

	h = openNotes(t, dir, 2)
	var out bytes.Buffer
	err := (&migrator{host: h, out: &out}).status(t.Context())
	golden(t, "status", err, "", sorted(out.String()), `
5 rooms: 0 up to date, 5 with migrations to come, 0 failed
notes/room 0: 1 of 2 migrations
notes/room 1: 1 of 2 migrations
notes/room 2: 1 of 2 migrations
notes/room 3: 1 of 2 migrations
notes/room 4: 1 of 2 migrations
`)
	out.Reset()
	err = (&migrator{host: h, out: &out}).all(t.Context())
	golden(t, "all", err, errRoomsFailed.Error(), sorted(out.String()), `
5 rooms: 4 up to date, 1 failed
notes/room 3: failed: room: migration 2 (two): no luck
`)
	out.Reset()
	err = (&migrator{host: h, out: &out}).status(t.Context())
	golden(t, "status after", err, "", sorted(out.String()), `
5 rooms: 4 up to date, 1 with migrations to come, 0 failed
notes/room 3: 1 of 2 migrations
`)
	closeHost(h)
	h = openNotes(t, dir, 0)
	out.Reset()
	if err := (&migrator{host: h, out: &out}).status(t.Context()); err == nil || strings.Count(out.String(), "run the newer program") != 5 {
		t.Errorf("an older program says %v: %s", err, out.String())
	}
	out.Reset()
	var bar bytes.Buffer
	(&migrator{host: h, out: &out, bar: &bar}).all(t.Context())
	if !strings.Contains(bar.String(), "[########################................] 3/5") || !strings.HasSuffix(bar.String(), "\r\x1b[K") {
		t.Errorf("the bar was %q", bar.String())
	}
}

func sorted(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		for j := range lines[:i] {
			if lines[i] < lines[j] {
				lines[i], lines[j] = lines[j], lines[i]
			}
		}
	}
	return strings.Join(lines, "\n")
}

func golden(t *testing.T, what string, err error, wantErr, got, want string) {
	t.Helper()
	if text := fmt.Sprint(err); err == nil && wantErr != "" || err != nil && text != wantErr {
		t.Errorf("%s: the error is %v, want %q", what, err, wantErr)
	}
	if want = strings.TrimSpace(want); got != want {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
	}
}

func TestMigrateCommand(t *testing.T) {
	dir := t.TempDir()
	h, err := room.Open(room.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := todo.Register(h); err != nil {
		t.Fatal(err)
	}
	if err := h.Migrate(t.Context(), room.Key{Namespace: todo.Namespace, Room: "r"}); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := migrate(t.Context(), args, environment(map[string]string{"DEN_DATA": dir}), &out, nil, io.Discard)
		return out.String(), err
	}
	if _, err := call("--all"); err == nil || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("while a server has the directory: %v", err)
	}
	if err := closeHost(h); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"--all", "--status"}, {"--all", "x"}, {"--nonsense"}} {
		if _, err := call(args...); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	missing := filepath.Join(dir, "missing")
	if _, err := call("--all", "-data", missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	for _, how := range []string{"--status", "--all"} {
		if out, err := call(how); err != nil || !strings.Contains(out, "1 rooms: 1 up to date") {
			t.Errorf("%s: %v, %s", how, err, out)
		}
	}
}
