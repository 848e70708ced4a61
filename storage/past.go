package storage

// The files that Compact has replaced. The room's history leads back through them: what its older
// transactions did is known as differences of pages of these files. They are in Options.Past, which is
// flat and holds nothing else, so that somebody who looks for old ones need not go through all rooms:
//
//	<32 hex>-<number>-<layout>-<time>
//
//	32 hex   of the SHA-256 of the room's namespace, name and epoch, a NUL between two of them
//	number   of the newest transaction that the file has: the layout of the file that came in its place
//	layout   its own
//	time     when it was replaced, Unix milliseconds
//
// The last three are in base 36. Such a file is a second name of the room's own, made before that one is
// replaced. If it is not replaced, because the disk failed or the power went, no file has the layout that
// the name tells of, and nobody asks for it.

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/denrooms/den/storage/vfs"
)

// A past is what the name of such a file says.
type past struct {
	of             string // which room's, in which epoch
	number, layout uint64
	at             int64
}

func (p past) name() string {
	return fmt.Sprintf("%s-%s-%s-%s", p.of, strconv.FormatUint(p.number, 36), strconv.FormatUint(p.layout, 36), strconv.FormatInt(p.at, 36))
}

// parsePast is the way back from name.
func parsePast(name string) (p past, is bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 4 || len(parts[0]) != 32 {
		return p, false
	}
	var errs [3]error
	p.of = parts[0]
	p.number, errs[0] = strconv.ParseUint(parts[1], 36, 64)
	p.layout, errs[1] = strconv.ParseUint(parts[2], 36, 64)
	p.at, errs[2] = strconv.ParseInt(parts[3], 36, 64)
	return p, errors.Join(errs[:]...) == nil && p.name() == name
}

// pastOwner is what the names of a room's files begin with in one of its epochs.
func pastOwner(o Options, epoch string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", o.Namespace, o.Room, epoch))
	return hex.EncodeToString(sum[:16])
}

// keepPast keeps the file that is about to be replaced, if the room's history leads back from it; "": it
// does not.
func (j *compaction) keepPast() (path string, err error) {
	o := j.o
	if o.Past == "" || !j.walked {
		return "", nil
	}
	if _, err := o.FS.MakeDirs(o.Past); err != nil {
		return "", err
	}
	p := past{of: pastOwner(o, j.epoch), number: j.number, layout: j.layout, at: o.Now().UnixMilli()}
	path = filepath.Join(o.Past, p.name())
	if err := keepFile(o.FS, o.Path, path); err != nil && !errors.Is(err, fs.ErrExist) { // one of the same name is the same file
		return "", err
	}
	return path, o.FS.SyncDir(o.Past)
}

// dropPast removes a file that was not replaced after all.
func (o Options) dropPast(path string) error {
	if path == "" {
		return nil
	}
	return removeIfThere(o.FS, path)
}

// pastWith finds the file that had a transaction for its newest when it was replaced; "": there is none.
func (o Options) pastWith(epoch string, number uint64) (path string, p past, err error) {
	if o.Past == "" {
		return "", p, nil
	}
	names, err := o.FS.Names(o.Past)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	of := pastOwner(o, epoch)
	for _, name := range names {
		if p, is := parsePast(name); is && p.of == of && p.number == number {
			return filepath.Join(o.Past, name), p, err
		}
	}
	return "", past{}, err
}

// copyOver writes a file's content over an open one.
func copyOver(f FS, from string, to vfs.File) error {
	size, err := f.Size(from)
	if err != nil {
		return err
	}
	source, err := f.Open(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := to.Truncate(0); err != nil {
		return err
	}
	_, err = io.Copy(&sequential{file: to}, io.NewSectionReader(source, 0, size))
	return err
}

// SweepPast removes the files from a directory of Options.Past that were replaced before a time, and what is
// no such file. One of the future, because the clock was set back, is taken for one of now. It returns how many
// are left. Nobody has to have called it; the files stay until then.
func SweepPast(f FS, dir string, before, now time.Time) (left int, err error) {
	names, err := f.Names(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		switch p, is := parsePast(name); {
		case !is || p.at < before.UnixMilli():
			err = errors.Join(err, removeIfThere(f, path))
		case p.at > now.UnixMilli():
			p.at = now.UnixMilli()
			err = errors.Join(err, f.Rename(path, filepath.Join(dir, p.name())))
			left++
		default:
			left++
		}
	}
	return left, err
}
