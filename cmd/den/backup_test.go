package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// den runs a command as from a shell, and gives what it wrote.
func den(t *testing.T, data string, args ...string) (string, error) {
	t.Helper()
	out, _, err := denNotes(t, data, args...)
	return out, err
}

// denNotes is den, and gives what it told besides too.
func denNotes(t *testing.T, data string, args ...string) (written, told string, err error) {
	t.Helper()
	var out, notes bytes.Buffer
	task := &task{output: &out, notes: &notes}
	name := args[0]
	rest, err := task.parse(name, append([]string{"-data", data}, args[1:]...), environment(nil))
	if err != nil {
		return notes.String(), notes.String(), err
	}
	o, err := connect(t.Context(), data, func(host *room.Host) error { return registerAll(host, data) })
	if err != nil {
		return "", "", err
	}
	err = errors.Join(task.do(t.Context(), o, name, rest), o.close())
	return out.String(), notes.String(), err
}

// importNotes makes a room of a program that den does not know.
func importNotes(t *testing.T, data, key string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "notes.sql")
	if err := os.WriteFile(script, []byte("CREATE TABLE notes (id INTEGER PRIMARY KEY, text); INSERT INTO notes VALUES (1, 'milk');"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := den(t, data, "import", key, script); err != nil {
		t.Fatal(err)
	}
}

// workOnRooms goes through all commands, with a server or without.
func workOnRooms(t *testing.T, data string) {
	importNotes(t, data, "todos/caf%C3%A9%2F1")
	dir := t.TempDir()
	file := filepath.Join(dir, "copy.db")
	must := func(args ...string) string {
		t.Helper()
		out, err := den(t, data, args...)
		if err != nil {
			t.Fatalf("den %s: %v", args[0], err)
		}
		return out
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if _, err := den(t, data, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("den %s: %v, want %s", args[0], err, want)
		}
	}
	if got := must("alarms", "-rebuild"); got != "" {
		t.Errorf("alarms of a room without: %q", got)
	}
	if got := must("rooms"); got != "todos/caf%C3%A9%2F1\n" {
		t.Errorf("rooms: %q", got)
	}
	must("backup", "todos/caf%C3%A9%2F1", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
	refused("-force", "backup", "todos/caf%C3%A9%2F1", file)
	must("backup", "-force", "todos/caf%C3%A9%2F1", file)
	must("restore", "todos/other", file)
	if got := must("export", "todos/other"); !strings.Contains(got, "VALUES(1,'milk')") || !strings.HasSuffix(got, "COMMIT;\n") {
		t.Errorf("exported: %s", got)
	}
	lines := filepath.Join(dir, "lines")
	must("export", "-format", "jsonl", "todos/other", lines)
	refused("-replace", "import", "todos/other", lines)
	must("import", "-replace", "todos/other", lines)
	must("import", "todos/third", lines)
	refused("den rooms", "backup", "todos/nobody", file+"2")
	refused("percent-encoded", "backup", "todos", file+"2")
	refused("usage", "backup", "todos/other")
	refused("jsonl", "export", "-format", "xml", "todos/other")
	refused("history", "restore", "-at", "2001-01-01T00:00:00Z", "todos/other")
	refused("2026-11-20T10:00:00Z", "restore", "-at", "yesterday", "todos/other")
	if err := os.WriteFile(lines, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("", "restore", "todos/other", lines)
	refused("cut off", "import", "todos/fourth", lines)
	if got := must("rooms"); strings.Count(got, "\n") != 3 {
		t.Errorf("rooms: %q", got)
	}
	if _, err := os.Stat(file + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backup that failed left a file: %v", err)
	}
	if names, err := os.ReadDir(filepath.Join(data, "_tmp")); err == nil && len(names) > 0 {
		t.Errorf("left in the directory for temporary files: %v", names)
	}
}

func TestCommandsWithoutAServer(t *testing.T) { workOnRooms(t, t.TempDir()) }

func TestCommandsWithAServer(t *testing.T) {
	data, err := os.MkdirTemp("", "den") // short: a socket's path has about 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(data)
	s, err := newServer(config{addr: "127.0.0.1:0", data: data, format: "text"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	if info, err := os.Stat(filepath.Join(data, socketName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	workOnRooms(t, data)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCommandsWithoutData(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nowhere")
	if _, err := den(t, missing, "rooms"); err == nil || !strings.Contains(err.Error(), "DEN_DATA") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("the directory was made")
	}
	if out, err := den(t, missing, "backup", "-h"); err == nil || !strings.Contains(out, "den backup todos/kitchen kitchen.db") {
		t.Errorf("%v, %s", err, out)
	}
}

// Rooms that a crash has left in the commit log only are listed, and can be copied, without a server.
func TestRoomsOfTheLogOnly(t *testing.T) {
	data, crashed := t.TempDir(), t.TempDir()
	host, err := room.Open(room.Options{Dir: data, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = host.Register("notes", func() room.Handler { return new(notes) })
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeHost(host) })
	for _, name := range []string{"first", "new"} {
		ask(t, host, name)
	}
	if err := inner.OfHost(host).Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(crashed, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if names, err := filepath.Glob(filepath.Join(crashed, "notes", "*", "new*")); err != nil || len(names) > 0 {
		t.Fatal("the room has a file", names, err)
	}
	if got, err := den(t, crashed, "rooms"); err != nil || got != "notes/first\nnotes/new\n" {
		t.Errorf("rooms: %q, %v", got, err)
	}
	if _, err := den(t, crashed, "import", "notes/new", os.DevNull); err == nil {
		t.Error("it was imported over")
	}
	if _, err := den(t, crashed, "backup", "notes/new", filepath.Join(t.TempDir(), "new.db")); err != nil {
		t.Error(err)
	}
}

// What is most likely a slip is said in words that help.
func TestSlips(t *testing.T) {
	data := t.TempDir()
	importNotes(t, data, "todos/a")
	dir := t.TempDir()
	file := filepath.Join(dir, "a.db")
	if _, err := den(t, data, "backup", "todos/a", file); err != nil {
		t.Fatal(err)
	}
	if _, err := den(t, data, "backup", "todos/a", filepath.Join(dir, "missing", "a.db")); err == nil || !strings.Contains(err.Error(), "the directory "+filepath.Join(dir, "missing")+" does not exist") || strings.Contains(err.Error(), ".part") {
		t.Errorf("into a directory that does not exist: %v", err)
	}
	if _, err := den(t, data, "restore", "todos/a", ""); err == nil || !strings.Contains(err.Error(), "an argument is empty") {
		t.Errorf("of a file without a name: %v", err)
	}
	for _, slip := range []struct {
		args []string
		want string
	}{
		{[]string{"backup", "-at", "2026-11-20T10:00:00Z", "-seq", "1", "todos/a", filepath.Join(dir, "b.db")}, "give one of them"},
		{[]string{"backup", "-at", "", "todos/a", filepath.Join(dir, "b.db")}, "-at is empty"},
		{[]string{"restore", "-seq", "", "todos/a"}, "-seq is empty"},
		{[]string{"backup", "-force", "todos/a", dir}, "is not a regular file"},
		{[]string{"export", "-force", "todos/a", dir}, "is not a regular file"},
	} {
		if _, err := den(t, data, slip.args...); err == nil || !strings.Contains(err.Error(), slip.want) {
			t.Errorf("%v: %v", slip.args, err)
		}
	}
	for _, c := range []struct {
		key  string
		note bool
	}{{"todos/b", false}, {"toods/b", true}} {
		restore := &task{notes: new(bytes.Buffer)}
		rest, err := restore.parse("restore", []string{"-data", data, c.key, file}, environment(nil))
		if err != nil {
			t.Fatal(err)
		}
		o, err := connect(t.Context(), data, func(*room.Host) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(restore.do(t.Context(), o, "restore", rest), o.close()); err != nil {
			t.Errorf("%s: %v", c.key, err)
		}
		if told := restore.notes.(*bytes.Buffer).String(); strings.Contains(told, "does not serve the namespace") != c.note {
			t.Errorf("%s: %q", c.key, told)
		}
	}
}
