package faults

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// told is what an operator reads of a room.
type told struct{ bytes.Buffer }

func (o *told) options(h *room.Options) {
	h.Logger = slog.New(slog.NewTextHandler(&o.Buffer, nil))
	h.TimeTravel = -1
}

// of gives the lines of level Error, and forgets all.
func (o *told) of(name string) (lines []string) {
	for line := range strings.Lines(o.String()) {
		if strings.Contains(line, "level=ERROR") && strings.Contains(line, fmt.Sprint("room=", name, " ")) {
			lines = append(lines, line)
		}
	}
	o.Reset()
	return lines
}

// knock has clients call for a room that does not start, again and again.
func knock(t *testing.T, h *roomtest.Host, name string) {
	t.Helper()
	for range 4 {
		if _, err := h.TryJoin(todo.Namespace, name, "alice"); err == nil {
			t.Errorf("%s was entered", name)
		} else {
			mustBeCoded(t, err)
		}
		h.Advance(time.Minute)
	}
}

// The operator is told once of a room that is refused, whoever finds it out and however often somebody calls for it:
// with the reason, where the log's entries are, and the command that helps. When it has helped, a new fault is told
// again.
func TestRefusedRoomIsToldOnce(t *testing.T) {
	var o told
	im := crashed(t, o.options)
	o.Reset()
	magic := func([]byte) int { return 0 }
	flip(t, path(t, im.dir, behind), magic)
	h := im.opened(o.options)
	h.Advance(time.Minute) // the search for alarms and the recovery meet it
	knock(t, h, behind)
	lines := o.of(behind)
	if len(lines) != 1 {
		t.Fatalf("the operator is told %d times:\n%s", len(lines), strings.Join(lines, ""))
	}
	for _, want := range []string{"not a Den room database", filepath.Base(path(t, im.dir, behind)) + ".entries", "den restore -data " + im.dir + " todos/behind BACKUP"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("nothing is said of %q: %s", want, lines[0])
		}
	}
	failures := h.Failures()
	if len(failures) != 1 || failures[0].Key.Room != behind || !strings.Contains(failures[0].Err.Error(), ".entries") {
		t.Errorf("the failures are %v", failures)
	}

	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := h.Backup(t.Context(), room.Key{Namespace: todo.Namespace, Room: current}, backup); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Restore(t.Context(), room.Key{Namespace: todo.Namespace, Room: behind}, backup); err != nil {
		t.Fatal(err)
	}
	mustHave(t, h, behind, 10)
	if failures := h.Failures(); len(failures) != 0 {
		t.Errorf("after the restore: %v", failures)
	}
	if lines := o.of(behind); len(lines) != 0 {
		t.Errorf("after the restore the operator is told %s", lines)
	}
	h.SleepRoom(todo.Namespace, behind)
	flip(t, path(t, im.dir, behind), magic)
	knock(t, h, behind)
	if lines := o.of(behind); len(lines) != 1 {
		t.Errorf("of the next fault the operator is told %d times", len(lines))
	}
}

// A page that is damaged where a room starts without it: each action that comes upon it is refused, and the operator is
// told once an hour.
func TestDamagedPageIsToldOnceAnHour(t *testing.T) {
	var o told
	dir := t.TempDir()
	h := open(t, dir, o.options)
	alice := h.Join(todo.Namespace, "r", "alice")
	for i := range 200 {
		if e := create(alice, fmt.Sprint(i), strings.Repeat("x", 400)); e.Kind != "success" {
			t.Fatalf("%s", e.Data)
		}
	}
	h.SleepRoom(todo.Namespace, "r")
	file := path(t, dir, "r")
	o.Reset()
	for _, page := range []int{12, 13, 14, 15, 16, 17, 18, 19, 20} { // of the table; its header
		flip(t, file, func([]byte) int { return page * 4096 })
	}
	seal(t, file) // or else the room would be refused as a whole
	read := func(times int) {
		t.Helper()
		for range times {
			alice.SendJSON(map[string]any{"channel": "todos", "sync": true})
			h.Advance(time.Minute)
			refused := false
			for _, e := range alice.Received() {
				refused = refused || e.Code == "storage_unavailable" || e.Code == "room_unavailable"
			}
			if !refused {
				t.Fatal("nothing was refused: nothing is tested")
			}
		}
	}
	read(5)
	lines := o.of("r")
	if len(lines) != 1 || !strings.Contains(lines[0], "corrupt") || !strings.Contains(lines[0], "den restore -data "+dir+" todos/r BACKUP") {
		t.Errorf("the operator is told %d times:\n%s", len(lines), strings.Join(lines, ""))
	}
	h.Advance(2 * time.Hour)
	o.Reset()
	read(5)
	if lines := o.of("r"); len(lines) != 1 {
		t.Errorf("two hours later the operator is told %d times:\n%s", len(lines), strings.Join(lines, ""))
	}
}

// A page that does not have its checksum: the action that comes upon it is refused, and the operator is told the page and the file.
// Then the room is refused, until a backup takes its place.
func TestPageWithoutItsChecksum(t *testing.T) {
	var o told
	dir := t.TempDir()
	h := open(t, dir, o.options)
	alice := h.Join(todo.Namespace, "r", "alice")
	for i := range 200 {
		if e := create(alice, fmt.Sprint(i), strings.Repeat("x", 400)); e.Kind != "success" {
			t.Fatalf("%s", e.Data)
		}
	}
	key, backup := room.Key{Namespace: todo.Namespace, Room: "r"}, filepath.Join(t.TempDir(), "backup.db")
	if err := h.Backup(t.Context(), key, backup); err != nil {
		t.Fatal(err)
	}
	h.SleepRoom(todo.Namespace, "r")
	file := path(t, dir, "r")
	for page := 12; page <= 20; page++ { // of the table
		flip(t, file, func([]byte) int { return page*4096 + 2000 })
	}
	o.Reset()
	alice.SendJSON(map[string]any{"channel": "todos", "sync": true})
	h.Advance(time.Minute)
	if events := alice.Received(); len(events) == 0 || events[len(events)-1].Code != "storage_unavailable" {
		t.Errorf("%+v", events)
	}
	knock(t, h, "r")
	said := " of " + file + " does not have its checksum"
	lines := o.of("r")
	if len(lines) != 2 || !strings.Contains(lines[0], said) || !strings.Contains(lines[1], said) || !strings.Contains(lines[1], "den restore") {
		t.Errorf("not twice %q:\n%s", said, strings.Join(lines, ""))
	}
	if _, err := h.Restore(t.Context(), key, backup); err != nil {
		t.Fatal(err)
	}
	mustHave(t, h, "r", 200)
}
