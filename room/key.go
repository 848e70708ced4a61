package room

import (
	"strings"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
)

// How rooms and clients are named, and why a life begins and a connection ends.

// A Key names a room: its fields are Namespace and Room, the name within the namespace, both strings and decoded.
type Key = actor.Key

// An Identity says who a client is. Subject, a string, is the user's id. Claims, a map[string]any, is what else
// authentication found out, as plain data. The zero Identity is an anonymous client.
type Identity = hibernate.Identity

type (
	// A Link carries messages to one client.
	Link = hibernate.Link
	// A Frame is a message to a client.
	Frame = hibernate.Frame
)

// nameOf returns the name by which the alarm clock knows a room.
func nameOf(key Key) string { return key.Namespace + "/" + key.Room }

// keyNamed returns the key of a room from the name that the alarm clock knows it by.
func keyNamed(name string) Key {
	namespace, room, _ := strings.Cut(name, "/")
	return Key{Namespace: namespace, Room: room}
}

// A WakeReason says why a room's life began: what called for the room.
type WakeReason string

// The reasons.
const (
	WakeConnect  WakeReason = "connect"  // a client connects
	WakeMessage  WakeReason = "message"  // a client's action, sync or other message
	WakeClose    WakeReason = "close"    // a client has gone
	WakeRequest  WakeReason = "request"  // a plain HTTP request
	WakeAlarm    WakeReason = "alarm"    // one of the room's alarms is due
	WakeOperator WakeReason = "operator" // an operator uses it: a backup, a restore, a migration
	WakeRestart  WakeReason = "restart"  // the life before this one failed
)

// A CloseCause says why OnClose runs.
type CloseCause string

// The causes.
const (
	CloseClient   CloseCause = "client"   // the connection ended: the client went, or was closed
	CloseAsleep   CloseCause = "asleep"   // it ended while the room slept
	CloseShutdown CloseCause = "shutdown" // the server shuts down
	CloseLost     CloseCause = "lost"     // an earlier process ended before the room could be told, and the client did not come back
)
