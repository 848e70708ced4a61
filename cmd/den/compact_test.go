package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// hoard is a room that has deleted as much as its name says, in KB.
type hoard struct{ room.Base }

func (*hoard) OnStart(c *room.Context) error {
	_, err := c.Exec(`CREATE TABLE heap AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < CAST(? AS INTEGER)) SELECT zeroblob(1000) FROM n`, c.Key().Room)
	if err == nil {
		_, err = c.Exec(`DELETE FROM heap`)
	}
	return err
}

// den compact does one room, those of a namespace that are worth it, and all of these.
func TestCompact(t *testing.T) {
	data := t.TempDir()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register(todo.Namespace, func() room.Handler { return new(hoard) })
	}, func(o *room.Options) { o.Dir = data })
	for _, name := range []string{"300", "2000", "3000"} {
		h.Join("todos", name, "alice")
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want string // of what it prints, with * for sizes
	}{
		{"todos/300", "todos/300: * bytes before, * now\nrooms: 1, compacted: 1, bytes freed: *\n"},
		{"todos/300", "rooms: 1, compacted: 0, bytes freed: *\n"},
		{"todos", "todos/2000: * bytes before, * now\ntodos/3000: * bytes before, * now\nrooms: 3, compacted: 2, bytes freed: *\n"},
		{"-all", "rooms: 3, compacted: 0, bytes freed: *\n"},
	} {
		out, err := den(t, data, append([]string{"compact"}, c.args)...)
		if err != nil || withoutSizes(out) != withoutSizes(c.want) {
			t.Errorf("den compact %s: %v:\n%s", c.args, err, out)
		}
	}
	out, err := den(t, data, "compact", "-json", "todos/2000")
	var got compacted
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || got.Room != "todos/2000" || got.After == 0 || got.After != got.Before || strings.Count(out, "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	for _, args := range [][]string{{}, {"-all", "todos"}, {"todos/nobody"}, {"nothing"}} {
		if out, err := den(t, data, append([]string{"compact"}, args...)...); err == nil {
			t.Errorf("den compact %v: %s", args, out)
		}
	}
	files, err := filepath.Glob(filepath.Join(data, "todos", "*", "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%v %v", files, err)
	}
}

// withoutSizes replaces what is no room's name and no count of rooms; lines are sorted by the directory, not by name.
func withoutSizes(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if name, _, is := strings.Cut(line, ": "); is && strings.Contains(name, "/") {
			lines[i] = name
		} else if head, _, is := strings.Cut(line, ", bytes freed"); is {
			lines[i] = head
		}
	}
	if len(lines) > 3 && lines[0] > lines[1] {
		lines[0], lines[1] = lines[1], lines[0]
	}
	return fmt.Sprint(lines)
}
