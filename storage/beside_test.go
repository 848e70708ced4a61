package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
)

func TestRoomFiles(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a", "A", "con", "..", "a/b", "%41", "Ärger", strings.Repeat("x", 200), strings.Repeat("X", 200), "\x00"}
	want := map[string]bool{}
	for _, namespace := range []string{"plain", "con"} {
		for _, name := range names {
			path, err := roomfile.Path(dir, namespace, name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Open(Options{Path: path, Namespace: namespace, Room: name, Synchronous: Off})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			want[namespace+"/"+name] = true
		}
	}
	for _, stray := range []string{"plain/ca/x.txt", "plain/ca/%zz.db", "plain/00/a.db", "plain/a.db"} {
		path := filepath.Join(dir, filepath.FromSlash(stray))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, namespace := range []string{"plain", "con", "none"} {
		for file, err := range roomfile.All(HostFS(), dir, namespace) {
			if err != nil {
				t.Fatal(err)
			}
			name := file.Room
			if name == "" {
				if name, err = ReadRoomName(HostFS(), file.Path); err != nil {
					t.Fatal(err)
				}
			}
			if !want[namespace+"/"+name] {
				t.Errorf("%s is listed as %q, which is no room or was listed before", file.Path, name)
			}
			delete(want, namespace+"/"+name)
		}
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
	for _, err := range roomfile.All(HostFS(), dir, "../x") {
		if err == nil {
			t.Error("a bad namespace was listed")
		}
	}
	if _, err := ReadRoomName(HostFS(), filepath.Join(dir, "plain", "a.db")); err == nil {
		t.Error("an empty file named its room")
	}
}

// A file that does not name its room is damaged, and is not taken for a room without a name.
func TestReadRoomNameOfADamagedFile(t *testing.T) {
	for what, sql := range map[string]string{
		"no name":       "DELETE FROM _den_meta WHERE name = 'room'",
		"an empty name": "UPDATE _den_meta SET value = '' WHERE name = 'room'",
	} {
		o := testOptions(t)
		if err := openTest(t, o).Close(); err != nil {
			t.Fatal(err)
		}
		if name, err := ReadRoomName(HostFS(), o.Path); name != o.Room || err != nil {
			t.Errorf("the room is %q, %v, want %q", name, err, o.Room)
		}
		tamper(t, o.Path, sql)
		name, err := ReadRoomName(HostFS(), o.Path)
		if wantError(t, err, ErrCorrupt); name != "" {
			t.Errorf("%s: it is taken for %q", what, name)
		}
	}
}
