package room

// Where a caller's own files may not be. In the data directory a copy could take a room's place, or be
// taken for what a crash has left, and be removed.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/denrooms/den/storage"
)

// ErrInDataDir: the file would be in the data directory, whose files are Den's own.
var ErrInDataDir = errors.New("the file would be in the data directory, whose files are Den's own: choose another place")

// Outside returns ErrInDataDir if path is in the data directory dir of a host on this machine, or below
// it. Links are followed. Neither has to exist. The path is meant as filepath.Clean gives it: whoever
// opens another form of it, with ".." after a link, opens another file.
func Outside(dir, path string) error { return outside(storage.HostFS(), dir, path) }

// outside is Outside on any file system. On another one than the machine's there are no links.
func outside(fs storage.FS, dir, path string) error {
	if way, err := filepath.Rel(absolute(dir), absolute(path)); err == nil && filepath.IsLocal(way) {
		return inDataDir(dir, path)
	}
	if fs != storage.HostFS() {
		return nil
	}
	data, err := os.Stat(dir)
	if err != nil {
		return nil // nothing is in a directory that does not exist
	}
	for at := resolved(absolute(path)); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && os.SameFile(info, data) {
			return inDataDir(dir, path)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func inDataDir(dir, path string) error { return fmt.Errorf("%s: %w (%s)", path, ErrInDataDir, dir) }

// absolute is filepath.Abs, or the path as it is where there is no working directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// resolved follows the links in an absolute path, as far as the path exists. A link that leads to nothing yet
// is followed too: who writes through it makes what it leads to.
func resolved(path string) string {
	const mostLinks = 40 // as Linux does; more are a circle
	rest := ""
	for links := 0; ; {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(real, rest)
		}
		if to, err := os.Readlink(path); err == nil && links < mostLinks {
			links++
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(path), to)
			}
			path = to
			continue
		}
		if path == filepath.Dir(path) {
			return filepath.Join(path, rest)
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

// mayWrite returns ErrInDataDir if a copy must not be written to path. Scratch files are the host's own.
func (h *Host) mayWrite(path string) error {
	if filepath.Dir(absolute(path)) == absolute(filepath.Join(h.opts.Dir, scratchDir)) {
		return nil
	}
	return outside(h.opts.FS, h.opts.Dir, path)
}
