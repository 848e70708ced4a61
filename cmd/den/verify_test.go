package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// denVerify runs den verify, and gives what it wrote and its exit code.
func denVerify(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var buf bytes.Buffer
	err := verify(t.Context(), args, environment(nil), &buf, io.Discard)
	if err != nil {
		code = exitCode(err)
	}
	return buf.String(), code
}

// tree is the content of all files under a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// crashedNotes makes a data directory that a process has left which was killed: three rooms, one of which
// had been closed.
func crashedNotes(t *testing.T) (dir string, names []string) {
	t.Helper()
	work := t.TempDir()
	h := openNotes(t, work, 1)
	names = []string{"room 0", "room 1", "room/2"}
	for i, name := range names {
		ask(t, h, name)
		if i == 0 {
			if err := h.Sleep(t.Context(), room.Key{Namespace: "notes", Room: name}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for path, content := range tree(t, work) {
		to := filepath.Join(dir, strings.TrimPrefix(path, work))
		if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, names
}

func TestVerifySaysSound(t *testing.T) {
	dir, _ := crashedNotes(t)
	before := tree(t, dir)
	out, code := denVerify(t, "-data", dir)
	if last := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]; code != 0 || !strings.HasPrefix(last, "rooms: 3, ") || !strings.Contains(last, "problems: 0") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	var v verdict
	out, code = denVerify(t, "-data", dir, "-json", "notes/room%2F2", "notes/room%200")
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || !v.Sound || v.Rooms != 2 || v.Data != dir {
		t.Errorf("exit code %d, %v:\n%s", code, err, out)
	}
	if !maps.Equal(before, tree(t, dir)) {
		t.Error("the directory was changed")
	}
}

func TestVerifySaysWhatIsWrong(t *testing.T) {
	dir, names := crashedNotes(t)
	files, err := filepath.Glob(filepath.Join(dir, "notes", "*", "room%200.db"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	b[70] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	var v verdict
	out, code := denVerify(t, "-data", dir, "-json")
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 1 || v.Sound || v.Rooms != len(names) || len(v.Problems) == 0 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	if p := v.Problems[0]; p.Room != "notes/room%200" || p.Path != files[0] || p.Check != "open" || p.Text == "" {
		t.Errorf("%+v", p)
	}
	out, code = denVerify(t, "-data", dir)
	if code != 1 || !strings.Contains(out, "problem: notes/room%200: open: ") || strings.Count(out, "problem: ") != len(v.Problems) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if !maps.Equal(before, tree(t, dir)) {
		t.Error("the directory was changed")
	}
}

func TestVerifyThatCannotRun(t *testing.T) {
	dir, _ := crashedNotes(t)
	for _, args := range [][]string{
		{"-data", filepath.Join(dir, "nothing")},
		{"-data", dir, "notes/nobody"},
		{"-data", dir, "notes"},
		{"-data", dir, "-durability", "perhaps"},
	} {
		out, code := denVerify(t, args...)
		if code != 2 || strings.Contains(out, "problems: ") {
			t.Errorf("den verify %s: exit code %d:\n%s", args, code, out)
		}
	}
	openNotes(t, dir, 1)
	out, code := denVerify(t, "-data", dir, "-json")
	var v verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 2 || v.Sound || !strings.Contains(v.Error, "in use") {
		t.Errorf("beside a server: exit code %d, %v:\n%s", code, err, fmt.Sprint(out))
	}
}
