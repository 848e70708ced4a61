package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// nightly is a list of todos of which one has an alarm for each night.
type nightly struct{ todo.Room }

func (r *nightly) OnStart(c *room.Context) error {
	if c.Key().Room == "pantry" {
		return nil
	}
	return c.SetAlarmEvery("tidy", "0 3 * * *", "UTC")
}

// den alarms lists the alarms of rooms, without a server and without waking the rooms, and makes a missing index
// again. It runs no alarm, even if one is long due.
func TestAlarms(t *testing.T) {
	data := t.TempDir()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register(todo.Namespace, func() room.Handler { return new(nightly) })
	}, func(o *room.Options) { o.Dir = data })
	h.Join("todos", "my kitchen", "alice")
	h.Join("todos", "pantry", "alice")
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = "todos/my%20kitchen\t\"tidy\"\t2026-01-02T03:00:00Z\ttry 1\t0 3 * * *\tUTC\n"
	for range 2 {
		if got, err := den(t, data, "alarms"); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(data, "_alarms")); err != nil {
		t.Fatal(err)
	}
	if got, err := den(t, data, "alarms"); err != nil || got != "" {
		t.Errorf("without an index: %q, %v", got, err)
	}
	if got, err := den(t, data, "alarms", "-rebuild"); err != nil || got != want {
		t.Errorf("made again: %q, %v", got, err)
	}
	if got, err := den(t, data, "alarms"); err != nil || got != want {
		t.Errorf("behind that: %q, %v", got, err)
	}
}
