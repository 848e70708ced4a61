package storage

// The files that restores have replaced. An operator may want to go back to one; but nobody would remove them,
// so they are bounded in number and in age. The name tells when it was:
//
//	NAME.before-restore-20261121T105002.308Z        the file; -2, -3 … behind it if the name was taken
//	NAME.before-restore-20261121T105002.308Z-wal    and what belongs to it: -wal, .entries

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

const (
	replacedInfix = ".before-restore-"
	// keptReplaced is how many of them a room has.
	keptReplaced = 10
)

// replacedAt tells whether a name is of such a file, or of what belongs to one, and when it was replaced.
func replacedAt(name string) (file string, at time.Time, is bool) {
	_, rest, is := strings.Cut(name, ".db"+replacedInfix)
	if !is || len(rest) < len(keptForm) {
		return "", at, false
	}
	at, err := time.Parse(keptForm, rest[:len(keptForm)])
	for _, suffix := range []string{"-wal", asideSuffix} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name, at, err == nil
}

// dropReplaced removes those of a room that are more than it keeps, the oldest first.
func dropReplaced(o Options) error {
	dir, prefix := filepath.Dir(o.Path), filepath.Base(o.Path)+replacedInfix
	names, err := o.FS.Names(dir) // sorted, and with it by time
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
			err = errors.Join(err, removeIfThere(o.FS, filepath.Join(dir, names[i])))
		}
	}
	return err
}

// SweepReplaced removes the files of a namespace's rooms that restores have replaced before a time. It goes through all names
// of the namespace's directories.
func SweepReplaced(f FS, dir, namespace string, before time.Time) (removed int, err error) {
	for i := range 256 {
		at, err := namespaceDir(dir, namespace, byte(i))
		if err != nil {
			return removed, err
		}
		names, err := f.Names(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, diagnose(at, err)
		}
		for _, name := range names {
			if _, then, is := replacedAt(name); !is || !then.Before(before) {
				continue
			}
			if err := removeIfThere(f, filepath.Join(at, name)); err != nil {
				return removed, diagnose(at, err)
			}
			removed++
		}
	}
	return removed, nil
}
