// Package transport brings clients to rooms: it takes HTTP requests and
// WebSockets and knows nothing of what is said in them.
//
//	http.Handler ─ host ─ route (prefix, namespace, room) ─ origin ─ identity ─┬ upgrade ─ socket ⇄ room.Session
//	                                                                           └ plain HTTP ─ the room's OnRequest
//
// [Handler] is mounted on any http.ServeMux and serves /{prefix}/{namespace}/{room}[/path].
// It hides github.com/coder/websocket, which does the handshake.
//
// # What must hold
//
//   - No room wakes for a request whose host, namespace, origin, identity or size is refused.
//   - A socket's frames leave whole and in order: one goroutine at a time writes
//     to it. Pings, pongs and automatic answers go before what waits, between two frames.
//   - A slow line is not a dead one: bytes that leave for a client count as its sign of life
//     while others wait behind them. A dead one is noticed within 45 seconds.
//   - Nobody waits for a client: [hibernate.Link.Send] queues and returns. A
//     client that does not keep up is closed with 4000, the others keep going.
//   - A room that is busy is not flooded: while a connection has too many messages
//     in work, or its share of what waits for the room, its socket is not read (TCP tells the client).
//   - What waits for sockets counts for the node's memory (room.Options.Memory): a frame once, in however many
//     queues it is. The less is left, the sooner a client that does not keep up is closed.
//   - What has come of messages and bodies counts for it too, beyond 4 KiB each, until the room has taken them. All of them
//     may have a half of it; then the one with the largest goes first.
//   - Parking loses, splits and reorders nothing, whenever it happens.
//   - A socket that ends, ends for good: its goroutines, its descriptor, its place among
//     the connections are given back, whatever the reason.
//   - A panic below a request or a socket ends that one alone.
//
// # Limits
//
// Each is a field of [Options] with its default. A message larger than ReadLimit
// is never held: it is passed over, and answered with frame_too_large under its id where its first 4 KiB
// show one. As soon as a message is announced with more than twice ReadLimit, the socket is closed with 1009.
// A message must be complete within ReadTimeout; a close must be answered within
// five seconds.
//
// # Concurrency
//
// An active socket has one goroutine, which waits in a read. A
// second goroutine, the flusher, is there only while something is queued. The
// room's actor never runs on either: it hands frames to the link and goes on. One timer
// looks after all sockets.
//
// # Parked sockets
//
// A socket that has been quiet for Options.ParkAfter is parked: no goroutine, no buffer,
// nothing of Go's own for a connection, but a record of 80 bytes and a
// descriptor in an epoll set. Its first byte brings it back. Pings, pongs and the message that
// room.AutoAnswer configures are answered without that; so is what a room sends, as
// long as the kernel takes it whole. A socket is only parked between two messages, so no
// frame is ever in two hands.
//
// That is for plain TCP on Linux. Of a TLS connection the kernel does not know whether there
// is something to be read, so it stays as it is; to have both, let TLS end in front of Den.
//
// # Closing
//
// The codes are syncproto's; PROTOCOL.md has the table. Where the server closes, the
// close frame goes behind all that was queued, and the client's answer is awaited.
// Where the client closes, its code is echoed. The server closes the TCP
// connection first (RFC 6455, section 7.1.1), but not before what the client still
// sends has been taken off the line, for a reset would destroy the close frame on its way.
//
// # Where ideas come from
//
// One pre-encoded frame for all sockets of a room, and a bounded queue per
// connection with the slow ones dropped by a code: centrifuge. Origin
// patterns: coder/websocket. The accepted socket that says why it is closed
// at once: partyserver, because a browser shows nothing of a refused upgrade.
// Sockets that outlive their room's memory, and automatic answers: Durable Objects'
// hibernatable WebSockets. Descriptors in an epoll set and no goroutine: gobwas/ws.
package transport
