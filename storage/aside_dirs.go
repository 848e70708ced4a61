package storage

// Directories without files of entries (aside.go). A new room has no file, and would have to look for NAME.entries before its first
// reply. One process has a data directory, so it can know that a directory of rooms has no such file: it has made the directory, or has
// read its names when it made a room's file there, and it has made none since. An operator who puts one there stops the process first.

import (
	"path/filepath"
	"strings"
	"sync"
)

// asideDirs are the directories of which it is known whether some room's entries may be there.
type asideDirs struct {
	mu   sync.Mutex
	some map[string]bool // false: there are none
}

// noAside reports whether no room of a directory has entries that were moved there. A nil Kind knows nothing.
func (k *Kind) noAside(dir string) bool {
	if k == nil {
		return false
	}
	some, known := k.aside(dir)
	return known && !some
}

func (k *Kind) aside(dir string) (some, known bool) {
	k.asides.mu.Lock()
	defer k.asides.mu.Unlock()
	some, known = k.asides.some[dir]
	return some, known
}

// noteAside notes what was found of a directory, or that a file of entries is about to be made there. That there may be some is never
// taken back.
func (k *Kind) noteAside(dir string, some bool) {
	if k == nil {
		return
	}
	k.asides.mu.Lock()
	defer k.asides.mu.Unlock()
	if k.asides.some == nil {
		k.asides.some = make(map[string]bool)
	}
	k.asides.some[dir] = some || k.asides.some[dir]
}

// lookForAside reads the names of the room's directory, once for each process, so that the next rooms there need not look. An error
// leaves it unknown.
func (o Options) lookForAside() {
	dir := filepath.Dir(o.Path)
	if o.Kind == nil {
		return
	}
	if _, known := o.Kind.aside(dir); known {
		return
	}
	names, err := o.FS.Names(dir)
	if err != nil {
		return
	}
	some := false
	for _, name := range names {
		some = some || strings.HasSuffix(name, asideSuffix)
	}
	o.Kind.noteAside(dir, some)
}
