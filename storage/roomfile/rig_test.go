package roomfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/denrooms/den/storage/vfs"
)

// testFile is where a file could be, on the machine's disk.
func testFile(t *testing.T) File {
	t.Helper()
	return File{FS: vfs.Host(), Path: filepath.Join(t.TempDir(), "room.db")}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got error %v, want %v", got, want)
	}
}
