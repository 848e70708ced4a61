package roomfile

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/vfs"
)

// The name of a file that was replaced says of which file, and when.
func TestReplacedAt(t *testing.T) {
	for name, want := range map[string]string{
		"a.db.before-restore-20261121T105002.308Z":                 "a.db.before-restore-20261121T105002.308Z",
		"a.db.before-restore-20261121T105002.308Z-2":               "a.db.before-restore-20261121T105002.308Z-2",
		"a.db.before-restore-20261121T105002.308Z-wal":             "a.db.before-restore-20261121T105002.308Z",
		"a.db.before-restore-20261121T105002.308Z-2-wal":           "a.db.before-restore-20261121T105002.308Z-2",
		"a.db.before-restore-20261121T105002.308Z" + EntriesSuffix: "a.db.before-restore-20261121T105002.308Z",
		"a.db.before-restore-20261121T105002.308":                  "",
		"a.db.before-restore-20261321T105002.308Z":                 "",
		"a.db":                                  "",
		"a.before-restore-20261121T105002.308Z": "",
	} {
		file, at, is := replacedAt(name)
		if is != (want != "") || is && (file != want || !at.Equal(time.Date(2026, 11, 21, 10, 50, 2, 308e6, time.UTC))) {
			t.Errorf("%q: %q of %v, %v", name, file, at, is)
		}
	}
}

func TestSweepReplaced(t *testing.T) {
	data := t.TempDir()
	path, err := Path(data, "n", "room")
	if err != nil {
		t.Fatal(err)
	}
	f := File{FS: vfs.Host(), Path: path}
	dir := filepath.Dir(path)
	if err := f.MakeNamesDurable(); err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1_700_000_000_000).UTC()
	old, young := path+ReplacedInfix+at.Add(-time.Hour).Format(replacedForm), path+ReplacedInfix+at.Format(replacedForm)
	for _, name := range []string{path, old, old + "-wal", old + "-2", old + EntriesSuffix, young, young + "-wal", path + ReplacedInfix + "mine"} {
		if err := Make(f.FS, name); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := SweepReplaced(f.FS, data, "n", at)
	if err != nil || removed != 4 {
		t.Errorf("%d removed (%v)", removed, err)
	}
	names, err := f.FS.Names(dir)
	if left := strings.Join(names, " "); err != nil || len(names) != 4 || strings.Contains(left, filepath.Base(old)) {
		t.Errorf("%s (%v)", left, err)
	}
}
