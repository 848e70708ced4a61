// Package transport connects clients to rooms. It serves HTTP requests and
// WebSockets and passes their contents on without interpreting them.
//
//	http.Handler ─ host ─ route (prefix, namespace, room) ─ origin ─ identity ─┬ upgrade ─ socket ⇄ room.Session
//	                                                                           └ plain HTTP ─ the room's OnRequest
//
// [Handler] is mounted on any http.ServeMux and serves /{prefix}/{namespace}/{room}[/path].
// The package hides github.com/coder/websocket, which does the handshake.
//
// # Guarantees
//
//   - No room wakes for a request whose host, namespace, origin, identity or size is refused.
//   - A socket's frames are sent whole and in order, because one goroutine at a time writes
//     to it. Pings, pongs and automatic answers are sent between two frames, before all that waits.
//   - A slow client is not taken for a dead one. While frames wait for a client, bytes that it
//     takes count as a sign of life. A dead client is noticed within 45 seconds.
//   - Nobody waits for a client. [hibernate.Link.Send] queues and returns. A client that does
//     not keep up is closed with 4000, and the others are not affected.
//   - While a connection has too many messages in work, or its share of what waits for the room,
//     its socket is not read, so TCP slows the client down.
//   - Frames that wait for sockets count towards the node's memory (room.Options.Memory). A frame
//     counts once, in however many queues it waits. The less memory is left, the sooner a
//     client that does not keep up is closed.
//   - Messages and bodies count too, beyond 4 KiB each, until the room has taken them. Together they may use
//     half of the memory. If they need more, the connection with the largest is ended first.
//   - Parking a socket loses, splits and reorders nothing, whenever it happens.
//   - A socket that ends gives back its goroutines, its descriptor and its place among the
//     connections, whatever the reason.
//   - A panic in a request or a socket ends only that one.
//
// # Limits
//
// Each limit is a field of [Options] with its default. A message larger than ReadLimit is skipped
// and not stored. It is answered with frame_too_large, under its id if its first 4 KiB show one. A
// socket is closed with 1009 as soon as a frame header announces a message of more than twice
// ReadLimit. A message must be complete within ReadTimeout. A close must be answered within
// five seconds.
//
// # Concurrency
//
// An active socket has one goroutine, which waits in a read. A second goroutine, the flusher, runs only
// while something is queued. The room's actor never runs on either: it passes frames to the link and
// continues. One timer checks all sockets.
//
// # Parked sockets
//
// A socket that has been quiet for Options.ParkAfter is parked. A parked socket has no goroutine, no buffer
// and no net.Conn, only a record of 80 bytes and a descriptor in an epoll set. The next byte from the
// client makes it active again. Pings, pongs and the message that room.AutoAnswer configures
// are answered while it stays parked. Frames that a room sends are written while it stays parked, as long
// as the kernel accepts them whole. A socket is only parked between two messages, so one
// goroutine at a time has a frame.
//
// Only plain TCP sockets on Linux are parked. The kernel does not know whether a TLS connection has
// something to read, so such a socket stays active. To park sockets of TLS clients, let a proxy in front of Den end TLS.
//
// # Closing
//
// The codes are syncproto's, and PROTOCOL.md has the table. If the server closes, it sends the close frame
// after all that was queued and waits for the client's answer. If the client closes, the server echoes
// its code. The server closes the TCP connection first (RFC 6455, section 7.1.1). Before that it reads what
// the client still sends, because a TCP reset would destroy the close frame on its way.
//
// # Origins of ideas
//
// Centrifuge: one pre-encoded frame for all sockets of a room, and a bounded queue per connection whose slow
// clients are closed with a code. Coder/websocket: origin patterns. Partyserver: an accepted socket that says
// why it is closed at once, because a browser does not show a page why an upgrade was refused. Durable Objects'
// hibernatable WebSockets: sockets that outlive their room's memory, and automatic answers. Gobwas/ws:
// descriptors in an epoll set without goroutines.
package transport
