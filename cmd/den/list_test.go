package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// den alarms lists what it can of rooms, and the rooms that it cannot look into make its exit code 1.
func TestAlarmsOfARoomThatIsRefused(t *testing.T) {
	data := t.TempDir()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register(todo.Namespace, func() room.Handler { return new(nightly) })
	}, func(o *room.Options) { o.Dir = data })
	for _, name := range []string{"a", "b", "c"} {
		h.Join("todos", name, "alice")
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		files, err := filepath.Glob(filepath.Join(data, "todos", "*", name+".db"))
		if err == nil {
			err = os.Truncate(files[0], 100)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{}, {"-rebuild"}} {
		out, notes, err := denNotes(t, data, append([]string{"alarms"}, args...)...)
		if err == nil || !strings.HasPrefix(out, "todos/c\t") || strings.Count(out, "\n") != 1 {
			t.Errorf("den alarms %v: %v: %s", args, err, out)
		}
		for _, name := range []string{"den: todos/a: ", "den: todos/b: "} {
			if !strings.Contains(notes, name) {
				t.Errorf("den alarms %v says nothing of %s: %s", args, name, notes)
			}
		}
	}
}

// den rooms is sorted, whatever the order of the directory.
func TestRoomsAreSorted(t *testing.T) {
	data := t.TempDir()
	want := ""
	for _, name := range []string{"a", "b%20c", "d", "e", "f"} {
		importNotes(t, data, "notes/"+name)
		want += "notes/" + name + "\n"
	}
	if out, err := den(t, data, "rooms"); err != nil || out != want {
		t.Errorf("%v:\n%s", err, out)
	}
}
