package syncproto

import (
	"encoding/json"
	"strconv"
)

// A frame of presence is written like a frame with rows: a …Start, then each peer after an
// AppendSeparator, then AppendPresenceEnd. A peer that was encoded separately can be copied
// between them. A peer's name on the wire is its number in base 36.

// AppendPresenceStart begins a frame with the changes of some peers.
func AppendPresenceStart(dst []byte) []byte { return append(dst, `{"type":"presence","peers":{`...) }

// AppendPresenceFullStart begins a frame that replaces all that the client knows of peers.
// self is the client itself.
func AppendPresenceFullStart(dst []byte, self uint64) []byte {
	dst = append(dst, `{"type":"presence","full":true,"self":`...)
	return append(appendPeerName(dst, self), `,"peers":{`...)
}

// AppendPeer appends a peer that takes part, with the id under which it is shown. data is
// JSON and is copied as it is.
func AppendPeer(dst []byte, peer uint64, id string, data json.RawMessage) []byte {
	dst = append(appendPeerName(dst, peer), `:{"id":`...)
	dst = append(AppendString(dst, id), `,"data":`...)
	return append(append(dst, data...), '}')
}

// AppendPeerGone appends a peer that no longer takes part.
func AppendPeerGone(dst []byte, peer uint64) []byte {
	return append(appendPeerName(dst, peer), `:null`...)
}

// AppendPresenceEnd ends either frame.
func AppendPresenceEnd(dst []byte) []byte { return append(dst, '}', '}') }

func appendPeerName(dst []byte, peer uint64) []byte {
	dst = strconv.AppendUint(append(dst, '"'), peer, 36)
	return append(dst, '"')
}
