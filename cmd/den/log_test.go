package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// denLog runs den log, and returns what it wrote and its exit code.
func denLog(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var buf bytes.Buffer
	if err := showLog(args, environment(nil), &buf, io.Discard); err != nil {
		code = exitCode(err)
	}
	return buf.String(), code
}

// den log says what is missing, gives it up only when it is asked to, and not beside a server.
func TestLogThatIsNotComplete(t *testing.T) {
	dir, _ := crashedNotes(t)
	if out, code := denLog(t, "-data", dir); code != 0 || !strings.Contains(out, "complete") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "_log", "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	lost := filepath.Base(files[0])
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, code := denLog(t, "-data", dir); code != 1 || !strings.Contains(out, lost) || strings.Contains(out, "given up") {
			t.Errorf("exit code %d: %s", code, out)
		}
	}
	fresh := room.Key{Namespace: "notes", Room: "new"}
	h := openNotes(t, dir, 1)
	if err := inner.OfHost(h).Settle(t.Context(), fresh); err == nil || !strings.Contains(err.Error(), "den log -abandon") {
		t.Errorf("a new room: %v", err)
	}
	if out, code := denLog(t, "-data", dir, "-abandon"); code != 2 || out != "" {
		t.Errorf("beside a server: exit code %d: %s", code, out)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, code := denLog(t, "-data", dir, "-abandon")
	if said, done := strings.Index(out, "missing or damaged in the commit log: "+lost), strings.Index(out, "given up: "+lost); code != 0 || said < 0 || done < said {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := denLog(t, "-data", dir); code != 0 {
		t.Errorf("after that: exit code %d: %s", code, out)
	}
	h = openNotes(t, dir, 1)
	if err := inner.OfHost(h).Settle(t.Context(), fresh); err != nil {
		t.Errorf("a new room: %v", err)
	}
}

func TestLogThatCannotBeSeen(t *testing.T) {
	for _, args := range [][]string{{"-data", filepath.Join(t.TempDir(), "nothing")}, {"-data", t.TempDir(), "more"}} {
		if out, code := denLog(t, args...); code != 2 || out != "" {
			t.Errorf("den log %v: exit code %d: %s", args, code, out)
		}
	}
}
