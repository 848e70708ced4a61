// Package inner is what Den's own packages want of package room and its users do not: the transport, the command, the test kit and
// the tests. A host, its options and its sessions have one exported method for all of it, which takes an Access; that nobody outside of
// the module can name one keeps the rest from being anybody's.
package inner

import (
	"context"

	"github.com/denrooms/den/actor"
)

// An Access is what the method Inner takes.
type Access struct{ _ struct{} }

// A Host is what a room.Host does besides.
type Host interface {
	// Quiet waits until no room has anything to do, and wakes none. It is for tests, where nobody
	// sends anything meanwhile.
	Quiet(ctx context.Context) error
	// Settle waits until a room has served all that was sent to it before, and has
	// handed out what it sent. It wakes the room if it must.
	Settle(ctx context.Context, key actor.Key) error
	// SettleAlarms blocks until no room runs alarms and none is due, or until ctx is done. It does not wait for a room that could
	// not be woken, which is called again later.
	SettleAlarms(ctx context.Context) error
	// Crash ends a room's life as a fault would: what waits for it goes to the next
	// life, and what the life had in memory is lost. It is meant for tests.
	Crash(ctx context.Context, key actor.Key) error
	// ScratchFile gives a path in the data directory for a temporary file, which nobody has yet. Who makes
	// the file removes it; what a process leaves, a later one removes.
	ScratchFile() (string, error)
}

// Options are a host's besides.
type Options struct {
	// Dispatcher schedules the rooms' runs. Default: goroutines. A test that has one of
	// its own decides the order of everything.
	Dispatcher actor.Dispatcher
}

// A Session is what a room.Session does besides.
type Session interface {
	// Mark, Confirm and Confirmed tell the room what the client surely has; see
	// hibernate.Connection.Mark.
	Mark() uint64
	Confirm(mark uint64)
	Confirmed() uint64
	// Received reports whether the client is known to have all answers that it was sent.
	Received() bool
}

// OfHost gives what a room.Host does besides.
func OfHost(h interface{ Inner(Access) Host }) Host { return h.Inner(Access{}) }

// OfOptions gives a host's other options, to be set.
func OfOptions(o interface{ Inner(Access) *Options }) *Options { return o.Inner(Access{}) }

// OfSession gives what a room.Session does besides.
func OfSession(s interface{ Inner(Access) Session }) Session { return s.Inner(Access{}) }
