package room

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/denrooms/den/syncproto"
)

// A Handler is the code of a namespace: a struct that embeds [Base] and has the
// hooks that it cares about. Each life of a room has a Handler of its own, so its
// fields are the room's memory; they are gone when the life ends, and what must
// last belongs into the database.
//
// The hooks of one room run one at a time. A hook may not keep its Context, nor
// start goroutines that touch the room; what is slow goes through [Context.Go].
// An error from a hook undoes all that the hook wrote and sent.
type Handler interface {
	// OnStart begins a life, before all other hooks; Context.WakeReason tells why. The room has gone through its
	// [Migrations], and its tables are what their structs say. It is the place for CREATE
	// TABLE IF NOT EXISTS where one needs no more than that; tables of Migrations are better, because no life runs them again. What
	// OnStart writes in a new room waits in memory until somebody is shown something of the room: a room that was called for, and
	// of which nobody got anything but errors, leaves no file. That holds with a commit log ([Durable], [Relaxed]), and as long as its
	// migrations and OnStart write less than about 1 MB. If it fails the room stays
	// closed, and is tried again later; see [Host.Failures]. Who connects is told an error that was written
	// for clients, ErrNotFound and Abort; an action that waits is told room_unavailable, and keeps its number.
	OnStart(c *Context) error

	// OnWake follows OnStart in every life but a room's first: after a sleep, a restart or a
	// crash. A room that left nothing, see OnStart, has a first life again, unless a connection has outlived the one before. Both are one
	// action: if either fails nothing of them holds.
	OnWake(c *Context) error

	// OnHibernate is the last hook of a life that ends in good order: the room goes to sleep,
	// or the host is shut down. It is the place to write what the handler has in memory only. Connections
	// stay. The room sleeps also where it fails; a crash does without it.
	OnHibernate(c *Context) error

	// OnConnect greets a new connection, which is in the room already. An error
	// refuses it: the socket is closed with 4500 and the code as the reason.
	OnConnect(c *Context) error

	// OnAction answers the actions that are not bound by [Action] or [Call]. The
	// changed rows are sent without its doing; a value that is not nil is sent to
	// the caller as JSON beside them.
	OnAction(c *Context, channel string, action ActionRequest) (value any, err error)

	// OnMessage takes a message that is none of the protocol's: binary, or a text
	// that is no JSON object with "sync" or "rpc", nor, with [Presence], one with "presence".
	OnMessage(c *Context, message Message) error

	// OnError is told of an error or a panic of another hook that was not written
	// for clients. It may look, count and report, but neither write nor send.
	OnError(c *Context, err error)

	// OnRequest answers a plain HTTP request on the room's address. The body has
	// been read; the answer is sent when what the hook wrote is durable. An error
	// makes the answer, as JSON.
	OnRequest(c *Context, w http.ResponseWriter, r *http.Request) error

	base() *Base
}

// Base gives a Handler its hooks: each does nothing, or refuses.
type Base struct{}

func (b *Base) base() *Base { return b }

// OnStart does nothing.
func (*Base) OnStart(*Context) error { return nil }

// OnWake does nothing.
func (*Base) OnWake(*Context) error { return nil }

// OnHibernate does nothing.
func (*Base) OnHibernate(*Context) error { return nil }

// OnConnect accepts everybody.
func (*Base) OnConnect(*Context) error { return nil }

// OnAction refuses with unknown_action.
func (*Base) OnAction(_ *Context, _ string, a ActionRequest) (any, error) {
	return nil, &Error{Code: syncproto.CodeUnknownAction, Message: fmt.Sprintf("There is no action %q here.", clip(a.Type, 64))}
}

// OnMessage refuses: the client gets an exception.
func (*Base) OnMessage(*Context, Message) error { return errUnhandled }

// OnError does nothing; the host has logged the error.
func (*Base) OnError(*Context, error) {}

// OnRequest refuses with not_found.
func (*Base) OnRequest(*Context, http.ResponseWriter, *http.Request) error {
	return &Error{Code: syncproto.CodeNotFound, Message: "This room answers no plain requests."}
}

// A Message is a raw message from a client. Its bytes are valid during the hook
// only.
type Message struct {
	Data   []byte
	Binary bool
}

// A CloseHandler is a [Handler] that is told of the end of its connections.
type CloseHandler interface {
	// OnClose is told that a connection has gone; it is no longer in the room. It runs for every connection that
	// OnConnect accepted; [Context.CloseCause] tells why, and code and reason are the WebSocket's: 1006 where
	// nobody knows them, 1001 at a shutdown.
	//
	// What the hook writes it writes exactly once for a connection. One that fails, panics or takes too long is
	// not run again, and leaves nothing. At a shutdown Context.Go fails: a hook that returns that error has not taken its
	// connection out of a table. After a crash of the server it can run again where it wrote nothing.
	//
	// A room that sleeps when the connection goes runs it when it wakes, or at once with the Option [WakeOnClose].
	// At a shutdown it runs in the rooms that are awake, and with WakeOnClose in those that sleep too, as long as the
	// context of [Host.Shutdown] lasts. What is left then, and what a crash leaves, runs in the next process 60 s after the
	// room's first wake, with the cause CloseLost; not for a connection whose id came back by then, under the
	// same subject. Then Conn has the id, the identity, and the tags and the attachment as they were when the room noted them: when it
	// accepted the connection, and when it last went to sleep.
	OnClose(c *Context, code int, reason string) error
}

// An ActionRequest is what a client asks for. Its bytes are valid during the
// hook only.
type ActionRequest struct {
	Type    string          // at most 128 bytes
	Payload json.RawMessage // any JSON value; nil if there was none
}

// Decode reads the payload into a value. Fields that the value does not have
// are ignored. The error, which a hook may return as it is, tells the client
// bad_payload.
func (a ActionRequest) Decode(into any) error {
	payload := a.Payload
	if len(payload) == 0 {
		payload = json.RawMessage("null")
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return &Error{Code: syncproto.CodeBadPayload, Message: payloadMessage(err), cause: err}
	}
	return nil
}

// payloadMessage says what is wrong with a payload in the client's own terms.
func payloadMessage(err error) string {
	if wrong, ok := err.(*json.UnmarshalTypeError); ok && wrong.Field != "" {
		return fmt.Sprintf("The payload's field %q cannot be a %s.", clip(wrong.Field, 64), wrong.Value)
	}
	return "The payload does not have the form that this action takes."
}
