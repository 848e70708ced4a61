// Package syncproto is Den's wire protocol: it reads the frames that clients
// send, writes the frames that a server sends, and holds the codes of both.
// PROTOCOL.md beside this file is the normative description; testdata/vectors
// has an example of every message, refused ones too, for whoever writes
// another client or server.
//
// The base is the protocol of partysync's published client, which is served
// unchanged; Den adds fields that this client ignores ("code", "value",
// "more", "cursor", "reset", "next"), takes some that it does not send
// ("cursor", "client", "mutation"), and has messages of presence, which only clients
// that ask for them get. The idea of two families of codes, one for a refused request and one
// for a lost connection, with ranges that tell whether to come back, is
// Centrifugo's.
//
// What holds:
//   - [Decode] accepts exactly the JSON grammar (RFC 8259) in valid UTF-8, never
//     panics, reads each byte once, and never keeps or writes its input.
//   - An [Error] says what is wrong and at which byte. It holds nothing of the
//     frame but its id and its channel, where these could be read, and in the
//     message at most one byte of it.
//   - What the Append functions write is one valid JSON text without a line
//     break, whatever is in the strings that they are given. The exceptions are
//     arguments of already encoded JSON, which are copied as they are.
//
// Limits, with their defaults: a frame [DefaultMaxBytes], nesting
// [DefaultMaxDepth], an id, a channel, an action's type and a textual "from"
// [MaxNameBytes] each, a presence [MaxPresenceBytes]. Limits that others enforce (messages in work, send
// queues, page sizes) are listed in PROTOCOL.md.
//
// Everything here is a pure function over its arguments, hence safe for
// concurrent use. The Append functions append to dst and return the longer
// slice, as strconv's do.
package syncproto
