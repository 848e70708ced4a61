package room_test

import (
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/vfs"
)

// mostPathFrames is how many frames of Den's may be on the stack from the room's turn to the sync of the log, when an action
// has the room for itself. Whoever reads the code takes each of these steps, so the number only ever falls.
const mostPathFrames = 16

// TestPathToTheLog: the way of an action to the disk takes no more steps than mostPathFrames.
func TestPathToTheLog(t *testing.T) {
	disk := &stackAtSync{FS: vfs.Host()}
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("party", func() room.Handler { return new(pathRoom) }, room.Action("add", (*pathRoom).add))
	}, func(o *room.Options) { o.FS, o.Dir = disk, t.TempDir() })
	alice := h.Join("party", "r", "alice")
	for _, id := range []string{"first", "second"} { // the first one brings the tables along
		alice.Do("notes", "add", map[string]string{"id": id})
	}
	stack := disk.stack.Load()
	if stack == nil {
		t.Fatal("the log was not synced")
	}
	t.Logf("%d frames:\n%s", len(*stack), strings.Join(*stack, "\n"))
	if len(*stack) == 0 || len(*stack) > mostPathFrames {
		t.Errorf("%d frames from the room's turn to the sync, want 1 to %d", len(*stack), mostPathFrames)
	}
}

type pathNote struct {
	ID string
	room.Stamps
}

type pathRoom struct {
	room.Base
	Notes room.Table[pathNote]
}

func (r *pathRoom) add(c *room.Context, in pathNote) error { return r.Notes.Insert(c, in) }

// stackAtSync is a file system that keeps the stack of the log's last sync.
type stackAtSync struct {
	vfs.FS
	stack atomic.Pointer[[]string] // the innermost function first, from the sync's caller to the actor's
}

func (s *stackAtSync) Open(path string, flag int) (vfs.File, error) {
	f, err := s.FS.Open(path, flag)
	if err == nil && filepath.Base(filepath.Dir(path)) == "_log" {
		f = syncedFile{f, s}
	}
	return f, err
}

type syncedFile struct {
	vfs.File
	fs *stackAtSync
}

func (f syncedFile) Sync() error {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var stack []string
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		name, ours := strings.CutPrefix(frame.Function, "github.com/denrooms/den/")
		if strings.HasPrefix(name, "actor.") {
			break
		}
		if ours {
			stack = append(stack, name)
		}
	}
	f.fs.stack.Store(&stack)
	return f.File.Sync()
}
