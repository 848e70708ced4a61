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

// An Archive is a directory with the files that were replaced when databases were compacted. Older transactions of a room
// can only be taken back in these files, because they are differences of their pages. All rooms share one flat directory that
// holds nothing else, so that expired files are found without looking at every room. A name is
//
//	<32 hex>-<number>-<layout>-<time>
//
//	32 hex   the first 32 hex digits of the SHA-256 of the room's namespace, name and epoch, separated by NUL
//	number   the newest transaction in the file, which is also the layout of the file that replaced it
//	layout   the file's own layout
//	time     when the file was replaced, in Unix milliseconds
//
// The last three are in base 36. The archived file begins as a second link to the room's file, made before the room's file
// is replaced. If the replacement fails, or the power fails before it, no file has the layout that the name refers to, and
// the archived file is never used.
type Archive struct {
	FS    vfs.FS
	Dir   string // "": there is no archive
	Owner string // whose files Find looks for, as ArchiveOwner returns it
}

// ArchiveOwner returns the prefix of the names of a room's archived files, in one of its epochs.
func ArchiveOwner(namespace, room, epoch string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", namespace, room, epoch))
	return hex.EncodeToString(sum[:16])
}

// Path returns the path for a file whose newest transaction is number, and which is replaced at the given time.
func (a Archive) Path(number, layout uint64, at time.Time) string {
	return filepath.Join(a.Dir, replaced{a.Owner, number, layout, at.UnixMilli()}.name())
}

// Find returns the archived file whose newest transaction is number, and its layout. path is "" if there is no such file.
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

// Sweep removes the files of all rooms that were replaced before a time, and files that do not belong into an archive. A file
// from the future, which happens when the clock is set back, is renamed as if it were replaced now. Sweep returns how many files
// are left.
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

// replaced is the name of an archived file, parsed.
type replaced struct {
	owner          string
	number, layout uint64
	at             int64 // Unix milliseconds
}

func (r replaced) name() string {
	return fmt.Sprintf("%s-%s-%s-%s", r.owner, strconv.FormatUint(r.number, 36), strconv.FormatUint(r.layout, 36), strconv.FormatInt(r.at, 36))
}

// parseReplaced parses the name of an archived file. A part that is not a number becomes 0, and then the name differs from
// what is parsed.
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
