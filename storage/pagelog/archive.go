package pagelog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/denrooms/den/storage/vfs"
)

// An Archive is a directory with the files that were replaced when databases were compacted. The history of a room leads back
// through them: what its older transactions did is known as differences of the pages of these files. It is one directory
// for all rooms, flat, and holds nothing else, so that somebody who looks for old ones need not go through all rooms:
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
type Archive struct {
	FS    vfs.FS
	Dir   string // "": there is none
	Owner string // whose files are looked for: what ArchiveOwner returns
}

// ArchiveOwner is what the names of a room's files begin with, in one of its epochs.
func ArchiveOwner(namespace, room, epoch string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", namespace, room, epoch))
	return hex.EncodeToString(sum[:16])
}

// Path is where a file belongs whose newest transaction is number, and which is replaced at a time.
func (a Archive) Path(number, layout uint64, at time.Time) string {
	return filepath.Join(a.Dir, replaced{a.Owner, number, layout, at.UnixMilli()}.name())
}

// Find returns the file that had a transaction for its newest when it was replaced, and its layout; path is "" if
// there is none.
func (a Archive) Find(number uint64) (path string, layout uint64, err error) {
	if a.Dir == "" {
		return "", 0, nil
	}
	names, err := a.FS.Names(a.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, name := range names {
		if r, is := parseReplaced(name); is && r.owner == a.Owner && r.number == number {
			return filepath.Join(a.Dir, name), r.layout, err
		}
	}
	return "", 0, err
}

// Sweep removes the files that were replaced before a time, whoever they are of, and what is no such file. One of the
// future, because the clock was set back, is taken for one of now. It returns how many are left.
func (a Archive) Sweep(before, now time.Time) (left int, err error) {
	names, err := a.FS.Names(a.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, name := range names {
		path := filepath.Join(a.Dir, name)
		switch r, is := parseReplaced(name); {
		case !is || r.at < before.UnixMilli():
			if failed := a.FS.Remove(path); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, failed)
			}
		case r.at > now.UnixMilli():
			r.at = now.UnixMilli()
			err = errors.Join(err, a.FS.Rename(path, filepath.Join(a.Dir, r.name())))
			left++
		default:
			left++
		}
	}
	return left, err
}

// replaced is what the name of a file says.
type replaced struct {
	owner          string
	number, layout uint64
	at             int64 // Unix milliseconds
}

func (r replaced) name() string {
	return fmt.Sprintf("%s-%s-%s-%s", r.owner, strconv.FormatUint(r.number, 36), strconv.FormatUint(r.layout, 36), strconv.FormatInt(r.at, 36))
}

// parseReplaced is the way back from name. A name with a part that is no number is not the one that its numbers
// would have.
func parseReplaced(name string) (r replaced, is bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 4 || len(parts[0]) != 32 {
		return r, false
	}
	r.owner = parts[0]
	r.number, _ = strconv.ParseUint(parts[1], 36, 64)
	r.layout, _ = strconv.ParseUint(parts[2], 36, 64)
	r.at, _ = strconv.ParseInt(parts[3], 36, 64)
	return r, r.name() == name
}
