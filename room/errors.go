package room

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// ErrNotFound is returned if a row that an operation needs does not exist, or is marked as deleted. A client gets the
// code not_found.
var ErrNotFound = errors.New("room: no such row")

// An Error is a refusal written for a client: a code for programs and a message for people. [Abort] makes one, and
// documents their forms. If a program makes an Error itself, its message is cut at 500 bytes, and a code of another
// form is sent as action_failed.
type Error struct {
	Code    syncproto.Code
	Message string
	cause   error
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns the cause of the refusal, for the log. Clients do not see it.
func (e *Error) Unwrap() error { return e.cause }

// maxMessage is the longest message of a refusal, in bytes.
const maxMessage = 500

var codeForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Abort returns the error with which a hook refuses what it was asked: all of its writes are undone, and the client
// gets the code and the message. A code is a lower-case letter followed by letters, digits and _, at most 64 in all,
// like "text_too_long". Abort panics on any other code, which is a mistake in the program. A message is cut at 500
// bytes.
//
// For a numbered action the refusal is its outcome, which is stored. If the code is Retryable, like "overloaded", the
// action keeps its number instead and the client sends it again. In OnStart and OnWake the refusal goes to those who
// connect and sync. An action gets room_unavailable instead, which is never its outcome.
func Abort(code, message string) error {
	if !codeForm.MatchString(code) {
		panic(fmt.Sprintf("room: Abort with the code %q: want a form like text_too_long", code))
	}
	return &Error{Code: syncproto.Code(code), Message: clip(message, maxMessage)}
}

// clip cuts s to n bytes at most, at the start of a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// ErrorCode returns the code and the message that a client may see of an error. An error that was not written for
// clients becomes action_failed, with a message that reveals nothing of it.
func ErrorCode(err error) (syncproto.Code, string) {
	var refusal *Error
	if errors.As(err, &refusal) {
		return sendable(refusal.Code, refusal.Message)
	}
	var frame *syncproto.Error
	if errors.As(err, &frame) {
		return sendable(frame.Code, frame.Message)
	}
	for _, known := range clientErrors {
		if errors.Is(err, known.err) {
			return known.code, known.message
		}
	}
	return syncproto.CodeActionFailed, "The action failed."
}

// sendable gives a code and a message the form that clients rely on. Without a code a refusal would be a success.
func sendable(code syncproto.Code, message string) (syncproto.Code, string) {
	if !codeForm.MatchString(string(code)) {
		code = syncproto.CodeActionFailed
	}
	return code, clip(message, maxMessage)
}

// clientErrors is what clients are told of Den's errors. The first match counts.
var clientErrors = []struct {
	err     error
	code    syncproto.Code
	message string
}{
	{ErrNotFound, syncproto.CodeNotFound, "There is no such row."},
	{storage.ErrIO, syncproto.CodeStorageUnavailable, "The room's storage failed."},                              // before those that say that nothing was changed
	{storage.ErrRoomFull, syncproto.CodeRoomFull, "The room is full. Nothing was changed. Deleting makes room."}, // also for an action that lost its batch by it
	{storage.ErrFull, syncproto.CodeStorageUnavailable, "The room's storage is full. Nothing was changed."},
	{storage.ErrReadOnly, syncproto.CodeStorageUnavailable, "The room's storage cannot be written. Nothing was changed."},
	{storage.ErrCorrupt, syncproto.CodeStorageUnavailable, "The room's storage failed."},
	{storage.ErrNotDatabase, syncproto.CodeStorageUnavailable, "The room's storage cannot be opened."},
	{storage.ErrWrongRoom, syncproto.CodeStorageUnavailable, "The room's storage cannot be opened."},
	{storage.ErrNewer, syncproto.CodeStorageUnavailable, "The room's storage cannot be opened."},
	{storage.ErrLogMissing, syncproto.CodeStorageUnavailable, "The room's storage cannot be opened."},
	{storage.ErrLogMismatch, syncproto.CodeStorageUnavailable, "The room's storage cannot be opened."},
	{storage.ErrTooLarge, syncproto.CodeTooLarge, "The action changes too much at once."},       // also for an action that lost its batch by it
	{storage.ErrConstraint, syncproto.CodeConflict, "The change conflicts with what is there."}, // also for a trigger that rolled the batch back
	{storage.ErrBatchLost, syncproto.CodeAborted, "The action was undone along with another one. Try again."},
	{pages.ErrTooLarge, syncproto.CodeTooLarge, "The channel is too large to be sent at once."},
	{ErrTooManyAlarms, syncproto.CodeTooLarge, "The room has too many alarms."},
	{storage.ErrInterrupted, syncproto.CodeActionTimeout, "The action took too long."},
	{context.DeadlineExceeded, syncproto.CodeActionTimeout, "The action took too long."},
	{hibernate.ErrMemory, syncproto.CodeOverloaded, "The server has too much to do. Try again later."},
	{actor.ErrOverloaded, syncproto.CodeOverloaded, "The room has too much to do. Try again later."},
	{actor.ErrStopped, syncproto.CodeShuttingDown, "The server is shutting down."},
	{actor.ErrUnavailable, syncproto.CodeRoomUnavailable, "The room is not available. Try again later."},
}

// written reports whether an error was written for clients. Then it is no fault of the room that somebody should look
// at.
func written(err error) bool {
	var refusal *Error
	var frame *syncproto.Error
	return errors.As(err, &refusal) || errors.As(err, &frame) || errors.Is(err, ErrNotFound) || errors.Is(err, errUnhandled) || errors.Is(err, pages.ErrTooLarge)
}

// full reports whether the disk or the room is full and nothing was written. If the disk has also failed, it is
// unknown what was written.
func full(err error) bool { return errors.Is(err, storage.ErrFull) && !errors.Is(err, storage.ErrIO) }

// storageFailed reports whether the database must be reopened after this error before it can be trusted.
func storageFailed(err error) bool {
	if err == nil {
		return false
	}
	code, _ := ErrorCode(err)
	return code == syncproto.CodeStorageUnavailable
}

// reported is an error that has been reported to the operator.
type reported struct{ error }

func (r reported) Unwrap() error { return r.error }

func (r reported) Is(target error) bool { return target == actor.ErrReported }

var errStopping = errors.New("room: the host is stopping")

// errUnhandled is what Base's hooks return for what a room does not accept.
var errUnhandled = errors.New("room: not handled")
