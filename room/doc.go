// Package room is Den's API for those who write rooms, and the life of a room.
//
// A room is one actor that alone owns one SQLite database. Clients send it actions, which it applies one after
// another. The rows of its synced tables that an action changed, by whatever SQL, go to everybody in the room. A
// handler returns no rows by hand.
//
//	type Todo struct {
//		ID   string
//		Text string
//		room.Stamps
//	}
//
//	type Todos struct {
//		room.Base
//		Todos room.Table[Todo]
//	}
//
//	func (r *Todos) Create(c *room.Context, in Todo) error {
//		return r.Todos.Insert(c, in)
//	}
//
//	host, err := room.Open(room.Options{Dir: "data"})
//	err = host.Register("todos", func() room.Handler { return new(Todos) },
//		room.Action("create", (*Todos).Create))
//
// # Two levels
//
// Typed: a [Table] field is a channel, and its SQL table is made from the struct and its tags. [Action] binds a
// method to an action's name; the payload is decoded and checked. [Query] reads the result of any SQL into structs.
// Plain: make tables with SQL in OnStart, name them with [Synced], and answer actions in OnAction. Both can be mixed
// in one room.
//
// # Changing tables
//
// A room's tables follow the program when the room wakes. First the room runs the [Migrations] that it lacks, each in
// a transaction. Then each Table is compared with its struct, and new fields get their columns. If something fails,
// the file stays unchanged and the room asleep, and [Host.Failures] has the reason.
//
// # What holds
//
//   - Nobody creates a room: one calls it, and it is there. There is never more than one life of a room at a time.
//   - A handler's hooks run one at a time. Each runs in a savepoint: an error, a panic or a timeout undoes all of its
//     writes, and the messages that it sent.
//   - The gate: no reply, broadcast or message leaves before the commit that it depends on is durable, as [Durability]
//     defines it. What queues up while one batch commits is the next batch, so many actions share a commit without
//     waiting for a timer. All rooms share the syncs of one commit log.
//   - Connections take turns. A connection that sends more than its share is not read until less of it waits, and others
//     do not wait for it. One that waits for the answer to a short message goes before those with more messages waiting.
//   - Every client sees commits in their order. The rows of an action come to its sender in the reply.
//   - A client that comes back with its cursor gets what it lacks, including tombstones, and then live changes. If the
//     room no longer knows what it lacks, it is told so and gets everything.
//   - An action with a client's number is applied once and in the order of the numbers, over retries and crashes. If it
//     is sent again, it gets the same reply.
//   - A hook that panics fails its action and ends the life: the handler's value is thrown away, and a new one is made
//     before the next message. Sockets stay. A room that keeps failing by itself backs off and answers
//     room_unavailable; a client's action or message that panics does not cause that.
//   - When a hook takes too long, its context ends. If it does not return then, its database is fenced and the room goes
//     on in a new life without it.
//   - Clients get codes and messages that were written for them ([Abort]). Any other error is logged, and the client gets
//     "action_failed".
//
// # Clients that go
//
// A handler with an OnClose ([CloseHandler]) is told once of the end of each connection that its OnConnect accepted,
// also at a shutdown and after a crash. So a table of who is online stays right; see the example of CloseHandler.
//
// # Alarms
//
// A room sets alarms by name ([Context.SetAlarm], [Context.SetAlarmEvery]). An alarm wakes the room and calls its
// OnAlarm ([AlarmHandler]) at least once, to the second or better. What the hook writes happens exactly once. Alarms
// are part of the action that sets them, and survive restarts and crashes.
//
// # Presence
//
// With the [Presence] option clients show each other what matters only while they are connected. Presence does not go
// through the room, which can read it with [Conn.Presence].
//
// # For operators
//
// [Host.Backup] copies a room that is in use, and [Host.StateAt] copies it as it was at a time in the last 24 hours.
// [Host.Restore] installs such a file as a room, in a new epoch. [Host.Export] and [Host.Import] do the same with
// text. [Host.Rooms], [Host.Migrate] and [Host.MigrationStatus] are for a whole data directory.
//
// # Limits
//
// Each limit is a field of [Options] with its default, or is documented where it applies.
// The ideas come from Cloudflare's Durable Objects (one object, one thread, output
// gates), partysync (a table, an action handler), Orleans (virtual actors).
package room
