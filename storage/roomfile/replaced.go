package roomfile

// The files that restores have replaced. An operator may want one of them back. Nobody would remove them,
// so their number and their age are bounded. The name says when the file was replaced:
//
//	NAME.before-restore-20261121T105002.308Z        the file; -2, -3 … follows if the name was taken
//	NAME.before-restore-20261121T105002.308Z-wal    and what belongs to it: -wal, .entries

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/denrooms/den/storage/vfs"
)

const (
	// keptReplaced is how many of them a room has.
	keptReplaced = 10
	// replacedForm is the time in their names, in UTC.
	replacedForm = "20060102T150405.000Z"
)

// replacedAt reports whether a name is that of such a file, or of what belongs to one, and when the file was replaced.
func replacedAt(name string) (file string, at time.Time, is bool) {
	_, rest, is := strings.Cut(name, ".db"+ReplacedInfix)
	if !is || len(rest) < len(replacedForm) {
		return "", at, false
	}
	at, err := time.Parse(replacedForm, rest[:len(replacedForm)])
	for _, suffix := range []string{"-wal", EntriesSuffix} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name, at, err == nil
}

// KeepReplaced gives the file that is about to be replaced a second name, and its WAL if there is one, and returns
// the name. at is the time, in Unix milliseconds. Of a file that is being written again the new content is kept.
func (f File) KeepReplaced(at int64) (kept string, err error) {
	from, err := f.current()
	if err != nil {
		return "", err
	}
	name := f.Path + ReplacedInfix + time.UnixMilli(at).UTC().Format(replacedForm)
	kept = name
	for n := 2; ; n++ {
		if err = Keep(f.FS, from, kept); !errors.Is(err, fs.ErrExist) {
			break
		}
		kept = fmt.Sprintf("%s-%d", name, n)
	}
	if err == nil && from == f.Path {
		err = CopyWAL(f.FS, f.Path, kept, Keep)
	}
	if err != nil {
		return "", err
	}
	return kept, nil
}

// DropReplaced removes the files that are more than the room keeps, the oldest first.
func (f File) DropReplaced() error {
	dir, prefix := filepath.Dir(f.Path), filepath.Base(f.Path)+ReplacedInfix
	names, err := f.FS.Names(dir) // sorted, and with it by time
	if err != nil {
		return err
	}
	newest := make(map[string]bool)
	for i := len(names) - 1; i >= 0; i-- {
		file, _, is := replacedAt(names[i])
		if !is || !strings.HasPrefix(names[i], prefix) {
			continue
		}
		if len(newest) < keptReplaced {
			newest[file] = true
		}
		if !newest[file] {
			err = errors.Join(err, RemoveIfThere(f.FS, filepath.Join(dir, names[i])))
		}
	}
	return err
}

// SweepReplaced removes the files of a namespace's rooms that restores have replaced before a time. It goes through all names
// of the namespace's directories.
func SweepReplaced(f vfs.FS, dir, namespace string, before time.Time) (removed int, err error) {
	for at, err := range Dirs(dir, namespace) {
		if err != nil {
			return removed, err
		}
		names, err := f.Names(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, Diagnose(at, err)
		}
		for _, name := range names {
			if _, then, is := replacedAt(name); !is || !then.Before(before) {
				continue
			}
			if err := RemoveIfThere(f, filepath.Join(at, name)); err != nil {
				return removed, Diagnose(at, err)
			}
			removed++
		}
	}
	return removed, nil
}
