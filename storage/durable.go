package storage

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

// makeNamesDurable makes a room's directory where there is none, and makes the names in it durable.
func (o Options) makeNamesDurable() error {
	dir := filepath.Dir(o.Path)
	if o.Kind.knowsDurable(dir) {
		return nil
	}
	begun := o.Kind.failedSyncs()
	made, err := o.makeDir(dir)
	if err != nil {
		return err
	}
	if made { // no name is in it that a power cut could take away
		o.Kind.noteDurable(dir, begun, nil)
		o.Kind.noteAside(dir, false)
		return nil
	}
	return o.syncDir()
}

// makeDir makes a directory whose own name is durable. Where its parent's is, it alone is made and
// its parent alone is synced.
func (o Options) makeDir(dir string) (made bool, err error) {
	parent := filepath.Dir(dir)
	if o.Kind.knowsName(parent) {
		err := o.FS.Mkdir(dir)
		if err == nil {
			return true, o.FS.SyncDir(parent)
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	if made, err = o.FS.MakeDirs(dir); err == nil {
		o.Kind.noteName(parent)
	}
	return made, err
}

// syncDir makes the names in the room's directory durable. Kind remembers whether they are.
func (o Options) syncDir() error {
	dir := filepath.Dir(o.Path)
	if bug.On("dir-sync") {
		return nil
	}
	begun := o.Kind.failedSyncs()
	err := o.FS.SyncDir(dir)
	o.Kind.noteDurable(dir, begun, err)
	return err
}

// makeAbsenceDurable makes sure that no power cut brings back a file of the room's name, which an attempt to make it
// has left and removed: a room that begins in the log would be taken for that file. A directory that is not
// there has no such names.
func (o Options) makeAbsenceDurable() error {
	if o.Kind.knowsDurable(filepath.Dir(o.Path)) {
		return nil
	}
	err := o.FS.SyncDir(filepath.Dir(o.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// durableNames are the directories whose names, and whose own, are known to be durable. A Kind has
// them for the rooms that share it.
type durableNames struct {
	mu     sync.Mutex
	known  map[string]struct{}
	own    map[string]struct{} // directories whose own name is durable
	failed int                 // how many syncs of directories have failed

	unmarked map[string]struct{} // suspect files whose mark could not be made, suspect.go
}

// knowsDurable reports whether all names in a directory, and its own, are durable.
func (k *Kind) knowsDurable(dir string) bool {
	if k == nil {
		return false
	}
	k.names.mu.Lock()
	defer k.names.mu.Unlock()
	_, known := k.names.known[dir]
	return known
}

// knowsName reports whether a directory's own name is durable.
func (k *Kind) knowsName(dir string) bool {
	if k == nil {
		return false
	}
	k.names.mu.Lock()
	defer k.names.mu.Unlock()
	_, known := k.names.own[dir]
	return known
}

// noteName notes that a directory's own name is durable. No later sync that fails changes that.
func (k *Kind) noteName(dir string) {
	if k == nil {
		return
	}
	k.names.mu.Lock()
	defer k.names.mu.Unlock()
	if k.names.own == nil {
		k.names.own = make(map[string]struct{})
	}
	k.names.own[dir] = struct{}{}
}

// failedSyncs is what noteDurable is to be told of the time when a sync began.
func (k *Kind) failedSyncs() int {
	if k == nil {
		return 0
	}
	k.names.mu.Lock()
	defer k.names.mu.Unlock()
	return k.names.failed
}

// noteDurable notes how a sync of a directory went. After one that failed nothing is known of the
// names, until another one succeeds that began later.
func (k *Kind) noteDurable(dir string, begun int, err error) {
	if k == nil {
		return
	}
	k.names.mu.Lock()
	defer k.names.mu.Unlock()
	if err != nil {
		k.names.failed++
		delete(k.names.known, dir)
		return
	}
	if begun != k.names.failed {
		return
	}
	if k.names.known == nil {
		k.names.known = make(map[string]struct{})
	}
	k.names.known[dir] = struct{}{}
}

// publish gives a file that is whole and synced the room's name. After an error it may have it, or
// not: the next Open makes what is there durable before it uses it.
func (o Options) publish(temp string) error {
	if err := o.FS.Rename(temp, o.Path); err != nil {
		return err
	}
	return o.syncDir()
}

// publishNew is publish where the room has no file, unless writing the new one has failed. After an
// error there is none, but a power cut may bring one back: see makeAbsenceDurable.
func (o Options) publishNew(temp string, failed error) error {
	err := failed
	if err == nil {
		if err = o.publish(temp); err != nil {
			o.FS.Remove(o.Path)
		}
	}
	if err != nil {
		o.FS.Remove(temp)
	}
	return err
}
