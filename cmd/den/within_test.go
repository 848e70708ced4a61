package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What a command writes goes nowhere into the data directory: over a live room's file, say, or the lock.
func TestWithin(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, "todos", "31"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string
		want bool
	}{
		{filepath.Join(data, "den.lock"), true},
		{filepath.Join(data, "todos", "31", "kitchen.db"), true},
		{filepath.Join(data, "missing", "x.db"), true},
		{filepath.Join(link, "den.lock"), true},
		{filepath.Join(dir, "kitchen.db"), false},
		{filepath.Join(dir, "data.db"), false},
		{filepath.Join(data, "..", "kitchen.db"), false},
	} {
		for _, of := range []string{data, link} {
			if got := within(of, c.file); got != c.want {
				t.Errorf("%s in %s: %v", c.file, of, got)
			}
		}
	}
	task := &task{data: data, force: true}
	if err := task.fetchFile(t.Context(), nil, "/backup", nil, filepath.Join(data, "den.lock")); err == nil {
		t.Error("the lock would have been replaced")
	}
}
