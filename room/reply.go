package room

// What an action is answered with, and what its client is told of its number.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
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

// undecided returns the answer to an action that has no outcome yet. The action's number, if it has one, is kept. If the number
// was used before, its outcome is gone or is another action's.
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
		// The start of the room was refused, with a code of its own: that is no outcome of the action.
		r.Code = syncproto.CodeRoomUnavailable
	case errors.Is(err, errBefore):
		r.Number = syncproto.NumberUsed
	}
	return replyFrame(256, r)
}

// An action that was applied in an earlier turn, and comes again in one that is lost, has the answer of then: nothing that
// the lost turn did counts for that answer. To refuse it as the turn's other actions are refused would tell its client that
// it was not applied.

// A standing is an answer that rests on earlier turns only.
type standing struct {
	m     *actionMessage
	reply *hibernate.Frame
	err   error // with errBefore, in the place of reply
}

// stand notes an answer of before, unless it is of this very turn.
func (t *turn) stand(m *actionMessage, reply *hibernate.Frame, err error) {
	if !t.remembers(m) {
		few := t.fewToSet()
		few.standing = append(few.standing, standing{m, reply, err})
	}
}

// remembers reports whether the turn in work has applied an action under a message's name or number.
func (t *turn) remembers(m *actionMessage) bool {
	if m.mutation != 0 {
		at := t.life.marks.known[clientKey{m.client, m.conn.Identity.Subject}]
		return at == nil || m.mutation > at.stored
	}
	return t.remembered > 0 && t.life.replies.Waits(m.key, t.waiting)
}

// answerAgain gives an action the answer that it had before.
func (t *turn) answerAgain(m *actionMessage, reply *hibernate.Frame) error {
	switch {
	case m.mutation != 0:
		t.send(m.conn, reply)
		return nil
	case t.held(m.conn, m.channel):
		t.respond(m, reply, nil, 0) // what has become of its rows is in the answer
		return nil
	}
	// The reply's rows may be old by now, and a client without cursors would keep them. So what has become of the channel
	// follows them; where that takes several turns, after which the connection may be lost, they are left out.
	frames, later, err := t.sinceReply(m, reply)
	if err != nil {
		return err
	}
	if later != nil {
		reply = withoutRows(reply)
		t.pursue(later)
	}
	t.send(m.conn, append([]*hibernate.Frame{reply}, frames...)...)
	return nil
}

// takeBackAnswers makes refusals of the lost turn's answers, but for those that stand: they are given once more, because the
// turn's frames are gone.
func (t *turn) takeBackAnswers(cause error) {
	stands := make(map[any]standing)
	if t.few != nil {
		for _, s := range t.few.standing {
			stands[s.m] = s
		}
	}
	for i, a := range t.answers {
		if a.err != nil {
			continue
		}
		var err error
		switch s, is := stands[a.env.Message]; {
		case !is:
			err = takenBack(a.env.Message, cause)
		case s.err != nil:
			t.send(s.m.conn, refusal(s.m, s.err))
		default:
			n := len(t.out)
			if err = t.answerAgain(s.m, s.reply); err != nil {
				t.out = t.out[:n]
			}
		}
		if err != nil {
			t.answers[i].value, t.answers[i].err = nil, err
		}
	}
}

// The published client gives an action up 10 s after it has sent it, takes back what it showed, and drops a reply that
// comes later, with its rows. Its author is left out of the broadcast. So where a room was held up, by its disk or by a
// slow action before, what has become of the channel since the action follows the turn's frames as updates, which the
// client merges by id.

// lateReply is after how long in the server a reply may come too late: the way there and back counts for the client, too.
const lateReply = 5 * time.Second

// followLate follows late replies to clients without cursors with their rows. Later actions of the same turn may have changed
// them again, so they are read as they are now.
func (t *turn) followLate() {
	now := t.life.host.uptime()
	for _, a := range t.answers {
		m, is := a.env.Message.(*actionMessage)
		if !is || m.reply == nil || a.err != nil || now-m.came < lateReply || m.conn.Returned || t.held(m.conn, m.channel) {
			continue
		}
		if peers, err := t.life.peer(m.conn); err != nil || len(peers) == 0 {
			continue // it has asked for nothing, or by a cursor
		}
		frames, later, err := t.sinceReply(m, m.reply)
		if err != nil {
			t.life.log.Warn("the rows of a late reply were not sent once more", "err", err)
			continue
		}
		if later != nil {
			t.pursue(later)
		}
		t.send(m.conn, frames...)
	}
}

// sinceReply is what has become of a channel since a reply was made, for a client without cursors; see since.
func (t *turn) sinceReply(m *actionMessage, reply *hibernate.Frame) (frames []*hibernate.Frame, later *syncMessage, err error) {
	var at struct{ Cursor string }
	if err := json.Unmarshal(reply.Payload(), &at); err != nil {
		return nil, nil, fmt.Errorf("a stored reply: %w", err)
	}
	l := t.life
	from, err := syncproto.ParseCursor(at.Cursor)
	if err != nil || from.Epoch != l.shortEpoch() || from.Seq == 0 || from.Seq > uint64(l.db.Seq()) {
		return nil, l.everything(&syncMessage{conn: m.conn, channel: m.channel, since: syncproto.SinceFrom, unasked: true}), nil
	}
	frames, later, err = t.since(m.conn, m.channel, storage.Seq(from.Seq-1))
	if err != nil {
		return nil, nil, t.storageError(err)
	}
	return frames, later, nil
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

// ownRows are the rows of a reply as an update, for a client that came back: it may have waited too long
// for the reply to the action that it sent as soon as it could, and then it drops the reply with its rows.
func (t *turn) ownRows(m *actionMessage, mine []byte) {
	if m.conn.Returned && len(mine) > 0 {
		channel := m.channel
		t.send(m.conn, hibernate.TextFrame(len(mine)+len(channel)+128, func(dst []byte) []byte {
			return syncproto.AppendUpdate(dst, channel, mine, "")
		}))
	}
}

// A storedReply is a reply as it goes out.
type storedReply struct {
	Channel string          `json:"channel"`
	ID      string          `json:"id"`
	Result  json.RawMessage `json:"result"`
	Value   json.RawMessage `json:"value"`
	Cursor  string          `json:"cursor"`
}

// withoutRows is a reply with no rows in it.
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

// hasRows reports whether a reply has rows in it. In no string of JSON that comes before them is a quotation mark
// without a backslash.
func hasRows(reply *hibernate.Frame) bool {
	_, rows, is := bytes.Cut(reply.Payload(), []byte(`"result":[`))
	return is && !bytes.HasPrefix(rows, []byte("]"))
}

// refusal is the frame that says no to a message.
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

// errTakenBack, wrapped, is the answer to a message that was served in a turn whose batch was lost: nothing of it remains.
var errTakenBack = errors.New("the message's batch was lost")

// takenBack is the error for a message that was served in a lost turn. Nobody sends a result of work or the end of a
// connection again, so the host does.
func takenBack(message any, cause error) error {
	switch message.(type) {
	case *thenMessage, *closeMessage:
		return fmt.Errorf("%w: %w", errTakenBack, cause)
	}
	return cause
}
