package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Two commands at the same time that write into one file, of two rooms: one gets it, and the file is of the room that
// the command was for. The other one says why not.
func TestCommandsForOneFile(t *testing.T) {
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
	go func() { done <- s.run(ctx) }() // ends with stop
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		script := filepath.Join(dir, name+".sql")
		text := fmt.Sprintf("CREATE TABLE notes (id INTEGER PRIMARY KEY, text); INSERT INTO notes VALUES (1, '%s');", strings.Repeat(name, 100_000))
		if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := den(t, data, "import", "todos/"+name, script); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		command, file := []string{"backup", "export"}[i%2], filepath.Join(dir, fmt.Sprint("copy", i))
		var errs [2]error
		var all sync.WaitGroup
		for j, name := range []string{"a", "b"} {
			all.Go(func() { _, errs[j] = den(t, data, command, "todos/"+name, file) })
		}
		all.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if loser := errs[1-winner]; errs[winner] != nil || !errors.Is(loser, fs.ErrExist) || !strings.Contains(loser.Error(), "-force") {
			t.Fatalf("%s %d: %v", command, i, errs)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mine, other := strings.Repeat([]string{"a", "b"}[winner], 100), strings.Repeat([]string{"b", "a"}[winner], 100)
		if text := string(b); !strings.Contains(text, mine) || strings.Contains(text, other) {
			t.Fatalf("%s %d: the file is not of the room whose command succeeded", command, i)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.part*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
