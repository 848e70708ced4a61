package actor

import (
	"context"
	"sync/atomic"
)

// Key names an actor.
type Key struct{ Namespace, Room string }

// String returns "namespace/room", unescaped, for logs.
func (k Key) String() string { return k.Namespace + "/" + k.Room }

// Behavior is one life of an actor. Its methods are called one at a time, each
// happening before the next, though not always on the same goroutine. Abandon is an
// exception, see there. A panic in any method is recovered.
type Behavior interface {
	// Start is called once, before the first message. first is that message, for a
	// Behavior that wants to know why it was woken. It is nil if the life follows a failed
	// one and nothing is queued. If Start returns an error or panics, the life did not
	// begin, and Stop is not called. ctx ends when Shutdown gives up waiting or has finished.
	Start(ctx context.Context, first any) error

	// Receive gets the first queued messages in batch, in order, at least one and at most
	// FirstBatch. more returns up to n further messages, or none if there are no more. In
	// all Receive can get MaxBatch messages, and not more than were queued when it was
	// called. Messages that have arrived since may be among them if their turn is earlier.
	// What Receive does not ask for waits for the next call, and takes turns with what
	// arrives meanwhile.
	//
	// Receive answers each message with Envelope.Reply before it returns. A message that it
	// leaves unanswered gets ErrUnanswered, or an *UnavailableError if Receive fails. An
	// error or a panic ends the life: Stop(StopFailed) follows. An error that is ErrRequeue
	// also says that the unanswered messages were not begun, so the next life gets them.
	//
	// batch and the results of more are read-only and valid until Receive returns. The
	// envelopes stay valid. more must be called on Receive's goroutine. It returns nothing
	// after Receive has returned or the life was abandoned.
	Receive(batch []*Envelope, more func(n int) []*Envelope) error

	// Stop ends a life whose Start succeeded. The next life begins when it returns.
	Stop(reason StopReason)

	// Abandon is called by System.Abandon while Start, Receive or Stop hangs, on another
	// goroutine than the one that hangs. It must make sure that this life can no longer
	// change anything. When it returns, the next life begins. While Start hangs, it may be
	// called before Start has done anything. Stop is not called after it. If Abandon
	// panics, the life remains the only one until the hanging call returns. It is stopped
	// then, or is over if that call was a Start that failed.
	Abandon()
}

// Factory makes the Behavior of one life. life is a number that rises and that no other
// life of the System has, whatever its key. Factory is called on the goroutine of Start.
type Factory func(key Key, life uint64) Behavior

// StopReason says why a life ends.
type StopReason uint8

const (
	_ StopReason = iota
	// StopRequested: Stop or Shutdown was called, and what was queued then has been served.
	StopRequested
	// StopFailed: Receive failed.
	StopFailed
	// StopKilled: Kill was called. What is queued was not served.
	StopKilled
	// StopIdle: Retire was called, and the life had nothing to do.
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

// An Envelope is a message with the means to answer it.
type Envelope struct {
	// Message is what was sent.
	Message any

	ctx      context.Context // nil for Send
	reply    func(v any, err error)
	answered atomic.Bool
	begun    atomic.Bool

	sender  uint64          // 0 for no sender in particular
	bytes   int             // memory of the message
	release func(bytes int) // gives back that memory; nil if it was not counted
	single  bool            // see Single
	next    *Envelope       // the next one in the inbox; protected by the cell's mu
}

// A Sized message has a sender and a size, so that its sender gets only its share of the actor's
// inbox and time. Any other message has no sender and counts no bytes.
type Sized interface {
	// Sender returns the number of the sender. Messages of one sender keep their order. Messages
	// of sender 0, which is nobody in particular, are served before all others, in their order.
	Sender() uint64
	// Size returns the message's size in bytes, always the same.
	Size() int
}

// A Last message is served after everything that was sent to its actor before, whoever sent it. It is not
// Sized.
type Last interface{ Last() }

// envelope returns a new Envelope with msg.
func envelope(msg any) *Envelope {
	e := &Envelope{Message: msg}
	if s, is := msg.(Sized); is {
		e.sender, e.bytes = s.Sender(), s.Size()
	}
	return e
}

// Single reports whether the message is short and was the only waiting one of its sender. A Behavior that answers at the
// end of a batch may end a batch with such messages early, because their senders do nothing but wait.
func (e *Envelope) Single() bool { return e.single }

// Begin notes that the Behavior has begun to process the message. If the life hangs and is abandoned, and at least one
// message of the batch was begun, those that were not begun go to the next life. Only the Behavior calls Begin.
func (e *Envelope) Begin() { e.begun.Store(true) }

// Reply answers the message. Only the first call has an effect. Reply is safe for concurrent
// use, and calls the sender's reply function before it returns.
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

// Context returns the context of the Request that sent the message, for its values and to see
// whether the caller still waits. It is context.Background() for a message of Send.
func (e *Envelope) Context() context.Context {
	if e.ctx == nil {
		return context.Background()
	}
	return e.ctx
}
