package roomfile

// Which rooms a data directory holds, by the names of their files: the opposite of names.go.

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"

	"github.com/denrooms/den/storage/vfs"
)

// A Found is a room's file that was found by its name. Room is empty if the room's name is too long for a file's name. The
// file itself has it (storage.ReadRoomName).
type Found struct {
	Path string
	Room string
}

// All iterates over the files of a namespace's rooms, in the order of their names within each of the 256 directories. It leaves
// out other files, and ends after an error.
func All(f vfs.FS, dir, namespace string) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		for number := range 256 {
			found, err := In(f, dir, namespace, byte(number))
			if err != nil {
				yield(Found{}, err)
				return
			}
			for _, room := range found {
				if !yield(room, nil) {
					return
				}
			}
		}
	}
}

// In returns what All finds in one of the directories.
func In(f vfs.FS, dir, namespace string, number byte) (found []Found, err error) {
	at, err := dirOf(dir, namespace)
	if err != nil {
		return nil, err
	}
	at = filepath.Join(at, hex.EncodeToString([]byte{number}))
	names, err := f.Names(at)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("storage: %w", Diagnose(at, err))
	}
	for _, name := range names {
		if room, ok := Find(dir, namespace, filepath.Join(at, name)); ok {
			found = append(found, room)
		}
	}
	return found, nil
}

// Dirs iterates over the 256 directories of a namespace's rooms, or returns one error: ErrName.
func Dirs(dir, namespace string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		at, err := dirOf(dir, namespace)
		if err != nil {
			yield("", err)
			return
		}
		for number := range 256 {
			if !yield(filepath.Join(at, hex.EncodeToString([]byte{byte(number)})), nil) {
				return
			}
		}
	}
}

// dirOf returns the directory of a namespace.
func dirOf(dir, namespace string) (string, error) {
	path, err := Path(dir, namespace, "x") // the namespace's part of it is every room's
	return filepath.Dir(filepath.Dir(path)), err
}

// Find returns the room's file that a path is, and false if it is not one.
func Find(dir, namespace, path string) (Found, bool) {
	escaped, is := strings.CutSuffix(filepath.Base(path), ".db")
	if !is {
		return Found{}, false
	}
	if len(escaped) == keptEscaped+1+64 && escaped[keptEscaped] == '~' {
		return Found{Path: path}, true
	}
	room, ok := unescape(escaped)
	if !ok {
		return Found{}, false
	}
	want, err := Path(dir, namespace, room)
	return Found{path, room}, err == nil && want == path
}

// unescape is the opposite of Escape, for names that are not cut.
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
