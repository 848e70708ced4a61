package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// makeHistory makes the room todos/kitchen, with a todo a minute, the last one just now, and
// gives the time of the first.
func makeHistory(t *testing.T, data string, todos int) (first time.Time) {
	t.Helper()
	h := roomtest.New(t, todo.Register, func(o *room.Options) { o.Dir = data })
	if ahead := time.Until(h.Clock.Now()); ahead < 0 { // what is older than a day is forgotten
		h.Advance(-ahead - time.Duration(todos)*time.Minute)
	}
	c := h.Join(todo.Namespace, "kitchen", "alice")
	for i := 1; i <= todos; i++ {
		h.Advance(time.Minute)
		if i == 1 {
			first = h.Clock.Now()
		}
		if e := c.Do("todos", "create", map[string]any{"id": fmt.Sprint(i), "text": fmt.Sprintf("todo %d.", i), "completed": 0}); e.Kind != "success" {
			t.Fatalf("%s", e.Data)
		}
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	return first
}

// rewindRooms goes back in time, with a server or without.
func rewindRooms(t *testing.T, data string, first time.Time) {
	t.Helper()
	dir := t.TempDir()
	must := func(args ...string) string {
		t.Helper()
		out, err := den(t, data, args...)
		if err != nil {
			t.Fatalf("den %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	want := func(key string, n int) {
		t.Helper()
		if got := strings.Count(must("export", key), "'todo "); got != n {
			t.Errorf("%s has %d todos, want %d", key, got, n)
		}
	}
	at := func(n int) string {
		return first.Add(time.Duration(n)*time.Minute - 30*time.Second).UTC().Format(time.RFC3339)
	}
	for i, tc := range []struct {
		flag, value string
		want        int
	}{{"-at", at(3), 3}, {"-seq", "2", 2}, {"-at", time.Now().UTC().Format(time.RFC3339Nano), 6}, {"-seq", "1", 1}} {
		file, key := filepath.Join(dir, fmt.Sprint(i)), fmt.Sprintf("todos/copy%d", i)
		must("backup", tc.flag, tc.value, "todos/kitchen", file)
		must("restore", key, file)
		want(key, tc.want)
	}
	want("todos/kitchen", 6)
	must("restore", "-seq", "5", "todos/kitchen")
	want("todos/kitchen", 5)
	if _, err := den(t, data, "restore", "-at", at(3), "todos/kitchen"); err == nil || !strings.Contains(err.Error(), "history") {
		t.Errorf("to before a restore: %v", err)
	}
	kept, err := filepath.Glob(filepath.Join(data, "todos", "*", "kitchen.db.before-restore-*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept are %v, %v", kept, err)
	}
	must("restore", "todos/kitchen", kept[0])
	want("todos/kitchen", 6)
	if names, err := os.ReadDir(filepath.Join(data, "_tmp")); err == nil && len(names) > 0 {
		t.Errorf("left in the directory for temporary files: %v", names)
	}
}

func TestRewindWithoutAServer(t *testing.T) {
	data := t.TempDir()
	rewindRooms(t, data, makeHistory(t, data, 6))
}

// A point that the room has not come to, or that is none, is refused, and the error says what can be had.
func TestPointsThatAreNotThere(t *testing.T) {
	data := t.TempDir()
	makeHistory(t, data, 3)
	if _, err := den(t, data, "restore", "-seq", "2", "todos/kitchen"); err != nil { // it is of seq 4, and nothing before it can be had
		t.Fatal(err)
	}
	later := time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct{ flag, value, want string }{
		{"-seq", "99", "todos/kitchen: the state at seq 99 cannot be had: the room has not come that far; the newest is at seq 4 ("},
		{"-seq", "1", "the history does not go back that far; the oldest is at seq 4 ("},
		{"-at", later, "the room has not come that far; the newest is at seq 4 ("},
		{"-at", "2001-02-03T04:05:06Z", "the history does not go back that far; the oldest is at seq 4 ("},
		{"-seq", "AbC.16", "its seq is 42"},
		{"-seq", "0", "want a number from 1"},
	} {
		file := filepath.Join(t.TempDir(), "copy")
		_, backup := den(t, data, "backup", c.flag, c.value, "todos/kitchen", file)
		_, restore := den(t, data, "restore", c.flag, c.value, "todos/kitchen")
		for name, err := range map[string]error{"backup": backup, "restore": restore} {
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "_tmp") {
				t.Errorf("den %s %s %s: %v, want: %s", name, c.flag, c.value, err, c.want)
			}
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s %s: there is a backup", c.flag, c.value)
		}
	}
	if kept, err := filepath.Glob(filepath.Join(data, "todos", "*", "*.before-restore-*")); err != nil || len(kept) != 1 {
		t.Errorf("restored: %v, %v", kept, err)
	}
}

// The commands as the program runs them: it knows nothing of the rooms' namespaces.
func TestRewindUnknownNamespace(t *testing.T) {
	data := t.TempDir()
	first := makeHistory(t, data, 6)
	file := filepath.Join(t.TempDir(), "copy")
	for _, args := range [][]string{
		{"backup", "-data", data, "-seq", "2", "todos/kitchen", file},
		{"restore", "-data", data, "todos/copy", file},
		{"restore", "-data", data, "-at", first.Add(150 * time.Second).UTC().Format(time.RFC3339), "todos/kitchen"},
	} {
		if err := run(t.Context(), args, environment(nil)); err != nil {
			t.Fatalf("den %s: %v", strings.Join(args, " "), err)
		}
	}
	if out, err := den(t, data, "export", "todos/copy"); err != nil || strings.Count(out, "'todo ") != 2 {
		t.Errorf("%v, %s", err, out)
	}
	if out, err := den(t, data, "export", "todos/kitchen"); err != nil || strings.Count(out, "'todo ") != 3 {
		t.Errorf("%v, %s", err, out)
	}
}

func TestRewindWithAServer(t *testing.T) {
	data, err := os.MkdirTemp("", "den") // short: a socket's path has about 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(data)
	first := makeHistory(t, data, 6)
	s, err := newServer(config{addr: "127.0.0.1:0", data: data, format: "text"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	rewindRooms(t, data, first)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
