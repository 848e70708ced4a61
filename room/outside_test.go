package room_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// mustLink makes a symbolic link.
func mustLink(t *testing.T, to, path string) {
	t.Helper()
	err := os.Symlink(to, path)
	if err != nil && runtime.GOOS == "windows" {
		t.Skip("making links takes a privilege on Windows: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A path is in the data directory however it is written, and whatever of it exists.
func TestOutside(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, "todos", "31"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	mustLink(t, data, link)
	mustLink(t, filepath.Join("data", "nothing", "yet.db"), filepath.Join(dir, "dangling"))
	mustLink(t, filepath.Join(dir, "circle"), filepath.Join(dir, "circle"))
	t.Chdir(dir)
	for _, c := range []struct {
		file string
		in   bool
	}{
		{data, true},
		{filepath.Join(data, "den.lock"), true},
		{filepath.Join(data, "todos", "31", "kitchen.db"), true},
		{filepath.Join(data, "missing", "too", "x.db"), true},
		{filepath.Join(link, "den.lock"), true},
		{filepath.Join(link, "missing", "too", "x.db"), true},
		{filepath.Join("link", "missing", "x.db"), true},
		{filepath.Join("data", "x.db"), true},
		{"dangling", true},
		{filepath.Join(dir, "kitchen.db"), false},
		{filepath.Join(dir, "data.db"), false},
		{filepath.Join(data, "..", "kitchen.db"), false},
		{filepath.Join("missing", "x.db"), false},
		{"circle", false},
	} {
		for _, of := range []string{data, link, "data", "link"} {
			if err := room.Outside(of, c.file); errors.Is(err, room.ErrInDataDir) != c.in {
				t.Errorf("%s in %s: %v", c.file, of, err)
			}
		}
	}
}

// A copy is not written into the data directory, through a link neither; a scratch file is.
func TestBackupIntoTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	h, _ := open(t, func(o *room.Options) { o.Dir = data })
	mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "1", "name": "x"}))
	link := filepath.Join(dir, "link")
	mustLink(t, filepath.Join(data, "shop"), link)
	for _, path := range []string{
		filepath.Join(data, "copy.db"), filepath.Join(link, "copy.db"), filepath.Join(link, "more", "copy.db"),
		filepath.Join(data, "_tmp", "deeper", "copy.db"),
	} {
		if err := h.Backup(t.Context(), shopKey, path); !errors.Is(err, room.ErrInDataDir) {
			t.Errorf("a backup to %s: %v", path, err)
		}
		if err := h.StateAt(t.Context(), shopKey, room.Point{Seq: 1}, path); !errors.Is(err, room.ErrInDataDir) {
			t.Errorf("an earlier state to %s: %v", path, err)
		}
	}
	// As the system reads it, this path leads into the data directory; what is meant is the file beside the link.
	if err := h.Backup(t.Context(), shopKey, link+string(filepath.Separator)+filepath.Join("..", "copy.db")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "copy.db")); err != nil {
		t.Error(err)
	}
	path, err := inner.OfHost(h).ScratchFile()
	if err == nil {
		err = h.Backup(t.Context(), shopKey, path)
	}
	if err != nil {
		t.Errorf("a scratch file: %v", err)
	}
}
