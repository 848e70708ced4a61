// Package hibernate holds what stays awake while a room sleeps: its
// connections, with their identity, tags, attachments and presence, and the encoded
// messages on their way to them.
//
// A room's life begins and ends: it sleeps, fails, is restarted. A client's
// socket should notice none of that, so the connection is not the life's but
// lives here, and each life finds it again. This is the split that Cloudflare's
// Durable Objects make between an object and its hibernatable WebSockets.
//
// A connection is known by its serial number, never by a pointer to a socket,
// and what a room says to it goes through the two methods of [Link]. So a
// socket and its room need not share a process.
//
// What wakes a sleeping room at a time that it has set is in package alarm.
//
// Concurrency: a [Registry] and a [Presence] are safe from any goroutine. The mutable
// part of a [Connection] belongs to the room's actor.
package hibernate
