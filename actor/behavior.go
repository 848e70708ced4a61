package actor

import (
	"context"
	"sync/atomic"
)

// Key names an actor.
type Key struct{ Namespace, Room string }

// String is for logs: "namespace/room". It is not an escaped form.
func (k Key) String() string { return k.Namespace + "/" + k.Room }

// Behavior is one life of an actor. Its methods are called one at a time, with a
// happens-before edge from each to the next, though not always from the same
// goroutine; Abandon excepted, see there. A panic in any of them is caught.
type Behavior interface {
	// Start is called once, before the first message. first is that message, for a
	// Behavior that wants to know why it was woken; nil where a life follows one that
	// broke and nothing is queued. If Start returns an error or panics the life did not
	// begin, and Stop is not called. ctx ends when Shutdown gives up waiting or has finished.
	Start(ctx context.Context, first any) error

	// Receive gets the first of what has queued up, in order, at least one and at most FirstBatch. more
	// gives up to n of the others that had queued up when Receive was called, MaxBatch in all, or as many
	// messages that have come since and whose turn is earlier; none when there are no more. What Receive does not ask for
	// waits for its next call, and what comes meanwhile takes its turn with it.
	// Receive answers each with Envelope.Reply before it returns; one that it leaves
	// unanswered gets ErrUnanswered, or an *UnavailableError if Receive fails.
	// An error or a panic says that this life is broken: Stop(StopFailed) follows. An
	// error that is ErrRequeue says besides that the unanswered messages were not
	// begun: they are the next life's.
	// batch and what more gives are read-only and valid until Receive returns; the envelopes stay valid. more is for
	// Receive's own goroutine, and gives nothing when Receive has returned or the life was abandoned.
	Receive(batch []*Envelope, more func(n int) []*Envelope) error

	// Stop ends a life whose Start succeeded. The next life begins when it returns.
	Stop(reason StopReason)

	// Abandon is called, by System.Abandon, while Start, Receive or Stop hangs, from
	// another goroutine than the one that hangs. It must make sure that this life can
	// change nothing any more, and then return: the next life begins right then.
	// In Start it may come before Start has done anything. Stop is not called after it.
	// If it panics the life counts as not fenced: it stays the only one until the call
	// that hangs returns, and is stopped then (or, if that is a Start that fails, is over).
	Abandon()
}

// Factory makes the Behavior of one life. life is a number that no other life of
// this System has, of whatever key, and rises. It is called where Start is.
type Factory func(key Key, life uint64) Behavior

// StopReason says why a life ends.
type StopReason uint8

const (
	_ StopReason = iota
	// StopRequested: by Stop or Shutdown, and what was queued then has been served.
	StopRequested
	// StopFailed: Receive failed.
	StopFailed
	// StopKilled: by Kill, with nothing drained.
	StopKilled
	// StopIdle: by Retire, when it had nothing to do.
	StopIdle
)

func (r StopReason) String() string {
	switch r {
	case StopRequested:
		return "requested"
	case StopFailed:
		return "failed"
	case StopKilled:
		return "killed"
	case StopIdle:
		return "idle"
	}
	return "unknown"
}

// Envelope is a message on its way, with the way back.
type Envelope struct {
	// Message is what was sent.
	Message any

	ctx      context.Context // nil for Send
	reply    func(v any, err error)
	answered atomic.Bool
	begun    atomic.Bool

	sender  uint64          // 0: nobody in particular
	bytes   int             // that the message keeps
	release func(bytes int) // gives them back; nil: they were not taken
	single  bool            // see Single
	next    *Envelope       // behind it in the inbox; protected by the cell's mu
}

// A Sized message says whose it is and how much memory it keeps, so that its sender has no more than
// its share of the actor's inbox and of its time. Any other message is of no sender, and takes
// no bytes.
type Sized interface {
	// Sender is a number of the sender's. Messages of one sender keep their order. 0 is nobody in
	// particular: such messages are served before all others, in their order.
	Sender() uint64
	// Size is in bytes. It must stay the same.
	Size() int
}

// A Last message is served after all that was sent to its actor before, whoever sent it. It is not Sized.
type Last interface{ Last() }

// envelope puts a message into an envelope.
func envelope(msg any) *Envelope {
	e := &Envelope{Message: msg}
	if s, is := msg.(Sized); is {
		e.sender, e.bytes = s.Sender(), s.Size()
	}
	return e
}

// Single reports whether the message is short and the only one of its sender's that waited. A Behavior that answers at the end of a batch may
// end one soon in which there are such messages: their senders do nothing but wait.
func (e *Envelope) Single() bool { return e.single }

// Begin notes that the Behavior has begun to do what the message asks for. Where a life hangs and is abandoned, and its
// Behavior has begun a message of the batch, those that were not begun go to the next life. It is called
// by the Behavior only.
func (e *Envelope) Begin() { e.begun.Store(true) }

// Reply answers the message. The first call wins, later ones do nothing. It is safe
// from any goroutine, and runs the sender's reply function before it returns.
func (e *Envelope) Reply(v any, err error) {
	if e.answered.Swap(true) {
		return
	}
	if e.release != nil {
		e.release(e.bytes)
	}
	if e.reply != nil {
		e.reply(v, err)
	}
}

// Context is the requester's, for what it carries and to see whether somebody still
// waits; context.Background() for a message that came by Send.
func (e *Envelope) Context() context.Context {
	if e.ctx == nil {
		return context.Background()
	}
	return e.ctx
}
