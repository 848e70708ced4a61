package room

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// An error that a hook returns may have methods of the program's own: Error, Is, As, Unwrap. They may panic, or never
// return. So they are called once, in the hook's own time and under its watch: hear. What goes on with the error
// after that (the reply, the log, the room's own decisions) knows its text and which of Den's errors it is, and calls
// nothing of the program's after that. OnError gets the error itself.

// A heardError is what hear has found out of an error of a program's.
type heardError struct {
	text     string
	known    []error // what it is, of Den's errors and of context's
	original error
}

func (h *heardError) Error() string   { return h.text }
func (h *heardError) Unwrap() []error { return h.known }

// original is the error that a hook returned, for OnError.
func original(err error) error {
	if heard, is := err.(*heardError); is {
		return heard.original
	}
	return err
}

// plainPackage reports whether the errors of a package have no methods of a program's, but for what they wrap.
func plainPackage(path string) bool {
	switch path {
	case "errors", "fmt", "context", "io", "io/fs", "os", "syscall", "net", "strconv", "encoding/json":
		return true
	}
	for _, own := range []any{Error{}, actor.PanicError{}, hibernate.Memory{}, storage.Error{}, syncproto.Error{}} {
		if path == reflect.TypeOf(own).PkgPath() {
			return true
		}
	}
	return false
}

// deepest is how many errors one may wrap, one in the other.
const deepest = 100

// plain reports whether no method of a program's is called where an error is looked at.
func plain(err error) bool { return plainTo(err, deepest) }

// plainTo is plain for an error that wraps no more than so many, one in the other.
func plainTo(err error, depth int) bool {
	if depth < 0 {
		return false
	}
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !plainPackage(t.PkgPath()) {
		return false
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		return inner == nil || plainTo(inner, depth-1)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if inner != nil && !plainTo(inner, depth-1) {
				return false
			}
		}
	}
	return true
}

// keep keeps those of the errors that an error wraps which are plain: a program's own variables too. It panics where
// they are too many, one in the other: an error can wrap itself.
func (h *heardError) keep(err error, depth int) {
	if depth < 0 {
		panic(fmt.Sprintf("room: a hook returned a %T that wraps more than %d errors, one in the other", err, deepest))
	}
	switch e := err.(type) {
	case nil:
	case interface{ Unwrap() error }:
		h.keepInner(e.Unwrap(), depth-1)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			h.keepInner(inner, depth-1)
		}
	}
}

func (h *heardError) keepInner(err error, depth int) {
	if err != nil && plain(err) {
		h.known = append(h.known, err)
	} else {
		h.keep(err, depth)
	}
}

// hear calls the methods of an error that a hook has returned, and gives one that has none of the program's. An error that
// is plain stays as it is. It panics where they do.
func hear(err error) error {
	if err == nil || plain(err) {
		return err
	}
	h := &heardError{original: err}
	h.keep(err, deepest)
	h.text = err.Error()
	if refusal, is := errors.AsType[*Error](err); is {
		h.known = append(h.known, refusal)
	}
	if frame, is := errors.AsType[*syncproto.Error](err); is {
		h.known = append(h.known, frame)
	}
	if fault, is := errors.AsType[*storage.Error](err); is {
		h.known = append(h.known, fault)
	}
	for _, one := range clientErrors {
		if errors.Is(err, one.err) {
			h.known = append(h.known, one.err)
		}
	}
	for _, one := range []error{errUnhandled, storage.ErrClosed, storage.ErrExists, storage.ErrForgotten} {
		if errors.Is(err, one) {
			h.known = append(h.known, one)
		}
	}
	return h
}
