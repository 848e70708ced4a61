package dbfile

// The locks of a database's file: sqlite.org/lockingv3.html, and src/os.h for the bytes that are locked.

import (
	"errors"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/vfs"
)

// ErrBusy: another one has a lock that is in the way.
var ErrBusy = errors.New("locked")

// A Level is how much a lock forbids to others.
type Level int32

// SQLite's levels. Pending is on the way to Exclusive: there are readers, and no new ones.
const (
	None      Level = sqlite3.SQLITE_LOCK_NONE
	Shared    Level = sqlite3.SQLITE_LOCK_SHARED
	Reserved  Level = sqlite3.SQLITE_LOCK_RESERVED
	Pending   Level = sqlite3.SQLITE_LOCK_PENDING
	Exclusive Level = sqlite3.SQLITE_LOCK_EXCLUSIVE
)

// A Locker is a file with locks. Closing it gives them back.
type Locker interface {
	// Lock takes a level, but Pending, if the file does not have it yet. It does not wait: ErrBusy.
	Lock(level Level) error
	// Unlock goes down to Shared or None.
	Unlock(level Level) error
	// Reserved reports whether anybody has Reserved or more.
	Reserved() (bool, error)
	// Level is the level that the file has.
	Level() Level
}

// lockerOf gives the locks of a file: its own, or the system's. nil: it has none.
func lockerOf(f vfs.File) Locker {
	switch f := f.(type) {
	case Locker:
		return f
	case syscall.Conn:
		return &osLock{file: f}
	}
	return nil
}

// release tells a file's locks that it is about to be closed.
func release(l Locker) {
	if l, is := l.(*osLock); is {
		l.release()
	}
}

// The bytes that SQLite locks.
const (
	pendingByte  = 0x40000000
	reservedByte = pendingByte + 1
	sharedFirst  = pendingByte + 2
	sharedSize   = 510
	allSize      = sharedFirst + sharedSize - pendingByte
)

// kind is how some bytes are locked.
type kind int

const (
	unlocked kind = iota
	forReading
	forWriting
)

// osLock are the locks of a file that the operating system keeps.
type osLock struct {
	file  syscall.Conn
	level Level
	whole bool // all bytes were locked in one piece

	sharing  kind // of the bytes from sharedFirst on
	pending  bool
	reserved bool

	state lockState
}

// Level is the level that the file has.
func (l *osLock) Level() Level { return l.level }

// Lock takes a higher level.
func (l *osLock) Lock(level Level) error {
	if l.level >= level {
		return nil
	}
	var err error
	switch {
	case level == Exclusive && l.level == None:
		if err = l.set(forWriting, pendingByte, allSize); err == nil {
			l.whole = true
		}
	case level == Shared:
		err = l.share()
	case level == Reserved:
		if err = l.set(forWriting, reservedByte, 1); err == nil {
			l.reserved = true
		}
	default:
		err = l.exclude()
	}
	if err == nil {
		l.level = level
	}
	return err
}

// share takes Shared, unless somebody waits for Exclusive.
func (l *osLock) share() error {
	err := l.set(forReading, pendingByte, 1)
	if err != nil {
		return err
	}
	if err = l.set(forReading, sharedFirst, sharedSize); err == nil {
		l.sharing = forReading
	}
	return errors.Join(err, l.set(unlocked, pendingByte, 1))
}

// exclude takes Exclusive from Shared or more. Pending stays if there are readers.
func (l *osLock) exclude() error {
	if !l.pending {
		if err := l.set(forWriting, pendingByte, 1); err != nil {
			return err
		}
		l.pending, l.level = true, Pending
	}
	return l.resharing(forWriting)
}

// Unlock goes down to Shared or None.
func (l *osLock) Unlock(level Level) error {
	if l.level <= level {
		return nil
	}
	var errs []error
	if l.whole {
		errs = append(errs, l.set(unlocked, pendingByte, allSize))
		l.whole = false
	}
	if l.pending {
		errs = append(errs, l.set(unlocked, pendingByte, 1))
		l.pending = false
	}
	if l.reserved {
		errs = append(errs, l.set(unlocked, reservedByte, 1))
		l.reserved = false
	}
	want := unlocked
	if level == Shared {
		want = forReading
	}
	errs = append(errs, l.resharing(want))
	l.level = level
	return errors.Join(errs...)
}

// Reserved reports whether anybody has Reserved or more.
func (l *osLock) Reserved() (bool, error) {
	if l.level >= Reserved {
		return true, nil
	}
	err := l.set(forReading, reservedByte, 1)
	if errors.Is(err, ErrBusy) {
		return true, nil
	}
	if err == nil {
		err = l.set(unlocked, reservedByte, 1)
	}
	return false, err
}
