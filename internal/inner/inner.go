// Package inner is the part of package room's API that only Den's own packages use: the transport, the command, the test kit and
// the tests. A host, its options and its sessions each have one method Inner, which takes an Access and returns that part. Code
// outside the module cannot name an Access, because this package is internal.
package inner

import (
	"context"

	"github.com/denrooms/den/actor"
)

// An Access is the argument of the Inner methods.
type Access struct{ _ struct{} }

// A Host is the inner part of a room.Host.
type Host interface {
	// Quiet blocks until no room has anything to do. It wakes no room. It is for tests that send nothing meanwhile.
	Quiet(ctx context.Context) error
	// Settle blocks until a room has served all messages that were sent to it before, and has handed out its own. It wakes
	// the room if it sleeps.
	Settle(ctx context.Context, key actor.Key) error
	// SettleAlarms blocks until no room runs alarms and none is due, or until ctx is done. It does not wait for a room that could
	// not be woken, which is called again later.
	SettleAlarms(ctx context.Context) error
	// Crash ends a room's life as a fault does: waiting messages go to the next life, and the life's memory is lost. It is
	// for tests.
	Crash(ctx context.Context, key actor.Key) error
	// ScratchFile returns an unused path in the data directory for a temporary file. The caller makes the file and removes
	// it. A later process removes what is left.
	ScratchFile() (string, error)
}

// Options are the inner part of room.Options.
type Options struct {
	// Dispatcher schedules the rooms' runs. Default: goroutines. A test with a Dispatcher of its own decides the order of
	// everything.
	Dispatcher actor.Dispatcher
}

// A Session is the inner part of a room.Session.
type Session interface {
	// Mark, Confirm and Confirmed tell the room which frames the client is known to have; see
	// hibernate.Connection.Mark.
	Mark() uint64
	Confirm(mark uint64)
	Confirmed() uint64
	// Received reports whether the client is known to have all answers that were sent to it.
	Received() bool
}

// OfHost returns the inner part of a room.Host.
func OfHost(h interface{ Inner(Access) Host }) Host { return h.Inner(Access{}) }

// OfOptions returns the inner part of room.Options, whose fields the caller sets.
func OfOptions(o interface{ Inner(Access) *Options }) *Options { return o.Inner(Access{}) }

// OfSession returns the inner part of a room.Session.
func OfSession(s interface{ Inner(Access) Session }) Session { return s.Inner(Access{}) }
