package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/denrooms/den/room"
)

// What a command writes goes nowhere into the data directory: over a live room's file, say, or the lock.
func TestNothingIsWrittenIntoTheDataDirectory(t *testing.T) {
	data := t.TempDir()
	lock := filepath.Join(data, "den.lock")
	if err := os.WriteFile(lock, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	task := &task{data: data, force: true}
	if err := task.fetchFile(t.Context(), nil, "/backup", nil, lock); !errors.Is(err, room.ErrInDataDir) {
		t.Errorf("the lock would have been replaced: %v", err)
	}
}
