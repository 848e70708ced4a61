package room

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/denrooms/den/storage"
)

// A room's file: where it is, who uses it, and how code outside of the room's life gets it.

// fileUses are the short uses of files of sleeping rooms. A life that begins meanwhile waits until the use of its file
// ends. The zero value is ready to use.
type fileUses struct {
	mu    sync.Mutex
	under map[Key]*fileUse
}

// A fileUse is an exclusive use of a room's file.
type fileUse struct {
	done    chan struct{} // closed at the end
	giveWay func()        // asks a long one to end soon; nil: it is short
}

// begin reserves the room's file until end is called. It waits for those that are using the file already.
func (u *fileUses) begin(key Key) (end func()) { return u.beginLong(key, nil) }

// beginLong is begin for what takes long. A goroutine that waits for the file calls giveWay, possibly several times.
func (u *fileUses) beginLong(key Key, giveWay func()) (end func()) {
	for {
		if end, held := u.try(key, giveWay); held {
			return end
		}
		u.wait(key)
	}
}

// try is beginLong, except that held is false if the file is already in use.
func (u *fileUses) try(key Key, giveWay func()) (end func(), held bool) {
	one := &fileUse{done: make(chan struct{}), giveWay: giveWay}
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.under, key)
		close(one.done)
	}, u.take(key, one)
}

func (u *fileUses) take(key Key, one *fileUse) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.under[key] != nil {
		return false
	}
	if u.under == nil {
		u.under = make(map[Key]*fileUse)
	}
	u.under[key] = one
	return true
}

// wait returns when nobody uses the room's file.
func (u *fileUses) wait(key Key) {
	for {
		u.mu.Lock()
		one := u.under[key]
		u.mu.Unlock()
		if one == nil {
			return
		}
		if one.giveWay != nil {
			one.giveWay()
		}
		<-one.done
	}
}

// closeFile closes a room's file. If Close panics, closeFile fences the file, because otherwise it would stay locked and nobody could
// open it again.
func closeFile(db *storage.DB) error {
	err := protect(db.Close)
	if stackOf(err) != nil {
		err = errors.Join(err, fence(db))
	}
	return err
}

// fence closes a file without writing to it.
func fence(db *storage.DB) error {
	return protect(func() error { db.Fence(); return nil })
}

// errOfflineTask ends a life that was begun for an offline task, in a namespace that is not registered.
var errOfflineTask = errors.New("room: the namespace is not registered: the room was started for an offline task only")

// offlineTasks are tasks of operators on rooms' files that nobody has open. A task waits for the room's next life, which runs it
// before it opens the file. So only one at a time uses the file.
type offlineTasks struct {
	replacing sync.Mutex

	mu      sync.Mutex
	waiting map[Key][]*offlineTask // nil: none
	scratch bool                   // this process has tidied the directory for temporary files
}

type offlineTask struct {
	do   func() error // does not panic
	done chan error   // has room for the result, which the life sends
}

func (v *offlineTasks) add(key Key, one *offlineTask) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting == nil {
		v.waiting = make(map[Key][]*offlineTask)
	}
	v.waiting[key] = append(v.waiting[key], one)
}

// withdraw removes a task, and reports whether it was still waiting.
func (v *offlineTasks) withdraw(key Key, one *offlineTask) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, other := range v.waiting[key] {
		if other == one {
			v.waiting[key] = append(v.waiting[key][:i:i], v.waiting[key][i+1:]...)
			if len(v.waiting[key]) == 0 {
				delete(v.waiting, key)
			}
			return true
		}
	}
	return false
}

// receive runs a room's tasks, in a life that has not opened the file yet.
func (v *offlineTasks) receive(key Key) {
	v.mu.Lock()
	waiting := v.waiting[key]
	delete(v.waiting, key)
	v.mu.Unlock()
	for _, one := range waiting {
		one.done <- one.do()
	}
}

// scratchDir is the directory for temporary files, beside those of the namespaces, whose names do not begin with an
// underscore.
const scratchDir = "_tmp"

// Where a caller's own files must not be. In the data directory a copy could take a room's place, or be mistaken for
// something that a crash has left, and be removed.

// ErrInDataDir: the file would be in the data directory, which only Den's own files may be in.
var ErrInDataDir = errors.New("the file would be in the data directory, whose files are Den's own: choose another place")

// Outside returns ErrInDataDir if path is in the data directory dir of a host on this machine, or below it. It
// follows links. Neither path has to exist. path must be in the form that filepath.Clean returns: another form, with
// ".." after a link, may open another file.
func Outside(dir, path string) error { return outside(storage.HostFS(), dir, path) }

// outside is Outside on any file system. Only the machine's has links.
func outside(fs storage.FS, dir, path string) error {
	if way, err := filepath.Rel(absolute(dir), absolute(path)); err == nil && filepath.IsLocal(way) {
		return inDataDir(dir, path)
	}
	if fs != storage.HostFS() {
		return nil
	}
	data, err := os.Stat(dir)
	if err != nil {
		return nil // nothing is in a directory that does not exist
	}
	for at := resolved(absolute(path)); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && os.SameFile(info, data) {
			return inDataDir(dir, path)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func inDataDir(dir, path string) error { return fmt.Errorf("%s: %w (%s)", path, ErrInDataDir, dir) }

// absolute is filepath.Abs. It returns the path as it is if there is no working directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// resolved follows the links in an absolute path, as far as the path exists. It also follows a link to nothing,
// because writing through the link creates its target.
func resolved(path string) string {
	const mostLinks = 40 // as Linux does; more are a cycle
	rest := ""
	for links := 0; ; {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(real, rest)
		}
		if to, err := os.Readlink(path); err == nil && links < mostLinks {
			links++
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(path), to)
			}
			path = to
			continue
		}
		if path == filepath.Dir(path) {
			return filepath.Join(path, rest)
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

// pastDir has the files that were replaced, as long as the rooms' history needs them.
const pastDir = "_past"

// walsDir is where pooled connections keep their WALs.
const walsDir = "_wal"

// logDir is the commit log's directory, beside those of the namespaces, whose names do not begin with an underscore.
const logDir = "_log"

// The index of alarms has the format of a room's file. alarmsDir takes the place of its namespace, as a directory too, which
// no namespace can have because their names do not begin with an underscore; alarmsName takes the place of the room's name.
const (
	alarmsDir  = "_alarms"
	alarmsName = "index"
)
