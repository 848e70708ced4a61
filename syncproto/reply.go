package syncproto

// The replies to actions. A reply to a numbered action says what happened to its number, so
// that a client never has to guess it from the code.

import (
	"encoding/json"
	"strconv"
)

// A Number says in a reply what happened to the action's number.
type Number string

// The fates of a number.
const (
	// NumberNone: the action has no number. The reply does not have the field.
	NumberNone Number = ""
	// NumberUsed: the number has its outcome, which is this reply, and the next one may come.
	NumberUsed Number = "used"
	// NumberKept: the action has no outcome, nothing of it was applied, and the room still waits
	// for the number.
	NumberKept Number = "kept"
)

// A Reply is the reply to an action. It is a success if it has no Code, and otherwise an
// error. The fields of the other kind are not written.
type Reply struct {
	Channel, ID string // the action's
	Number      Number

	// Of a success.

	Rows   []byte          // the rows that the action changed, encoded, with commas between and without the outer brackets
	Value  json.RawMessage // the value that the room's code returns to the caller, encoded; nil if there is none
	Resync bool            // the rows are not in the reply: the client must sync the channel again
	Cursor string          // what the client has now; "" if there is none

	// Of an error.

	Code    Code
	Message string // for people
	Next    uint64 // the number that the room waits for; 0 leaves the field out
	Now     int64  // the server's time in Unix milliseconds; 0 leaves the field out
}

// AppendReply appends a reply. Rows and Value are copied as they are, so the caller must make
// sure that they are JSON.
func AppendReply(dst []byte, r Reply) []byte {
	if r.Code != "" {
		return appendErrorReply(dst, r)
	}
	dst = appendReplyStart(dst, "success", r.Channel, r.ID)
	dst = append(dst, `,"result":[`...)
	dst = append(dst, r.Rows...)
	dst = append(dst, ']')
	if r.Value != nil {
		dst = append(dst, `,"value":`...)
		dst = append(dst, r.Value...)
	}
	if r.Resync {
		dst = append(dst, `,"resync":true`...)
	}
	return appendEnd(appendNumber(dst, r.Number), r.Cursor)
}

// AppendSuccess is AppendReply for an action without a number that was applied.
func AppendSuccess(dst []byte, channel, id string, rows []byte, value json.RawMessage, cursor string) []byte {
	return AppendReply(dst, Reply{Channel: channel, ID: id, Rows: rows, Value: value, Cursor: cursor})
}

// AppendError is AppendReply for an action without a number that was refused or failed.
func AppendError(dst []byte, channel, id string, code Code, message string) []byte {
	return appendErrorReply(dst, Reply{Channel: channel, ID: id, Code: code, Message: message})
}

func appendErrorReply(dst []byte, r Reply) []byte {
	dst = appendReplyStart(dst, "error", r.Channel, r.ID)
	dst = append(dst, `,"error":[`...)
	dst = AppendString(dst, r.Message)
	dst = append(dst, `],"code":`...)
	dst = AppendString(dst, string(r.Code))
	dst = appendNumber(dst, r.Number)
	if r.Next != 0 {
		dst = append(dst, `,"next":`...)
		dst = strconv.AppendUint(dst, r.Next, 10)
	}
	if r.Now != 0 {
		dst = append(dst, `,"now":`...)
		dst = strconv.AppendInt(dst, r.Now, 10)
	}
	return append(dst, '}')
}

func appendNumber(dst []byte, n Number) []byte {
	if n == NumberNone {
		return dst
	}
	dst = append(dst, `,"number":`...)
	return AppendString(dst, string(n))
}

func appendReplyStart(dst []byte, kind, channel, id string) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","rpc":true,"channel":`...)
	dst = AppendString(dst, channel)
	dst = append(dst, `,"id":`...)
	return AppendString(dst, id)
}
