package transport

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// What a URL says: which room, under which name the connection comes.

// maxRoom is the longest name of a room in bytes, decoded.
const maxRoom = 256

// route finds the room of a path. It is false where the path is not a room's:
// another prefix, or fewer than two segments behind it. A name that is there but
// cannot be a room's gives a refusal.
//
// The path is cut before it is decoded, so that an encoded slash belongs to the name.
func route(prefix string, u *url.URL) (room.Key, bool, *refusal) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(sentPath(u), "/"), prefix+"/")
	if !ok {
		return room.Key{}, false, nil
	}
	namespace, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return room.Key{}, false, nil
	}
	name, _, _ := strings.Cut(rest, "/")
	key := room.Key{Namespace: decode(namespace), Room: decode(name)}
	if key.Room == "" || len(key.Room) > maxRoom || !utf8.ValidString(key.Room) {
		return key, true, &refusal{
			status:  http.StatusBadRequest,
			code:    syncproto.CodeBadRoomName,
			message: "A room's name has 1 to 256 bytes of UTF-8.",
		}
	}
	return key, true, nil
}

// sentPath is the path as the client sent it. u.EscapedPath is not that: where a
// careless client left characters raw it encodes the decoded path anew, and an
// encoded slash is gone.
func sentPath(u *url.URL) string {
	if decoded, err := url.PathUnescape(u.RawPath); err == nil && decoded == u.Path && u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// decode takes a segment that a careful client has encoded, or a careless one left raw.
func decode(segment string) string {
	if decoded, err := url.PathUnescape(segment); err == nil {
		return decoded
	}
	return segment
}

// connectionID reads the id that the client chose for its connection, "" where it
// chose none. It is a name in logs and other clients' views, so it must be
// something that can be shown.
func connectionID(u *url.URL) (string, *refusal) {
	id := u.Query().Get("_pk")
	bad := len(id) > maxID || !utf8.ValidString(id) ||
		strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) })
	if bad {
		return "", &refusal{
			status:  http.StatusBadRequest,
			code:    syncproto.CodeBadMessage,
			message: "_pk has at most 128 bytes of printable text.",
		}
	}
	return id, nil
}
