// Package syncproto implements Den's wire protocol. It reads the frames that
// clients send, writes the frames that a server sends, and defines the codes of
// both. PROTOCOL.md beside this file is the normative description. The files in
// testdata/vectors have an example of every message, including refused ones, for
// authors of other clients and servers.
//
// The base is the protocol of partysync's published client, which Den serves
// unchanged. Den adds fields that this client ignores ("code", "value", "more",
// "cursor", "reset", "next"), accepts some that it does not send ("cursor",
// "client", "mutation"), and has presence messages, which only clients that ask
// for them get. The idea of two families of codes, one for a refused request and
// one for a lost connection, with ranges that say whether to come back, is
// Centrifugo's.
//
// Guarantees:
//   - [Decode] accepts exactly the JSON grammar (RFC 8259) in valid UTF-8, never
//     panics, reads each byte once, and never retains or modifies its input.
//   - An [Error] says what is wrong and at which byte. It contains nothing of the
//     frame except the id and the channel, if these could be read, and at most one
//     byte of it in the message.
//   - The Append functions write one valid JSON text without a line break,
//     whatever their string arguments contain. Arguments that are already encoded
//     JSON are copied as they are.
//
// Limits, with their defaults: a frame [DefaultMaxBytes], nesting
// [DefaultMaxDepth], an id, a channel, an action's type and a textual "from"
// [MaxNameBytes] each, a presence [MaxPresenceBytes]. PROTOCOL.md lists the limits
// that other packages enforce (messages in work, send queues, page sizes).
//
// All functions depend only on their arguments and are safe for concurrent use.
// The Append functions append to dst and return the extended slice, as those of
// strconv do.
package syncproto
