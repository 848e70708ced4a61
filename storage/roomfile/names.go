package roomfile

// Names of rooms as names of files. An escaped name has only a-z, 0-9, '-', '_', '+', '%' and '~', because file systems
// differ in their treatment of upper and lower case, Unicode, dots and device names.
//
//	a-z 0-9 - _      as they are
//	A-Z              '+' and the small letter
//	any other byte   '%' and two small hex digits
//	a device name of Windows (con, nul, com1 …): its first letter as '%' and hex
//	over 200 bytes   the first 120 of them, '~', 64 hex digits of the name's SHA-256

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const (
	maxName      = 256 // bytes of a room's name
	maxNamespace = 64
	maxEscaped   = 200 // bytes; file systems allow 255, and a suffix such as "-wal" follows
	keptEscaped  = 120
)

// Escape returns the file name, without ".db", for a room's name, which is 1 to 256 bytes of any UTF-8. Different names have
// different file names.
func Escape(name string) (string, error) {
	switch {
	case name == "":
		return "", fmt.Errorf("storage: %w: a room's name is empty", ErrName)
	case len(name) > maxName:
		return "", fmt.Errorf("storage: %w: a room's name has %d bytes, the most is %d", ErrName, len(name), maxName)
	case !utf8.ValidString(name):
		return "", fmt.Errorf("storage: %w: a room's name is not UTF-8", ErrName)
	}
	const digits = "0123456789abcdef"
	b := make([]byte, 0, len(name)+16)
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			b = append(b, c)
		case 'A' <= c && c <= 'Z':
			b = append(b, '+', c-'A'+'a')
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	if device(string(b)) {
		return fmt.Sprintf("%%%02x%s", b[0], b[1:]), nil
	}
	if len(b) > maxEscaped {
		sum := sha256.Sum256([]byte(name))
		return string(b[:keptEscaped]) + "~" + hex.EncodeToString(sum[:]), nil
	}
	return string(b), nil
}

// device reports whether Windows takes a name, with any extension, for a device.
func device(name string) bool {
	switch name {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(name) == 4 && (strings.HasPrefix(name, "com") || strings.HasPrefix(name, "lpt")) && '0' <= name[3] && name[3] <= '9'
}

// Path returns the path of a room's file: dir/namespace/two hex digits of the name's hash/escaped name.db. A namespace has 1 to
// 64 of a-z, 0-9 and '-'.
func Path(dir, namespace, room string) (string, error) {
	if err := checkNamespace(namespace); err != nil {
		return "", err
	}
	file, err := Escape(room)
	if err != nil {
		return "", err
	}
	if device(namespace) {
		namespace += "_" // no namespace has that
	}
	sum := sha256.Sum256([]byte(room))
	return filepath.Join(dir, namespace, hex.EncodeToString(sum[:1]), file+".db"), nil
}

func checkNamespace(ns string) error {
	if ns == "" || len(ns) > maxNamespace {
		return fmt.Errorf("storage: %w: a namespace has 1 to %d bytes, not %d", ErrName, maxNamespace, len(ns))
	}
	for i := range len(ns) {
		if c := ns[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("storage: %w: namespace %q has other characters than a-z, 0-9 and -", ErrName, ns)
		}
	}
	return nil
}
