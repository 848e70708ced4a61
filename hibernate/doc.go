// Package hibernate keeps what stays in memory while a room sleeps: its
// connections, with their identity, tags, attachments and presence, and the
// encoded messages that wait to be sent to them.
//
// A room's life ends when the room sleeps, fails or is restarted. The sockets
// of its clients stay open. So a connection belongs to this package and not to
// a life, and each life finds it again. Cloudflare's Durable Objects make the
// same split between an object and its hibernatable WebSockets.
//
// A connection is known by its serial number, never by a pointer to a socket.
// What a room sends to it goes through the methods of [Link]. So a socket and
// its room need not be in the same process.
//
// Package alarm, beneath this one, wakes sleeping rooms at times that they have
// set.
//
// A [Memory] bounds what waits for clients, and [Shares] divides a node that has too
// much to do among them.
//
// A [Registry] and a [Presence] are safe for use by several goroutines at once.
// The mutable part of a [Connection] belongs to the room's actor.
package hibernate
