package room

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// What a client sends, the method that it is bound to, and how the payload gets there.

// Action binds an action's name to a method of the handler. The payload is decoded into In from JSON outside of the
// room, so that decoding takes none of the room's time. If In or one of its fields has its own UnmarshalJSON or
// UnmarshalText, the payload is decoded in the room, as part of the hook. A payload that does not fit, JSON of
// another form or a value of another type, is refused with bad_payload, and the method is not called. As with
// encoding/json, fields that In does not have are ignored, and fields that the payload does not have are zero. For
// null or no payload all of In is zero. In's fields are named as for encoding/json, so the struct of a row, used as In
// without json tags, takes CreatedAt and not created_at. The name is valid for every channel of the room. A client names a
// channel with each action, and it must exist.
func Action[H Handler, In any](name string, method func(H, *Context, In) error) Option {
	return bind(name, decoderOf[In](), func(h Handler, c *Context, in any) (any, error) {
		return nil, method(h.(H), c, *in.(*In))
	}, isHandler[H])
}

// Call is [Action] for a method that returns a result. The caller gets the result as JSON in the reply's field
// "value", besides the changed rows.
func Call[H Handler, In, Out any](name string, method func(H, *Context, In) (Out, error)) Option {
	return bind(name, decoderOf[In](), func(h Handler, c *Context, in any) (any, error) {
		return method(h.(H), c, *in.(*In))
	}, isHandler[H])
}

func decode[In any](a ActionRequest) (any, error) {
	in := new(In)
	return in, a.Decode(in)
}

func isHandler[H Handler](h Handler) bool { _, ok := h.(H); return ok }

func decoderOf[In any]() decoder { return decoder{decode[In], decodesItself(reflect.TypeFor[In]())} }

func bind(name string, decode decoder, call func(Handler, *Context, any) (any, error), fits func(Handler) bool) Option {
	return func(ns *namespace) error {
		switch {
		case name == "" || len(name) > maxActionType:
			return fmt.Errorf("room: an action's name has 1 to %d bytes, not %d", maxActionType, len(name))
		case ns.actions[name] != nil:
			return fmt.Errorf("room: the action %q is bound twice", name)
		case !fits(ns.sample):
			return fmt.Errorf("room: the action %q is bound to a method of another type than %T", name, ns.sample)
		}
		ns.actions[name] = &boundAction{decode, call}
		return nil
	}
}

// Where an action's payload is decoded. What encoding/json does alone is done before the message is in the room's
// mailbox, and takes none of the room's time. A type with its own decoding method may be slow, or never return, so it
// is decoded in the room's turn, with the time limit of a hook. So the goroutine that serves all parked sockets never
// runs a program's code.

// decodesItself reports whether decoding JSON into a t may call a method that is neither Den's nor
// encoding/json's.
func decodesItself(t reflect.Type) bool { return decodesWithin(t, make(map[reflect.Type]bool)) }

// decodesWithin is decodesItself without the types in seen.
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

// maxActionType is the longest name of an action, in bytes.
const maxActionType = 128
