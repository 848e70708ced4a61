package storage

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// unseen is a file system on which nobody can tell whether a file of entries is there.
type unseen struct{ vfs.FS }

func (u unseen) Size(path string) (int64, error) {
	if filepath.Ext(path) == roomfile.EntriesSuffix {
		return 0, syscall.EIO
	}
	return u.FS.Size(path)
}

// A room that is asked for by name, and has no file, is there for a Verifier if a file of entries is there, or nobody can tell.
func TestVerifyRoomOfWhichEntriesAreLeft(t *testing.T) {
	for name, c := range map[string]struct {
		entries bool
		fs      vfs.FS
		want    bool
	}{
		"entries":         {true, HostFS(), true},
		"nothing":         {false, HostFS(), false},
		"nobody can tell": {false, unseen{HostFS()}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := roomfile.Path(dir, "n", "gone")
			if err == nil {
				err = os.MkdirAll(filepath.Dir(path), 0o700)
			}
			if err == nil && c.entries {
				err = os.WriteFile(path+roomfile.EntriesSuffix, nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			there := false
			verify(t, VerifyOptions{FS: c.fs}, files(t, dir), func(v *Verifier) {
				there = v.Room(Options{Path: path, Namespace: "n", Room: "gone"})
			})
			if there != c.want {
				t.Errorf("the room is there: %v, want %v", there, c.want)
			}
		})
	}
}
