package syncproto

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// MaxCursorBytes is the longest text that is looked at as a cursor. The cursors that
// Den makes have at most 25 bytes; a client should keep what it is given.
const MaxCursorBytes = 64

// epochBytes is the length of an epoch's short form: eight bytes in base64url.
const epochBytes = 11

// A Cursor is a place in a room's history: all commits up to Seq of the history that
// Epoch names. A room that is restored from a backup begins a new history, where the
// same numbers mean something else.
//
//	cursor: epoch, 11 characters of base64url · "." · seq in base 36, no leading zero
//
// To a client it is opaque but for one thing: of two cursors with the same text before
// the point the longer one is the later, and of two of one length the one that is
// higher byte by byte.
type Cursor struct {
	Epoch string // as ShortEpoch makes it
	Seq   uint64 // at most 2^63-1
}

// ErrCursor is what ParseCursor gives for a text that is no cursor.
var ErrCursor = errors.New("syncproto: not a cursor")

// ShortEpoch makes the short form of a history's name, of its first eight bytes. A
// shorter name is filled up with zeros.
func ShortEpoch(name []byte) string {
	var first [8]byte
	copy(first[:], name)
	return base64.RawURLEncoding.EncodeToString(first[:])
}

// String gives the cursor as it goes over the wire.
func (c Cursor) String() string {
	return string(strconv.AppendUint(append([]byte(c.Epoch), '.'), c.Seq, 36))
}

// ParseCursor reads what String wrote, and nothing else. The error is ErrCursor.
func ParseCursor(text string) (Cursor, error) {
	if len(text) > MaxCursorBytes {
		return Cursor{}, ErrCursor
	}
	epoch, digits, found := strings.Cut(text, ".")
	if !found || len(epoch) != epochBytes || strings.ContainsFunc(epoch, notBase64) {
		return Cursor{}, ErrCursor
	}
	seq, err := strconv.ParseUint(digits, 36, 63)
	if err != nil || strconv.FormatUint(seq, 36) != digits {
		return Cursor{}, ErrCursor
	}
	return Cursor{Epoch: epoch, Seq: seq}, nil
}

func notBase64(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// A Reset says why a cursor cannot be continued from.
type Reset string

// The reasons of a reset.
const (
	ResetEpoch Reset = "epoch" // the cursor is of another history of the room, or of another room
	ResetAhead Reset = "ahead" // the room's history has not got there
	ResetFloor Reset = "floor" // the room has forgotten what it changed since, or its table was redefined
	ResetSize  Reset = "size"  // what has changed since is more than the channel holds, or than may be sent at once
)
