package roomtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// A Client is a client of a room: what it sends are the protocol's frames, and what
// it gets it keeps in the order in which it came.
type Client struct {
	t       TB
	host    *Host
	key     room.Key
	session *room.Session
	serial  int
	prefix  string // of its actions' ids

	mail mailbox
}

// A Row is a row on the wire: column 0 is the id, the last is deleted_at. Numbers
// are float64, as encoding/json has them.
type Row []any

// ID is column 0.
func (r Row) ID() any { return r[0] }

// Deleted tells a tombstone from a live row.
func (r Row) Deleted() bool { return r[len(r)-1] != nil }

// An Event is a message that a client got.
type Event struct {
	// Kind is "sync", "update", "delete-all", "success", "error", "exception", "presence",
	// or "message" for one that is none of the protocol's.
	Kind    string
	Channel string
	ID      string           // of the action that it answers
	Rows    []Row            // of sync, update and success
	More    bool             // of sync: another page follows
	Reset   string           // of sync: why this answer replaces what the client has
	Cursor  string           // what the client has now; empty on frames without
	At      string           // of sync: where its rows were read, if another page follows
	Number  string           // of success and error: "used" or "kept"; "" where the action has no number
	Resync  bool             // of success: its rows are to be fetched again
	Next    uint64           // of error: the number that the room waits for
	Now     int64            // of error: the server's time, Unix milliseconds, where it is said
	Value   json.RawMessage  // of success: the action's own result
	Code    string           // of error and exception
	Message string           // of error and exception
	Peers   map[string]*Peer // of presence: who shows something now; nil for one who has gone
	Full    bool             // of presence: Peers are all there are
	Self    string           // of presence: with Full, the client's own name among Peers
	Data    []byte           // the message as it came
	Binary  bool
}

// A Peer is a client as presence shows it to the others.
type Peer struct {
	ID   string          // under which it is shown, the same over its reconnects
	Data json.RawMessage // what it shows
}

// JoinOption changes how a client joins.
type JoinOption func(*room.ConnectRequest)

// As gives the client an identity.
func As(id room.Identity) JoinOption {
	return func(r *room.ConnectRequest) { r.Identity = id }
}

// Join brings a client into a room, under a connection id; "" lets the room make
// one. The test fails if the room refuses it.
func (h *Host) Join(namespace, name, id string, opts ...JoinOption) *Client {
	h.t.Helper()
	c, err := h.TryJoin(namespace, name, id, opts...)
	if err != nil {
		h.t.Fatalf("roomtest: joining %s/%s as %q: %v", namespace, name, id, err)
	}
	return c
}

// TryJoin is Join with the room's refusal as an error, an *room.Error.
func (h *Host) TryJoin(namespace, name, id string, opts ...JoinOption) (*Client, error) {
	c := &Client{t: h.t, host: h, key: room.Key{Namespace: namespace, Room: name}, prefix: rand.Text()[:8]}
	c.mail.changed, c.mail.used = make(chan struct{}), make(map[int]bool)
	request := room.ConnectRequest{ID: id, Link: &c.mail}
	for _, o := range opts {
		o(&request)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	session, err := h.Host.Connect(ctx, c.key, request)
	if err != nil {
		return nil, err
	}
	c.session = session
	return c, nil
}

// ID is the client's connection id.
func (c *Client) ID() string { return c.session.ID() }

// Do sends an action and waits for its reply, an Event of kind success or error.
// When it returns, the other clients have got what it changed.
func (c *Client) Do(channel, action string, payload any) Event {
	c.t.Helper()
	c.serial++
	return c.DoAs(fmt.Sprintf("%s-%d", c.prefix, c.serial), channel, action, payload)
}

// DoAs is Do with an id for the action, so that it can be sent twice.
func (c *Client) DoAs(id, channel, action string, payload any) Event {
	c.t.Helper()
	return c.act(id, action, map[string]any{
		"id": id, "channel": channel, "rpc": true,
		"action": map[string]any{"type": action, "payload": payload},
	})
}

// DoNumbered is Do as a client that numbers its actions: the room applies each number
// once, and in order. The action's id follows from client and mutation.
func (c *Client) DoNumbered(client string, mutation uint64, channel, action string, payload any) Event {
	c.t.Helper()
	id := fmt.Sprintf("%.100s-%d", client, mutation)
	return c.act(id, action, map[string]any{
		"id": id, "channel": channel, "rpc": true, "client": client, "mutation": mutation,
		"action": map[string]any{"type": action, "payload": payload},
	})
}

func (c *Client) act(id, action string, message map[string]any) Event {
	c.t.Helper()
	seen := c.mail.len()
	c.SendJSON(message)
	return c.await("the reply to "+action, seen, func(e Event) bool {
		return e.ID == id && (e.Kind == "success" || e.Kind == "error")
	})
}

// Sync asks for a channel's live rows and waits for all pages of the answer.
func (c *Client) Sync(channel string) []Row {
	c.t.Helper()
	return c.SyncFrom(channel, nil)
}

// SyncFrom asks for what changed since a stamp, and gives the rows of the answer.
// Tombstones come in update events; see Received.
func (c *Client) SyncFrom(channel string, from any) []Row {
	c.t.Helper()
	seen := c.mail.len()
	c.SendJSON(map[string]any{"channel": channel, "sync": true, "from": from})
	var rows []Row
	for {
		e := c.await("the answer to sync", seen, func(e Event) bool {
			return e.Channel == channel && (e.Kind == "sync" || e.Kind == "exception")
		})
		if e.Kind == "exception" {
			c.t.Fatalf("roomtest: sync of %s: %s: %s", channel, e.Code, e.Message)
		}
		rows = append(rows, e.Rows...)
		if !e.More {
			return rows
		}
		seen = c.mail.awaited
	}
}

// Resume asks for what a channel lacks since a cursor, nil for all there is, and gives
// the frames of the answer.
func (c *Client) Resume(channel string, cursor any) []Event {
	c.t.Helper()
	seen := c.mail.len()
	c.SendJSON(map[string]any{"channel": channel, "sync": true, "cursor": cursor})
	var answer []Event
	for {
		e := c.await("the answer to sync", seen, func(e Event) bool {
			return e.Channel == channel && (e.Kind == "sync" || e.Kind == "exception")
		})
		if answer = append(answer, e); !e.More {
			return answer
		}
		seen = c.mail.awaited
	}
}

// SendJSON sends a value as a text message, whatever it is.
func (c *Client) SendJSON(v any) {
	c.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		c.t.Fatalf("roomtest: a message: %v", err)
	}
	if err := c.Send(data); err != nil {
		c.t.Fatalf("roomtest: sending: %v", err)
	}
}

// Send sends a text message as it is.
func (c *Client) Send(data []byte) error { return c.session.Receive(data, false) }

// SendBinary sends a binary message.
func (c *Client) SendBinary(data []byte) error { return c.session.Receive(data, true) }

// Presence shows a value, as JSON, to those who take part in the room's presence; nil ends the
// client's own part. When it returns the others have got it. No room wakes for it.
func (c *Client) Presence(v any) {
	c.t.Helper()
	c.SendJSON(map[string]any{"presence": v})
}

// Received waits until the room has served all that was sent to it, and returns what
// the client got since the last call, without the answers that Do, Sync and Next
// have returned. It wakes no room.
func (c *Client) Received() []Event {
	c.t.Helper()
	c.settle("waiting for the room")
	return c.mail.take(c.t)
}

// Next waits for the next message that the client gets, beginning with those that
// no call of Received or Next has returned yet. The test fails if none comes within 20 s of the machine's time.
func (c *Client) Next() Event {
	c.t.Helper()
	return c.await("a message", c.mail.taken, func(Event) bool { return true })
}

// Closed reports whether the room has closed the connection, and how.
func (c *Client) Closed() (code int, reason string, closed bool) {
	c.mail.mu.Lock()
	defer c.mail.mu.Unlock()
	return c.mail.code, c.mail.reason, c.mail.closed
}

// Leave ends the connection as a client does that goes away (1001), and waits until
// the room knows. It wakes no room.
func (c *Client) Leave() {
	c.t.Helper()
	c.session.Close(1001, "")
	c.settle("leaving")
}

// settle waits until the room has served what was sent to it.
func (c *Client) settle(what string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	wait := func() error { return c.host.Settle(ctx, c.key) }
	if c.host.Awake() == 0 {
		wait = func() error { return c.host.Quiet(ctx) }
	}
	if err := wait(); err != nil {
		c.t.Fatalf("roomtest: %s: %v", what, err)
	}
}

// Confirm waits until the room has served what was sent to it, and says that the client has everything that came of it, as
// a pong does on a socket. It is for a client that leaves and joins again under its id: without it the room
// assumes that the answer to the client's Sync was lost, and sends a delete-all and every row instead of what the client has missed.
func (c *Client) Confirm() {
	c.t.Helper()
	c.settle("confirming") // a frame may be here before the room has noted that it is
	session := inner.OfSession(c.session)
	session.Confirm(session.Mark())
}

func (c *Client) await(what string, from int, match func(Event) bool) Event {
	c.t.Helper()
	limit := time.After(patience)
	for i := from; ; {
		for ; i < c.mail.len(); i++ {
			if c.mail.used[i] {
				continue
			}
			if e := c.mail.event(c.t, i); match(e) {
				c.mail.awaited = i + 1
				c.mail.used[i] = true
				return e
			}
		}
		if _, reason, closed := c.Closed(); closed && i >= c.mail.len() {
			c.t.Fatalf("roomtest: waiting for %s: the connection was closed: %s", what, reason)
		}
		select {
		case <-c.mail.more(i):
		case <-limit:
			c.t.Fatalf("roomtest: %s did not come", what)
		}
	}
}

// A mailbox is the link of a client: it keeps what comes.
type mailbox struct {
	mu      sync.Mutex
	frames  []*room.Frame
	changed chan struct{} // closed and made again with each change
	closed  bool
	code    int
	reason  string

	// Owned by the test's goroutine.

	taken   int          // what Received has given
	awaited int          // after the last that was waited for
	used    map[int]bool // those that were waited for, and are not given again
}

func (m *mailbox) Send(frames ...*room.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.frames = append(m.frames, frames...)
	m.wake()
}

func (m *mailbox) Close(code int, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed, m.code, m.reason = true, code, reason
	m.wake()
}

func (m *mailbox) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// more is closed when there are more than n frames, or the link is closed.
func (m *mailbox) more(n int) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.frames) > n || m.closed {
		now := make(chan struct{})
		close(now)
		return now
	}
	return m.changed
}

func (m *mailbox) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.frames)
}

func (m *mailbox) event(t TB, i int) Event {
	t.Helper()
	m.mu.Lock()
	f := m.frames[i]
	m.mu.Unlock()
	return parse(t, f)
}

func (m *mailbox) take(t TB) []Event {
	t.Helper()
	var events []Event
	for n := m.len(); m.taken < n; m.taken++ {
		if m.used[m.taken] {
			delete(m.used, m.taken)
			continue
		}
		events = append(events, m.event(t, m.taken))
	}
	return events
}

// parse reads a frame as a client would.
func parse(t TB, f *room.Frame) Event {
	t.Helper()
	e := Event{Kind: "message", Data: f.Payload(), Binary: f.Binary()}
	var wire struct {
		Type, Channel, ID, Code string
		Reset, Cursor, At       string
		Sync, Broadcast, More   bool
		Number                  string
		Resync                  bool
		Next                    uint64
		Now                     int64
		Payload, Result         []Row
		Value                   json.RawMessage
		Error, Exception        []string
		Peers                   map[string]*Peer
		Self                    string
		Full                    bool
	}
	if e.Binary || json.Unmarshal(e.Data, &wire) != nil {
		return e
	}
	e.Channel, e.ID, e.Code, e.Value, e.More = wire.Channel, wire.ID, wire.Code, wire.Value, wire.More
	e.Reset, e.Cursor, e.Next = wire.Reset, wire.Cursor, wire.Next
	e.At, e.Number, e.Resync, e.Now = wire.At, wire.Number, wire.Resync, wire.Now
	switch {
	case wire.Sync:
		e.Kind, e.Rows = "sync", wire.Payload
	case wire.Broadcast:
		e.Kind, e.Rows = wire.Type, wire.Payload
	case wire.Type == "presence" && wire.Peers != nil:
		e.Kind, e.Peers, e.Full, e.Self = wire.Type, wire.Peers, wire.Full, wire.Self
	case wire.Type == "success":
		e.Kind, e.Rows = wire.Type, wire.Result
	case wire.Type == "error" && len(wire.Error) > 0:
		e.Kind, e.Message = wire.Type, wire.Error[0]
	case wire.Type == "exception" && len(wire.Exception) > 0:
		e.Kind, e.Message = wire.Type, wire.Exception[0]
	}
	return e
}
