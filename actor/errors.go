package actor

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrOverloaded: the actor's inbox is full, or its sender has its share of it. Nothing was queued.
	ErrOverloaded = errors.New("actor: the sender has its share of the inbox waiting")
	// ErrStopped: Shutdown has begun. Nothing was queued.
	ErrStopped = errors.New("actor: the system is shutting down")
	// ErrAsleep: the actor has no life, and SendAwake does not begin one.
	ErrAsleep = errors.New("actor: asleep")
	// ErrUnavailable is what every *UnavailableError is.
	ErrUnavailable = errors.New("actor: unavailable")
	// ErrUnanswered: Receive returned nil and had not answered this message, which is
	// a fault of the Behavior.
	ErrUnanswered = errors.New("actor: the message was not answered")
	// ErrRequeue, wrapped in the error of a Receive, puts the messages that it has not
	// answered back to the front of the inbox, in order, as if they had not been taken:
	// for a Behavior that breaks at one message and has not touched those behind it.
	// It must have answered at least one, else all are refused as with any error: so a
	// message that breaks each life that takes it does not come back for ever.
	ErrRequeue = errors.New("actor: the unanswered messages were not begun")
	// ErrSpared, wrapped in the error of a Receive, says that the sender of one message is to blame: the next life begins
	// at once, and the failure does not count for Backoff. The Behavior sees to it that a sender cannot go on like that.
	ErrSpared = errors.New("actor: the failure is the sender's")
	// ErrReported, wrapped in the error of a Start or a Receive, says that the Behavior has told
	// the operator of it: the System logs it at Debug, not at Error.
	ErrReported = errors.New("actor: reported already")
	// ErrAbandoned is the cause where a life hung and was given up.
	ErrAbandoned = errors.New("actor: the life hung and was abandoned")
)

// errExited is the cause where the behavior ended its goroutine: runtime.Goexit,
// which is what a test's FailNow does.
var errExited = errors.New("actor: the behavior ended its goroutine")

// UnavailableError is the answer to a message whose life broke or did not begin, and
// to a Send while the actor backs off. Of a message that had reached Receive it does
// not say whether it had an effect: that is for the Behavior's Stop and Abandon to
// settle.
type UnavailableError struct {
	// RetryAfter is how long the actor backs off; 0: it may be tried at once.
	RetryAfter time.Duration
	// Cause is the Behavior's error, a *PanicError, or ErrAbandoned. It is for logs.
	Cause error
}

func (e *UnavailableError) Error() string {
	if e.RetryAfter > 0 {
		return fmt.Sprintf("%v, for %v: %v", ErrUnavailable, e.RetryAfter, e.Cause)
	}
	return fmt.Sprintf("%v: %v", ErrUnavailable, e.Cause)
}

// Is makes errors.Is(err, ErrUnavailable) true.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// PanicError is a panic of a Behavior, or of a reply function that it called.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("actor: panic: %v", e.Value) }

// Unwrap gives the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
