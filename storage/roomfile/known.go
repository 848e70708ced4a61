package roomfile

// Names that survive a power cut. A file's content is durable after a sync of the file, and its name after a sync of its
// directory. A name that is found is not always durable: the process that made it may have died, or the disk may have failed,
// between the rename and the sync. If a room were used under such a name, a power cut could take the name away, and with it
// what was acknowledged. So each process syncs a directory once before it first uses a file in it.

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/denrooms/den/internal/bug"
)

// Known is what a process knows of the directories of rooms, for all files that share it. It stays true because one process
// has a data directory at a time. The zero Known is ready to use, and a nil one knows nothing. Any goroutine may use it.
type Known struct {
	mu       sync.Mutex
	durable  map[string]bool // directories whose names are durable, and whose own is
	own      map[string]bool // directories whose own name is durable; no later sync that fails changes that
	failed   int             // how many syncs of directories have failed
	unmarked map[string]bool // suspect files that could not be marked, by their paths
	entries  map[string]bool // directories: whether a room's NAME.entries may be there
}

// MakeNamesDurable makes the room's directory if there is none, and makes the names in it durable.
func (f File) MakeNamesDurable() error {
	dir := filepath.Dir(f.Path)
	if f.Known.isDurable(dir) {
		return nil
	}
	begun := f.Known.failedSyncs()
	made, err := f.makeDir(dir)
	if err != nil {
		return err
	}
	if made { // it has no name that a power cut could take away
		f.Known.noteSync(dir, begun, nil)
		f.Known.noteEntries(dir, false)
		return nil
	}
	return f.SyncDir()
}

// makeDir makes a directory whose own name is durable. If the parent's name is known to be durable, only the parent is synced.
func (f File) makeDir(dir string) (made bool, err error) {
	parent := filepath.Dir(dir)
	if f.Known.hasDurableName(parent) {
		err := f.FS.Mkdir(dir)
		if err == nil {
			return true, f.FS.SyncDir(parent)
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	if made, err = f.FS.MakeDirs(dir); err == nil {
		f.Known.noteName(parent)
	}
	return made, err
}

// SyncDir makes the names in the room's directory durable, and notes the result in Known.
func (f File) SyncDir() error {
	dir := filepath.Dir(f.Path)
	if bug.On("dir-sync") {
		return nil
	}
	begun := f.Known.failedSyncs()
	err := f.FS.SyncDir(dir)
	f.Known.noteSync(dir, begun, err)
	return err
}

// MakeAbsenceDurable makes sure that no power cut brings back a file of the room's name that was made and removed again. Such
// a file would be taken for a room that begins in the log. A directory that does not exist has no names.
func (f File) MakeAbsenceDurable() error {
	if f.Known.isDurable(filepath.Dir(f.Path)) {
		return nil
	}
	err := f.FS.SyncDir(filepath.Dir(f.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// locked calls do with k locked, unless k is nil.
func (k *Known) locked(do func()) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.durable == nil {
		k.durable, k.own, k.unmarked, k.entries = make(map[string]bool), make(map[string]bool), make(map[string]bool), make(map[string]bool)
	}
	do()
}

func (k *Known) isDurable(dir string) (is bool) {
	k.locked(func() { is = k.durable[dir] })
	return is
}

func (k *Known) hasDurableName(dir string) (has bool) {
	k.locked(func() { has = k.own[dir] })
	return has
}

func (k *Known) noteName(dir string) {
	k.locked(func() { k.own[dir] = true })
}

// failedSyncs returns what noteSync needs from the moment at which a sync begins.
func (k *Known) failedSyncs() (failed int) {
	k.locked(func() { failed = k.failed })
	return failed
}

// noteSync notes the result of a sync of a directory. After a sync that failed nothing is known of the names, until a sync
// succeeds that began later.
func (k *Known) noteSync(dir string, begun int, err error) {
	k.locked(func() {
		switch {
		case err != nil:
			k.failed++
			delete(k.durable, dir)
		case begun == k.failed:
			k.durable[dir] = true
		}
	})
}

func (k *Known) isUnmarked(path string) (is bool) {
	k.locked(func() { is = k.unmarked[path] })
	return is
}

// noteMark notes whether a room's file could be marked.
func (k *Known) noteMark(path string, err error) {
	k.locked(func() {
		if delete(k.unmarked, path); err != nil {
			k.unmarked[path] = true
		}
	})
}

func (k *Known) mayHaveEntries(dir string) (may, known bool) {
	k.locked(func() { may, known = k.entries[dir] })
	return may, known
}

// noteEntries notes whether a room's NAME.entries may be in a directory. Once one may be there, that stays so.
func (k *Known) noteEntries(dir string, may bool) {
	k.locked(func() { k.entries[dir] = may || k.entries[dir] })
}
