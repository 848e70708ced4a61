package dbfile

import (
	"errors"
	"syscall"
	"unsafe"
)

// lockState: the locks are the open file's, and need nothing besides.
type lockState struct{}

func (*osLock) release() {}

var (
	kernel32     = syscall.NewLazyDLL("kernel32.dll")
	lockFileEx   = kernel32.NewProc("LockFileEx")
	unlockFileEx = kernel32.NewProc("UnlockFileEx")
)

const (
	failImmediately = 1 // LOCKFILE_FAIL_IMMEDIATELY
	exclusiveLock   = 2 // LOCKFILE_EXCLUSIVE_LOCK

	lockViolation = syscall.Errno(33)  // ERROR_LOCK_VIOLATION
	notLocked     = syscall.Errno(158) // ERROR_NOT_LOCKED
	ioPending     = syscall.Errno(997) // ERROR_IO_PENDING
)

// resharing changes how the bytes from sharedFirst on are locked. Windows cannot turn a lock into another kind: it is
// given back and the other one taken, and if that fails the first one again, as SQLite does.
func (l *osLock) resharing(want kind) error {
	if l.sharing == want {
		return nil
	}
	was := l.sharing
	if was != unlocked {
		if err := l.set(unlocked, sharedFirst, sharedSize); err != nil {
			return err
		}
		l.sharing = unlocked
	}
	if want == unlocked {
		return nil
	}
	err := l.set(want, sharedFirst, sharedSize)
	if err == nil {
		l.sharing = want
	} else if was != unlocked && l.set(was, sharedFirst, sharedSize) == nil {
		l.sharing = was
	}
	return err
}

// set locks bytes of the file, or unlocks what was locked in one piece.
func (l *osLock) set(how kind, start, size int64) error {
	c, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	failed := c.Control(func(fd uintptr) {
		at := syscall.Overlapped{Offset: uint32(start), OffsetHigh: uint32(start >> 32)}
		var ok uintptr
		if how == unlocked {
			ok, _, err = unlockFileEx.Call(fd, 0, uintptr(size), 0, uintptr(unsafe.Pointer(&at)))
		} else {
			flags := uintptr(failImmediately)
			if how == forWriting {
				flags |= exclusiveLock
			}
			ok, _, err = lockFileEx.Call(fd, flags, 0, uintptr(size), 0, uintptr(unsafe.Pointer(&at)))
		}
		if ok != 0 || how == unlocked && errors.Is(err, notLocked) {
			err = nil
		}
	})
	if errors.Is(err, lockViolation) || errors.Is(err, ioPending) {
		err = ErrBusy
	}
	return errors.Join(failed, err)
}
