package actor

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrOverloaded: the actor's inbox is full, or the sender already uses its share of it. Nothing was queued.
	ErrOverloaded = errors.New("actor: the sender has its share of the inbox waiting")
	// ErrStopped: Shutdown has begun. Nothing was queued.
	ErrStopped = errors.New("actor: the system is shutting down")
	// ErrAsleep: the actor has no life, and SendAwake does not begin one.
	ErrAsleep = errors.New("actor: asleep")
	// ErrUnavailable is matched by every *UnavailableError.
	ErrUnavailable = errors.New("actor: unavailable")
	// ErrUnanswered: Receive returned nil without answering this message. The Behavior has
	// a bug.
	ErrUnanswered = errors.New("actor: the message was not answered")
	// ErrRequeue, wrapped in the error of a Receive, puts the messages that it has not
	// answered back to the front of the inbox, in order, as if they had not been taken.
	// It is for a Behavior that fails at one message and has not begun the later ones.
	// Receive must have answered at least one. Otherwise all are refused as with any
	// error, so a message that makes every life fail does not come back for ever.
	ErrRequeue = errors.New("actor: the unanswered messages were not begun")
	// ErrSpared, wrapped in the error of a Receive, says that the sender of one message
	// caused the failure. The next life begins at once, and the failure does not count for
	// Backoff. The Behavior must make sure that a sender cannot repeat this for ever.
	ErrSpared = errors.New("actor: the failure is the sender's")
	// ErrReported, wrapped in the error of a Start or a Receive, says that the Behavior has
	// already logged the failure. The System then logs it at Debug instead of Error.
	ErrReported = errors.New("actor: reported already")
	// ErrAbandoned is the cause if a life hung and was given up.
	ErrAbandoned = errors.New("actor: the life hung and was abandoned")
)

// errExited is the cause if the behavior ended its goroutine with runtime.Goexit, as
// a test's FailNow does.
var errExited = errors.New("actor: the behavior ended its goroutine")

// UnavailableError is the answer to a message whose life failed or did not begin, and
// to a Send while the actor backs off. It does not say whether a message that had
// reached Receive had an effect. The Behavior's Stop and Abandon decide that.
type UnavailableError struct {
	// RetryAfter is how long the actor backs off. 0 means that it can be tried at once.
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

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// PanicError is a panic of a Behavior, or of a reply function that it called.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("actor: panic: %v", e.Value) }

// Unwrap returns the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
