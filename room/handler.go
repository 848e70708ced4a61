package room

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/denrooms/den/syncproto"
)

// A Handler is the code of a namespace: a struct that embeds [Base] and has the hooks that it needs. Each life of a
// room has its own Handler, so the fields are the room's memory. They are gone when the life ends; what must last
// belongs in the database.
//
// The hooks of one room run one at a time. A hook may not keep its Context, nor start goroutines that use the room;
// slow work goes through [Context.Go]. If a hook returns an error, everything that it wrote and sent is undone.
type Handler interface {
	// OnStart begins a life, before all other hooks; Context.WakeReason says why. The room has run its [Migrations],
	// and its tables are what their structs say. OnStart can CREATE TABLE IF NOT EXISTS where that is enough. Tables
	// made by Migrations are better, because not every life runs them.
	//
	// What OnStart writes in a new room stays in memory until somebody is shown something of the room. So a room that
	// was called for, and of which nobody got anything but errors, leaves no file. That holds with a commit log
	// ([Durable], [Relaxed]), while migrations and OnStart write less than about 1 MB.
	//
	// If OnStart fails, the room stays closed, and is tried again later; see [Host.Failures]. Clients that connect
	// get an error that was written for clients (ErrNotFound and Abort). An action that waits gets room_unavailable,
	// and keeps its number.
	OnStart(c *Context) error

	// OnWake follows OnStart in every life but a room's first: after a sleep, a restart or a crash. A room that left
	// nothing, see OnStart, has a first life again, unless a connection has outlived the last one. Both hooks are one
	// action: if either fails, everything is undone.
	OnWake(c *Context) error

	// OnHibernate is the last hook of a life that ends in good order: the room goes to sleep, or the host shuts down.
	// Use it to write what the handler has only in memory. Connections stay. The room sleeps even if OnHibernate
	// fails. A crash does not call it.
	OnHibernate(c *Context) error

	// OnConnect is called for a new connection, which is in the room already. An error refuses it: the socket is
	// closed with 4500 and the code as the reason.
	OnConnect(c *Context) error

	// OnAction serves the actions that are not bound by [Action] or [Call]. The changed rows are sent without its
	// help. A value that is not nil is sent to the caller as JSON besides them.
	OnAction(c *Context, channel string, action ActionRequest) (value any, err error)

	// OnMessage gets a message that is not of the protocol: binary, or text that is not a JSON object with "sync" or
	// "rpc", or, with [Presence], "presence".
	OnMessage(c *Context, message Message) error

	// OnError is told of an error or a panic of another hook that was not written for clients. It may read, count and
	// report, but neither write nor send.
	OnError(c *Context, err error)

	// OnRequest answers a plain HTTP request to the room's address. The body has been read. The answer is sent when
	// what the hook wrote is durable. An error becomes the answer, as JSON.
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

// OnMessage refuses the message: the client gets an exception.
func (*Base) OnMessage(*Context, Message) error { return errUnhandled }

// OnError does nothing; the host has logged the error.
func (*Base) OnError(*Context, error) {}

// OnRequest refuses with not_found.
func (*Base) OnRequest(*Context, http.ResponseWriter, *http.Request) error {
	return &Error{Code: syncproto.CodeNotFound, Message: "This room answers no plain requests."}
}

// A Message is a raw message from a client. Its bytes are valid only during the hook.
type Message struct {
	Data   []byte
	Binary bool
}

// A CloseHandler is a [Handler] that is told of the end of its connections.
type CloseHandler interface {
	// OnClose is told that a connection has gone, which is no longer in the room. It runs for every connection that
	// OnConnect accepted. [Context.CloseCause] says why. code and reason are the WebSocket's: 1006 if they are
	// unknown, 1001 at a shutdown.
	//
	// What the hook writes is written exactly once for a connection. If the hook fails, panics or takes too long, it
	// leaves nothing and is not run again. At a shutdown Context.Go fails, so a hook that returns that error has not
	// removed its connection from a table. After a crash of the server, a hook that wrote nothing may run again.
	//
	// If the room sleeps when the connection goes, the hook runs when the room wakes, or at once with the Option
	// [WakeOnClose]. At a shutdown it runs in the rooms that are awake, and with WakeOnClose also in those that
	// sleep, until the context of [Host.Shutdown] ends. What is left then, and what a crash leaves, runs in the next
	// process 60 s after the room's first wake, with the cause CloseLost. It does not run for a connection whose id
	// has come back by then under the same subject. Conn then has the id, the identity, and the tags and the
	// attachment as the room noted them: when it accepted the connection, and when it last went to sleep.
	OnClose(c *Context, code int, reason string) error
}

// An ActionRequest is what a client asks for. Its bytes are valid only during the hook.
type ActionRequest struct {
	Type    string          // at most 128 bytes
	Payload json.RawMessage // any JSON value; nil if there was none
}

// Decode reads the payload into a value. Fields that the value does not have are ignored. The hook may return the
// error as it is: the client gets bad_payload.
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

// payloadMessage describes what is wrong with a payload in the client's terms.
func payloadMessage(err error) string {
	if wrong, ok := err.(*json.UnmarshalTypeError); ok && wrong.Field != "" {
		return fmt.Sprintf("The payload's field %q cannot be a %s.", clip(wrong.Field, 64), wrong.Value)
	}
	return "The payload does not have the form that this action takes."
}
