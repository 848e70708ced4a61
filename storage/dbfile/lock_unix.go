//go:build unix

package dbfile

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

// lockState is what the locks of a process need besides.
type lockState struct {
	ofProcess bool   // the file gets those: there are no others
	claimed   fileID // if it has had some
}

// resharing changes how the bytes from sharedFirst on are locked, in one step.
func (l *osLock) resharing(want kind) error {
	if l.sharing == want {
		return nil
	}
	err := l.set(want, sharedFirst, sharedSize)
	if err == nil {
		l.sharing = want
	}
	return err
}

// set locks or unlocks bytes of the file, by a lock of the open file (man 2 fcntl, "Open file description locks")
// where there is one, else by one of the process.
func (l *osLock) set(how kind, start, size int64) error {
	lock := syscall.Flock_t{
		Type:   [...]int16{unlocked: syscall.F_UNLCK, forReading: syscall.F_RDLCK, forWriting: syscall.F_WRLCK}[how],
		Whence: io.SeekStart, Start: start, Len: size,
	}
	c, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	failed := c.Control(func(fd uintptr) {
		if !l.state.ofProcess && setDescriptionLock != 0 {
			err = syscall.FcntlFlock(fd, setDescriptionLock, &lock)
			if err == nil || isBusy(err) {
				return
			}
		}
		l.state.ofProcess = true
		if err = l.claim(fd, how); err == nil {
			err = syscall.FcntlFlock(fd, syscall.F_SETLK, &lock)
		}
	})
	if isBusy(err) {
		err = ErrBusy
	}
	return errors.Join(failed, err)
}

func isBusy(err error) bool { return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) }

// claims are the files with locks of the process. Such locks do not exclude each other inside of it, so a file is one
// osLock's until that is closed. It is package state as the locks are.
var claims sync.Map // of fileID → *osLock

// fileID tells files apart.
type fileID struct{ device, inode uint64 }

// claim makes the file this one's, before the first lock of the process is taken.
func (l *osLock) claim(fd uintptr, how kind) error {
	if how == unlocked || l.state.claimed != (fileID{}) {
		return nil
	}
	var info syscall.Stat_t
	if err := syscall.Fstat(int(fd), &info); err != nil {
		return err
	}
	id := fileID{uint64(info.Dev), info.Ino}
	if _, taken := claims.LoadOrStore(id, l); taken {
		return ErrBusy
	}
	l.state.claimed = id
	return nil
}

// release gives the file back, before it is closed.
func (l *osLock) release() {
	if l.state.claimed != (fileID{}) {
		claims.CompareAndDelete(l.state.claimed, l)
	}
}
