package room

// How an action is answered, and what its client is told of its number.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// applied is the outcome of an action.
type applied struct {
	reply  *hibernate.Frame
	value  json.RawMessage // of a success; nil for none
	cursor string          // of a success
	mine   []byte          // the rows in the reply, as publish returns them
}

// short returns the reply to a success without its rows, which the client has to sync again. A refusal is short
// already.
func (a applied) short(m *actionMessage, value json.RawMessage) *hibernate.Frame {
	if a.cursor == "" {
		return a.reply
	}
	return replyFrame(len(value)+192, syncproto.Reply{
		Channel: m.channel, ID: m.id, Number: m.fate(syncproto.NumberUsed), Value: value, Resync: true, Cursor: a.cursor,
	})
}

// fate returns what a reply says of the action's number: nothing if there is none.
func (m *actionMessage) fate(n syncproto.Number) syncproto.Number {
	if m.mutation == 0 {
		return syncproto.NumberNone
	}
	return n
}

func replyFrame(size int, r syncproto.Reply) *hibernate.Frame {
	return hibernate.TextFrame(size, func(dst []byte) []byte { return syncproto.AppendReply(dst, r) })
}

// undecided returns the answer to an action that has no outcome yet. The action keeps its number, if it has one. If
// the number was used before, its outcome is gone or belongs to another action.
func (m *actionMessage) undecided(err error) *hibernate.Frame {
	code, text := ErrorCode(err)
	r := syncproto.Reply{Channel: m.channel, ID: m.id, Number: m.fate(syncproto.NumberKept), Code: code, Message: text}
	if m.mutation == 0 {
		return replyFrame(256, r)
	}
	if gap, is := errors.AsType[*gapError](err); is {
		r.Next = gap.next
	}
	if unknown, is := errors.AsType[*unknownClient](err); is {
		r.Next, r.Now = unknown.next, unknown.now
		return replyFrame(256, r)
	}
	switch {
	case errors.Is(err, actor.ErrUnavailable) && !code.Retryable():
		// The start of the room was refused, with a code of its own. That is no outcome of the action.
		r.Code = syncproto.CodeRoomUnavailable
	case errors.Is(err, errBefore):
		r.Number = syncproto.NumberUsed
	}
	return replyFrame(256, r)
}

func duplicateID() error {
	return &Error{Code: syncproto.CodeDuplicateID, Message: "Another action was sent under this id before.", cause: errBefore}
}

func unknownChannel() error {
	return &Error{Code: syncproto.CodeUnknownChannel, Message: "There is no such channel."}
}

func encodeValue(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("the result value: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// A storedReply is a reply as it goes out.
type storedReply struct {
	Channel string          `json:"channel"`
	ID      string          `json:"id"`
	Result  json.RawMessage `json:"result"`
	Value   json.RawMessage `json:"value"`
	Cursor  string          `json:"cursor"`
}

// withoutRows returns a reply without its rows.
func withoutRows(reply *hibernate.Frame) *hibernate.Frame {
	if !hasRows(reply) {
		return reply
	}
	var r storedReply
	if err := json.Unmarshal(reply.Payload(), &r); err != nil {
		return reply
	}
	return bareReply(r.Channel, r.ID, r.Value, r.Cursor)
}

func bareReply(channel, id string, value json.RawMessage, cursor string) *hibernate.Frame {
	return hibernate.TextFrame(len(value)+256, func(dst []byte) []byte {
		return syncproto.AppendSuccess(dst, channel, id, nil, value, cursor)
	})
}

// hasRows reports whether a reply has rows in it. No JSON string that precedes them has a quotation mark without a
// backslash.
func hasRows(reply *hibernate.Frame) bool {
	_, rows, is := bytes.Cut(reply.Payload(), []byte(`"result":[`))
	return is && !bytes.HasPrefix(rows, []byte("]"))
}

// refusal returns the frame that refuses a message.
func refusal(message any, err error) *hibernate.Frame {
	if m, ok := message.(*syncMessage); ok {
		return exception(m.channel, err)
	}
	if m, ok := message.(*actionMessage); ok {
		return m.undecided(err)
	}
	code, text := ErrorCode(err)
	return hibernate.TextFrame(256, func(dst []byte) []byte {
		if m, ok := message.(*rawMessage); ok && errors.Is(err, errUnhandled) {
			return syncproto.AppendException(dst, unhandledCode(m.message), "This room takes no such messages.")
		}
		return syncproto.AppendException(dst, code, text)
	})
}

func unhandledCode(m Message) syncproto.Code {
	if m.Binary {
		return syncproto.CodeUnsupportedData
	}
	return syncproto.CodeBadMessage
}

// errTakenBack, wrapped, is the answer to a message that was served in a turn whose batch was lost.
var errTakenBack = errors.New("the message's batch was lost")

// takenBack returns the error for a message that was served in a lost turn. The result of work, and the end of a
// connection, are sent again by the host, because nobody else does.
func takenBack(message any, cause error) error {
	switch message.(type) {
	case *thenMessage, *closeMessage:
		return fmt.Errorf("%w: %w", errTakenBack, cause)
	}
	return cause
}

// errBefore is the cause of the error for a number that was used up before.
var errBefore = errors.New("room: the number was used up before")

// A gapError says with which number a client has to continue.
type gapError struct{ next uint64 }

func (g *gapError) Error() string { return fmt.Sprintf("room: mutation %d has not come", g.next) }

// An unknownClient says how a client that the room does not know may begin.
type unknownClient struct {
	next uint64 // the number with which the client may begin; 0: it needs a new id
	now  int64  // Unix milliseconds
}

func (*unknownClient) Error() string { return "room: unknown client" }

func notKnown(next uint64, now time.Time) error {
	message := "The room does not know this client. Begin with the number 1, or with a new client id if that was answered before."
	if next == 0 {
		message = "The room does not know this client any more. Begin with a new client id and the number 1."
	}
	return &Error{Code: syncproto.CodeUnknownClient, Message: message, cause: &unknownClient{next: next, now: now.UnixMilli()}}
}
