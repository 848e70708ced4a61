package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// twins are a directory, and an overlay over another one of the same content: what is done is done to
// both.
type twins struct {
	t      *testing.T
	real   string
	below  string
	shows  *FS
	before map[string][]byte // what is below
}

func newTwins(t *testing.T, rng *rand.Rand) *twins {
	w := &twins{t: t, real: t.TempDir(), below: t.TempDir(), before: make(map[string][]byte)}
	for i := range 4 {
		name, content := fmt.Sprint("f", i), make([]byte, rng.IntN(3*blockSize))
		for j := range content {
			content[j] = byte(rng.Uint32())
		}
		w.before[name] = content
		for _, dir := range []string{w.real, w.below} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.shows = New(vfs.Host())
	return w
}

// both does something to both, and compares how that went.
func (w *twins) both(what string, do func(f vfs.FS, dir string) (any, error)) {
	w.t.Helper()
	want, wantErr := do(vfs.Host(), w.real)
	got, err := do(w.shows, w.below)
	kind := func(err error) error {
		for _, known := range []error{nil, io.EOF, fs.ErrNotExist, fs.ErrExist} {
			if errors.Is(err, known) {
				return known
			}
		}
		return err
	}
	if kind(err) != kind(wantErr) || err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Fatalf("%s: %.200v, %v; on a disk %.200v, %v", what, got, err, want, wantErr)
	}
}

// An overlay behaves as a disk does, and nothing of it gets through.
func TestAsADisk(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Log("seed", seed)
	w := newTwins(t, rng)
	for range 3000 {
		name, other := fmt.Sprint("f", rng.IntN(6)), fmt.Sprint("f", rng.IntN(6))
		off, size := int64(rng.IntN(4*blockSize)), rng.IntN(2*blockSize)
		fill := byte(rng.Uint32())
		switch op := rng.IntN(8); op {
		case 0:
			w.both("names", func(f vfs.FS, dir string) (any, error) { return f.Names(dir) })
		case 1:
			w.both("size", func(f vfs.FS, dir string) (any, error) { return f.Size(filepath.Join(dir, name)) })
		case 2:
			if rng.IntN(4) == 0 {
				w.both("remove", func(f vfs.FS, dir string) (any, error) { return nil, f.Remove(filepath.Join(dir, name)) })
			}
		case 3:
			if name != other {
				w.both("rename", func(f vfs.FS, dir string) (any, error) {
					return nil, f.Rename(filepath.Join(dir, name), filepath.Join(dir, other))
				})
			}
		case 4:
			w.both("link", func(f vfs.FS, dir string) (any, error) {
				return nil, f.Link(filepath.Join(dir, name), filepath.Join(dir, other))
			})
		default:
			flag := []int{os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_RDWR | os.O_CREATE | os.O_EXCL, os.O_RDWR | os.O_CREATE | os.O_TRUNC}[rng.IntN(4)]
			if flag&os.O_TRUNC != 0 && rng.IntN(4) > 0 {
				continue
			}
			w.both(fmt.Sprintf("operation %d of %s at %d, %d", op, name, off, size), func(f vfs.FS, dir string) (any, error) {
				return use(f, filepath.Join(dir, name), flag, op, off, bytes.Repeat([]byte{fill}, size))
			})
		}
	}
	names, err := vfs.Host().Names(w.below)
	if err != nil || !slices.Equal(names, []string{"f0", "f1", "f2", "f3"}) {
		t.Errorf("below there are %v, %v", names, err)
	}
	for name, content := range w.before {
		if b, err := os.ReadFile(filepath.Join(w.below, name)); err != nil || !bytes.Equal(b, content) {
			t.Errorf("%s below was changed, %v", name, err)
		}
	}
	w.shows.Reset()
	if size, err := w.shows.Size(filepath.Join(w.below, "f0")); err != nil || size != int64(len(w.before["f0"])) {
		t.Errorf("after Reset f0 has %d bytes, %v", size, err)
	}
}

// use opens a file and reads, writes or cuts it.
func use(f vfs.FS, path string, flag, op int, off int64, p []byte) (any, error) {
	file, err := f.Open(path, flag)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	switch op {
	case 5:
		_, err = file.WriteAt(p, off)
	case 6:
		err = file.Truncate(off)
	}
	if err != nil {
		return nil, err
	}
	n, err := file.ReadAt(p, off/2)
	if err == io.EOF {
		err = nil
	}
	return append([]any{n}, string(p[:n])), err
}

// A file that SQLite has open keeps the VFS; a file beneath that is shorter than it was is an error.
func TestRegister(t *testing.T) {
	f := New(vfs.Host())
	unregister, err := f.Register()
	if err != nil || f.SQLite() == "" {
		t.Fatalf("%q, %v", f.SQLite(), err)
	}
	path := filepath.Join(t.TempDir(), "f")
	c, err := sqlite.OpenConn(f.SQLite(), path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	if err := unregister(); !errors.Is(err, dbfile.ErrInUse) {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := unregister(); err != nil {
		t.Error(err)
	}
	f.Reset()
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := f.Open(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.Truncate(path, 50); err != nil {
		t.Fatal(err)
	}
	if _, err := file.ReadAt(make([]byte, 100), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that was cut beneath: %v", err)
	}
}
