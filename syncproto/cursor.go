package syncproto

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// MaxCursorBytes is the length of the longest text that ParseCursor accepts. The cursors
// that Den makes have at most 25 bytes.
const MaxCursorBytes = 64

// epochBytes is the length of an epoch's short form: eight bytes in base64url.
const epochBytes = 11

// A Cursor is a place in a room's history: after all commits up to Seq of the history
// that Epoch names. A room that is restored from a backup begins a new history, in which
// the same numbers mean other commits.
//
//	cursor: epoch, 11 characters of base64url · "." · seq in base 36, no leading zero
//
// A client may read only the order of cursors. Of two cursors with the same text before
// the point, the longer one is later. Of two of the same length, the one that is higher
// byte by byte is later.
type Cursor struct {
	Epoch string // as ShortEpoch returns it
	Seq   uint64 // at most 2^63-1
}

// ErrCursor is the error of ParseCursor for a text that is not a cursor.
var ErrCursor = errors.New("syncproto: not a cursor")

// ShortEpoch returns the short form of a history's name: its first eight bytes in
// base64url. A shorter name is padded with zeros.
func ShortEpoch(name []byte) string {
	var first [8]byte
	copy(first[:], name)
	return base64.RawURLEncoding.EncodeToString(first[:])
}

// String returns the cursor as it is sent.
func (c Cursor) String() string {
	return string(strconv.AppendUint(append([]byte(c.Epoch), '.'), c.Seq, 36))
}

// ParseCursor parses a text that String returned. Any other text is ErrCursor.
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

// A Reset says why a room cannot continue from a cursor.
type Reset string

// The reasons of a reset.
const (
	ResetEpoch Reset = "epoch" // the cursor is of another history of the room, or of another room
	ResetAhead Reset = "ahead" // the room does not have that commit
	ResetFloor Reset = "floor" // the room no longer knows what changed since, or the table was redefined
	ResetSize  Reset = "size"  // more changed since than may be sent at once, or every live row is being sent
)
