package syncproto

// Decode works in two steps. The scanner (scan.go) reads the frame once and notes
// where the fields are. Then the fields are checked by the message's kind. The
// first step cannot check them, because an object's members have no order and the
// last of several with the same name counts.

import (
	"encoding/json"
	"strconv"
)

// The limits of [Decode].
const (
	// DefaultMaxBytes is the default of DecodeOptions.MaxBytes.
	DefaultMaxBytes = 1 << 20
	// DefaultMaxDepth is the default of DecodeOptions.MaxDepth.
	DefaultMaxDepth = 64
	// MaxNameBytes is the maximum length of an id, a channel, a client's name, an
	// action's type and a textual "from", in bytes of UTF-8 after unescaping.
	MaxNameBytes = 128

	// maxMaxDepth bounds the scanner's recursion whatever the options say.
	maxMaxDepth = 1000
)

// DecodeOptions are the limits of one [Decode]. The zero value selects the defaults.
type DecodeOptions struct {
	// MaxBytes is the size of the longest frame. 0 or less means DefaultMaxBytes.
	MaxBytes int
	// MaxDepth is the deepest nesting of arrays and objects. The message itself is
	// the first level. 0 or less means DefaultMaxDepth, over 1000 means 1000.
	MaxDepth int
}

// Decode reads one message of a client. It is strict: data must be exactly one
// JSON object in valid UTF-8, and the fields of the message's kind must have their
// type and size. Other fields are not examined. If several members have the same
// name, the last one counts, as in JavaScript.
//
// A message with {"sync":true} is a KindSync, one with {"rpc":true} a KindAction.
// Both at once are refused, and so is either name with a value that is not a
// boolean. Otherwise a message with a member "presence" is a KindPresence. Every
// other object is a KindOther, of which nothing more is read.
//
// An error is always an *[Error], and the Message is then zero. The Message's
// RawMessages are slices of data. Its strings are copies.
func Decode(data []byte, o DecodeOptions) (Message, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxDepth <= 0 {
		o.MaxDepth = DefaultMaxDepth
	}
	if len(data) > o.MaxBytes {
		return Message{}, &Error{
			Code:    CodeTooLarge,
			Message: "message is longer than " + strconv.Itoa(o.MaxBytes) + " bytes",
			Offset:  -1,
		}
	}
	s := scanner{data: data, maxDepth: min(o.MaxDepth, maxMaxDepth)}
	if !s.message() {
		return Message{}, s.refusal(s.fault, s.faultAt)
	}
	return s.interpret()
}

// interpret checks the fields of a complete, well-formed object and makes the Message.
func (s *scanner) interpret() (Message, error) {
	sync, rpc := s.fields[fieldSync], s.fields[fieldRPC]
	switch {
	case sync.present() && !sync.boolean():
		return Message{}, s.refusal(`field "sync" must be a boolean`, sync.start)
	case rpc.present() && !rpc.boolean():
		return Message{}, s.refusal(`field "rpc" must be a boolean`, rpc.start)
	case sync.kind == tokenTrue && rpc.kind == tokenTrue:
		return Message{}, s.refusal(`a message is either "sync" or "rpc", not both`, max(sync.start, rpc.start))
	case sync.kind == tokenTrue:
		return s.syncMessage()
	case rpc.kind == tokenTrue:
		return s.actionMessage()
	case s.fields[fieldPresence].present():
		return Message{Kind: KindPresence, Presence: s.raw(s.fields[fieldPresence])}, nil
	}
	return Message{Kind: KindOther}, nil
}

func (s *scanner) syncMessage() (Message, error) {
	var buf [MaxNameBytes]byte
	channel, fault := s.name(buf[:0], fieldChannel)
	if fault != "" {
		return Message{}, s.refusal(fault, s.fields[fieldChannel].place())
	}
	from, fault := s.from()
	if fault != "" {
		return Message{}, s.refusal(fault, s.fields[fieldFrom].place())
	}
	since, cursor, fault := s.cursor()
	if fault != "" {
		return Message{}, s.refusal(fault, s.fields[fieldCursor].place())
	}
	return Message{Kind: KindSync, Channel: string(channel), From: from, Since: since, Cursor: cursor}, nil
}

func (s *scanner) actionMessage() (Message, error) {
	// The four names share one allocation.
	var array [4 * MaxNameBytes]byte
	buf, fault := s.name(array[:0], fieldChannel)
	if fault != "" {
		return Message{}, s.refusal(fault, s.fields[fieldChannel].place())
	}
	channelEnd := len(buf)
	if buf, fault = s.name(buf, fieldID); fault != "" {
		return Message{}, s.refusal(fault, s.fields[fieldID].place())
	}
	idEnd := len(buf)
	buf, mutation, wrong, fault := s.mutation(buf)
	if fault != "" {
		return Message{}, s.refusal(fault, s.fields[wrong].place())
	}
	clientEnd := len(buf)
	action := s.fields[fieldAction]
	if action.kind != tokenObject {
		return Message{}, s.refusal(`field "action" must be an object`, action.place())
	}
	if buf, fault = s.name(buf, fieldType); fault != "" {
		return Message{}, s.refusal(fault, s.fields[fieldType].place())
	}
	names := string(buf)
	return Message{
		Kind:       KindAction,
		Channel:    names[:channelEnd],
		ID:         names[channelEnd:idEnd],
		Client:     names[idEnd:clientEnd],
		Mutation:   mutation,
		ActionType: names[clientEnd:],
		Payload:    s.raw(s.fields[fieldPayload]),
		Action:     s.raw(action),
	}, nil
}

// mutation appends "client" and reads "mutation", or says which field is wrong and how.
// A frame has both or neither.
func (s *scanner) mutation(dst []byte) (out []byte, n uint64, wrong field, fault string) {
	client, number := s.fields[fieldClient], s.fields[fieldMutation]
	if !client.present() && !number.present() {
		return dst, 0, 0, ""
	}
	out, fault = s.name(dst, fieldClient)
	if fault != "" {
		return dst, 0, fieldClient, fault
	}
	if number.kind == tokenNumber {
		n, _ = strconv.ParseUint(string(s.data[number.start:min(number.end, number.start+20)]), 10, 64)
	}
	if n == 0 || n > MaxMutation {
		return dst, 0, fieldMutation, `field "mutation" must be a whole number from 1 to 9007199254740991, in digits`
	}
	return out, n, 0, ""
}

// cursor reads "cursor", or says what is wrong with it.
func (s *scanner) cursor() (since SinceKind, c Cursor, fault string) {
	t := s.fields[fieldCursor]
	switch t.kind {
	case tokenNone:
		return SinceFrom, Cursor{}, ""
	case tokenNull:
		return SinceStart, Cursor{}, ""
	case tokenString:
		var buf [MaxNameBytes]byte
		text, ok := s.text(buf[:0], t)
		if !ok {
			break
		}
		if c, err := ParseCursor(string(text)); err == nil {
			return SinceCursor, c, ""
		}
	}
	return SinceFrom, Cursor{}, `field "cursor" must be null or a cursor that the server gave`
}

// raw returns the bytes of a field, or nil if it is absent. The capacity ends with
// the field, so that an append cannot write into the frame.
func (s *scanner) raw(t token) json.RawMessage {
	if !t.present() {
		return nil
	}
	return json.RawMessage(s.data[t.start:t.end:t.end])
}

// name appends a field that must be a string of 1 to MaxNameBytes, or says what
// is wrong with it.
func (s *scanner) name(dst []byte, f field) (out []byte, fault string) {
	t := s.fields[f]
	if t.kind != tokenString {
		return dst, "field " + f.quoted() + " must be a string"
	}
	out, ok := s.text(dst, t)
	if !ok || len(out) == len(dst) {
		return dst, "field " + f.quoted() + " must be a string of 1 to 128 bytes of Unicode text"
	}
	return out, ""
}

// text appends the content of a string token. ok is false if the content is over
// MaxNameBytes or has half of a surrogate pair, which UTF-8 cannot express.
func (s *scanner) text(dst []byte, t token) (out []byte, ok bool) {
	inner := s.data[t.start+1 : t.end-1]
	if t.escaped {
		return unescape(dst, inner, MaxNameBytes)
	}
	if len(inner) > MaxNameBytes {
		return dst, false
	}
	return append(dst, inner...), true
}

// from reads "from", or says what is wrong with it.
func (s *scanner) from() (from From, fault string) {
	t := s.fields[fieldFrom]
	switch t.kind {
	case tokenNone, tokenNull:
		return From{}, ""
	case tokenString:
		var buf [MaxNameBytes]byte
		text, ok := s.text(buf[:0], t)
		if !ok {
			return From{}, `field "from" must be a string of at most 128 bytes of Unicode text`
		}
		return From{Kind: FromText, Text: string(text)}, ""
	case tokenNumber:
		return fromNumber(s.data[t.start:t.end])
	}
	return From{}, `field "from" must be null, a number or a string`
}

func fromNumber(digits []byte) (from From, fault string) {
	if len(digits) > MaxNameBytes {
		return From{}, `field "from" is a number of more than 128 digits`
	}
	text := string(digits)
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return From{Kind: FromInt, Int: i}, ""
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return From{}, `field "from" is a number out of range`
	}
	return From{Kind: FromFloat, Float: f}, ""
}

// refusal makes the error, with what has been read of the frame so far.
func (s *scanner) refusal(fault string, at int) *Error {
	e := &Error{Code: CodeBadMessage, Message: fault, Offset: at}
	if at >= 0 {
		e.Message += " at byte " + strconv.Itoa(at)
	}
	e.Kind = s.kind()
	var buf [MaxNameBytes]byte
	if channel, fault := s.name(buf[:0], fieldChannel); fault == "" {
		e.Channel = string(channel)
	}
	if id, fault := s.name(buf[:0], fieldID); fault == "" {
		e.ID = string(id)
	}
	if e.Kind == KindAction && e.ID != "" && e.Channel != "" {
		if client, n, _, fault := s.mutation(buf[:0]); fault == "" && n != 0 {
			e.Client, e.Mutation = string(client), n
		}
	}
	return e
}

// kind returns the kind of the frame as far as it was read, or 0 if it is unknown.
func (s *scanner) kind() Kind {
	switch sync, rpc := s.fields[fieldSync].kind, s.fields[fieldRPC].kind; {
	case rpc == tokenTrue && sync != tokenTrue:
		return KindAction
	case sync == tokenTrue && rpc != tokenTrue:
		return KindSync
	}
	return 0
}
