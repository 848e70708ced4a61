package storage

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// A lookout is the machine's file system, and notes what is looked for there.
type lookout struct {
	FS
	seen []string
}

func (l *lookout) note(op, path string) { l.seen = append(l.seen, op+" "+filepath.Base(path)) }

func (l *lookout) Open(path string, flags int) (vfs.File, error) {
	l.note("open", path)
	return l.FS.Open(path, flags)
}

func (l *lookout) Size(path string) (int64, error) {
	l.note("size", path)
	return l.FS.Size(path)
}

func (l *lookout) Remove(path string) error {
	l.note("remove", path)
	return l.FS.Remove(path)
}

func (l *lookout) Names(dir string) ([]string, error) {
	l.note("names", dir)
	return l.FS.Names(dir)
}

func (l *lookout) SyncDir(dir string) error {
	l.note("sync", dir)
	return l.FS.SyncDir(dir)
}

// TestNewRoomLooks counts what a new room looks for before its first transaction is durable: its file, and the WAL and the journal
// of one that is gone. The second directory was there before this process.
func TestNewRoomLooks(t *testing.T) {
	for _, made := range []string{"made by this process", "there before"} {
		t.Run(made, func(t *testing.T) {
			l := &lookout{FS: HostFS()}
			n := &nursery{t: t, dir: t.TempDir(), pool: new(Pool), fs: l}
			defer n.pool.Close()
			n.raise()
			defer func() { n.log.Close() }()
			o := n.options("a")
			dir := filepath.Join(n.dir, "n", "one")
			if made == "there before" {
				if err := os.MkdirAll(dir, 0o750); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"a", "b"} {
				o.Room, o.Path = name, filepath.Join(dir, name)
				l.seen = nil
				d, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				mustExec(t, d, `INSERT INTO todos VALUES (1, 'x', 0, 0, NULL)`)
				want := []string{"open " + name, "size " + name + "-wal", "size " + name + "-journal"}
				if name == "b" && !slices.Equal(l.seen, want) {
					t.Errorf("it looks for %q, want %q", l.seen, want)
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestNewRoomOverLeftovers begins a room where an operator has removed the file of one that was being written again: what that left
// does not take the place of the new file.
func TestNewRoomOverLeftovers(t *testing.T) {
	n := newNursery(t)
	o := n.options("first")
	old, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	o = n.options("r")
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o750); err != nil {
		t.Fatal(err)
	}
	for suffix, content := range map[string][]byte{roomfile.SuspectSuffix: nil, roomfile.WholeSuffix: old, roomfile.FreshSuffix: old} {
		if err := os.WriteFile(o.Path+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		d := n.open("r")
		if got := len(query(t, d, `SELECT id FROM todos`)); got != i {
			t.Errorf("life %d finds %d rows", i, got)
		}
		add(t, d, i+1, "x")
		checkConsistent(t, d)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range n.files("r") {
		if strings.HasSuffix(name, roomfile.SuspectSuffix) || strings.HasSuffix(name, roomfile.WholeSuffix) || strings.HasSuffix(name, roomfile.FreshSuffix) {
			t.Errorf("%s is left", name)
		}
	}
}

// TestEntriesOfThisProcess: a process that knows a directory to have no files of entries finds those that it has moved there since.
func TestEntriesOfThisProcess(t *testing.T) {
	n := newNursery(t)
	d := n.logOnly("r")
	add(t, d, 1, "one")
	path := n.options("r").Path
	d.Fence() // as if the process had died
	n.restart()
	o, err := n.options("r").WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.File().MakeNamesDurable(), os.WriteFile(path, []byte(strings.Repeat("?", pageSize)), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(n.options("r")); !errors.Is(err, ErrNotDatabase) || !strings.Contains(err.Error(), roomfile.EntriesSuffix) {
		t.Fatal(err)
	}
	mustRemove(t, path)
	d = n.open("r")
	if got := len(query(t, d, `SELECT id FROM todos`)); got != 1 {
		t.Errorf("%d rows are there, want the one that was acknowledged", got)
	}
}
