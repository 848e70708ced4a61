package faultdisk

// The disk as a VFS of SQLite's, see package dbfile.

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/vfs"
)

// Epoch is where SQLite's clock stands on a new disk: the beginning of 2026, in Unix milliseconds.
const Epoch = 1_767_225_600_000

// Register makes the disk the SQLite VFS of that name, for the whole process: the name must be free. unregister takes it back, and
// refuses with ErrInUse while SQLite has files of the disk open.
func (d *Disk) Register(name string) (unregister func() error, err error) {
	traits := dbfile.Traits(0)
	if d.traits&PowersafeOverwrite != 0 {
		traits = dbfile.PowersafeOverwrite
	}
	return dbfile.Register(name, dbfile.System{
		FS:        databases{system{d, name}},
		Temporary: func() (vfs.File, error) { return d.openDatabase("", os.O_CREATE) },
		SyncDir:   d.syncNewName, Sleep: d.sleep, Now: d.now,
		SectorSize: SectorSize, Traits: &traits,
	})
}

// databases is the disk's file system with SQLite's locks.
type databases struct{ system }

func (s databases) Open(path string, flag int) (vfs.File, error) { return s.openDatabase(path, flag) }

func (d *Disk) openDatabase(path string, flag int) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.openHandle(path, flag)
	if err != nil {
		return nil, wrap("open", path, err)
	}
	return database{d.file(h, &d.open)}, nil
}

// syncNewName syncs the directory of a new journal. SQLite's own VFS looks over a failure here; a power cut is none.
func (d *Disk) syncNewName(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.syncDir(filepath.Clean(dir)); errors.Is(err, ErrPowerCut) {
		return err
	}
	return nil
}

// sleep moves the clock and takes no time.
func (d *Disk) sleep(t time.Duration) { d.locked(func() { d.slept += t }) }

func (d *Disk) now() (ms int64) {
	d.locked(func() { ms = Epoch + d.slept.Milliseconds() })
	return ms
}

// SeedSQLite sets the generator from which SQLite takes its random numbers, until restore is called. A run repeats byte by byte
// when it begins with the same seed, which must not be 0.
//
// The generator belongs to the process, and SQLite sets it without a lock: no other goroutine may use SQLite while SeedSQLite or
// restore runs, and any that uses it in between takes numbers away.
func SeedSQLite(seed uint32) (restore func()) {
	dbfile.SeedRandomness(seed)
	return func() { dbfile.SeedRandomness(0) }
}
