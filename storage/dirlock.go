package storage

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// lockName is the file in a data directory that its process holds a lock on.
const lockName = "den.lock"

// LockDir takes a data directory for this process, making it where it is
// missing, until unlock is called or the process ends. Where another process has
// it the error is ErrInUse, with the path and what to do.
func LockDir(dir string) (unlock func() error, err error) {
	if err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("storage: data directory: %w", diagnose(dir, err))
	}
	path := filepath.Join(dir, lockName)
	l := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR)) // to write, so that a read-only disk is found out now
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("storage: data directory: lock %s: %w", path, diagnose(path, err))
	}
	if !ok {
		return nil, fmt.Errorf("storage: data directory %s: %w: another Den holds %s; stop it, or choose another directory for this one",
			dir, ErrInUse, path)
	}
	return l.Close, nil
}
