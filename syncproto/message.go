package syncproto

import "encoding/json"

// A Kind says what a client's message asks for.
type Kind uint8

// The kinds of a client's message. The zero Kind is none of them.
const (
	// KindSync asks for a channel's rows: {"sync":true, …}.
	KindSync Kind = iota + 1
	// KindAction asks for a change: {"rpc":true, …}.
	KindAction
	// KindOther is any other JSON object, for the room's own OnMessage.
	KindOther
	// KindPresence says what the client shows to the others: {"presence": …}. A room
	// without presence gets it as one of its own messages, like KindOther.
	KindPresence
)

// String returns the kind's name, for logs and tests.
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

// A Message is one message of a client, as [Decode] reads it. Its strings are copies.
// Payload, Action and Presence are slices of the decoded frame and valid as long as it is.
type Message struct {
	Kind Kind

	// Channel is set with KindSync and KindAction: 1 to MaxNameBytes of UTF-8. A
	// channel of this name need not exist.
	Channel string
	// From is set with KindSync: how far the client's rows go.
	From From
	// Since is set with KindSync: whether the client asks by a cursor, which takes
	// precedence over From. Cursor is that cursor if Since is SinceCursor.
	Since  SinceKind
	Cursor Cursor
	// ID is set with KindAction: 1 to MaxNameBytes of UTF-8, by which the client
	// recognises the reply.
	ID string
	// Client and Mutation are set with a numbered KindAction: 1 to MaxNameBytes of
	// UTF-8, and 1 to MaxMutation. Otherwise they are "" and 0.
	Client   string
	Mutation uint64
	// ActionType is set with KindAction: the action's "type".
	ActionType string
	// Payload is the action's "payload" as written in the frame: nil if it is
	// absent, the four bytes of null if it is null.
	Payload json.RawMessage
	// Action is the whole "action" object as written in the frame.
	Action json.RawMessage
	// Presence is set with KindPresence: the value as written in the frame, the four
	// bytes of null if it is null. It may be over MaxPresenceBytes.
	Presence json.RawMessage
}

// MaxPresenceBytes is the longest presence of a client, as written in the frame. [Decode]
// does not check it, because only the caller knows whether the room has presence.
const MaxPresenceBytes = 16 << 10

// MaxMutation is the highest number that an action can have: the highest integer to which a
// JavaScript number counts exactly.
const MaxMutation = 1<<53 - 1

// A SinceKind says whether a sync asks by a cursor.
type SinceKind uint8

// The forms of "cursor".
const (
	SinceFrom   SinceKind = iota // absent: From counts
	SinceStart                   // null: the client has nothing yet and uses cursors
	SinceCursor                  // a cursor
)

// A FromKind is the form in which a client says how far its rows go.
type FromKind uint8

// The forms of "from".
const (
	FromNone  FromKind = iota // null or absent: the client has nothing
	FromInt                   // a number without fraction that fits 64 bits
	FromFloat                 // any other number; always finite
	FromText                  // a string, 0 to MaxNameBytes
)

// A From is the highest updated_at or deleted_at that a client has seen, in the
// form in which the server wrote it. The field for its Kind is set, the others are
// zero.
type From struct {
	Kind  FromKind
	Int   int64
	Float float64
	Text  string
}

// Value returns the content of f as nil, int64, float64 or string.
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

// An Error describes a refused frame. Its Message is written for the client and names
// the fault and the byte, counted from 0, at which it was found.
type Error struct {
	Code    Code
	Message string
	// Offset is the byte at which the fault was found, or -1 if the fault has no place
	// of its own (an absent field, a frame that is too large).
	Offset int
	// Kind is the kind of the frame as far as it was read, or 0 if it is unknown.
	Kind Kind
	// ID and Channel are the frame's, if they were read and are valid. Otherwise they
	// are empty.
	ID, Channel string
	// Client and Mutation are those of a numbered action whose ID and Channel are set,
	// if they were read and are valid. Otherwise they are "" and 0.
	Client   string
	Mutation uint64
}

// Error returns the code and the message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// AppendFrame appends the frame that answers the refused one. It is an error reply if
// id and channel tell the client which of its actions it answers, so that the client
// need not wait for its time-out. Otherwise it is an exception.
func (e *Error) AppendFrame(dst []byte) []byte {
	if e.Kind == KindAction && e.ID != "" && e.Channel != "" {
		return AppendError(dst, e.Channel, e.ID, e.Code, e.Message)
	}
	if e.Kind == KindSync && e.Channel != "" {
		return AppendChannelException(dst, e.Channel, e.Code, e.Message)
	}
	return AppendException(dst, e.Code, e.Message)
}
