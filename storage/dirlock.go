package storage

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
	"github.com/gofrs/flock"
)

// lockName is the file in a data directory that its process holds a lock on.
const lockName = "den.lock"

// LockDir locks a data directory for this process until unlock is called or the process ends. It makes the directory if it is
// missing. If another process has the lock, the error is ErrInUse and says what to do. A file system other than the machine's has
// no other processes, and so no lock.
func LockDir(f FS, dir string) (unlock func() error, err error) {
	if _, err := f.MakeDirs(dir); err != nil {
		return nil, fmt.Errorf("storage: data directory: %w", diagnose(dir, err))
	}
	if f != vfs.Host() {
		return func() error { return nil }, nil
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

// FS is a file system: the machine's, or one for tests.
type FS = vfs.FS

// HostFS is the machine's file system.
func HostFS() FS { return vfs.Host() }

// LockDirForReading locks a data directory as LockDir does, and changes nothing in it. If the directory has no lock file, no Den uses
// it; unlock then returns ErrInUse if a Den has begun to use it meanwhile.
func LockDirForReading(f FS, dir string) (unlock func() error, err error) {
	if f != vfs.Host() {
		return func() error { return nil }, nil
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("storage: data directory: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("storage: data directory: %s is a file", dir)
	}
	path := filepath.Join(dir, lockName)
	if there, err := roomfile.Exists(f, path); err != nil || !there {
		return func() error {
			if there, err := roomfile.Exists(f, path); err != nil || there {
				return fmt.Errorf("storage: data directory %s: %w: a Den has begun to use it meanwhile (%v)", dir, ErrInUse, err)
			}
			return nil
		}, err
	}
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
	switch ok, err := l.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("storage: data directory: lock %s: %w", path, diagnose(path, err))
	case !ok:
		return nil, fmt.Errorf("storage: data directory %s: %w: another Den holds %s; stop it first", dir, ErrInUse, path)
	}
	return l.Close, nil
}
