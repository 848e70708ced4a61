package room

// What an action is answered with, and what its client is told of its number.

import (
	"encoding/json"
	"errors"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// applied is what has become of an action that has an outcome.
type applied struct {
	reply  *hibernate.Frame
	value  json.RawMessage // of a success; nil for none
	cursor string          // of a success
	mine   []byte          // the rows in the reply, as publish gives them
}

// short is the reply to a success without its rows, which its client has to sync again. A refusal is short as it is.
func (a applied) short(m *actionMessage, value json.RawMessage) *hibernate.Frame {
	if a.cursor == "" {
		return a.reply
	}
	return replyFrame(len(value)+192, syncproto.Reply{
		Channel: m.channel, ID: m.id, Number: m.fate(syncproto.NumberUsed), Value: value, Resync: true, Cursor: a.cursor,
	})
}

// fate is what a reply says of the action's number: nothing if it has none.
func (m *actionMessage) fate(n syncproto.Number) syncproto.Number {
	if m.mutation == 0 {
		return syncproto.NumberNone
	}
	return n
}

func replyFrame(size int, r syncproto.Reply) *hibernate.Frame {
	return hibernate.TextFrame(size, func(dst []byte) []byte { return syncproto.AppendReply(dst, r) })
}

// unsettled is the answer to an action that has no outcome now: its number, if it has one, is kept. A number
// that was used up before has had its outcome, which is gone or is another action's.
func (m *actionMessage) unsettled(err error) *hibernate.Frame {
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
		// The start of the room was refused, with a code of its own: that is no outcome of the action.
		r.Code = syncproto.CodeRoomUnavailable
	case errors.Is(err, errBefore):
		r.Number = syncproto.NumberUsed
	}
	return replyFrame(256, r)
}
