package syncproto

// The scanner reads a frame once. It checks the JSON grammar and UTF-8, and notes where
// the fields of a message are. It makes no values and allocates nothing.

import (
	"strconv"
	"unicode/utf8"
)

// field is a member of a message that Den reads.
type field uint8

const (
	fieldNone field = iota
	fieldChannel
	fieldID
	fieldSync
	fieldRPC
	fieldFrom
	fieldCursor
	fieldClient
	fieldMutation
	fieldAction
	fieldPresence
	fieldType    // of the action
	fieldPayload // of the action
	fieldCount
)

func (f field) quoted() string {
	switch f {
	case fieldChannel:
		return `"channel"`
	case fieldID:
		return `"id"`
	case fieldClient:
		return `"client"`
	case fieldType:
		return `"type" of "action"`
	}
	return "?"
}

// tokenKind is the type of a JSON value.
type tokenKind uint8

const (
	tokenNone tokenKind = iota // absent
	tokenNull
	tokenTrue
	tokenFalse
	tokenNumber
	tokenString
	tokenArray
	tokenObject
)

// token is the place of a value in the frame: data[start:end].
type token struct {
	start, end int
	kind       tokenKind
	escaped    bool // a string with a backslash in it
}

func (t token) present() bool { return t.kind != tokenNone }
func (t token) boolean() bool { return t.kind == tokenTrue || t.kind == tokenFalse }

// place returns the offset for an error about this value, or -1 if it is absent.
func (t token) place() int {
	if !t.present() {
		return -1
	}
	return t.start
}

// level says which of a message's objects is being read.
type level uint8

const (
	levelInner   level = iota // neither of the two: its members mean nothing here
	levelMessage              // the message itself
	levelAction               // its "action"
)

// scanner's methods return false if the frame is refused. Then fault and faultAt
// say why and where. A scanner is used once, by one goroutine.
type scanner struct {
	data     []byte
	pos      int
	maxDepth int

	fields [fieldCount]token // as far as they were read

	fault   string
	faultAt int
}

func (s *scanner) fail(at int, fault string) bool {
	s.fault, s.faultAt = fault, at
	return false
}

// unexpected fails at the current byte, and shows it.
func (s *scanner) unexpected(wanted string) bool {
	if s.pos >= len(s.data) {
		return s.fail(s.pos, "not valid JSON: expected "+wanted+", found the end")
	}
	if c := s.data[s.pos]; c > ' ' && c < utf8.RuneSelf-1 {
		return s.fail(s.pos, "not valid JSON: expected "+wanted+", found "+strconv.Quote(string(rune(c))))
	}
	return s.fail(s.pos, "not valid JSON: expected "+wanted)
}

// message reads the whole frame.
func (s *scanner) message() bool {
	s.space()
	if s.pos >= len(s.data) {
		return s.fail(s.pos, "not valid JSON: the message is empty")
	}
	isObject := s.data[s.pos] == '{'
	start := s.pos
	if _, ok := s.value(1, levelMessage); !ok {
		return false
	}
	s.space()
	if s.pos < len(s.data) {
		return s.unexpected("the end")
	}
	if !isObject {
		return s.fail(start, "a message must be a JSON object")
	}
	return true
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value reads one value. depth is its level if it is an array or an object.
func (s *scanner) value(depth int, in level) (token, bool) {
	s.space()
	t := token{start: s.pos}
	var ok bool
	if s.pos >= len(s.data) {
		return t, s.unexpected("a value")
	}
	switch c := s.data[s.pos]; {
	case c == '"':
		t.kind = tokenString
		t.escaped, ok = s.str()
	case c == '{':
		t.kind = tokenObject
		ok = s.object(depth, in)
	case c == '[':
		t.kind = tokenArray
		ok = s.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		t.kind = tokenNumber
		ok = s.number()
	case c == 't':
		t.kind = tokenTrue
		ok = s.literal("true")
	case c == 'f':
		t.kind = tokenFalse
		ok = s.literal("false")
	case c == 'n':
		t.kind = tokenNull
		ok = s.literal("null")
	default:
		return t, s.unexpected("a value")
	}
	t.end = s.pos
	return t, ok
}

func (s *scanner) literal(word string) bool {
	for i := range len(word) {
		if s.pos >= len(s.data) || s.data[s.pos] != word[i] {
			return s.unexpected(word)
		}
		s.pos++
	}
	return true
}

func (s *scanner) tooDeep(depth int) bool {
	if depth <= s.maxDepth {
		return false
	}
	s.fail(s.pos, "nested deeper than "+strconv.Itoa(s.maxDepth)+" levels")
	return true
}

func (s *scanner) array(depth int) bool {
	if s.tooDeep(depth) {
		return false
	}
	s.pos++ // [
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == ']' {
		s.pos++
		return true
	}
	for {
		if _, ok := s.value(depth+1, levelInner); !ok {
			return false
		}
		if more, ok := s.next(']', `"," or "]"`); !more {
			return ok
		}
	}
}

func (s *scanner) object(depth int, in level) bool {
	if s.tooDeep(depth) {
		return false
	}
	s.pos++ // {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == '}' {
		s.pos++
		return true
	}
	for {
		if !s.member(depth, in) {
			return false
		}
		if more, ok := s.next('}', `"," or "}"`); !more {
			return ok
		}
	}
}

// next reads what follows an element: a comma (more), or the end.
func (s *scanner) next(end byte, wanted string) (more, ok bool) {
	s.space()
	if s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ',':
			s.pos++
			return true, true
		case end:
			s.pos++
			return false, true
		}
	}
	return false, s.unexpected(wanted)
}

// member reads a name, a colon and a value, and notes the value if it is a field.
func (s *scanner) member(depth int, in level) bool {
	s.space()
	start := s.pos
	if s.pos >= len(s.data) || s.data[s.pos] != '"' {
		return s.unexpected("a name in quotes")
	}
	escaped, ok := s.str()
	if !ok {
		return false
	}
	f := fieldNone
	if in != levelInner {
		f = fieldNamed(s.data[start+1:s.pos-1], escaped, in)
	}
	s.space()
	if s.pos >= len(s.data) || s.data[s.pos] != ':' {
		return s.unexpected(`":"`)
	}
	s.pos++
	below := levelInner
	if f == fieldAction {
		below = levelAction
		// An earlier "action" of the same message no longer counts.
		s.fields[fieldType], s.fields[fieldPayload] = token{}, token{}
	}
	t, ok := s.value(depth+1, below)
	if ok && f != fieldNone {
		s.fields[f] = t
	}
	return ok
}

// fieldNamed returns the field of that name, which may be written with escapes.
func fieldNamed(name []byte, escaped bool, in level) field {
	if escaped {
		const longest = 8 // "mutation", "presence"
		var buf [longest + utf8.UTFMax]byte
		plain, ok := unescape(buf[:0], name, longest)
		if !ok {
			return fieldNone
		}
		name = plain
	}
	if in == levelAction {
		switch string(name) {
		case "type":
			return fieldType
		case "payload":
			return fieldPayload
		}
		return fieldNone
	}
	switch string(name) {
	case "channel":
		return fieldChannel
	case "id":
		return fieldID
	case "sync":
		return fieldSync
	case "rpc":
		return fieldRPC
	case "from":
		return fieldFrom
	case "cursor":
		return fieldCursor
	case "client":
		return fieldClient
	case "mutation":
		return fieldMutation
	case "action":
		return fieldAction
	case "presence":
		return fieldPresence
	}
	return fieldNone
}

// str reads a string. It checks quotes, escapes and UTF-8.
func (s *scanner) str() (escaped, ok bool) {
	start := s.pos
	data := s.data
	for i := start + 1; i < len(data); {
		switch c := data[i]; {
		case c == '"':
			s.pos = i + 1
			return escaped, true
		case c == '\\':
			escaped = true
			n := escapeLen(data[i:])
			if n == 0 {
				return escaped, s.fail(i, "not valid JSON: a bad escape in a string")
			}
			i += n
		case c < ' ':
			return escaped, s.fail(i, "not valid JSON: a control character in a string")
		case c < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				return escaped, s.fail(i, "not valid UTF-8")
			}
			i += size
		}
	}
	return escaped, s.fail(start, "not valid JSON: a string without an end")
}

// number reads a number by JSON's grammar: -? (0 | [1-9][0-9]*) frac? exp?
func (s *scanner) number() bool {
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if !s.digits() {
		return false
	}
	if s.at('.') {
		s.pos++
		if !s.digits() {
			return false
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if !s.digits() {
			return false
		}
	}
	return true
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

// digits reads one digit or more.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	if s.pos == start {
		return s.unexpected("a digit")
	}
	return true
}
