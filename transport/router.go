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

// What a URL says: the room, and the connection's id.

// maxRoom is the length of the longest room name in bytes, decoded.
const maxRoom = 256

// route returns the room of a path. The bool is false if the path is not a room's: it has another
// prefix, or fewer than two segments after it. If the name cannot be a room's, route returns a
// refusal.
//
// The path is split before it is decoded, so an encoded slash belongs to the name.
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

// sentPath returns the path as the client sent it. u.EscapedPath differs: if the client left
// characters unescaped, it encodes the decoded path again, and an encoded slash is lost.
func sentPath(u *url.URL) string {
	if decoded, err := url.PathUnescape(u.RawPath); err == nil && decoded == u.Path && u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// decode decodes a segment. If it is not properly encoded, decode returns it unchanged.
func decode(segment string) string {
	if decoded, err := url.PathUnescape(segment); err == nil {
		return decoded
	}
	return segment
}

// connectionID returns the id that the client chose for its connection, or "" if it chose none.
// The id is shown in logs and to other clients, so it must be printable.
func connectionID(u *url.URL) (string, *refusal) {
	id := u.Query().Get("_pk")
	bad := len(id) > maxID || !utf8.ValidString(id) ||
		strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) })
	if bad {
		return "", &refusal{
			status:  http.StatusBadRequest,
			code:    syncproto.CodeBadMessage,
			message: "_pk must be at most 128 bytes of printable text.",
		}
	}
	return id, nil
}
