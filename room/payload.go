package room

// Where an action's payload is decoded. What encoding/json does alone is done before the message is in the room's
// mailbox, and takes none of the room's time. A type with a method of its own for it may be slow, or
// never return: it is decoded in the room's turn, with the time limit of a hook. The goroutine that
// serves all parked sockets, for one, never runs a program's code.

import (
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/denrooms/den/syncproto"
)

// errPayload is the error of an action whose payload could not even be decoded.
var errPayload = errors.New("decoding the payload panicked")

// decodesItself reports whether decoding JSON into a t may call a method that is neither Den's nor
// encoding/json's.
func decodesItself(t reflect.Type) bool { return decodesWithin(t, make(map[reflect.Type]bool)) }

// decodesWithin is decodesItself but for the types that have been looked at.
func decodesWithin(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	if t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[json.RawMessage]() {
		return false
	}
	pointer := reflect.PointerTo(t)
	if pointer.Implements(reflect.TypeFor[json.Unmarshaler]()) || pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return decodesWithin(t.Elem(), seen)
	case reflect.Map:
		return decodesWithin(t.Key(), seen) || decodesWithin(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if decodesWithin(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// decodeEarly decodes the payload of a bound action, unless that is the room's to do.
func (s *Session) decodeEarly(m *actionMessage) (err error) {
	if m.bound == nil || m.bound.inTurn {
		return nil
	}
	m.in, err = s.ns.host.decodePayload(m)
	return err
}

// call runs the method of a bound action.
func (t *turn) call(c *Context, m *actionMessage) (any, error) {
	in := m.in
	if m.bound.inTurn {
		var err error
		if in, err = t.life.host.decodePayload(m); err != nil {
			return nil, err
		}
	}
	return m.bound.call(t.life.handler, c, in)
}

// decodePayload decodes the payload of a bound action. A panic is that action's fault, and none of the room's.
func (h *Host) decodePayload(m *actionMessage) (in any, err error) {
	err = protect(func() (err error) {
		in, err = m.bound.decode(m.action)
		return err
	})
	if caught, panicked := errors.AsType[*panicError](err); panicked {
		h.opts.Logger.Error("decoding a payload panicked", "action", m.action.Type, "panic", caught.Error(), "stack", string(caught.stack))
		return nil, &Error{Code: syncproto.CodeActionFailed, Message: "The action failed.", cause: errPayload}
	}
	return in, err
}
