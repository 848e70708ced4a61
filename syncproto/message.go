package syncproto

import "encoding/json"

// Kind tells what a client's message asks for.
type Kind uint8

// The kinds of a client's message. The zero Kind is none of them.
const (
	// KindSync asks for a channel's rows: {"sync":true, …}.
	KindSync Kind = iota + 1
	// KindAction asks for a change: {"rpc":true, …}.
	KindAction
	// KindOther is any other JSON object, for the room's own OnMessage.
	KindOther
	// KindPresence says what the others are to see of the client: {"presence": …}. To a
	// room without presence it is one of the room's own, as KindOther.
	KindPresence
)

// String gives the kind's name, for logs and tests.
func (k Kind) String() string {
	switch k {
	case KindSync:
		return "sync"
	case KindAction:
		return "action"
	case KindOther:
		return "other"
	case KindPresence:
		return "presence"
	}
	return "none"
}

// Message is one message of a client, as [Decode] read it. Strings are copies;
// Payload, Action and Presence are slices of the decoded frame, and valid as long as it.
type Message struct {
	Kind Kind

	// Channel is set with KindSync and KindAction: 1 to MaxNameBytes of UTF-8,
	// which need not be the name of anything.
	Channel string
	// From is set with KindSync: how far the client's rows go.
	From From
	// Since is set with KindSync: whether the client asks by a cursor, which wins over
	// From, and Cursor is that cursor where it is SinceCursor.
	Since  SinceKind
	Cursor Cursor
	// ID is set with KindAction: 1 to MaxNameBytes of UTF-8 by which the client
	// knows the reply.
	ID string
	// Client and Mutation are set with a KindAction that is numbered: 1 to MaxNameBytes
	// of UTF-8, and 1 to MaxMutation. They are "" and 0 together.
	Client   string
	Mutation uint64
	// ActionType is set with KindAction: the action's "type".
	ActionType string
	// Payload is the action's "payload" as it stood in the frame: nil when it
	// was absent, the four bytes of null when it was null.
	Payload json.RawMessage
	// Action is the whole "action" object as it stood in the frame.
	Action json.RawMessage
	// Presence is set with KindPresence: the value as it stood in the frame, the four bytes
	// of null when it was null. It may be over MaxPresenceBytes.
	Presence json.RawMessage
}

// MaxPresenceBytes is the longest presence of a client, as it stands in the frame. [Decode]
// leaves it to those who know whether the room has presence.
const MaxPresenceBytes = 16 << 10

// MaxMutation is the highest number that an action can have: what a JavaScript number
// counts to.
const MaxMutation = 1<<53 - 1

// SinceKind tells whether a sync asks by a cursor.
type SinceKind uint8

// The forms of "cursor".
const (
	SinceFrom   SinceKind = iota // absent: From counts
	SinceStart                   // null: the client holds nothing, and takes cursors
	SinceCursor                  // a cursor
)

// FromKind tells in what form a client said how far its rows go.
type FromKind uint8

// The forms of "from".
const (
	FromNone  FromKind = iota // null or absent: the client holds nothing
	FromInt                   // a number without fraction that fits 64 bits
	FromFloat                 // any other number; always finite
	FromText                  // a string, 0 to MaxNameBytes
)

// From is the highest updated_at or deleted_at that a client has seen, in the
// form in which the server once wrote it. The field for its Kind is set, the
// others are zero.
type From struct {
	Kind  FromKind
	Int   int64
	Float float64
	Text  string
}

// Value gives what From holds as nil, int64, float64 or string.
func (f From) Value() any {
	switch f.Kind {
	case FromInt:
		return f.Int
	case FromFloat:
		return f.Float
	case FromText:
		return f.Text
	}
	return nil
}

// Error is a frame that was refused. Its Message was written for the client:
// it names the fault and the byte (from 0) at which it was found.
type Error struct {
	Code    Code
	Message string
	// Offset is the byte at which the fault was found, -1 where it has no place
	// of its own (a field that is absent, a frame that is too large).
	Offset int
	// Kind is what the frame was to be, as far as it was read; 0 = unknown.
	Kind Kind
	// ID and Channel are the frame's, where they were read and are in order;
	// empty otherwise.
	ID, Channel string
	// Client and Mutation are those of a numbered action whose ID and Channel are set, where
	// they were read and are in order; "" and 0 otherwise.
	Client   string
	Mutation uint64
}

// Error gives the code and the message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// AppendFrame appends the frame that answers the refused one: an error reply
// where the client can tell by id and channel which of its actions it is for
// (it then need not wait for its time-out), an exception otherwise.
func (e *Error) AppendFrame(dst []byte) []byte {
	if e.Kind == KindAction && e.ID != "" && e.Channel != "" {
		return AppendError(dst, e.Channel, e.ID, e.Code, e.Message)
	}
	if e.Kind == KindSync && e.Channel != "" {
		return AppendChannelException(dst, e.Channel, e.Code, e.Message)
	}
	return AppendException(dst, e.Code, e.Message)
}
