package roomfile

// Names that survive a power cut. A file's content is durable when the file was synced, its name when
// its directory was. A name that is found is not always durable: whoever made it may have died, or
// the disk may have failed, between the rename and the sync. If a room were used under such a
// name, a power cut could take the name away, and with it what had been acknowledged. So the
// directory is synced before the first use of a file in it, once for each process.

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/denrooms/den/internal/bug"
)

// Known is what a process knows of the directories of rooms, for all files that share it. One process has a data
// directory, so what it has found out stays true. The zero Known is ready, and a nil one knows nothing. Any goroutine
// may use it.
type Known struct {
	mu       sync.Mutex
	durable  map[string]struct{} // directories whose names are durable, and whose own is
	own      map[string]struct{} // directories whose own name is durable
	failed   int                 // how many syncs of directories have failed
	unmarked map[string]struct{} // suspect files whose mark could not be made, by their paths
	entries  map[string]bool     // directories: whether some room's NAME.entries may be there
}

// MakeNamesDurable makes the room's directory where there is none, and makes the names in it durable.
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
	if made { // no name is in it that a power cut could take away
		f.Known.noteSync(dir, begun, nil)
		f.Known.noteEntries(dir, false)
		return nil
	}
	return f.SyncDir()
}

// makeDir makes a directory whose own name is durable. Where its parent's is, it alone is made and
// its parent alone is synced.
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

// SyncDir makes the names in the room's directory durable. Known remembers whether they are.
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

// MakeAbsenceDurable makes sure that no power cut brings back a file of the room's name, which an attempt to make it
// has left and removed: a room that begins in the log would be taken for that file. A directory that is not
// there has no such names.
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

// isDurable reports whether all names in a directory, and its own, are durable.
func (k *Known) isDurable(dir string) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, is := k.durable[dir]
	return is
}

// hasDurableName reports whether a directory's own name is durable.
func (k *Known) hasDurableName(dir string) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, has := k.own[dir]
	return has
}

// noteName notes that a directory's own name is durable. No later sync that fails changes that.
func (k *Known) noteName(dir string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own == nil {
		k.own = make(map[string]struct{})
	}
	k.own[dir] = struct{}{}
}

// failedSyncs is what noteSync is to be told of the time when a sync began.
func (k *Known) failedSyncs() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// noteSync notes how a sync of a directory went. After one that failed nothing is known of the
// names, until another one succeeds that began later.
func (k *Known) noteSync(dir string, begun int, err error) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.failed++
		delete(k.durable, dir)
		return
	}
	if begun != k.failed {
		return
	}
	if k.durable == nil {
		k.durable = make(map[string]struct{})
	}
	k.durable[dir] = struct{}{}
}

// isUnmarked reports whether a room's file is suspect and could not be marked.
func (k *Known) isUnmarked(path string) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, is := k.unmarked[path]
	return is
}

// noteMark notes how marking a room's file went.
func (k *Known) noteMark(path string, err error) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		delete(k.unmarked, path)
		return
	}
	if k.unmarked == nil {
		k.unmarked = make(map[string]struct{})
	}
	k.unmarked[path] = struct{}{}
}

// mayHaveEntries returns what was noted of a directory.
func (k *Known) mayHaveEntries(dir string) (may, known bool) {
	if k == nil {
		return true, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	may, known = k.entries[dir]
	return may, known
}

// noteEntries notes whether some room's NAME.entries may be in a directory. That there may be some is never taken back.
func (k *Known) noteEntries(dir string, may bool) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entries == nil {
		k.entries = make(map[string]bool)
	}
	k.entries[dir] = may || k.entries[dir]
}
