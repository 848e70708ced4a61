package room_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/denrooms/den/internal/inner"
)

// Temporary files that an earlier process has left are removed with the first use of the directory; those of this process stay,
// because somebody writes them.
func TestTemporaryFilesOfAnEarlierProcess(t *testing.T) {
	h, _ := open(t)
	scratch := func() string {
		t.Helper()
		path, err := inner.OfHost(h.Host).ScratchFile()
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("half of an import"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left := scratch()
	write(left)
	write(filepath.Join(filepath.Dir(left), "another"))
	h.Reopen()
	if _, err := os.Stat(left); err != nil {
		t.Fatalf("nothing was left for the next process: %v", err)
	}
	first := scratch()
	if names, err := os.ReadDir(filepath.Dir(left)); err != nil || len(names) != 0 {
		t.Errorf("after the first use the directory has %v, %v", names, err)
	}
	write(first)
	if second := scratch(); second == first {
		t.Error("two callers got the same file")
	}
	if _, err := os.Stat(first); err != nil {
		t.Errorf("a file in use was removed: %v", err)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
}
