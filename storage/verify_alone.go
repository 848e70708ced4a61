package storage

// Rooms that a Verifier finds without a file. What was acknowledged to such a room is in the commit
// log, or in the file to which a refused room's entries were moved. If the room cannot be made of
// that, it has lost something, and nobody who opens it learns of it: Open makes a new, empty room.

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/denrooms/den/storage/roomfile"
)

// owes reports whether the log, or the file of entries beside it, has something of a room that has no file.
func (v *Verifier) owes(o Options) bool {
	if _, owed := v.inLog()[roomKey{o.Namespace, o.Room}]; owed {
		return true
	}
	there, err := roomfile.Exists(v.rooms, o.Path+roomfile.EntriesSuffix)
	return there || err != nil
}

// addEntries adds the room of a file of entries to alone, if there is no file of the room's own.
func (v *Verifier) addEntries(dir, namespace, path string, there map[string]bool, alone map[roomKey]struct{}) {
	own, is := strings.CutSuffix(path, roomfile.EntriesSuffix)
	if !is || there[filepath.Base(own)] {
		return
	}
	room, is := roomfile.Find(dir, namespace, own)
	switch {
	case is && room.Room != "":
		alone[roomKey{namespace, room.Room}] = struct{}{}
	case is: // the name is too long to be read from that of the file
		v.problem(Finding{Path: path, Check: "leftover"}, "%w: there is a %s but not the database that it belongs to", ErrCorrupt, filepath.Base(path))
	}
}

// Beside reports the files that lie beside a room's file and belong to it, as Dir does for all.
func (v *Verifier) Beside(path string) {
	dir, base := filepath.Split(path)
	names, err := v.o.FS.Names(filepath.Clean(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.report(Finding{Severity: Problem, Path: path, Check: "name", Err: diagnose(path, err)})
		return
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	for _, name := range names {
		if name != base && strings.HasPrefix(name, base) {
			v.other(dir+name, name, there)
		}
	}
}
