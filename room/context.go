package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// A Context is what a hook works with: the room, the connection that the hook is called for, the database, the time.
// It is valid until the hook returns, and only in the hook's goroutine. What a hook does through it takes effect with
// the hook: if the hook succeeds, messages are sent and connections closed after its writes are durable, otherwise
// not at all.
//
// A Context is a context.Context too. It ends when the hook has taken longer than
// Options.ActionTimeout.
type Context struct {
	room    *room
	conn    *Conn // nil, or &self
	self    Conn
	request *http.Request
	cause   CloseCause // of OnClose
	now     time.Time
	ctx     hookContext // ends when the hook's time is over

	turn     *turn
	states   map[*hibernate.Connection]hibernate.State
	out      []delivery
	after    []func()
	undo     []func()
	alarmed  bool // alarms were set or cancelled
	readOnly bool // of OnError, which must not write
	ended    bool
}

var errReadOnly = errors.New("room: OnError may read, but neither write nor send")

var errEnded = errors.New("room: a Context was used after its hook had returned")

// Deadline is when the hook's time is over.
func (c *Context) Deadline() (time.Time, bool) { return c.ctx.Deadline() }

// Done returns a channel that is closed when the hook's time is over.
func (c *Context) Done() <-chan struct{} { return c.ctx.Done() }

// Err returns nil while the hook has time.
func (c *Context) Err() error { return c.ctx.Err() }

// Value returns a value of the request's context in OnRequest and OnConnect, for example one that a middleware has
// put there; nil elsewhere.
func (c *Context) Value(key any) any {
	if c.request == nil {
		return nil
	}
	return c.request.Context().Value(key)
}

// Key names the room.
func (c *Context) Key() Key { return c.room.key }

// Conn is the connection that the hook is called for, in OnConnect, OnClose, OnMessage and the hook of an action. It
// is nil in all other hooks, including OnAlarm, and in the then of Go.
func (c *Context) Conn() *Conn { return c.conn }

// Identity is the identity of the connection or of the plain request. It is zero if there is neither, as in OnAlarm
// and in the then of Go.
func (c *Context) Identity() Identity {
	if c.conn != nil {
		return *c.conn.c.Identity
	}
	return requestIdentity(c.request)
}

// Request is the HTTP request of OnRequest, or the upgrade's in OnConnect; nil elsewhere. Its context has the values
// that the server and its middleware put there, but does not end when the client goes: the hook's time is that of the
// Context.
func (c *Context) Request() *http.Request { return c.request }

// WakeReason is why this life of the room began.
func (c *Context) WakeReason() WakeReason { return c.room.why }

// Now is the time at which the hook began, to the millisecond; it does not move
// while the hook runs.
func (c *Context) Now() time.Time { return c.now }

// Rand is the room's source of randomness. It is not for secrets.
func (c *Context) Rand() *rand.Rand { return c.room.random.rand }

// NewID returns a random id, a UUID (RFC 9562, version 4).
func (c *Context) NewID() string {
	id, err := uuid.NewRandomFromReader(c.room.random.source)
	if err != nil {
		panic(fmt.Sprintf("room: the source of randomness failed: %v", err))
	}
	return id.String()
}

// Logger returns a logger whose lines have the room's name.
func (c *Context) Logger() *slog.Logger { return c.room.log }

// Abort refuses what the hook was asked; see the function [Abort].
func (c *Context) Abort(code, message string) error { return Abort(code, message) }

// Exec runs SQL in the room's database. Several statements at once cannot have arguments. Arguments are nil, bool,
// integers, floats, string, []byte, json.RawMessage (stored as text) and time.Time (stored as Unix milliseconds).
// Transactions, ATTACH, PRAGMA and Den's own tables (_den_…) are denied.
func (c *Context) Exec(sql string, args ...any) (storage.Result, error) {
	if c.ended {
		return storage.Result{}, errEnded
	}
	if c.readOnly {
		return storage.Result{}, errReadOnly
	}
	return c.room.db.Exec(sql, args...)
}

// Query runs SQL that returns rows. Read them to the end or close them before the hook returns.
func (c *Context) Query(sql string, args ...any) (*storage.Rows, error) {
	if c.ended {
		return nil, errEnded
	}
	return c.room.db.Query(sql, args...)
}

// QueryRow reads the first row of a query into dest. It returns ErrNotFound if there is none.
func (c *Context) QueryRow(sql string, args []any, dest ...any) error {
	rows, err := c.Query(sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return ErrNotFound
	}
	return rows.Scan(dest...)
}

// A Payload is a message of the room's own to clients, made by [Text], [Binary] or [JSON]. The zero Payload is no
// message, and sending it returns an error.
type Payload struct {
	frame *hibernate.Frame
	err   error
}

// Text returns a text message. It should be JSON: a partysync client throws on anything else. Sending text that is
// not UTF-8 returns an error, because a browser closes its connection when it receives such a message.
func Text(s string) Payload {
	if !utf8.ValidString(s) {
		return Payload{err: errNotUTF8}
	}
	return Payload{frame: textFrame(s)}
}

func textFrame(s string) *hibernate.Frame {
	return hibernate.TextFrame(len(s), func(dst []byte) []byte { return append(dst, s...) })
}

// Binary returns a binary message.
func Binary(data []byte) Payload { return Payload{frame: hibernate.BinaryFrame(data)} }

// JSON returns a text message with a value as JSON. If the value cannot be encoded, sending the Payload returns an
// error.
func JSON(v any) Payload {
	data, err := json.Marshal(v)
	if err != nil {
		return Payload{err: fmt.Errorf("room: a message: %w", err)}
	}
	return Text(string(data))
}

// Broadcast sends a message to every connection of the room, except those whose ids are in except.
func (c *Context) Broadcast(p Payload, except ...string) error {
	if err := c.maySend(p); err != nil {
		return err
	}
	to := c.room.connections()
	if len(except) > 0 {
		to = slices.DeleteFunc(slices.Clone(to), func(conn *hibernate.Connection) bool { return slices.Contains(except, conn.ID()) })
	}
	c.out = append(c.out, delivery{to: to, frames: []*hibernate.Frame{p.frame}})
	return nil
}

// errNoPayload is the error for the zero Payload.
var errNoPayload = errors.New("room: an empty Payload cannot be sent: make one with Text, Binary or JSON")

// errNotUTF8 is the error for text that WebSocket does not allow.
var errNotUTF8 = errors.New("room: text for a client must be UTF-8: send other bytes with Binary")

// maySend returns an error if a hook may not send a message.
func (c *Context) maySend(p Payload) error {
	switch {
	case p.err != nil:
		return p.err
	case p.frame == nil:
		return errNoPayload
	}
	return c.mayAct()
}

// mayAct returns an error if a hook may neither send nor close nor begin work.
func (c *Context) mayAct() error {
	switch {
	case c.ended:
		return errEnded
	case c.readOnly:
		return errReadOnly
	}
	return nil
}

// Connections returns the connections of the room, in the order in which they came. With tags it returns those that
// have all of them.
func (c *Context) Connections(tags ...string) []*Conn {
	var conns []*Conn
	for _, conn := range c.room.connections() {
		has := c.state(conn).Tags
		if !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(has, tag) }) {
			conns = append(conns, &Conn{c: conn, ctx: c})
		}
	}
	return conns
}

// A Conn is a connection, as hooks see it. It is valid as long as the Context that it came from.
type Conn struct {
	c   *hibernate.Connection
	ctx *Context
}

// ID is the name that the client chose for the connection and keeps over its reconnects. It does not prove who the
// client is, and two connections can have the same ID.
func (c *Conn) ID() string { return c.c.ID() }

// Identity is who the client is, according to the server's authentication.
func (c *Conn) Identity() Identity { return *c.c.Identity }

// LastAutoAnswer is when a message of the client was last answered without the room, see [AutoAnswer]; the zero time
// if none was.
func (c *Conn) LastAutoAnswer() time.Time { return c.c.LastAutoAnswer() }

// Tags returns the connection's tags. They must not be modified.
func (c *Conn) Tags() []string { return c.ctx.state(c.c).Tags }

// MaxTags is how many tags a connection can have. (10 with Durable Objects.)
const MaxTags = 16

// SetTags sets the connection's tags: at most MaxTags, each of at most 256 bytes.
func (c *Conn) SetTags(tags ...string) error {
	if len(tags) > MaxTags || slices.ContainsFunc(tags, func(t string) bool { return len(t) > 256 }) {
		return fmt.Errorf("room: a connection has at most %d tags of 256 bytes", MaxTags)
	}
	s := c.ctx.state(c.c)
	s.Tags = slices.Compact(slices.Sorted(slices.Values(tags)))
	return c.ctx.setState(c.c, s)
}

// Attachment returns the state that is kept with the connection, over the room's lives. It must not be modified.
func (c *Conn) Attachment() []byte { return c.ctx.state(c.c).Attachment }

// SetAttachment keeps a copy of data with the connection. data has at most 16 KiB.
func (c *Conn) SetAttachment(data []byte) error {
	if len(data) > hibernate.MaxAttachment {
		return fmt.Errorf("room: an attachment of %d bytes: at most %d", len(data), hibernate.MaxAttachment)
	}
	s := c.ctx.state(c.c)
	s.Attachment = slices.Clone(data)
	return c.ctx.setState(c.c, s)
}

// state returns a connection's state as the hook sees it: as the hook has set it, otherwise as another hook of the
// turn has, otherwise the connection's. What a hook sets becomes the connection's state when the hook's commit is
// durable; until then the turn keeps it.
func (c *Context) state(conn *hibernate.Connection) hibernate.State {
	if s, there := c.states[conn]; there {
		return s
	}
	if s, there := c.turn.states[conn]; there {
		return s
	}
	return conn.State()
}

func (c *Context) setState(conn *hibernate.Connection, s hibernate.State) error {
	if c.ended {
		return errEnded
	}
	if c.states == nil {
		c.states = make(map[*hibernate.Connection]hibernate.State)
	}
	c.states[conn] = s
	return nil
}

// Send sends a message to this connection alone.
func (c *Conn) Send(p Payload) error {
	if err := c.ctx.maySend(p); err != nil {
		return err
	}
	c.ctx.out = append(c.ctx.out, delivery{to: []*hibernate.Connection{c.c}, frames: []*hibernate.Frame{p.frame}})
	return nil
}

// Close closes the connection, with a code of 1000 or 3000 to 4999 and a reason in UTF-8,
// which is cut after 123 bytes.
func (c *Conn) Close(code int, reason string) error {
	if code != 1000 && (code < 3000 || code > 4999) {
		return fmt.Errorf("room: close code %d: want 1000 or 3000 to 4999", code)
	}
	if !utf8.ValidString(reason) {
		return errNotUTF8
	}
	if err := c.ctx.mayAct(); err != nil {
		return err
	}
	c.ctx.out = append(c.ctx.out, delivery{to: []*hibernate.Connection{c.c}, code: code, reason: clip(reason, 123)})
	return nil
}

// identityKey is the context key of a plain request's identity.
type identityKey struct{}

func requestIdentity(r *http.Request) Identity {
	if r == nil {
		return Identity{}
	}
	id, _ := r.Context().Value(identityKey{}).(Identity)
	return id
}

// CloseCause is why OnClose runs; "" in other hooks.
func (c *Context) CloseCause() CloseCause { return c.cause }
