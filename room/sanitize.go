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

// The error that a hook returns may have methods of the program: Error, Is, As, Unwrap. They may panic or never
// return. So sanitize calls them once, in the hook's time and under its watch. What happens with the error afterwards
// (the reply, the log, the room's decisions) uses its text and which of Den's errors it is, and calls nothing of the
// program's. OnError gets the original error.

// A sanitizedError is what sanitize has found out about a program's error.
type sanitizedError struct {
	text     string
	known    []error // which of Den's errors, and of context's, it is
	original error
}

func (h *sanitizedError) Error() string   { return h.text }
func (h *sanitizedError) Unwrap() []error { return h.known }

// original returns the error that a hook returned, for OnError.
func original(err error) error {
	if heard, is := err.(*sanitizedError); is {
		return heard.original
	}
	return err
}

// plainPackage reports whether the errors of a package have no methods of a program's, apart from what they wrap.
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

// deepest is how deeply errors may be wrapped.
const deepest = 100

// plain reports whether handling an error calls no method of a program's.
func plain(err error) bool { return plainTo(err, deepest) }

// plainTo is plain for an error that is wrapped at most depth deep.
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

// keep keeps those of the wrapped errors that are plain, including a program's own variables. It panics if they are
// wrapped too deeply, because an error can wrap itself.
func (h *sanitizedError) keep(err error, depth int) {
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

func (h *sanitizedError) keepInner(err error, depth int) {
	if err != nil && plain(err) {
		h.known = append(h.known, err)
	} else {
		h.keep(err, depth)
	}
}

// sanitize calls the methods of an error that a hook has returned, and returns an error that has none of the
// program's. It returns a plain error as it is. It panics if they do.
func sanitize(err error) error {
	if err == nil || plain(err) {
		return err
	}
	h := &sanitizedError{original: err}
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
