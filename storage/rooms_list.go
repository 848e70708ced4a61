package storage

// Which rooms a data directory holds, found from the names of their files: the way back
// from names.go.

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"
)

// A RoomFile is a room's file. Room is empty where the name of the file does not tell it
// (it is too long); then ReadRoomName does.
type RoomFile struct {
	Path string
	Room string
}

// RoomFiles gives the files of a namespace's rooms, in the order of their names within each of
// the 256 directories that they stand in. Files that are no room's are left out. An error is
// the last that it gives.
func RoomFiles(f FS, dir, namespace string) iter.Seq2[RoomFile, error] {
	return func(yield func(RoomFile, error) bool) {
		for i := range 256 {
			at, err := namespaceDir(dir, namespace, byte(i))
			if err != nil {
				yield(RoomFile{}, err)
				return
			}
			names, err := f.Names(at)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(RoomFile{}, fmt.Errorf("storage: %w", diagnose(at, err)))
				return
			}
			for _, name := range names {
				room, ok := roomFile(dir, namespace, filepath.Join(at, name))
				if ok && !yield(room, nil) {
					return
				}
			}
		}
	}
}

// namespaceDir is one of the directories that a namespace's rooms stand in.
func namespaceDir(dir, namespace string, sum byte) (string, error) {
	path, err := Path(dir, namespace, "x") // the namespace's part of it is every room's
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(filepath.Dir(path)), hex.EncodeToString([]byte{sum})), nil
}

// roomFile tells a room's file from others, and of which room it is.
func roomFile(dir, namespace, path string) (RoomFile, bool) {
	escaped, is := strings.CutSuffix(filepath.Base(path), ".db")
	if !is {
		return RoomFile{}, false
	}
	if len(escaped) == keptEscaped+1+64 && escaped[keptEscaped] == '~' {
		return RoomFile{Path: path}, true
	}
	room, ok := unescape(escaped)
	if !ok {
		return RoomFile{}, false
	}
	want, err := Path(dir, namespace, room)
	return RoomFile{path, room}, err == nil && want == path
}

// unescape is the way back from Escape, for names that are not cut.
func unescape(escaped string) (name string, ok bool) {
	b := make([]byte, 0, len(escaped))
	for i := 0; i < len(escaped); i++ {
		switch c := escaped[i]; {
		case c == '+' && i+1 < len(escaped):
			i++
			b = append(b, escaped[i]-'a'+'A')
		case c == '%' && i+2 < len(escaped):
			raw, err := hex.DecodeString(escaped[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b = append(b, raw[0])
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b), len(b) > 0
}

// ReadRoomName reads in a room's file which room it is of. The file must not be open.
func ReadRoomName(f FS, path string) (string, error) {
	name := ""
	err := readMeta(f, path, func(d *DB) error {
		return d.each("SELECT value FROM _den_meta WHERE name = 'room'", func(r *Rows) { name = string(r.Bytes(0)) })
	})
	if err == nil && name == "" {
		err = fmt.Errorf("%w: it does not name its room", ErrCorrupt)
	}
	if err != nil {
		return "", fmt.Errorf("storage: %s: %w", filepath.Base(path), diagnose(path, err))
	}
	return name, nil
}

// readMeta opens a file as it stands, without what the commit log may have for it.
func readMeta(f FS, path string, do func(*DB) error) error {
	o, err := Options{Path: path, FS: f}.withDefaults()
	if err != nil {
		return err
	}
	fresh, err := inspect(f, path)
	if err == nil && fresh {
		err = fs.ErrNotExist
	}
	if err != nil {
		return err
	}
	d, err := connect(o, f.SQLite(), path)
	if err != nil {
		return err
	}
	err = d.configure()
	if err == nil {
		err = do(d)
	}
	return errors.Join(err, d.refuse())
}
