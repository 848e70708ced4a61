package roomfile

// The files that restores have replaced. An operator may want one of them back. Their number and their age are bounded,
// because nobody would remove them. The name says when the file was replaced:
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
	// keptReplaced is how many of them a room keeps.
	keptReplaced = 10
	// replacedForm is the time in their names, in UTC.
	replacedForm = "20060102T150405.000Z"
)

// replacedAt reports whether a name is that of such a file or of one that belongs to it. file is the name of the former, and
// at is when it was replaced.
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

// KeepReplaced gives the file that is about to be replaced, and its WAL if there is one, a second name, and returns it. at is
// the time in Unix milliseconds. If the file is being written again, KeepReplaced keeps the new content.
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

// DropReplaced removes all of the files that restores have replaced but the newest.
func (f File) DropReplaced() error {
	dir, prefix := filepath.Dir(f.Path), filepath.Base(f.Path)+ReplacedInfix
	names, err := f.FS.Names(dir) // sorted, and so by time
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

// SweepReplaced removes the files of a namespace's rooms that restores replaced before a time. It reads all names in the
// namespace's directories.
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
