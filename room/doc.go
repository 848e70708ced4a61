// Package room is Den's API for those who write rooms, and the life of a room.
//
// A room is one actor that alone owns one SQLite database. Clients send it
// actions; it applies them one after another, and whatever rows of its synced
// tables an action changed, by whatever SQL, go to everybody in the room. A
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
// Typed: a [Table] field is a channel, its SQL table is made from the struct and
// its tags, and [Action] binds a method to an action's name with its payload decoded
// and checked; [Query] reads what any SQL gives into structs. Plain: make tables with SQL in OnStart, name them with [Synced], and
// answer actions in OnAction. Both can be mixed in one room.
//
// # Changing tables
//
// A room's tables follow the program when the room wakes: it goes through the
// [Migrations] that it lacks, each a transaction, then each Table is compared with its
// struct, where a field that is new gets its column. What fails leaves the file as it
// was and the room asleep, and [Host.Failures] has the reason.
//
// # What holds
//
//   - Nobody creates a room: one calls it, and it is there. There is never more
//     than one life of a room at a time.
//   - A handler's hooks run one at a time. Each runs in a savepoint: an error, a
//     panic or a timeout undoes all of its writes, and the messages that it sent.
//   - The gate: no reply, broadcast or message leaves before the commit that it
//     rests on is durable, which is what [Durability] says. What queues up while one
//     batch commits is the next batch, so many actions share a commit without waiting
//     for a timer; and all rooms share the syncs of one commit log.
//   - Connections take turns. Who sends more than its share is not read until it has less waiting; others
//     do not wait for it. Who waits for the answer to one short message goes before those who have more waiting.
//   - Every client sees commits in their order. An action's rows come to its
//     sender in the reply itself.
//   - A client that comes back with its cursor gets what it lacks, tombstones among
//     it, and then what is live; or is told that this is forgotten, and gets all.
//   - An action with a client's number is applied once and in the numbers' order, over
//     retries and crashes; sent again, it gets the reply that it had.
//   - A hook that panics fails its action and ends the life: the handler's value
//     is thrown away, and a new one is made before the next message. Sockets
//     stay. A room that keeps failing by itself backs off and answers room_unavailable; a client's action or
//     message that panics does not bring that about.
//   - A hook that does not return is told so by its context, then its database is
//     fenced and the room goes on in a new life without it.
//   - Clients get codes and messages that were written for them ([Abort]); any
//     other error is logged, and the client gets "action_failed".
//
// # Clients that go
//
// A handler with an OnClose ([CloseHandler]) is told once of the end of each connection that its OnConnect accepted, also at a shutdown
// and after a crash. So a table of who is online stays right; see the example of CloseHandler.
//
// # Alarms
//
// A room sets alarms by name ([Context.SetAlarm], [Context.SetAlarmEvery]), which wake it and call its
// OnAlarm ([AlarmHandler]): to the second or better, at least once, with what the hook writes exactly once.
// They are a part of the action that sets them, and survive restarts and crashes.
//
// # Presence
//
// With the [Presence] option clients show each other what matters only while they are there.
// It goes past the room, which reads it with [Conn.Presence] if it likes.
//
// # For operators
//
// [Host.Backup] copies a room that is in use, [Host.StateAt] one as it was in the last
// 24 hours, [Host.Restore] puts such a file in a room's place, in a new epoch;
// [Host.Export] and [Host.Import] do it by way of text. [Host.Rooms], [Host.Migrate]
// and [Host.MigrationStatus] are for a whole data directory.
//
// # Limits
//
// Each is a field of [Options] with its default, or is named at what it limits.
// The ideas come from Cloudflare's Durable Objects (one object, one thread, output
// gates), partysync (a table, an action handler), Orleans (virtual actors).
package room
