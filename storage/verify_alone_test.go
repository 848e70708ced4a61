package storage

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// mustRemove removes a file.
func mustRemove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// A room that has lost its file, and whose beginning the log does not have, is a problem. To open it would make a
// new, empty room without a word.
func TestVerifyRoomWithoutItsFile(t *testing.T) {
	s := newStreet(t)
	mustRemove(t, s.path(clean))
	got := s.verify()
	if got.Problems != 1 || got.of()[0] != clean || got.Rooms != 3 {
		t.Errorf("%+v\n%v", got.Verified, got)
	}
	named := func(room string) (there bool) {
		verify(t, VerifyOptions{LogDir: filepath.Join(s.dir, "_log")}, files(t, s.dir), func(v *Verifier) {
			there = v.Room(Options{Path: s.path(room), Namespace: "n", Room: room})
			got = verified{Verified: v.count}
		})
		return there
	}
	if !named(clean) || got.Problems != 1 {
		t.Errorf("by its name: %+v", got.Verified)
	}
	if named("nobody") || got.Problems != 0 {
		t.Errorf("a room that never was: %+v", got.Verified)
	}
}

// What was moved out of the log for a room that was refused is nobody's if the room's file is gone.
func TestVerifyEntriesWithoutTheirFile(t *testing.T) {
	s := newStreet(t)
	log, err := OpenLog(LogOptions{Dir: filepath.Join(s.dir, "_log")})
	if err != nil {
		t.Fatal(err)
	}
	flip(t, s.path(clean), 0, 1)
	if _, err = Open(Options{Path: s.path(clean), Namespace: "n", Room: clean, Log: log}); !errors.Is(err, ErrNotDatabase) || !strings.Contains(err.Error(), roomfile.EntriesSuffix) {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, s.path(clean), 0, 1)
	if got := s.verify(); got.Problems != 0 || !strings.Contains(got.String(), roomfile.EntriesSuffix) {
		t.Errorf("beside the file: %+v\n%v", got.Verified, got)
	}
	mustRemove(t, s.path(clean))
	if got := s.verify(); got.Problems != 1 || got.of()[0] != clean {
		t.Errorf("without the file: %+v\n%v", got.Verified, got)
	}
}

// Beside reports the files that belong to one room, and no others.
func TestVerifyBeside(t *testing.T) {
	s := newStreet(t)
	for _, name := range []string{s.path(clean) + roomfile.EntriesSuffix, s.path(clean) + roomfile.SuspectSuffix, s.path(inUse) + roomfile.SuspectSuffix} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := verify(t, VerifyOptions{}, files(t, s.dir), func(v *Verifier) { v.Beside(s.path(clean)) })
	if got.Notes != 2 || got.Problems != 0 || strings.Contains(got.String(), filepath.Base(s.path(inUse))+roomfile.SuspectSuffix) {
		t.Errorf("%+v\n%v", got.Verified, got)
	}
}

// unlisted is a file system with a directory that cannot be listed.
type unlisted struct {
	vfs.FS
	dir string
}

func (u unlisted) Names(dir string) ([]string, error) {
	if filepath.Clean(dir) == u.dir {
		return nil, syscall.EIO
	}
	return u.FS.Names(dir)
}

// TestVerifyDirectoryThatCannotBeListed: it is a problem, because nobody knows which rooms it has, and the other rooms are
// looked at.
func TestVerifyDirectoryThatCannotBeListed(t *testing.T) {
	s := newStreet(t)
	dir := filepath.Dir(s.path(clean))
	whole := s.verify()
	got := verify(t, VerifyOptions{LogDir: filepath.Join(s.dir, "_log"), FS: unlisted{HostFS(), dir}}, files(t, s.dir), func(v *Verifier) {
		if err := v.Dir(t.Context(), s.dir, "n"); err != nil {
			t.Error(err)
		}
	})
	listed := slices.ContainsFunc(got.found, func(f Finding) bool {
		return f.Severity == Problem && f.Path == dir && errors.Is(f.Err, syscall.EIO)
	})
	if !listed || got.Problems == 0 || got.Rooms == 0 || got.Rooms > whole.Rooms {
		t.Errorf("%+v, and %+v where it can be listed\n%v", got.Verified, whole.Verified, got)
	}
}
